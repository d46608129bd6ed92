"""Agents' own SDKs while their stream is held for longer than they would wait in silence: comments keep them waiting,
the answer comes whole, and an error is the exception that they raise for one in a stream."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from stage import Stage, stage

# The agent's patience is longer than the silence that it hears, and shorter than the hold.
PATIENCE = 0.6
HOLD = "first-token-1200ms"
WAITED_FOR = "retry: {attempts: 0}\nstreaming: {commit: Complete, keepAlive: 150ms}"
SILENT = "retry: {attempts: 0}\nstreaming: {commit: Complete, keepAlive: 0s}"
TALK: list[Any] = [{"role": "user", "content": "hi"}]
OPTIONS: dict[str, Any] = {"api_key": "k", "max_retries": 0, "timeout": PATIENCE}

Ask = Callable[[Stage], Awaitable[str]]


async def chat(at: Stage) -> str:
    async with AsyncOpenAI(base_url=at.openai, **OPTIONS) as agent:
        stream = await agent.chat.completions.create(model="gpt", messages=TALK, stream=True)
        return "".join([c.delta.content or "" async for chunk in stream for c in chunk.choices])


async def responses(at: Stage) -> str:
    async with (
        AsyncOpenAI(base_url=at.openai, **OPTIONS) as agent,
        agent.responses.stream(model="gpt", input="hi") as stream,
    ):
        async for _ in stream:
            pass
        return (await stream.get_final_response()).output_text


async def messages(at: Stage) -> str:
    async with (
        AsyncAnthropic(base_url=at.anthropic, **OPTIONS) as agent,
        agent.messages.stream(model="claude", max_tokens=99, messages=TALK) as stream,
    ):
        return await stream.get_final_text()


async def chat_sync(at: Stage) -> str:
    def run() -> str:
        with OpenAI(base_url=at.openai, **OPTIONS) as agent:
            stream = agent.chat.completions.create(model="gpt", messages=TALK, stream=True)
            return "".join([c.delta.content or "" for chunk in stream for c in chunk.choices])

    return await asyncio.to_thread(run)


async def responses_sync(at: Stage) -> str:
    def run() -> str:
        with OpenAI(base_url=at.openai, **OPTIONS) as agent, agent.responses.stream(model="gpt", input="hi") as stream:
            stream.until_done()
            return stream.get_final_response().output_text

    return await asyncio.to_thread(run)


async def messages_sync(at: Stage) -> str:
    def run() -> str:
        with (
            Anthropic(base_url=at.anthropic, **OPTIONS) as agent,
            agent.messages.stream(model="claude", max_tokens=99, messages=TALK) as stream,
        ):
            return stream.get_final_text()

    return await asyncio.to_thread(run)


SDKS = pytest.mark.parametrize("ask", [chat, responses, messages, chat_sync, responses_sync, messages_sync])


@SDKS
async def test_an_sdk_waits_beyond_its_read_timeout_for_a_whole_answer(tmp_path: Path, ask: Ask) -> None:
    async with stage(tmp_path, WAITED_FOR) as at:
        at.lab.script(["ok", HOLD])
        assert await ask(at) == await ask(at) != ""
        call = await at.running.call(2)
        assert (call.outcome.value, call.opened, call.seconds > PATIENCE) == ("primary", True, True)


@SDKS
async def test_without_comments_its_read_timeout_fires(tmp_path: Path, ask: Ask) -> None:
    async with stage(tmp_path, SILENT) as at:
        at.lab.script([HOLD])
        with pytest.raises((openai.APITimeoutError, anthropic.APITimeoutError)):
            await ask(at)
        assert (await at.running.call()).fault == "AGENT_GONE"


@SDKS
async def test_an_error_behind_comments_is_the_exception_of_an_error_in_a_stream(tmp_path: Path, ask: Ask) -> None:
    async with stage(tmp_path, WAITED_FOR) as at:
        at.lab.script(["first-token-400ms+cut-5"])
        with pytest.raises((openai.APIError, anthropic.APIStatusError)) as raised:
            await ask(at)
        assert "TRUNCATED" in str(raised.value)
        assert not isinstance(raised.value, openai.APIConnectionError | anthropic.APIConnectionError)
        assert (await at.running.call()).opened


def openai_client(at: Stage) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=at.openai, **OPTIONS)


def anthropic_client(at: Stage) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=at.anthropic, **OPTIONS)


MODELS: list[tuple[Callable[[Stage], Any], Callable[[Any], Model]]] = [
    (openai_client, lambda client: OpenAIChatModel("gpt", provider=OpenAIProvider(openai_client=client))),
    (openai_client, lambda client: OpenAIResponsesModel("gpt", provider=OpenAIProvider(openai_client=client))),
    (anthropic_client, lambda client: AnthropicModel("claude", provider=AnthropicProvider(anthropic_client=client))),
]


@pytest.mark.parametrize(("connect", "model"), MODELS, ids=["chat", "responses", "messages"])
async def test_an_agent_of_pydantic_ai_runs_its_tool_loop_through_held_streams(
    tmp_path: Path, connect: Callable[[Stage], Any], model: Callable[[Any], Model]
) -> None:
    async with stage(tmp_path, WAITED_FOR) as at, connect(at) as client:
        at.lab.script([], then=HOLD)
        agent = Agent(model(client))

        @agent.tool_plain
        async def get_weather(city: str) -> str:
            return f"18 degrees in {city}"

        async with agent.run_stream("The weather in Paris?") as result:
            assert await result.get_output()
        calls = [await at.running.call(number) for number in (1, 2)]
        assert [(call.opened, call.outcome.value) for call in calls] == [(True, "primary")] * 2
