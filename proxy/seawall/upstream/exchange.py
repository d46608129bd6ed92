"""One request on one upstream connection, and the answer as it arrives.

An exchange belongs to one attempt. It has one deadline, moved by the engine from phase to phase, and a limit on
silence; they cost a timer only when one is really near: per streamed event only a number changes.
"""

import asyncio
from collections.abc import Callable

from seawall.clock import Clock
from seawall.faults import Code, Fault
from seawall.types import Headers, Usage
from seawall.websocket.end import End

# Above this, reading from the upstream pauses until the agent has taken some (backpressure).
HIGH_WATER = 256 * 1024

Limit = tuple[float | None, Code]
"""When something must be there, or within how many seconds, and what it is called when it is not; None: no limit."""


class Exchange:
    """An answer, once `head()` has returned; read it with `read()` and give it up with `close()`."""

    __slots__ = (
        "_abort", "_chunks", "_clock", "_deadline", "_fault", "_loop", "_pause", "_paused", "_silence", "_size",
        "_timer", "_timer_at", "_until", "_waited", "_waiter", "_waits_since", "complete", "connected", "end",
        "has_head", "headers", "judged", "on_interim", "reason", "status", "trailers", "usage",
    )  # fmt: skip

    def __init__(
        self, clock: Clock, loop: asyncio.AbstractEventLoop, abort: Callable[[], None], pause: Callable[[bool], None],
        on_interim: Callable[[int, Headers], None] | None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._loop = loop
        self._abort = abort
        self._pause = pause
        self._paused = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._fault: Fault | None = None
        self._deadline: Limit = (None, Code.TIMEOUT_REQUEST)
        self._silence: Limit = (None, Code.TIMEOUT_STREAM_IDLE)
        self._until: Limit = self._deadline
        """Of the wait that is on."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.on_interim = on_interim
        self.has_head = False
        self.complete = False
        self._waited = 0.0
        self._waits_since: float | None = None
        """Since when the next part of the request's body is awaited from the agent; None: it is not."""
        self.status = 0
        self.reason = b""
        self.headers: Headers = []
        self.trailers: Headers = []
        # What only an answer that was translated knows by itself, see answer.Source.
        self.end: End | None = None
        """Of a WebSocket, where the upstream has granted one: then nothing more is read here."""
        self.connected = True
        self.judged: Fault | None = None
        self.usage: Usage | None = None

    # -- for the engine --------------------------------------------------------------------------------------------

    async def head(self) -> Fault | None:
        """Wait for status and fields; None when they are there."""
        while not self.has_head:
            if self._fault is not None:
                return self._fault
            await self._wait()
        return None

    async def read(self) -> bytes | Fault:
        """All bytes of the body that have arrived, or wait for some; b"" at its proper end, a Fault when it broke or
        the deadline passed. What arrived before a fault is handed out before the fault."""
        while not self._chunks:
            if self._fault is not None:
                return self._fault
            if self.complete:
                return b""
            await self._wait()
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            if not self.complete:
                # Else the connection serves another exchange by now.
                self._pause(False)
        return data

    @property
    def agents_seconds(self) -> float:
        """So long the request waited for its agent's bytes: none of it was the upstream's."""
        now = self._clock.now()
        return self._waited + (0.0 if self._waits_since is None else now - self._waits_since)

    def expect_by(self, deadline: float | None, code: Code) -> None:
        """Whatever is awaited from now on must come by `deadline` (on the clock, seconds); else reads give
        Fault(code)."""
        self._deadline = deadline, code

    def expect_within(self, seconds: float | None, code: Code) -> None:
        """No wait for the next bytes may last longer than that."""
        self._silence = seconds, code

    def close(self) -> None:
        """Done with it. An answer that has not ended closes its connection, so that the upstream stops working."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._chunks.clear()
        if not self.complete and self._fault is None:
            self._fault = Fault(Code.AGENT_GONE)
            self._abort()

    # -- for the connection ----------------------------------------------------------------------------------------

    def begin(self, status: int, reason: bytes, headers: Headers) -> None:
        self.status, self.reason, self.headers = status, reason, headers
        self.has_head = True

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        if self._size >= HIGH_WATER and not self._paused:
            self._paused = True
            self._pause(True)

    def await_agent(self, waiting: bool) -> None:
        """The next part of the request's body is awaited from the agent, or has come."""
        self._waited, self._waits_since = self.agents_seconds, self._clock.now() if waiting else None

    def finish(self) -> None:
        self.complete = True

    def fail(self, fault: Fault) -> None:
        if self._fault is None and not self.complete:
            self._fault = fault
            self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def _wait(self) -> None:
        self._limit()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _limit(self) -> None:
        """Until when the wait that begins may last."""
        self._until = self._deadline
        by = self._deadline[0]
        seconds, code = self._silence
        if seconds is not None:
            silent_by = self._clock.now() + seconds
            if by is None or silent_by < by:
                self._until = silent_by, code
                by = silent_by
        if by is not None and (self._timer is None or self._timer_at > by):
            if self._timer is not None:
                self._timer.cancel()
            self._arm(by)

    def _arm(self, deadline: float) -> None:
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - self._clock.now()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        until, code = self._until
        if self._waiter is None or until is None or self.complete or self._fault is not None:
            # Where nobody waits, the agent is the slow one, and its own limit applies.
            return
        if self._clock.now() < until:
            self._arm(until)
        else:
            self._fault = Fault(code)
            self.wake()
            self._abort()
