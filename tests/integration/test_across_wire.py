"""Recorded answers of real providers, given by an upstream to agents of the other dialect: their own SDKs read the same
text, tool calls, end and tokens as stand in the recording."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from across import anthropic_agent, openai_agent
from anthropic import APIStatusError as AnthropicError
from anthropic.types import Message
from played import COMPLETIONS, MESSAGES, each, played
from recorded import ABSENT, WIRE, Recording
from recorded_answers import Meaning, of_completion, of_message
from replay_server import replay

pytestmark = pytest.mark.skipif(not WIRE.is_dir(), reason=ABSENT)

ASK: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def replay_port() -> Iterator[int]:
    with replay() as port:
        yield port


async def test_every_recorded_message_reaches_an_agent_of_chat_completions(replay_port: int, tmp_path: Path) -> None:
    async with played(tmp_path, replay_port, MESSAGES) as (at, player), openai_agent(at) as agent:

        async def one(number: int, recording: Recording) -> None:
            asked: Any = {"model": f"recorded-{number}", "messages": ASK}
            if recording.stream:
                stream = await agent.chat.completions.create(
                    **asked, stream=True, stream_options={"include_usage": True}
                )
                chunks = [json.dumps(chunk.model_dump()) async for chunk in stream]
                found = of_completion("".join(f"data: {chunk}\n\n" for chunk in chunks).encode(), True)
            else:
                answer = await agent.chat.completions.create(**asked)
                found = of_completion(answer.model_dump_json().encode(), False)
            assert found == of_message(player.answers[number].body, recording.stream)

        await each(MESSAGES, one)
        assert {call.fault for call in at.running.calls} <= {"", "CONTENT_POLICY"}


async def test_every_recorded_message_reaches_an_agent_of_responses(replay_port: int, tmp_path: Path) -> None:
    async with played(tmp_path, replay_port, MESSAGES) as (at, player), openai_agent(at) as agent:

        async def one(number: int, recording: Recording) -> None:
            asked: Any = {"model": f"recorded-{number}", "input": "hi", "store": False}
            if recording.stream:
                async with agent.responses.stream(**asked) as stream:
                    answer: Any = await stream.get_final_response()
            else:
                answer = await agent.responses.create(**asked)
            wanted = of_message(player.answers[number].body, recording.stream)
            calls = [
                (item.call_id, item.name, json.loads(item.arguments))
                for item in answer.output
                if item.type == "function_call"
            ]
            end = "tools" if calls else "stop" if answer.status == "completed" else ""
            reason = answer.incomplete_details and answer.incomplete_details.reason
            end = {"max_output_tokens": "length", "content_filter": "filter"}.get(reason or "", end)
            tokens = answer.usage.input_tokens, answer.usage.output_tokens
            assert Meaning(answer.output_text, calls, end, tokens, answer.model) == wanted

        await each(MESSAGES, one)


async def test_every_recorded_completion_reaches_an_agent_of_messages(replay_port: int, tmp_path: Path) -> None:
    async with played(tmp_path, replay_port, COMPLETIONS) as (at, player), anthropic_agent(at) as agent:

        async def one(number: int, recording: Recording) -> None:
            asked: Any = {"model": f"recorded-{number}", "max_tokens": 99, "messages": ASK}

            async def answered() -> bytes:
                if recording.stream:
                    async with agent.messages.stream(**asked) as stream:
                        message: Message = await stream.get_final_message()
                else:
                    message = await agent.messages.create(**asked)
                return message.model_dump_json().encode()

            if recording.failed or not player.answers[number].body.startswith((b"{", b"data:", b":", b"\n", b" ")):
                with pytest.raises(AnthropicError) as caught:
                    await answered()
                # A 200 that holds no answer is told by an error of ours, if there is none to pass on.
                assert caught.value.status_code in (recording.status, 502)
                return
            wanted = of_completion(player.answers[number].body, recording.stream)
            wanted.model = wanted.model or f"recorded-{number}"
            assert of_message(await answered(), False) == wanted

        await each(COMPLETIONS, one)
        assert len(at.running.calls) == len(COMPLETIONS)
