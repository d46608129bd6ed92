"""A lean HTTP/1.1 client for the benchmarks: one request at a time on one connection, parsed by llhttp.

It hands an answer out only when that is whole by its framing; anything else is an error with the reason. It must cost
little beside what it measures, so headers are kept only where somebody asks for them.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools

_PREFIX = b"POST %b HTTP/1.1\r\nhost: %b\r\nuser-agent: seawall-bench\r\ncontent-type: application/json\r\n"
_SUFFIX = b"authorization: Bearer sk-bench\r\ncontent-length: %d\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL to call, with what is needed to connect."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, url: str, ca: str | None = None) -> "Target":
        """`ca`: certificates (PEM) to trust for an https URL."""
        parts = urlsplit(url)
        tls = ssl.create_default_context(cafile=ca) if parts.scheme == "https" else None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname or "", parts.port or (443 if tls else 80), path, tls)

    def request(self, body: bytes, query: str = "") -> bytes:
        """A whole POST as bytes."""
        host = f"{self.host}:{self.port}".encode()
        return _PREFIX % ((self.path + query).encode(), host) + _SUFFIX % len(body) + body


@dataclass(slots=True)
class Reply:
    """A whole answer. `problem` says why it is not one."""

    status: int = 0
    body: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    problem: str = ""


class Connection(asyncio.Protocol):
    """Sends requests and calls `on_reply` once for each, in order.

    A subclass may define `on_header(name, value)`, as `Asking` does; without it llhttp spares the calls.
    """

    transport: asyncio.Transport

    def __init__(self, on_reply: Callable[[Reply], None]) -> None:
        self._on_reply = on_reply
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._waiting = False
        self.headers: dict[bytes, bytes] = {}
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._waiting:
            self._finish(Reply(problem=f"the connection closed before the answer's end{f': {exc}' if exc else ''}"))

    def send(self, request: bytes) -> None:
        """Send a whole request; the one before must have been answered."""
        self._waiting = True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(Reply(problem=f"not valid HTTP: {error}"))
            self.transport.abort()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        body, status = b"".join(self._body), self._parser.get_status_code()
        self._body.clear()
        headers, self.headers = self.headers, {}
        if not self._parser.should_keep_alive():
            self.transport.close()
        self._finish(Reply(status, body, headers))

    def _finish(self, reply: Reply) -> None:
        if self._waiting:
            self._waiting = False
            self._on_reply(reply)


class Asking(Connection):
    """For code that awaits its answers; keeps their fields (the last of equal ones)."""

    def __init__(self) -> None:
        super().__init__(self._answered)
        self._answer: asyncio.Future[Reply] | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    async def ask(self, request: bytes) -> Reply:
        """Send a whole request and wait for its answer. When cancelled, the connection is cut."""
        self._answer = asyncio.get_running_loop().create_future()
        self.send(request)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.transport.abort()
            raise

    @property
    def reusable(self) -> bool:
        return not self.closed and not self.transport.is_closing()

    def _answered(self, reply: Reply) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(reply)


class Stopwatch(Connection):
    """Notes when each piece of a body arrived, on the system's monotonic clock in nanoseconds."""

    def __init__(self, on_reply: Callable[[Reply], None], on_piece: Callable[[bytes, int], None]) -> None:
        super().__init__(on_reply)
        self._on_piece = on_piece
        self._arrived = 0

    def data_received(self, data: bytes) -> None:
        self._arrived = time.monotonic_ns()
        super().data_received(data)

    def on_body(self, data: bytes) -> None:
        super().on_body(data)
        self._on_piece(data, self._arrived)


class Caller:
    """A pool of connections to one target, as an SDK keeps one."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._idle: list[Asking] = []

    async def call(self, body: bytes, query: str = "", timeout: float = 30.0) -> Reply:
        """One POST and its answer; what goes wrong is in the Reply. `timeout` in seconds."""
        try:
            async with asyncio.timeout(timeout):
                line = await self._line()
                reply = await line.ask(self._target.request(body, query))
        except TimeoutError:
            return Reply(problem=f"no whole answer within {timeout:g} s")
        except OSError as error:
            return Reply(problem=f"no connection: {error}")
        if line.reusable:
            self._idle.append(line)
        return reply

    def close(self) -> None:
        for line in self._idle:
            line.transport.close()
        self._idle.clear()

    async def _line(self) -> Asking:
        while self._idle:
            line = self._idle.pop()
            if line.reusable:
                return line
        line = Asking()
        await connect(self._target, line)
        return line


async def connect(target: Target, connection: Connection) -> None:
    """Raises OSError where there is nobody."""
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: connection, target.host, target.port, ssl=target.tls)
