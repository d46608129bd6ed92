"""Upstreams that answer piece by piece as a test tells them, and agents that read as it likes: for calls that share one
answer while it comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import Running, proxy, route, until, upstream
from leaving import chunk
from peers import Wire, answer, chat, raw, request_head, serving, wire

from seawall.types import CallEnded

Reading = AbstractAsyncContextManager[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
CACHE = "cache: {mode: Enabled, ttl: 1m}\nretry: {attempts: 0}\n"
KEY = "authorization: Bearer one\r\n"
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
LAST = b"0\r\n\r\n"


def token(text: str = "a") -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()


@dataclass
class Teller:
    """An upstream that says what it is told, to the requests in the order in which they came. Pieces are bytes as they
    go over the wire."""

    heads: list[bytes] = field(default_factory=list)
    gone: int = 0
    _lines: list[asyncio.Queue[bytes | None]] = field(default_factory=list)

    def _line(self, number: int) -> "asyncio.Queue[bytes | None]":
        while len(self._lines) < number:
            self._lines.append(asyncio.Queue())
        return self._lines[number - 1]

    def say(self, *pieces: bytes, to: int = 1) -> None:
        """To the `to`th request."""
        for piece in pieces:
            self._line(to).put_nowait(piece)

    def hang_up(self, to: int = 1) -> None:
        self._line(to).put_nowait(None)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await request_head(reader))
        asks = asyncio.ensure_future(request_head(reader))
        said: asyncio.Future[bytes | None] | None = None
        line = self._line(len(self.heads))
        try:
            while True:
                said = said or asyncio.ensure_future(line.get())
                await asyncio.wait((said, asks), return_when=asyncio.FIRST_COMPLETED)
                if asks.done():
                    # The next request, or the end.
                    self.gone += asks.exception() is not None
                    self.heads.append(asks.result())
                    asks = asyncio.ensure_future(request_head(reader))
                    said.cancel()
                    said, line = None, self._line(len(self.heads))
                else:
                    piece, said = said.result(), None
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
        finally:
            for task in (said, asks):
                if task is not None:
                    task.cancel()
                    await asyncio.wait((task,))


@dataclass(frozen=True)
class Stage:
    teller: Teller
    running: Running

    @property
    def asked(self) -> int:
        """Requests that reached the upstream."""
        return len(self.teller.heads)

    async def asks(self, number: int) -> None:
        """Wait for so many."""
        await until(lambda: self.asked >= number)

    def get(self, body: Any = None, headers: str = "", **request: Any) -> "asyncio.Task[Wire]":
        """One agent's whole answer, as it will be."""
        return asyncio.ensure_future(
            wire(self.running, body, headers=f"{KEY}connection: close\r\n{headers}", **request)
        )

    def reading(self, body: Any = None, headers: str = "", **request: Any) -> Reading:
        """One agent that reads as the test likes."""
        return raw(self.running, body, headers=KEY + headers, **request)

    async def followed(self, *readers: "asyncio.Task[Wire]") -> None:
        """Wait until those who follow have joined."""
        engine = self.running.service.engine
        assert engine.cached is not None
        flights = engine.cached._flights
        await until(lambda: sum(len(flight.readers) for flight in flights._flying) > len(readers))

    async def ended(self, number: int) -> list[CallEnded]:
        """Wait for the events of so many calls."""
        await until(lambda: len(self.running.calls) >= number)
        return self.running.calls


SURE = chat(temperature=0)
STREAM = chat(temperature=0, stream=True)
PLAIN = answer(b'{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}')
REST = (chunk(STOP), chunk(DONE), LAST)
"""Of a stream that has begun."""


@asynccontextmanager
async def stage(folder: Path, rule: str = CACHE, *, dialect: str = "OpenAI", **options: Any) -> AsyncIterator[Stage]:
    """A proxy before an upstream that says what it is told."""
    teller = Teller()
    async with serving(teller) as port:
        base = f"http://127.0.0.1:{port}" + ("" if dialect == "Generic" else "/v1")
        prefix = "/" if dialect == "Generic" else "/v1"
        policy = upstream("a", base, dialect) + route("chat", prefix, "a", rule)
        async with proxy(policy, folder, **options) as running:
            yield Stage(teller, running)
