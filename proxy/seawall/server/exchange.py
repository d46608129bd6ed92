"""One request and its answer on an agent's connection: reading the body, framing the answer.

An `Exchange` never decides what to answer. Whatever is written is framed exactly as its head announced, and an
answer that is not ended properly can not look like a whole one to the agent.
"""

import asyncio
import socket
import struct
from typing import Protocol

from seawall.faults import Refusal
from seawall.types import Head, Headers
from seawall.websocket.end import End
from seawall.wire import UPGRADE, chunk, content_length, field_lines, has_no_body, last_chunk

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Above this, reading from the agent pauses until the body is taken (backpressure).
BODY_HIGH_WATER = 256 * 1024


class Line(Protocol):
    """What an exchange needs of its connection."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    """Asked for once: in Python 3.11 `get_running_loop` is a system call."""
    congested: bool
    """The agent reads more slowly than we write."""

    @property
    def closing(self) -> bool: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    async def writable(self) -> None: ...


def reset(transport: asyncio.Transport) -> None:
    """Close with a TCP reset: the peer gets an error instead of an end."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class RequestBody:
    """An agent's request body: whatever has arrived, with backpressure on the agent."""

    __slots__ = ("_broken", "_chunks", "_expects", "_line", "_size", "_waiter", "complete", "trailers")

    def __init__(self, line: Line, expects_continue: bool) -> None:
        self._line = line
        self._expects = expects_continue
        self._chunks: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._broken: Refusal | None = None
        self.complete = False
        self.trailers: Headers = []

    async def read(self) -> bytes:
        """The next bytes; b"" at the end. The first read asks an agent that waits for it to go on (RFC 9110
        §10.1.1). Raises Refusal when the rest is no valid HTTP."""
        while not self._chunks:
            if self._broken is not None:
                raise self._broken
            if self.complete:
                return b""
            if self._expects:
                self._expects = False
                if not self._line.transport.is_closing():
                    self._line.transport.write(_CONTINUE)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        full, self._size = self.full, 0
        if full:
            self._line.resume()
        return data

    @property
    def at_end(self) -> bool:
        """No bytes are left and none will come."""
        return self.complete and not self._chunks

    @property
    def full(self) -> bool:
        """Whether reading from the agent pauses for it."""
        return self._size >= BODY_HIGH_WATER

    def close(self) -> None:
        """Nobody will read the rest."""
        self._chunks.clear()
        full, self._size = self.full, 0
        if full:
            self._line.resume()

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        if self._size < BODY_HIGH_WATER <= self._size + len(data):
            self._line.pause()
        self._size += len(data)
        self._wake()

    def finish(self) -> None:
        self.complete = True
        self._wake()

    def fail(self, refusal: Refusal) -> None:
        """What has come is handed out; then whoever reads on is told."""
        self._broken = refusal
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Exchange:
    """One request and the answer to it."""

    __slots__ = (
        "_bodyless", "_chunked", "_left", "_line", "_pending", "body", "cut", "end_of_agent", "ended", "head",
        "keep_alive", "received_at", "sent_bytes", "started", "wants_websocket",
    )  # fmt: skip

    def __init__(self, line: Line, head: Head, expects_continue: bool, keep_alive: bool, received_at: float) -> None:
        self._line = line
        self.head = head
        self.body = RequestBody(line, expects_continue)
        self.keep_alive = keep_alive
        self.received_at = received_at
        self.started = False
        self.ended = False
        self.cut = False
        """The server ends it, not the agent."""
        self.sent_bytes = 0
        self.wants_websocket = False
        self.end_of_agent: End | None = None
        """There where it wants one."""
        self._bodyless = False
        self._chunked = False
        self._left: int | None = None
        self._pending = b""

    @property
    def transport(self) -> asyncio.Transport:
        return self._line.transport

    @property
    def congested(self) -> bool:
        return self._line.congested

    @property
    def unsent_bytes(self) -> int:
        """Written, and not yet taken by the kernel."""
        return self._line.transport.get_write_buffer_size()

    @property
    def trailers(self) -> Headers:
        return self.body.trailers

    def inform(self, status: int, headers: Headers) -> None:
        """Send an interim (1xx) answer; dropped for HTTP/1.0 agents, which do not know them."""
        # An agent that does not read must not make these pile up; they are advice only.
        late = self.started or self.ended or self.congested or self.transport.is_closing()
        if not late and self.head.http_version == "1.1":
            self.transport.write(b"HTTP/1.1 %d \r\n%b\r\n" % (status, field_lines(headers)))

    def start(self, status: int, headers: Headers, *, reason: bytes = b"") -> None:
        """Begin the answer. It is framed by the Content-Length among `headers`, else chunked (for HTTP/1.0: until
        close). `headers` must hold end-to-end fields only."""
        self.started = True
        extra = b""
        if has_no_body(self.head.method, status):
            self._bodyless = True
            self._left = 0
        else:
            self._left = content_length(headers)
            if self._left is None:
                if self.head.http_version == "1.1":
                    self._chunked = True
                    extra = b"transfer-encoding: chunked\r\n"
                else:
                    self.keep_alive = False
        if not self.body.complete or self._line.closing:
            self.keep_alive = False
        if not self.keep_alive:
            extra += b"connection: close\r\n"
        elif self.head.http_version == "1.0":
            extra += b"connection: keep-alive\r\n"
        self._pending = b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, reason, field_lines(headers), extra)
        # The head leaves with the first bytes of the body, or by itself if those do not follow at once.
        self._line.loop.call_soon(self._flush)

    def switch(self, headers: Headers) -> End:
        """Answer 101 to a request for a WebSocket. `headers` must hold end-to-end fields only."""
        assert self.end_of_agent is not None and not self.started
        self.started = self.ended = True
        lines = field_lines([*headers, *UPGRADE])
        self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % lines)
        return self.end_of_agent

    def write(self, data: bytes) -> None:
        """Send the next bytes of the body. Bytes beyond the announced length are an error in the caller: the answer
        is cut rather than let into the next one."""
        if not data or self.ended or self._bodyless:
            return
        self.sent_bytes += len(data)
        if self._chunked:
            pieces = chunk(data)
        elif self._left is not None:
            if len(data) > self._left:
                self.abort()
                return
            self._left -= len(data)
            pieces = [data]
        else:
            pieces = [data]
        self._send(pieces)

    async def drain(self) -> None:
        """Wait while the agent reads more slowly than we write."""
        await self._line.writable()

    def end(self, trailers: Headers | None = None) -> None:
        """End the answer properly; one that is shorter than announced is cut uncleanly instead."""
        if self.ended:
            return
        if self._left:
            self.abort()
            return
        self.ended = True
        if self._chunked:
            self._send([last_chunk(trailers or [])])
        else:
            self._flush()

    def abort(self) -> None:
        """Cut the answer: what was written goes out, then the connection closes without a proper end. Where only the
        close would tell the end (HTTP/1.0), it is reset, because a close would look like a whole answer."""
        if self.ended:
            return
        self.ended = True
        self.keep_alive = False
        if self.started and not self._chunked and self._left is None:
            reset(self.transport)
            return
        self._flush()
        self.transport.close()

    def drop(self) -> None:
        """Reset the connection of an agent that does not read: a close would wait for it."""
        self.ended = True
        self.keep_alive = False
        reset(self.transport)

    def _send(self, pieces: list[bytes]) -> None:
        if self.transport.is_closing():
            return
        if self._pending:
            pieces[0] = self._pending + pieces[0]
            self._pending = b""
        if len(pieces) == 1:
            self.transport.write(pieces[0])
        else:
            self.transport.writelines(pieces)

    def _flush(self) -> None:
        if self._pending and not self.transport.is_closing():
            self.transport.write(self._pending)
            self._pending = b""
