"""Providers asked in tests: requests, upstreams of the test's own, and the whole answer in either way."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from harness import until
from peers import answer
from pydantic_ai.messages import (
    ModelRequest,
    ModelResponse,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from seawall.clock import SystemClock
from seawall.faults import Fault
from seawall.lab import Lab
from seawall.translate.provider import Answering, Asking, Place, Provider, ask
from seawall.translate.types import Asked
from seawall.upstream.connect import Endpoint
from seawall.upstream.credential import InjectedKey, KeyFile
from seawall.upstream.pool import Pool

CLOCK = SystemClock()
TOOL = ToolDefinition(name="look", parameters_json_schema={"type": "object", "properties": {"at": {"type": "string"}}})
MODELS = {
    "OpenAI": "gpt-4o",
    "Anthropic": "claude-haiku-4-5",
    "Gemini": "gemini-2.5-flash",
    "Bedrock": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
}
BASES = {"OpenAI": "/v1", "Anthropic": "", "Gemini": "", "Bedrock": ""}
EACH = pytest.mark.parametrize("dialect", ["OpenAI", "Anthropic", "Gemini", "Bedrock"])
BOTH = pytest.mark.parametrize("dialect", ["OpenAI", "Anthropic"])
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


def asked(*said: Any, tools: bool = False, **settings: Any) -> Asked:
    parameters = ModelRequestParameters(function_tools=[TOOL] if tools else [])
    messages = [ModelRequest(parts=[UserPromptPart(list(said) or "hi")])]
    given = cast(ModelSettings, {"max_tokens": 100, **settings})
    return Asked("theirs", False, [*messages], given, parameters)


def formed(schema: dict[str, Any], *, tools: bool = False, strict: bool | None = None) -> Asked:
    """An answer by a schema is asked for."""
    request = asked(tools=tools)
    output = OutputObjectDefinition(json_schema=schema, strict=strict)
    return replace(request, parameters=replace(request.parameters, output_mode="native", output_object=output))


def at(pool: Pool, dialect: str, port: int, path: str | None = None) -> Provider:
    base = BASES[dialect] if path is None else path
    return Provider(pool, CLOCK, Place(dialect, Endpoint("127.0.0.1", port), b"upstream.test", base))


def in_lab(pool: Pool, lab: Lab, dialect: str) -> Provider:
    path = {"OpenAI": "/u/one/v1"}.get(dialect, "/u/one")
    return at(pool, dialect, urlsplit(lab.url).port or 0, path)


def _bearer(key: bytes) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + key


def key_in(folder: Path, key: bytes, field: Callable[[bytes], tuple[bytes, bytes]] = _bearer) -> InjectedKey:
    """A key in a file of its own."""
    path = folder / key.decode()
    path.write_bytes(key)
    return InjectedKey(KeyFile(path, CLOCK), field, frozenset())


@asynccontextmanager
async def open_stream(asking: Asking, request: Asked) -> AsyncIterator[Answering]:
    """A streamed answer whose head has come; closed on leaving."""
    answering = Answering(asking, request)
    assert await answering.open() is None
    try:
        yield answering
    finally:
        await answering.close()


async def outcome(asking: Asking, request: Asked, stream: bool) -> ModelResponse | Fault:
    """The whole answer, asked for in either way."""
    if not stream:
        return await ask(asking, request)
    answering = Answering(asking, request)
    try:
        if fault := await answering.open():
            return fault
        while (event := await answering.next()) is not None:
            if isinstance(event, Fault):
                return event
        return answering.response
    finally:
        await answering.close()


async def tasks_gone() -> None:
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


CHAT = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-other",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}  # fmt: skip
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-other", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": "a"}],
    "usage": {"input_tokens": 1, "output_tokens": 2},
}  # fmt: skip
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "a"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3},
    "modelVersion": "gemini-other",
}  # fmt: skip
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "a"}]}}, "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "metrics": {"latencyMs": 1},
}  # fmt: skip
GOOD = {"OpenAI": CHAT, "Anthropic": MESSAGE, "Gemini": GEMINI, "Bedrock": CONVERSE}


class Upstream:
    """Answers every request of a connection alike, and keeps what it was sent."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.heads: list[bytes] = []
        self.bodies: list[dict[str, Any]] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            self.heads.append(head)
            self.bodies.append(json.loads(await reader.readexactly(length)))
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()


def good(dialect: str) -> bytes:
    return answer(json.dumps(GOOD[dialect]).encode())
