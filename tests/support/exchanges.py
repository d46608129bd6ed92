"""Asking an upstream once, and reading what comes of it."""

import asyncio
from dataclasses import dataclass

from peers import Upstream, request_head

from seawall.faults import Fault
from seawall.types import Headers
from seawall.upstream.connect import Endpoint
from seawall.upstream.exchange import Exchange
from seawall.upstream.pool import Pool, Request

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
SECOND = OK + b"content-length: 6\r\n\r\nsecond"
HOST = [(b"host", b"a")]


@dataclass
class Pieces:
    """A request body that comes bit by bit, and then, if `hang`, not to its end."""

    left: list[bytes]
    hang: bool = False

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if self.left:
            return self.left.pop(0)
        if self.hang:
            await asyncio.Event().wait()
        return b""

    @property
    def at_end(self) -> bool:
        return not self.left and not self.hang

    def close(self) -> None:
        self.left.clear()


async def ask(pool: Pool, port: int, request: Request | None = None, interims: list[int] | None = None) -> Exchange:
    def inform(status: int, headers: Headers) -> None:
        if interims is not None:
            interims.append(status)

    sent = await pool.send(Endpoint("127.0.0.1", port), request or Request("GET", "/", HOST), 2.0, inform)
    assert isinstance(sent, Exchange), sent
    return sent


async def outcome(exchange: Exchange, seconds: float = 3.0) -> tuple[int, bytes] | Fault:
    """The whole answer, or the fault in its place."""
    async with asyncio.timeout(seconds):
        fault = await exchange.head()
        body = b""
        while fault is None:
            data = await exchange.read()
            if isinstance(data, Fault):
                fault = data
            elif data:
                body += data
            else:
                break
    exchange.close()
    return fault or (exchange.status, body)


def then(*answers: bytes, pause: float = 0.0) -> Upstream:
    """Answers each request of a connection with the next of these, cut in two by a pause, and keeps it open."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request_head(reader)
            first, _, rest = answer.partition(b"|") if pause else (answer, b"", b"")
            writer.write(first)
            await asyncio.sleep(pause)
            writer.write(rest)
        await reader.read()

    return handle
