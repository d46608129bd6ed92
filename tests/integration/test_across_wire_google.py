"""Recorded answers of providers that speak OpenAI's and Anthropic's dialects, given to google-genai: it reads the same
text, calls, end and tokens as stand in the recording, or raises."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from across import Across, gemini_agent, in_order
from google.genai import errors
from google.genai.types import GenerateContentResponse
from played import COMPLETIONS, MESSAGES, each, played
from recorded import ABSENT, WIRE, Recording
from recorded_answers import Meaning, of_completion, of_message
from replay_server import replay

pytestmark = pytest.mark.skipif(not WIRE.is_dir(), reason=ABSENT)

ENDS = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "filter"}


@pytest.fixture(scope="module")
def replay_port() -> Iterator[int]:
    with replay() as port:
        yield port


async def meaning(at: Across, number: int, recording: Recording) -> Meaning:
    async with gemini_agent(at) as agent:
        model = f"recorded-{number}"
        if recording.stream:
            stream = await agent.models.generate_content_stream(model=model, contents="hi")
            return of_pieces([piece async for piece in stream])
        return of_pieces([await agent.models.generate_content(model=model, contents="hi")])


def of_pieces(pieces: list[GenerateContentResponse]) -> Meaning:
    found = Meaning()
    for piece in pieces:
        assert piece.candidates
        [candidate] = piece.candidates
        for part in (candidate.content and candidate.content.parts) or ():
            found.text += part.text or ""
            if (call := part.function_call) is not None:
                found.calls.append((call.id or "", call.name or "", call.args))
        found.model = piece.model_version or ""
        if candidate.finish_reason:
            found.end = ENDS[candidate.finish_reason.value]
        if (usage := piece.usage_metadata) is not None:
            output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
            found.tokens = usage.prompt_token_count or 0, output
    if found.end == "stop" and found.calls:
        found.end = "tools"
    return found


async def test_every_recorded_message_reaches_google_genai(replay_port: int, tmp_path: Path) -> None:
    async with played(tmp_path, replay_port, MESSAGES, in_order("a")) as (at, player):

        async def one(number: int, recording: Recording) -> None:
            assert await meaning(at, number, recording) == of_message(player.answers[number].body, recording.stream)

        await each(MESSAGES, one)
        assert {call.fault for call in at.running.calls} <= {"", "CONTENT_POLICY"}


async def test_every_recorded_completion_reaches_google_genai(replay_port: int, tmp_path: Path) -> None:
    async with played(tmp_path, replay_port, COMPLETIONS, in_order("o")) as (at, player):

        async def one(number: int, recording: Recording) -> None:
            if recording.failed or not player.answers[number].body.startswith((b"{", b"data:", b":", b"\n", b" ")):
                with pytest.raises(errors.APIError) as caught:
                    await meaning(at, number, recording)
                # The client goes by the code within an error event, where there is one.
                assert caught.value.code in (recording.status, 400, 502)
                return
            wanted = of_completion(player.answers[number].body, recording.stream)
            wanted.model = wanted.model or f"recorded-{number}"
            assert await meaning(at, number, recording) == wanted

        await each(COMPLETIONS, one)
        assert len(at.running.calls) == len(COMPLETIONS)
