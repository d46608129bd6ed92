"""Recorded answers that were kept in one form and are asked for in the other: the providers' own SDKs read the same
from what is given, and no upstream is asked."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from asked_twice import RULE, name, once, reason
from harness import Running
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from recorded import ABSENT, WIRE, Recording
from recorded_answers import Meaning, of_completion, of_message
from replay_server import Tee, replay
from wired import RECORDED, RUNS, dialect_of, wired

from seawall.store.base import Which

pytestmark = pytest.mark.skipif(not WIRE.is_dir(), reason=ABSENT)

KEY = "sk-of-one-tenant"
OPERATIONS = ("chat/completions", "responses", "messages")


def operation(recording: Recording) -> str:
    path = recording.target.partition("?")[0].rstrip("/")
    return next((one for one in OPERATIONS if path.endswith(one) and recording.method == "POST"), "")


def asked_for(recordings: tuple[Recording, ...], *, stream: bool) -> list[Recording]:
    speak = [r for r in recordings if dialect_of(r.host) in ("OpenAI", "Anthropic", "Snowflake")]
    return [r for r in speak if operation(r) and r.stream is stream and not r.failed]


@pytest.fixture(scope="module")
def replay_port() -> Iterator[int]:
    with replay() as port:
        yield port


def events(pieces: list[Any]) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(piece.to_dict(mode="json")).encode() for piece in pieces)


class Agents:
    """The two SDKs, as one tenant each."""

    def __init__(self, running: Running) -> None:
        self._url = running.url
        options: dict[str, Any] = {"api_key": KEY, "max_retries": 0}
        self.openai = AsyncOpenAI(http_client=openai.DefaultAsyncHttpxClient(verify=False), **options)
        self.anthropic = AsyncAnthropic(http_client=anthropic.DefaultAsyncHttpxClient(verify=False), **options)

    async def close(self) -> None:
        await self.openai.close()
        await self.anthropic.close()

    def client(self, recording: Recording) -> Any:
        return self.anthropic if operation(recording) == "messages" else self.openai

    def sent(self, recording: Recording) -> Recording:
        """With what its SDK sends and the recording lacks: whose it is, and which version it is for."""
        client = self.client(recording)
        own = {**client.auth_headers, "anthropic-version": client.default_headers.get("anthropic-version")}
        headers = [field for field in recording.headers if field[0].lower() != b"cookie"]
        headers += [(name.encode(), value.encode()) for name, value in own.items() if value]
        return replace(recording, headers=headers)

    async def ask(self, recording: Recording, *, stream: bool) -> bytes:
        """The answer, as the SDK has read it: JSON, or events."""
        kind = operation(recording)
        body = {name: value for name, value in recording.json.items() if name not in ("stream", "stream_options")}
        if stream:
            body["stream"] = True
            if kind == "chat/completions":
                body["stream_options"] = {"include_usage": True}
        headers = {k.decode(): v.decode() for k, v in recording.headers if k.startswith((b"anthropic-", b"openai-"))}
        place = self.client(recording).with_options(base_url=f"{self._url}/at/{recording.host}")
        plain: Any = {"chat/completions": ChatCompletion, "responses": Response, "messages": BetaMessage}[kind]
        if not stream:
            answer = await place.post(recording.target, body=body, cast_to=plain, options={"headers": headers})
            assert isinstance(answer, plain)
            return json.dumps(answer.to_dict(mode="json")).encode()
        event: Any = {
            "chat/completions": openai.AsyncStream[ChatCompletionChunk],
            "responses": openai.AsyncStream[ResponseStreamEvent],
            "messages": anthropic.AsyncStream[BetaRawMessageStreamEvent],
        }[kind]
        told = await place.post(
            recording.target, body=body, cast_to=plain, stream=True, stream_cls=event, options={"headers": headers}
        )
        return events([one async for one in told])


def said(recording: Recording, body: bytes, *, stream: bool) -> Meaning | dict[str, Any]:
    """What an answer says; of the responses API the whole final object."""
    match operation(recording):
        case "chat/completions":
            return of_completion(body, stream)
        case "messages":
            return of_message(body, stream)
        case _:
            whole = json.loads(body) if not stream else _completed(body)
            found: dict[str, Any] = Response.construct(**whole).to_dict(mode="json")
            return found


def _completed(body: bytes) -> dict[str, Any]:
    ends = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]
    [end] = [one["response"] for one in ends if one["type"] == "response.completed"]
    return end  # type: ignore[no-any-return]


@asynccontextmanager
async def place(port: int, folder: Path) -> AsyncIterator[tuple[Running, Tee, Agents]]:
    async with wired(port, folder, RULE) as (running, between):
        agents = Agents(running)
        try:
            yield running, between, agents
        finally:
            await agents.close()


@pytest.mark.parametrize("stream", [True, False], ids=["streams joined", "plain answers as streams"])
async def test_the_sdk_reads_the_same_from_the_other_form(stream: bool, replay_port: int, tmp_path: Path) -> None:
    given = 0
    async with place(replay_port, tmp_path) as (running, between, agents):
        for recording in asked_for(RECORDED, stream=stream):
            # Some recordings differ in their answers only.
            await running.service.view.purge(Which())
            first, _ = await once(running, agents.sent(recording), f"run {next(RUNS)}")
            if reason(recording, first) is not None:
                continue
            asked = sum(map(len, between.requests.values()))
            try:
                other = await agents.ask(recording, stream=not stream)
                assert said(recording, other, stream=not stream) == said(recording, first.body, stream=stream)
            except Exception as error:
                error.add_note(f"{recording.host}: {name(recording)}")
                raise
            assert sum(map(len, between.requests.values())) == asked, name(recording)
            given += 1
    assert given >= (17 if stream else 109), given
