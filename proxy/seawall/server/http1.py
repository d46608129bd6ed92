"""The ingress: HTTP/1.1 from agents, parsed by llhttp (httptools), answered through `Exchange`.

It stands in the place of aiohttp's server because real SDKs send what that refuses (repeated User-Agent, long or many
fields, bytes that are not UTF-8), and because it costs a tenth; docs/design.md has the measurements. What is
ambiguous stays refused, by llhttp's strict mode: Content-Length with Transfer-Encoding, two lengths, obsolete
folding, bare CR or LF. It never looks at paths, policies or bodies.
"""

import asyncio
import logging
import select
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import httptools

from seawall.clock import Clock
from seawall.faults import Code, Fault, Refusal
from seawall.server.exchange import BODY_HIGH_WATER, Exchange
from seawall.server.heads import examine
from seawall.server.limits import Limits
from seawall.types import Head, Headers
from seawall.websocket.end import End
from seawall.wire import field_lines

Handler = Callable[[Exchange], Awaitable[None]]
# Makes the answer to a request that never reached the handler, or that broke off in its hands; the time is when it
# began, on the clock. Called once for each such request.
Refuse = Callable[[Fault, Head, float], tuple[Headers, bytes]]
log = logging.getLogger(__name__)


class Owner(Protocol):
    """What a connection needs of the listener that it belongs to."""

    handler: Handler
    refuse: Refuse
    limits: Limits
    clock: Clock
    loop: asyncio.AbstractEventLoop
    closing: bool

    def arrived(self, line: "Connection") -> None: ...
    def gone(self, line: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """One agent's connection: feeds llhttp, keeps requests in order, runs the handler for one at a time."""

    transport: asyncio.Transport

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser = httptools.HttpRequestParser(self)
        self.loop = owner.loop
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
        self._paused = False
        self._refused: tuple[Fault, Head, float] | None = None
        self._deaf = False
        self._lingering: asyncio.TimerHandle | None = None
        self._write_waiter: asyncio.Future[None] | None = None
        self.congested = False
        self.last_heard = owner.clock.now()
        self._unsent = -1
        self._unsent_since = 0.0

    # -- asyncio ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit asyncio's
        self._owner.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.gone(self)
        self._drop_queue(Code.AGENT_GONE)
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
        self.last_heard = self._owner.clock.now()
        if self._deaf:
            return
        self._unaccounted += len(data)
        try:
            self._parser.feed_data(data)
            if self._unaccounted > self._owner.limits.head:
                raise self._head_too_large()
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            # A Refusal raised in a callback arrives as the error's context.
            cause = error.__context__
            malformed = Fault(Code.BAD_REQUEST, f"malformed HTTP: {error}")
            self._refuse(cause if isinstance(cause, Refusal) else Refusal(malformed))
        except Refusal as refusal:
            self._refuse(refusal)

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
        limits = self._owner.limits
        if len(target) > limits.fields:
            raise Refusal(Fault(Code.HEAD_TOO_LARGE, f"more than {limits.fields} header fields"))
        if self._head_size > limits.head:
            raise self._head_too_large()

    def on_headers_complete(self) -> None:
        self._unaccounted = 0
        if self._resuming:
            self._resuming = False
            return
        self._in_head = False
        method = self._parser.get_method().decode("ascii")
        version = self._parser.get_http_version()
        expects, websocket = examine(method, version, self._headers, self._parser.should_upgrade())
        head = Head(method, self._url.decode("ascii"), self._headers, version)
        keep_alive, now = self._parser.should_keep_alive(), self._owner.clock.now()
        self._arriving = exchange = Exchange(self, head, expects, keep_alive and not websocket, now)
        exchange.wants_websocket = websocket
        if self._current is None:
            self._begin(exchange)
        elif len(self._queue) < self._owner.limits.pipelined:
            self._queue.append(exchange)
        else:
            raise Refusal(Fault(Code.BAD_REQUEST, "too many pipelined requests"))

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
        if self._arriving is not None and (not self._parser.should_upgrade() or self._arriving.wants_websocket):
            self._arriving.body.finish()
        self._unaccounted = 0

    # -- line, as an Exchange sees it ------------------------------------------------------------------------------

    @property
    def closing(self) -> bool:
        """Whether the server takes no further requests."""
        return self._owner.closing

    def pause(self) -> None:
        self._paused = True
        self.transport.pause_reading()

    def resume(self) -> None:
        self._paused = False
        self.last_heard = self._owner.clock.now()
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
        self._task = self._owner.loop.create_task(self._answer(exchange))

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._owner.handler(exchange)
            if self.congested and exchange.keep_alive:
                # An agent that asks on and on but does not read gets its next answer when it has read this one.
                async with asyncio.timeout(self._owner.limits.write_timeout):
                    await self.writable()
        except TimeoutError:
            self.transport.abort()
        except Refusal as refusal:
            if not exchange.started:
                self._write_refusal(refusal.fault, exchange.head, exchange.received_at)
                exchange.ended = True
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
            if exchange.started or exchange.cut:
                exchange.abort()
                return
            fault = Fault(Code.INTERNAL, "see seawall's log")
            self._write_refusal(fault, exchange.head, exchange.received_at)
            exchange.keep_alive = False
        if not exchange.body.complete or not exchange.keep_alive or (self._owner.closing and not self._queue):
            self._drop_queue(Code.DRAINING if self._owner.closing else Code.BAD_REQUEST)
            self._linger()
        elif self._queue:
            self._begin(self._queue.popleft())
            self._read_on()
        elif self._refused is not None:
            self._write_refusal(*self._refused)
            self._linger()
        if exchange is self._arriving and exchange.body.complete:
            self._arriving = None

    def _refuse(self, refusal: Refusal) -> None:
        """Answer for a request that never became one, once what came before it is answered, and close."""
        self._deaf = True
        current, arriving = self._current, self._arriving
        if current is not None and current is arriving and not current.body.complete:
            # A broken body ends the call it belongs to: whoever reads it answers.
            current.body.fail(refusal)
            if current.started:
                current.abort()
            return
        head, since = Head(self._method(), self._url.decode("ascii", "replace"), []), self._head_since
        if self._queue and not self._queue[-1].body.complete:
            broken = self._queue.pop()
            head, since = broken.head, broken.received_at
        if current is not None:
            # A broken second request must not cut the answers before it.
            self._refused = (refusal.fault, head, since)
            return
        self._write_refusal(refusal.fault, head, since)
        self._linger()

    def _method(self) -> str:
        """As far as llhttp got to know it."""
        return self._parser.get_method().decode("ascii", "replace") if self._url else ""

    def _head_too_large(self) -> Refusal:
        return Refusal(Fault(Code.HEAD_TOO_LARGE, f"the request's head exceeds {self._owner.limits.head} bytes"))

    def _drop_queue(self, code: Code) -> None:
        """Requests that nobody will answer (RFC 9112 §9.3.2: the agent has to repeat them) have their line all the
        same."""
        while self._queue:
            exchange = self._queue.popleft()
            self._owner.refuse(
                Fault(code, "not answered: the connection ends before"), exchange.head, exchange.received_at
            )

    def _read_on(self) -> None:
        """Bodies that wait behind the request that is being answered are bounded together."""
        if self._queued_bytes and not self._queue:
            self._queued_bytes = 0
            if self._current is not None and not self._current.body.full:
                self.resume()

    def _write_refusal(self, fault: Fault, head: Head, since: float) -> None:
        fields, body = self._owner.refuse(fault, head, since)
        start = b"HTTP/1.1 %d \r\n%bconnection: close\r\n\r\n" % (fault.rule.status, field_lines(fields))
        self.transport.write(start + body)

    def _linger(self) -> None:
        """Close, but read on for a moment: closing on unread bytes resets the connection and may destroy the answer
        before the agent has read it (RFC 9112 §9.6)."""
        if self._lingering is not None:
            return
        self._deaf = True
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._lingering = self._owner.loop.call_later(self._owner.limits.linger, self.transport.close)

    def _upgrade(self, rest: bytes) -> None:
        """llhttp has stopped behind a request with `Upgrade`. Behind one for a WebSocket no HTTP follows, whatever the
        answer is."""
        assert self._arriving is not None
        if self._arriving.wants_websocket:
            self._arriving.end_of_agent = End(self, rest)
        else:
            self._without_upgrade(rest)

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

    def cut(self) -> None:
        """The server closes and waits no longer: whoever handles the request says so, and the connection ends."""
        if self._current is not None and self._task is not None:
            self._current.cut = True
            self._current.keep_alive = False
            self._task.cancel()

    # -- sweeping --------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        return self._current is not None

    def sweep(self, now: float) -> None:
        """Close what has been silent for too long, and cut what closes but does not read the rest of its answer."""
        limits, silent = self._owner.limits, now - self.last_heard
        if self.transport.is_closing():
            unsent = self.transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent, self._unsent_since = unsent, now
            elif now - self._unsent_since > limits.close_timeout:
                self.transport.abort()
        elif self._paused:
            # The silence is ours; that the agent has gone, reading would only tell behind what is not read yet.
            if _hung_up(self.transport):
                self.transport.abort()
        elif self._current is None:
            # A head has its time from its first byte on, however steadily it drips (slowloris).
            if now - self._head_since > limits.head_timeout if self._in_head else silent > limits.keep_alive:
                self.transport.close()
        elif not self._current.body.complete and silent > limits.body_idle and not self._current.started:
            self.transport.abort()


def _hung_up(transport: asyncio.Transport) -> bool:
    """Whether the peer has closed its side. Where the system cannot tell (no POLLRDHUP), only a reset shows."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), getattr(select, "POLLRDHUP", 0))
    return bool(poll.poll(0))
