"""The openai package before a provider that speaks Anthropic's dialect only: chat completions and responses, plain,
streamed and parsed, tools over several turns."""

import json
from pathlib import Path
from typing import Any

import pytest
from across import Across, across, openai_agent
from harness import until
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

ASK: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the weather in Paris and in Rome?"},
]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTIONS: list[dict[str, Any]] = [{"name": name, "parameters": SCHEMA} for name in ("get_weather", "get_time")]
TOOLS: list[Any] = [{"type": "function", "function": one} for one in FUNCTIONS]
BOTH_TOOLS = "lab-tool-get_weather,get_time"


class City(BaseModel):
    name: str
    inhabitants: int


def answered_by_messages(at: Across) -> None:
    """Everything that was asked went to Anthropic's endpoint, in one attempt each, and was a good answer."""
    attempts = at.lab.attempts()
    assert attempts
    assert {(a.upstream, a.path, a.healthy) for a in attempts} == {("a", "/v1/messages", True)}
    assert {(c.outcome.value, c.upstream, c.attempts) for c in at.running.calls} == {("primary", "a", 1)}


async def told(at: Across, number: int = 1) -> tuple[int, int]:
    """The tokens that log and metrics have of a call."""
    usage = (await at.running.call(number)).usage
    assert usage is not None
    return usage.input, usage.output


