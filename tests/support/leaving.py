"""Agents that vanish in the middle of their call, the upstream that sees it, and what must be given back then."""

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness import Running, until
from peers import CHAT, request_head

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
BODY = b'{"model": "gpt", "stream": true, "messages": []}'
POST = b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (CHAT.encode(), len(BODY))
WHOLE = POST + BODY
UPLOAD = b"POST %b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" % CHAT.encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass
class Heard:
    """An upstream's view: when a request came, and when its connection ended."""

    answer: bytes = b""
    flood: bytes = b""
    read: bool = True
    closing: bool = False
    came: int = 0
    left: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.read:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as a write transport
            self.came += 1
            await asyncio.sleep(10)
        await (request_head(reader) if self.read else reader.readuntil(b"\r\n\r\n"))
        self.came += 1
        try:
            writer.write(self.answer)
            while self.flood:
                writer.write(self.flood)
                await writer.drain()
            if self.closing:
                await writer.drain()
                return
            await reader.read()
        finally:
            self.left += 1


async def leave(how: str, *data: bytes, port: int, when: Callable[[], object]) -> None:
    """Send, wait for a moment in the call's life, and go."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    for piece in data:
        await loop.sock_sendall(sock, piece)
    await until(when)
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()


def nothing_held(running: Running) -> bool:
    service, a = running.service, running.upstream("a")
    places, now = a.limiter.snapshot(), time.monotonic()
    breakers = [a.transport, *a.breakers.values()]
    return (
        (service.engine.calls, service.engine.streams, service._buffers.used) == (0, 0, 0)
        and (places.active, places.pending) == (0, 0)
        and service._pool.connections == 0
        and all(b.snapshot(now).permits_out == 0 for b in breakers)
    )


def unblamed(running: Running) -> bool:
    """No sample was taken of the upstream's answers."""
    return all(b.snapshot(time.monotonic()).calls == 0 for b in running.upstream("a").breakers.values())
