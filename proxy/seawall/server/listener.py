"""The ingress's listening socket and what belongs to all of its connections: the sweep of silent ones, the drain.

It hands requests to one handler and never looks into them.
"""

import asyncio
import os
import socket

import msgspec

from seawall.clock import Clock, SystemClock
from seawall.faults import Fault
from seawall.server.http1 import Connection, Handler, Refuse
from seawall.server.limits import Limits
from seawall.types import Head, Headers

# Bytes of an answer that may wait in the kernel to be sent.
_KERNEL_UNSENT = 128 * 1024
# Seconds for agents to take what the last calls were told, once the drain's limit has passed.
_LAST_WORDS = 1.0


class Server:
    """A listening ingress."""

    def __init__(self, handler: Handler, limits: Limits, refuse: Refuse, clock: Clock) -> None:
        self.handler = handler
        self.limits = limits
        self.refuse = refuse
        self.clock = clock
        self.loop = asyncio.get_running_loop()
        self._lines: set[Connection] = set()
        self.closing = False
        self._gone = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        return len(self._lines)

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
        for line in list(self._lines):
            if not line.busy:
                line.transport.close()
        try:
            async with asyncio.timeout(grace):
                await self._empty()
        except TimeoutError:
            await self._cut()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for line in list(self._lines):
            line.transport.abort()
        await self._empty()

    async def _cut(self) -> None:
        """End what is under way, and give the agents a moment to hear of it."""
        for line in list(self._lines):
            line.cut()
        try:
            async with asyncio.timeout(_LAST_WORDS):
                await self._empty()
        except TimeoutError:
            pass

    def arrived(self, line: Connection) -> None:
        self._lines.add(line)

    def gone(self, line: Connection) -> None:
        self._lines.discard(line)
        if not self._lines:
            self._gone.set()

    async def _empty(self) -> None:
        self._gone.clear()
        if self._lines:
            await self._gone.wait()

    def _sweep(self) -> None:
        now = self.clock.now()
        for line in list(self._lines):
            line.sweep(now)
        self._sweeper = self.loop.call_later(self.limits.sweep, self._sweep)


def plain_refusal(fault: Fault, head: Head, since: float) -> tuple[Headers, bytes]:
    """For servers that know no dialects; see http1.Refuse."""
    rule, code = fault.rule, fault.code.value
    error = {"message": fault.detail, "type": "invalid_request_error", "code": code.lower()}
    ours = {"code": code, "category": rule.category.value, "recoverable": rule.recoverable}
    body = msgspec.json.encode({"error": error, "seawall": ours})
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))], body


async def serve(
    handler: Handler,
    host: str,
    port: int,
    *,
    limits: Limits | None = None,
    refuse: Refuse = plain_refusal,
    clock: Clock | None = None,
) -> Server:
    """Listen on host:port (0: any free port) and answer with `handler`, which is cancelled when its agent goes away."""
    server = Server(handler, limits or Limits(), refuse, clock or SystemClock())
    await server.listen(host, port)
    return server
