"""The anthropic package before a provider that speaks OpenAI's dialect only: messages plain, streamed and parsed, tools
over several turns."""

from pathlib import Path
from typing import Any

import pytest
from across import Across, across, anthropic_agent
from anthropic.types import Message
from harness import until
from pydantic import BaseModel

ASK: list[Any] = [{"role": "user", "content": "What is the weather in Paris and in Rome?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[Any] = [{"name": name, "input_schema": SCHEMA} for name in ("get_weather", "get_time")]


class City(BaseModel):
    name: str
    inhabitants: int


def ask(model: str = "gpt-x", **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 1024, "system": "Be brief.", "messages": ASK, **more}


def answered_by_chat(at: Across) -> None:
    """Everything that was asked went to OpenAI's endpoint, in one attempt each, and was a good answer."""
    attempts = at.lab.attempts()
    assert attempts
    assert {(a.upstream, a.path, a.healthy) for a in attempts} == {("o", "/v1/chat/completions", True)}
    assert {(c.outcome.value, c.upstream, c.attempts) for c in at.running.calls} == {("primary", "o", 1)}


async def test_messages_plain_and_streamed(tmp_path: Path) -> None:
    async with across(tmp_path) as at, anthropic_agent(at) as agent:
        plain = await agent.messages.create(**ask())
        async with agent.messages.stream(**ask()) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            whole = await stream.get_final_message()
        events = [event.type async for event in await agent.messages.create(stream=True, **ask())]
        assert [block.text for block in plain.content if block.type == "text"] == [text] != [""]
        assert (plain.stop_reason, whole.stop_reason) == ("end_turn", "end_turn")
        assert (plain.model, whole.model) == ("gpt-x", "gpt-x")
        assert (events[0], events[-1]) == ("message_start", "message_stop")
        counted = plain.usage.input_tokens, plain.usage.output_tokens
        assert (whole.usage.input_tokens, whole.usage.output_tokens) == counted > (0, 0)
        for number in (1, 2, 3):
            usage = (await at.running.call(number)).usage
            assert usage is not None and (usage.input, usage.output) == counted
        answered_by_chat(at)


@pytest.mark.parametrize("streamed", [False, True])
async def test_messages_call_tools_and_take_their_results(tmp_path: Path, streamed: bool) -> None:
    async with across(tmp_path) as at, anthropic_agent(at) as agent:

        async def answer(messages: list[Any]) -> Message:
            asked = ask("lab-tool-get_weather,get_time", tools=TOOLS, messages=messages)
            if not streamed:
                whole: Message = await agent.messages.create(**asked)
                return whole
            async with agent.messages.stream(**asked) as stream:
                return await stream.get_final_message()

        first = await answer(ASK)
        calls = [block for block in first.content if block.type == "tool_use"]
        assert first.stop_reason == "tool_use"
        assert [call.name for call in calls] == ["get_weather", "get_time"]
        assert len({call.id for call in calls}) == 2
        assert all(isinstance(call.input, dict) and "city" in call.input for call in calls)
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "18"} for call in calls]
        said = {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]}
        last = await answer([*ASK, said, {"role": "user", "content": results}])
        assert last.stop_reason == "end_turn" and any(block.type == "text" for block in last.content)
        answered_by_chat(at)


async def test_messages_parse_structured_output(tmp_path: Path) -> None:
    async with across(tmp_path) as at, anthropic_agent(at) as agent:
        parsed = await agent.messages.parse(**ask(output_format=City))
        assert isinstance(parsed.parsed_output, City)
        answered_by_chat(at)


async def test_what_is_no_message_is_refused_by_name_and_not_sent(tmp_path: Path) -> None:
    async with across(tmp_path) as at, anthropic_agent(at) as agent:
        for asking in (agent.messages.count_tokens(model="gpt-x", messages=ASK), agent.models.retrieve("gpt-x")):
            with pytest.raises(Exception, match="is not translated to OpenAI") as caught:
                await asking
            told: Any = getattr(caught.value, "body")  # noqa: B009 - not of every exception
            assert told["seawall"]["code"] == "NO_CANDIDATE"
        assert at.lab.attempts() == []


async def test_a_stream_left_by_its_agent_stops_the_provider_and_counts_against_nobody(tmp_path: Path) -> None:
    extra = "circuitBreaker: {consecutiveFailures: 1}\n"
    async with across(tmp_path, extra=extra) as at, anthropic_agent(at) as agent:
        stream = await agent.messages.create(stream=True, **ask("lab-gap-50ms+tokens-500"))
        await anext(aiter(stream))
        await stream.close()
        await until(lambda: [attempt for attempt in at.lab.attempts() if attempt.gone])
        call = await at.running.call()
        assert (call.fault, call.attempts) == ("AGENT_GONE", 1)
        assert at.running.moves == []
        [breaker] = at.running.upstream("o").breakers.values()
        assert breaker.snapshot(at.running.service._clock.now()).calls == 0
