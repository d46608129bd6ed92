"""The ingress: HTTP/1.1 from agents, parsed by llhttp (httptools), answered through `Exchange`.

It stands in the place of aiohttp's server because real SDKs send what that refuses (repeated User-Agent, long or many
fields, bytes that are not UTF-8), and because it costs a tenth; docs/design.md has the measurements. What is
ambiguous stays refused, by llhttp's strict mode: Content-Length with Transfer-Encoding, two lengths, obsolete
folding, bare CR or LF. It never looks at paths, policies or bodies.
"""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httptools
import msgspec

from seawall.clock import Clock, SystemClock
from seawall.faults import Code
from seawall.server.exchange import BODY_HIGH_WATER, Exchange
from seawall.types import Head, Headers
from seawall.wire import field_lines

Handler = Callable[[Exchange], Awaitable[None]]
log = logging.getLogger(__name__)

# Bytes of an answer that may wait in the kernel to be sent.
_KERNEL_UNSENT = 128 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one connection may cost. Sizes in bytes, times in seconds.

    head: request line and fields together, and likewise a trailer section.
    pipelined: requests that may wait behind the one that is being answered.
    head_timeout: from a request's first byte to the end of its head (slowloris).
    keep_alive: how long an idle connection is kept.
    body_idle: silence in the middle of a request body.
    write_timeout: how long an ended answer may wait for the agent to read it before the next one.
    close_timeout: how long an agent may read nothing of what is left of its answer while the connection closes.
    linger: how long a connection that is to be closed still takes what the agent sends.
    sweep: how often these times are looked at.
    """

    head: int = 256 * 1024
    fields: int = 2000
    pipelined: int = 64
    head_timeout: float = 30.0
    keep_alive: float = 75.0
    body_idle: float = 300.0
    write_timeout: float = 60.0
    close_timeout: float = 30.0
    linger: float = 2.0
    sweep: float = 5.0


class Refused(Exception):
    """A request that the ingress answers itself and then closes."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Connection(asyncio.Protocol):
    """One agent's connection: feeds llhttp, keeps requests in order, runs the handler for one at a time."""

    transport: asyncio.Transport

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._current: Exchange | None = None
        self._arriving: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._task: asyncio.Task[None] | None = None
        self._url = b""
        self._headers: Headers = []
        self._head_size = 0
        self._in_head = False
        self._head_since = 0.0
        self._unaccounted = 0
        self._queued_bytes = 0
        self._resuming = False
        self._refused: Refused | None = None
        self._deaf = False
        self._lingering: asyncio.TimerHandle | None = None
        self._write_waiter: asyncio.Future[None] | None = None
        self.congested = False
        self.last_heard = server.clock.now()
        self._unsent = -1
        self._unsent_since = 0.0

    # -- asyncio ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit asyncio's
        self._server.lines.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        self._queue.clear()
        if self._lingering is not None:
            self._lingering.cancel()
        if self._task is not None:
            self._task.cancel()
        self._wake_writer()

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        self._wake_writer()

    def data_received(self, data: bytes) -> None:
        self.last_heard = self._server.clock.now()
        if self._deaf:
            return
        self._unaccounted += len(data)
        try:
            self._parser.feed_data(data)
            if self._unaccounted > self._server.limits.head:
                raise Refused(Code.HEAD_TOO_LARGE, f"the request's head exceeds {self._server.limits.head} bytes")
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            # A Refused raised in a callback arrives as the error's context.
            cause = error.__context__
            self._refuse(cause if isinstance(cause, Refused) else Refused(Code.BAD_REQUEST, f"malformed HTTP: {error}"))
        except Refused as refused:
            self._refuse(refused)

    def eof_received(self) -> bool:
        """An agent that closes its side is gone: its call is cancelled at once, though the connection itself closes
        only when what was written has gone out."""
        if self._task is not None:
            self._task.cancel()
        return False

    # -- llhttp ----------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if not self._resuming:
            self._url = b""
            self._headers = []
            self._head_size = 0
            self._in_head = True
            self._head_since = self.last_heard

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._resuming:
            return
        target = self._headers if self._in_head or self._arriving is None else self._arriving.trailers
        target.append((name, value))
        self._head_size += len(name) + len(value) + 4
        limits = self._server.limits
        if len(target) > limits.fields:
            raise Refused(Code.HEAD_TOO_LARGE, f"more than {limits.fields} header fields")
        if self._head_size > limits.head:
            raise Refused(Code.HEAD_TOO_LARGE, f"the request's head exceeds {limits.head} bytes")

    def on_headers_complete(self) -> None:
        self._unaccounted = 0
        if self._resuming:
            self._resuming = False
            return
        self._in_head = False
        method = self._parser.get_method().decode("ascii")
        version = self._parser.get_http_version()
        hosts = expects = websocket = codings = 0
        for name, value in self._headers:
            size = len(name)
            if size == 4:
                hosts += name.lower() == b"host"
            elif size == 6:
                expects += name.lower() == b"expect" and value.strip().lower() == b"100-continue"
            elif size == 7:
                websocket += name.lower() == b"upgrade" and b"websocket" in value.lower()
            elif size == 17:
                codings += name.lower() == b"transfer-encoding" and value.strip().lower() != b"chunked"
        if (websocket and self._parser.should_upgrade()) or method == "CONNECT":
            raise Refused(Code.UPGRADE_REFUSED, "upgrades (WebSocket, CONNECT) are not supported on this port")
        if version not in ("1.1", "1.0"):
            raise Refused(Code.BAD_REQUEST, f"HTTP/{version} is not spoken here; use HTTP/1.1")
        if codings:
            # What we cannot decode we must not pass on under another name (RFC 9112 §6.1).
            raise Refused(Code.BAD_REQUEST, "a Transfer-Encoding other than chunked is not supported")
        if hosts != 1 and not (version == "1.0" and hosts == 0):
            raise Refused(Code.BAD_REQUEST, f"an HTTP/1.1 request needs exactly one Host field, this one has {hosts}")
        head = Head(method, self._url.decode("ascii"), self._headers, version)
        self._arriving = exchange = Exchange(
            self, head, bool(expects) and version == "1.1", self._parser.should_keep_alive(), self._server.clock.now()
        )
        if self._current is None:
            self._begin(exchange)
        elif len(self._queue) < self._server.limits.pipelined:
            self._queue.append(exchange)
        else:
            raise Refused(Code.BAD_REQUEST, "too many pipelined requests")

    def on_body(self, data: bytes) -> None:
        self._unaccounted = 0
        if self._arriving is not None:
            self._arriving.body.feed(data)
            if self._arriving is not self._current:
                self._queued_bytes += len(data)
                if self._queued_bytes >= BODY_HIGH_WATER:
                    self.pause()

    def on_chunk_header(self) -> None:
        self._unaccounted = 0

    def on_message_complete(self) -> None:
        if self._arriving is not None and not self._parser.should_upgrade():
            self._arriving.body.finish()
        self._unaccounted = 0

    # -- line, as an Exchange sees it ------------------------------------------------------------------------------

    @property
    def closing(self) -> bool:
        """Whether the server takes no further requests."""
        return self._server.closing

    def pause(self) -> None:
        self.transport.pause_reading()

    def resume(self) -> None:
        self.transport.resume_reading()

    async def writable(self) -> None:
        while self.congested and not self.transport.is_closing():
            self._write_waiter = asyncio.get_running_loop().create_future()
            try:
                await self._write_waiter
            finally:
                self._write_waiter = None

    # -- order of requests -----------------------------------------------------------------------------------------

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self._task = self._server.loop.create_task(self._answer(exchange))

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._server.handler(exchange)
            if self.congested and exchange.keep_alive:
                # An agent that asks on and on but does not read gets its next answer when it has read this one.
                async with asyncio.timeout(self._server.limits.write_timeout):
                    await self.writable()
        except TimeoutError:
            self.transport.abort()
        except Exception:
            log.exception("a bug: the handler failed on %s %s", exchange.head.method, exchange.head.path)
        finally:
            self._task = None
            self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        self._current = None
        if self.transport.is_closing():
            return
        if not exchange.ended:
            if exchange.started:
                exchange.abort()
                return
            self._write_refusal(Code.INTERNAL, "an internal error; see seawall's log")
            exchange.keep_alive = False
        if not exchange.body.complete or not exchange.keep_alive or (self._server.closing and not self._queue):
            self._linger()
        elif self._queue:
            self._begin(self._queue.popleft())
            self._read_on()
        elif self._refused is not None:
            self._write_refusal(self._refused.code, self._refused.message)
            self._linger()
        if exchange is self._arriving and exchange.body.complete:
            self._arriving = None

    def _refuse(self, refused: Refused) -> None:
        """Answer for a request that never became one, once what came before it is answered, and close."""
        self._deaf = True
        if self._current is not None:
            # A broken second request must not cut the answers before it; a broken body ends the call it belongs to.
            if self._current is self._arriving and not self._current.body.complete:
                if self._current.started:
                    self._current.abort()
                    return
                self._current.ended = True
                if self._task is not None:
                    self._task.cancel()
            else:
                if self._queue and not self._queue[-1].body.complete:
                    self._queue.pop()
                self._refused = refused
                return
        self._write_refusal(refused.code, refused.message)
        self._linger()

    def _read_on(self) -> None:
        """Bodies that wait behind the request that is being answered are bounded together."""
        if self._queued_bytes and not self._queue:
            self._queued_bytes = 0
            if self._current is not None and not self._current.body.full:
                self.resume()

    def _write_refusal(self, code: Code, message: str) -> None:
        body = self._server.refusal(code, message)
        fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        head = b"HTTP/1.1 %d \r\n%bconnection: close\r\n\r\n" % (code.rule.status, field_lines(fields))
        self.transport.write(head + body)

    def _linger(self) -> None:
        """Close, but read on for a moment: closing on unread bytes resets the connection and may destroy the answer
        before the agent has read it (RFC 9112 §9.6)."""
        if self._lingering is not None:
            return
        self._deaf = True
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._lingering = self._server.loop.call_later(self._server.limits.linger, self.transport.close)

    def _without_upgrade(self, rest: bytes) -> None:
        """Carry on with a request whose `Upgrade` we ignore (h2c from Java's client, say; RFC 9110 §7.8 allows it):
        llhttp stops there, so a new parser takes over at the body."""
        exchange = self._arriving
        assert exchange is not None
        framing = [f for f in exchange.head.headers if f[0].lower() in (b"content-length", b"transfer-encoding")]
        self._parser = httptools.HttpRequestParser(self)
        self._resuming = True
        self.data_received(b"POST / HTTP/1.1\r\nhost: -\r\n" + field_lines(framing) + b"\r\n" + rest)

    def _wake_writer(self) -> None:
        if self._write_waiter is not None and not self._write_waiter.done():
            self._write_waiter.set_result(None)

    # -- sweeping --------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        return self._current is not None

    def sweep(self, now: float) -> None:
        """Close what has been silent for too long, and cut what closes but does not read the rest of its answer."""
        limits, silent = self._server.limits, now - self.last_heard
        if self.transport.is_closing():
            unsent = self.transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent, self._unsent_since = unsent, now
            elif now - self._unsent_since > limits.close_timeout:
                self.transport.abort()
        elif self._current is None:
            # A head has its time from its first byte on, however steadily it drips (slowloris).
            if now - self._head_since > limits.head_timeout if self._in_head else silent > limits.keep_alive:
                self.transport.close()
        elif not self._current.body.complete and silent > limits.body_idle and not self._current.started:
            self.transport.abort()


