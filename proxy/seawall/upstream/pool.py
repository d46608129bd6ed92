"""Connections to upstreams, kept for reuse by endpoint: `send` is one attempt's way out.

It never retries by itself: whether a request may be sent again is the engine's to decide, from the fault that comes
back.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from seawall.clock import Clock
from seawall.faults import Code, Fault
from seawall.types import Body, Headers
from seawall.upstream.connect import Endpoint, connect, proxy_authorization
from seawall.upstream.connection import Connection
from seawall.upstream.exchange import Exchange
from seawall.wire import field_lines

# Below what servers and load balancers commonly allow (60 s and more), so that they rarely close first.
IDLE_SECONDS = 45.0
# Requests that must not be sent twice take only connections that were used a moment ago: those are not being closed.
FRESH_SECONDS = 2.0


def _no_trailers() -> Headers:
    return []


class Request(msgspec.Struct, frozen=True):
    """One request as it goes out. `headers` hold everything but framing of a chunked body.

    body: bytes are sent as they are; a Body is streamed. chunked: frame it so (else Content-Length is in `headers`).
    """

    method: str
    target: str
    headers: Headers
    body: bytes | Body = b""
    chunked: bool = False
    fresh: bool = False
    """Take no connection that has been idle for long."""
    trailers: Callable[[], Headers] = _no_trailers
    upgrade: bool = False
    """A WebSocket is asked for."""

    def __repr__(self) -> str:
        # Target and fields may hold keys.
        return f"Request({self.method})"


class Pool:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: dict[Endpoint, deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def connections(self) -> int:
        """Open connections, idle ones included."""
        return sum(not c.closed for c in self._open)

    async def send(
        self, endpoint: Endpoint, request: Request, connect_seconds: float | None,
        on_interim: Callable[[int, Headers], None] | None = None,
    ) -> Exchange | Fault:  # fmt: skip
        """Send a request; the Exchange's head has yet to come. A Fault from here means that nothing was sent."""
        connection = self._take(endpoint, FRESH_SECONDS if request.fresh else IDLE_SECONDS)
        if connection is None:
            # To begin a connection takes a while without a pause: whoever has one goes first, in a race above all.
            await asyncio.sleep(0)
            opened = await self._connect(endpoint, connect_seconds)
            if isinstance(opened, Fault):
                return opened
            connection = opened
        head = self._head(endpoint, request)
        return connection.send(
            request.method, head, request.body, request.chunked, on_interim, request.trailers, request.upgrade
        )

    def _head(self, endpoint: Endpoint, request: Request) -> bytes:
        target, extra = request.target, b"\r\n"
        if endpoint.absolute_form:
            target = endpoint.origin + target
            authorization = proxy_authorization(endpoint.proxy or "")
            if authorization:
                extra = b"proxy-authorization: %b\r\n\r\n" % authorization
        if request.chunked:
            extra = b"transfer-encoding: chunked\r\n" + extra
        line = f"{request.method} {target} HTTP/1.1\r\n".encode("ascii")
        return line + field_lines(request.headers) + extra

    def _take(self, endpoint: Endpoint, max_idle: float) -> Connection | None:
        idle = self._idle.get(endpoint)
        oldest = self._clock.now() - max_idle
        while idle:
            # The latest used first: the others may then time out when load falls.
            connection = idle.pop()
            if connection.closed or connection.transport.is_closing():
                continue
            if connection.idle_since >= oldest:
                return connection
            idle.append(connection)
            return None
        return None

    async def _connect(self, endpoint: Endpoint, seconds: float | None) -> Connection | Fault:
        connection = Connection(
            self._clock, lambda free: self._release(endpoint, free), lambda dead: self._distrust(endpoint, dead)
        )
        try:
            async with asyncio.timeout(seconds):
                fault = await connect(endpoint, connection)
        except TimeoutError:
            return Fault(Code.CONNECT_TIMEOUT, f"no connection to {endpoint.origin} within {seconds:g} s")
        if fault is not None:
            return fault
        self._open.add(connection)
        self._schedule()
        return connection

    def _release(self, endpoint: Endpoint, connection: Connection) -> None:
        if self._closed:
            connection.close()
            return
        connection.idle_since = self._clock.now()
        self._idle.setdefault(endpoint, deque()).append(connection)

    def _distrust(self, endpoint: Endpoint, stale: Connection) -> None:
        """What has been idle for as long as a stale connection, or longer, has most likely died with it (a restart, a
        gateway that forgot its flows): it must not use up a call's retries one after the other."""
        idle = self._idle.get(endpoint)
        while idle and idle[0].idle_since <= stale.idle_since:
            idle.popleft().close()

    def _schedule(self) -> None:
        if self._sweeper is None and not self._closed:
            self._sweeper = asyncio.get_running_loop().call_later(5.0, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle for too long, forget what is closed."""
        self._sweeper = None
        oldest = self._clock.now() - IDLE_SECONDS
        for endpoint, idle in list(self._idle.items()):
            while idle and (idle[0].closed or idle[0].idle_since < oldest):
                idle.popleft().close()
            if not idle:
                del self._idle[endpoint]
        self._open = {c for c in self._open if not c.closed}
        if self._open:
            self._schedule()

    async def close(self) -> None:
        """Close all connections, those in use as well."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in self._open:
            connection.transport.abort()
        self._open.clear()
        self._idle.clear()
        await asyncio.sleep(0)