async def test_chat_plain_and_streamed(tmp_path: Path) -> None:
    async with across(tmp_path) as at, openai_agent(at) as agent:
        plain = await agent.chat.completions.create(model="claude-x", messages=ASK)
        stream = await agent.chat.completions.create(
            model="claude-x", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert text == plain.choices[0].message.content != ""
        assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["stop"]
        assert plain.choices[0].finish_reason == "stop"
        assert len({chunk.id for chunk in chunks}) == 1
        assert {plain.model, *(chunk.model for chunk in chunks)} == {"claude-x"}
        assert plain.usage and chunks[-1].usage == plain.usage
        counted = plain.usage.prompt_tokens, plain.usage.completion_tokens
        assert await told(at, 1) == await told(at, 2) == counted > (0, 0)
        answered_by_messages(at)


async def test_chat_without_usage_asked_for_has_none_in_its_stream(tmp_path: Path) -> None:
    async with across(tmp_path) as at, openai_agent(at) as agent:
        stream = await agent.chat.completions.create(model="claude-x", messages=ASK, stream=True)
        assert [chunk.usage async for chunk in stream if chunk.usage or not chunk.choices] == []
        # It was told to us all the same.
        assert (await told(at))[1] > 0


@pytest.mark.parametrize("streamed", [False, True])
async def test_chat_calls_tools_and_takes_their_results(tmp_path: Path, streamed: bool) -> None:
    async with across(tmp_path) as at, openai_agent(at) as agent:

        async def ask(messages: list[Any]) -> ChatCompletion:
            asked: Any = {"model": BOTH_TOOLS, "messages": messages, "tools": TOOLS}
            if not streamed:
                whole: ChatCompletion = await agent.chat.completions.create(**asked)
                return whole
            async with agent.chat.completions.stream(**asked) as stream:
                return await stream.get_final_completion()

        first = (await ask(ASK)).choices[0]
        calls = [call for call in first.message.tool_calls or [] if call.type == "function"]
        assert first.finish_reason == "tool_calls"
        assert [call.function.name for call in calls] == ["get_weather", "get_time"]
        assert len({call.id for call in calls}) == 2
        assert all("city" in json.loads(call.function.arguments) for call in calls)
        results: list[Any] = [{"role": "tool", "tool_call_id": call.id, "content": "18"} for call in calls]
        said = first.message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in said["tool_calls"]:
            call["function"].pop("parsed_arguments", None)
        last = (await ask([*ASK, said, *results])).choices[0]
        assert last.finish_reason == "stop" and last.message.content
        answered_by_messages(at)


async def test_chat_parses_structured_output(tmp_path: Path) -> None:
    async with across(tmp_path) as at, openai_agent(at) as agent:
        parsed = await agent.chat.completions.parse(model="claude-haiku-4-5", messages=ASK, response_format=City)
        assert isinstance(parsed.choices[0].message.parsed, City)
        async with agent.chat.completions.stream(
            model="claude-haiku-4-5", messages=ASK, response_format=City
        ) as stream:
            whole = await stream.get_final_completion()
        assert whole.choices[0].message.parsed == parsed.choices[0].message.parsed
        answered_by_messages(at)


async def test_responses_plain_and_streamed(tmp_path: Path) -> None:
    async with across(tmp_path) as at, openai_agent(at) as agent:
        plain = await agent.responses.create(model="claude-x", instructions="Be brief.", input="hi", store=False)
        async with agent.responses.stream(
            model="claude-x", instructions="Be brief.", input="hi", store=False
        ) as stream:
            kinds = [event.type async for event in stream]
            whole = await stream.get_final_response()
        assert whole.output_text == plain.output_text != ""
        assert (plain.status, whole.status, plain.model) == ("completed", "completed", "claude-x")
        assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
        assert plain.usage == whole.usage and plain.usage is not None
        assert await told(at) == (plain.usage.input_tokens, plain.usage.output_tokens)
        answered_by_messages(at)


@pytest.mark.parametrize("streamed", [False, True])
async def test_responses_call_tools_and_take_their_results(tmp_path: Path, streamed: bool) -> None:
    async with across(tmp_path) as at, openai_agent(at) as agent:
        tools: list[Any] = [{"type": "function", "strict": False, **one} for one in FUNCTIONS]

        async def ask(items: list[Any]) -> Any:
            asked: Any = {"model": BOTH_TOOLS, "input": items, "tools": tools, "store": False}
            if not streamed:
                return await agent.responses.create(**asked)
            async with agent.responses.stream(**asked) as stream:
                return await stream.get_final_response()

        items: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
        first = await ask(items)
        assert [item.name for item in first.output] == ["get_weather", "get_time"]
        items += [item.model_dump(exclude={"parsed_arguments"}, exclude_none=True) for item in first.output]
        items += [{"type": "function_call_output", "call_id": one.call_id, "output": "18"} for one in first.output]
        assert (await ask(items)).output_text
        answered_by_messages(at)


async def test_responses_parse_structured_output(tmp_path: Path) -> None:
    async with across(tmp_path) as at, openai_agent(at) as agent:
        parsed = await agent.responses.parse(model="claude-haiku-4-5", input="hi", text_format=City, store=False)
        assert isinstance(parsed.output_parsed, City)
        answered_by_messages(at)


async def test_bare_paths_find_their_dialect(tmp_path: Path) -> None:
    async with across(tmp_path) as at, openai_agent(at, base_url=f"{at.running.url}/v1") as agent:
        assert (await agent.chat.completions.create(model="claude-x", messages=ASK)).choices[0].message.content
        assert (await agent.responses.create(model="claude-x", input="hi", store=False)).output_text
        answered_by_messages(at)


async def test_a_stream_left_by_its_agent_stops_the_provider_and_counts_against_nobody(tmp_path: Path) -> None:
    async with across(tmp_path, extra="circuitBreaker: {consecutiveFailures: 1}\n") as at, openai_agent(at) as agent:
        stream = await agent.chat.completions.create(model="lab-gap-50ms+tokens-500", messages=ASK, stream=True)
        await anext(aiter(stream))
        await stream.close()
        await until(lambda: [attempt for attempt in at.lab.attempts() if attempt.gone])
        call = await at.running.call()
        assert (call.fault, call.attempts) == ("AGENT_GONE", 1)
        assert at.running.moves == []
        [breaker] = at.running.upstream("a").breakers.values()
        assert breaker.snapshot(at.running.service._clock.now()).calls == 0
