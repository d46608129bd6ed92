"""Streams that are held back, and what their agents hear meanwhile."""

import asyncio
import json
from typing import Any

import pytest
from harness import route, upstream
from leaving import chunk
from peers import Upstream, Wire, request_head

TALK = [{"role": "user", "content": "hi"}]
COMMENT = b": keep-alive\n\n"
HELD = "streaming: {commit: Complete, keepAlive: 60ms}\n"
NO_RETRY = "retry: {attempts: 0}\n"
# dialect, path, request
DIALECTS = [
    ("OpenAI", "/v1/chat/completions", {"model": "gpt", "stream": True, "messages": TALK}),
    ("OpenAI", "/v1/responses", {"model": "gpt", "stream": True, "input": "hi"}),
    ("Anthropic", "/v1/messages", {"model": "claude", "stream": True, "max_tokens": 50, "messages": TALK}),
]
TERMINAL = (b"[DONE]", b"response.completed", b"message_stop")
KINDS = pytest.mark.parametrize(("dialect", "path", "body"), DIALECTS, ids=["chat", "responses", "anthropic"])

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
REST = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'


def one(url: str, rule: str, dialect: str = "OpenAI") -> str:
    return upstream("a", url, dialect) + route("models", "/v1", "a", rule)


def pair(first: str, second: str, rule: str, dialect: str = "OpenAI") -> str:
    return upstream("a", first, dialect) + upstream("b", second, dialect) + route("models", "/v1", "a b", rule)


def at(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def stream(*events: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return SSE + b"".join(map(chunk, events)) + end


def slowly(*pieces: bytes, seconds: float = 0.25) -> Upstream:
    """Answers with these pieces, a pause before each but the first, and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        for number, piece in enumerate(pieces):
            await asyncio.sleep(seconds if number else 0)
            writer.write(piece)

    return handle


def comments(got: Wire) -> int:
    """How many there are; all of them at the beginning."""
    number, rest = 0, got.body
    while rest.startswith(COMMENT):
        number, rest = number + 1, rest[len(COMMENT) :]
    assert COMMENT not in rest
    return number


def error_of(got: Wire) -> dict[str, Any]:
    assert got.body.endswith(b"\n\n")
    event: dict[str, Any] = json.loads(got.body.rpartition(b"data: ")[2])
    return event