class Server:
    """A listening ingress."""

    def __init__(self, handler: Handler, limits: Limits, refusal: Callable[[Code, str], bytes], clock: Clock) -> None:
        self.handler = handler
        self.limits = limits
        self.refusal = refusal
        self.clock = clock
        self.loop = asyncio.get_running_loop()
        self.lines: set[Connection] = set()
        self.closing = False
        self._gone = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        return len(self.lines)

    @property
    def port(self) -> int:
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    async def listen(self, host: str, port: int) -> None:
        """Raises OSError, with the address as its filename, where that cannot be had."""
        try:
            self._listener = await self.loop.create_server(lambda: Connection(self), host, port, backlog=4096)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise OSError(error.errno, why, f"{host}:{port}") from error
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Else megabytes wait in the kernel for an agent that reads slowly, and whether it reads shows only once
            # a third of them has gone. Connections inherit it.
            for listener in self._listener.sockets:
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_UNSENT)
        self._sweep()

    async def close(self, grace: float = 0.0) -> None:
        """Stop accepting, let calls finish for up to `grace` seconds, then cut what is left."""
        self.closing = True
        if self._listener is not None:
            self._listener.close()
        for line in list(self.lines):
            if not line.busy:
                line.transport.close()
        try:
            async with asyncio.timeout(grace):
                await self._empty()
        except TimeoutError:
            pass
        if self._sweeper is not None:
            self._sweeper.cancel()
        for line in list(self.lines):
            line.transport.abort()
        await self._empty()

    def forget(self, line: Connection) -> None:
        self.lines.discard(line)
        if not self.lines:
            self._gone.set()

    async def _empty(self) -> None:
        self._gone.clear()
        if self.lines:
            await self._gone.wait()

    def _sweep(self) -> None:
        now = self.clock.now()
        for line in list(self.lines):
            line.sweep(now)
        self._sweeper = self.loop.call_later(self.limits.sweep, self._sweep)


def plain_refusal(code: Code, message: str) -> bytes:
    """The error body for requests that have no dialect yet."""
    rule = code.rule
    error = {"message": message, "type": "invalid_request_error", "code": code.value.lower()}
    return msgspec.json.encode(
        {
            "error": error,
            "seawall": {"code": code.value, "category": rule.category.value, "recoverable": rule.recoverable},
        }
    )


async def serve(
    handler: Handler,
    host: str,
    port: int,
    *,
    limits: Limits | None = None,
    refusal: Callable[[Code, str], bytes] = plain_refusal,
    clock: Clock | None = None,
) -> Server:
    """Listen on host:port (0: any free port) and answer with `handler`, which is cancelled when its agent goes away."""
    server = Server(handler, limits or Limits(), refusal, clock or SystemClock())
    await server.listen(host, port)
    return server
