"""Agents of LangChain and of the OpenAI Agents SDK, as their manuals write them: told a base URL and a dummy key, and
nothing else about us. Their own retries and defaults stay as they are; what they would report to their makers is off.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import agents
from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
from agents.models.openai_responses import OpenAIResponsesModel
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_openai import ChatOpenAI
from langsmith import tracing_context
from openai import AsyncOpenAI
from pydantic import SecretStr

PROMPT = "What is it like outside?"
GPT, CLAUDE = "gpt-4o-mini", "claude-haiku-4-5"
KEY = "dummy"

Tool = Callable[..., Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Told:
    """What a framework gave back after its loop."""

    text: str
    """The final answer."""
    streamed: str
    """The pieces of text that it handed on while they came; empty for a plain run."""
    calls: list[str]
    """Ids of the tool calls in its history."""
    results: list[str]
    """What the tools answered, in its history."""


Run = Callable[[str, Sequence[Tool], bool], Awaitable[Told]]


@dataclass(frozen=True, slots=True)
class Framework:
    """One of a framework's models. `run` takes the base URL, the tools, and whether to stream."""

    name: str
    dialect: str
    run: Run


async def _create_agent(model: BaseChatModel, tools: Sequence[Tool], stream: bool) -> Told:
    agent = create_agent(model, list(tools))
    talk: Any = {"messages": [{"role": "user", "content": PROMPT}]}
    pieces: list[str] = []
    state: Any = None
    with tracing_context(enabled=False):
        if not stream:
            state = await agent.ainvoke(talk)
        else:
            async for mode, part in agent.astream(talk, stream_mode=["messages", "values"]):
                if mode == "values":
                    state = part
                elif isinstance(part[0], AIMessageChunk):
                    pieces.append(part[0].text)
    messages = state["messages"]
    return Told(
        messages[-1].text,
        "".join(pieces),
        [str(call["id"]) for m in messages if isinstance(m, AIMessage) for call in m.tool_calls],
        [m.text for m in messages if isinstance(m, ToolMessage)],
    )


async def _langchain_openai(url: str, tools: Sequence[Tool], stream: bool, responses: bool) -> Told:
    model = ChatOpenAI(model=GPT, base_url=url, api_key=SecretStr(KEY), use_responses_api=responses)
    try:
        return await _create_agent(model, tools, stream)
    finally:
        await model.root_async_client.close()


async def langchain_chat(url: str, tools: Sequence[Tool], stream: bool) -> Told:
    return await _langchain_openai(url, tools, stream, responses=False)


async def langchain_responses(url: str, tools: Sequence[Tool], stream: bool) -> Told:
    return await _langchain_openai(url, tools, stream, responses=True)


async def langchain_messages(url: str, tools: Sequence[Tool], stream: bool) -> Told:
    model = ChatAnthropic(model_name=CLAUDE, base_url=url, api_key=SecretStr(KEY), timeout=None, stop=None)
    try:
        return await _create_agent(model, tools, stream)
    finally:
        await model._async_client.close()  # it offers no other way


async def _runner(model: agents.Model, tools: Sequence[Tool], stream: bool) -> Told:
    agent = agents.Agent(name="desk", model=model, tools=[agents.function_tool(tool) for tool in tools])
    quiet = agents.RunConfig(tracing_disabled=True)
    pieces: list[str] = []
    run: agents.RunResult | agents.RunResultStreaming
    if stream:
        run = agents.Runner.run_streamed(agent, PROMPT, run_config=quiet)
        async for event in run.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                pieces.append(event.data.delta)
    else:
        run = await agents.Runner.run(agent, PROMPT, run_config=quiet)
    return Told(
        str(run.final_output),
        "".join(pieces),
        [str(item.call_id) for item in run.new_items if isinstance(item, agents.ToolCallItem)],
        [str(item.output) for item in run.new_items if isinstance(item, agents.ToolCallOutputItem)],
    )


async def agents_chat(url: str, tools: Sequence[Tool], stream: bool) -> Told:
    async with AsyncOpenAI(base_url=url, api_key=KEY) as client:
        return await _runner(OpenAIChatCompletionsModel(GPT, client), tools, stream)


async def agents_responses(url: str, tools: Sequence[Tool], stream: bool) -> Told:
    async with AsyncOpenAI(base_url=url, api_key=KEY) as client:
        return await _runner(OpenAIResponsesModel(GPT, client), tools, stream)


FRAMEWORKS = [
    Framework("langchain-chat", "OpenAI", langchain_chat),
    Framework("langchain-responses", "OpenAI", langchain_responses),
    Framework("langchain-messages", "Anthropic", langchain_messages),
    Framework("agents-chat", "OpenAI", agents_chat),
    Framework("agents-responses", "OpenAI", agents_responses),
]
