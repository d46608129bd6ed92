"""One HTTP/1.1 connection to an upstream, parsed by llhttp, carrying one exchange at a time.

It knows framing and nothing of policy. Bytes that no request asked for, or an answer that is not valid HTTP, close it.
"""

import asyncio
from collections.abc import Callable

import httptools

from seawall.clock import Clock
from seawall.faults import Code, Fault, Refusal
from seawall.types import Body, Headers
from seawall.upstream.exchange import Exchange
from seawall.websocket.end import End
from seawall.wire import chunk, end_to_end, has_no_body, last_chunk, without_ours

# An answer's head, and likewise its trailers, may not exceed this: endless ones must not fill the memory.
MAX_HEAD = 256 * 1024
MAX_FIELDS = 2000
# Interim (1xx) answers to one request.
MAX_INTERIMS = 50
# A reused connection that is lost without an answer was being closed as we wrote only if that shows at once (seconds);
# later, the upstream has lost our request.
STALE_WITHIN = 1.0


class Connection(asyncio.Protocol):
    """A connection; `release` is called with it when it is free for the next exchange, `stale` when it turned out to
    have been closed before it was reused."""

    transport: asyncio.Transport

    def __init__(
        self, clock: Clock, release: Callable[["Connection"], None], stale: Callable[["Connection"], None]
    ) -> None:
        self._clock = clock
        # Asked for once: in Python 3.11 that is a system call.
        self._loop = asyncio.get_running_loop()
        self._release = release
        self._stale = stale
        self._parser = self._new_parser()
        self._exchange: Exchange | None = None
        self._method = ""
        self._upgrade = False
        self._sending = False
        self._sender: asyncio.Task[None] | None = None
        self._write_waiter: asyncio.Future[None] | None = None
        self._write_paused = False
        self._heard = False
        self._sent_at = 0.0
        self._interims = 0
        self._reading_paused = False
        self._in_body = False
        self._until_close = False
        self._keep_alive = False
        self._unaccounted = 0
        self._reason = b""
        self._headers: Headers = []
        self.closed = False
        self.exchanges = 0
        self.idle_since = 0.0

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(
        self, method: str, head: bytes, body: bytes | Body, framed: bool,
        on_interim: Callable[[int, Headers], None] | None, trailers: Callable[[], Headers], upgrade: bool = False,
    ) -> Exchange:  # fmt: skip
        """Begin an exchange. `head` is complete; `framed` says that the body goes out chunked; `upgrade`, that it asks
        for a WebSocket."""
        self._method = method
        self._upgrade = upgrade
        self._heard = False
        self._sent_at = self._clock.now()
        self._interims = 0
        self._exchange = exchange = Exchange(self._clock, self._loop, self._abort, self._pause, on_interim)
        self.exchanges += 1
        if isinstance(body, bytes):
            if not framed:
                self.transport.write(head + body if len(body) < 65536 else head)
                if len(body) >= 65536:
                    self.transport.write(body)
            else:
                pieces = [head, *(chunk(body) if body else []), last_chunk(trailers())]
                self.transport.writelines(pieces)
        else:
            self.transport.write(head)
            self._sending = True
            self._sender = asyncio.get_running_loop().create_task(self._send_stream(exchange, body, framed, trailers))
        return exchange

    async def _send_stream(self, exchange: Exchange, body: Body, framed: bool, trailers: Callable[[], Headers]) -> None:
        while True:
            exchange.await_agent(True)
            try:
                data = await body.read()
            except Refusal as refusal:
                self._give_up(refusal.fault)
                return
            # From here to the next read it is the upstream that is waited for.
            exchange.await_agent(False)
            if self.closed:
                return
            if not data:
                break
            if framed:
                self.transport.writelines(chunk(data))
            else:
                self.transport.write(data)
            while self._write_paused and not self.closed:
                self._write_waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._write_waiter
                finally:
                    self._write_waiter = None
        if framed:
            self.transport.write(last_chunk(trailers()))
        self._sending = False

    # -- asyncio ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._sender is not None:
            self._sender.cancel()
        self._wake_writer()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            if self._until_close and exc is None:
                exchange.finish()
                exchange.wake()
            elif self._in_body:
                exchange.fail(Fault(Code.TRUNCATED, "the upstream closed the connection in the middle of its answer"))
            elif self._heard or self.exchanges == 1 or self._clock.now() - self._sent_at > STALE_WITHIN:
                exchange.fail(Fault(Code.CONNECTION_LOST, "the upstream closed the connection without an answer"))
            else:
                self._stale(self)
                exchange.fail(Fault(Code.STALE_CONNECTION, "the upstream closed an idle connection as it was reused"))

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._wake_writer()

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.transport.abort()
            return
        self._heard = True
        self._unaccounted += len(data)
        try:
            self._parser.feed_data(data)
            if self._unaccounted > MAX_HEAD:
                self._broken(f"a head or trailers of more than {MAX_HEAD} bytes")
        except httptools.HttpParserUpgrade as upgrade:
            if exchange.has_head:
                exchange.end = End(self, data[upgrade.args[0] :])
            else:
                self._broken("an upgrade that nobody asked for")
        except httptools.HttpParserError as error:
            self._broken(str(error))
        exchange.wake()

    def _broken(self, why: str) -> None:
        code = Code.TRUNCATED if self._in_body else Code.PROTOCOL_ERROR
        self._give_up(Fault(code, f"not valid HTTP: {why}"))

    def _give_up(self, fault: Fault) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.fail(fault)
        self._abort()

    # -- llhttp ----------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._exchange is None:
            raise ValueError("an answer that nobody asked for")
        self._headers = []
        self._reason = b""
        self._in_body = False
        self._until_close = False

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if name[-1:] == b" ":
            # llhttp's leniency about values also lets this pass; it would frame the answer here but not at the agent.
            raise ValueError("whitespace between a field's name and its colon")
        if self._in_body:
            if self._exchange is not None:
                self._exchange.trailers.append((name, value))
        else:
            self._headers.append((name, value))
            if len(self._headers) > MAX_FIELDS:
                raise ValueError(f"more than {MAX_FIELDS} header fields")

    def on_headers_complete(self) -> None:
        self._unaccounted = 0
        exchange = self._exchange
        if exchange is None:
            return
        status = self._parser.get_status_code()
        if status == 101 and self._upgrade and self._parser.should_upgrade() and _is_websocket(self._headers):
            exchange.begin(status, self._reason, self._headers)
            return
        if status < 200:
            self._interims += 1
            if status == 101 or status < 100 or self._interims > MAX_INTERIMS:
                raise ValueError("no status at all, an upgrade that nobody asked for, or endless interim answers")
            if status != 100 and exchange.on_interim is not None:
                exchange.on_interim(status, without_ours(end_to_end(self._headers)))
            return
        codings = [value for name, value in self._headers if len(name) == 17 and name.lower() == b"transfer-encoding"]
        if codings and codings[0].strip().lower() != b"chunked":
            # What we cannot decode we must not pass on under another name; no request of ours asked for it (TE).
            raise ValueError("a Transfer-Encoding other than chunked")
        self._keep_alive = self._parser.should_keep_alive()
        exchange.begin(status, self._reason, self._headers)
        if has_no_body(self._method, status):
            # llhttp does not know the request's method, and would wait for the body that Content-Length announces.
            self._parser = self._new_parser()
            self._end_exchange()
        else:
            self._in_body = True
            self._until_close = not any(
                name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self._headers
            )

    def on_body(self, data: bytes) -> None:
        self._unaccounted = 0
        if self._exchange is None:
            raise ValueError("bytes behind the end of an answer")
        self._exchange.feed(data)

    def on_chunk_header(self) -> None:
        self._unaccounted = 0
        if self._exchange is None:
            raise ValueError("bytes behind the end of an answer")

    def on_message_complete(self) -> None:
        self._unaccounted = 0
        if self._in_body:
            self._end_exchange()

    # -- the exchange's end ----------------------------------------------------------------------------------------

    def _end_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        self._in_body = False
        if exchange is None:
            return
        exchange.finish()
        exchange.wake()
        if self._sending:
            # The upstream answered before it had the whole request (413, say); what is left of it is nobody's.
            if self._sender is not None:
                self._sender.cancel()
            self._keep_alive = False
        if self._keep_alive and not self.closed and not self.transport.get_write_buffer_size():
            self._pause(False)
            self._release(self)
        else:
            self.close()

    def close(self) -> None:
        """Close now: a peer that reads no more of what is left to send must not hold the socket."""
        self._abort()

    def _abort(self) -> None:
        self.closed = True
        if self._sender is not None:
            self._sender.cancel()
        self.transport.abort()

    def pause(self) -> None:
        self._pause(True)

    def resume(self) -> None:
        self._pause(False)

    def _pause(self, pause: bool) -> None:
        if self.closed or pause is self._reading_paused:
            return
        self._reading_paused = pause
        if pause:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _wake_writer(self) -> None:
        if self._write_waiter is not None and not self._write_waiter.done():
            self._write_waiter.set_result(None)

    def _new_parser(self) -> httptools.HttpResponseParser:
        parser = httptools.HttpResponseParser(self)
        # Control characters in a field's value cannot change the framing, and a direct call would have let them pass.
        parser.set_dangerous_leniencies(lenient_headers=True)
        return parser


def _is_websocket(headers: Headers) -> bool:
    granted = [value for name, value in headers if len(name) == 7 and name.lower() == b"upgrade"]
    return len(granted) == 1 and granted[0].strip().lower() == b"websocket"
