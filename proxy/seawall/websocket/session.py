"""Two ends joined: how long a session lasts, and how it ended. It decides nothing about calls."""

import asyncio
from collections.abc import Callable

from seawall.faults import Code, Fault
from seawall.websocket.end import End
from seawall.websocket.frames import close_frame

# Close codes (RFC 6455 §7.4.1, and IANA's registry) by which a server says that it, and not the session, has failed.
_FAILED = {1011: Code.SERVER_ERROR, 1012: Code.OVERLOADED, 1013: Code.OVERLOADED, 1014: Code.SERVER_ERROR}


class Session:
    """An agent's end and an upstream's. now: the clock, in seconds. idle: the longest silence of both, in seconds;
    None: any. agent_write: how long an agent may read nothing of what waits for it, in seconds."""

    def __init__(
        self, agent: End, upstream: End, now: Callable[[], float], idle: float | None, agent_write: float
    ) -> None:
        self.agent = agent
        self.upstream = upstream
        self._now = now
        self._idle = idle
        self._agent_write = agent_write
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[Fault | None] = self._loop.create_future()
        self._moved = now()
        self._silence: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._unsent = 0

    async def run(self) -> Fault | None:
        """Pass bytes on until either side ends, or is too slow; returns why that was no good end. Whoever calls it
        calls `close` afterwards."""
        if self._idle is not None:
            self._silence = self._loop.call_later(self._idle, self._silent)
        for end in (self.agent, self.upstream):
            if end.gone or end.transport.is_closing():
                self.ended(end, None)
        if not self._over.done():
            self.agent.join(self.upstream, self)
            self.upstream.join(self.agent, self)
            self.agent.start()
            self.upstream.start()
        return await self._over

    def goodbye(self, code: int, reason: str) -> None:
        """Tell both sides that it ends here, where that would be read as a frame."""
        if self.upstream.frames.between and not self.upstream.frames.closed:
            self.agent.transport.write(close_frame(code, reason, masked=False))
        if self.agent.frames.between and not self.agent.frames.closed:
            self.upstream.transport.write(close_frame(code, reason, masked=True))

    def close(self) -> None:
        """Done with it. The agent's connection is left to whoever answers it."""
        for timer in (self._silence, self._stall):
            if timer is not None:
                timer.cancel()
        for end in (self.agent, self.upstream):
            end.part()
        if not self.upstream.transport.is_closing():
            self.upstream.end()
        if not self._over.done():
            self._over.cancel()

    # -- for the ends ----------------------------------------------------------------------------------------------

    def moved(self) -> None:
        self._moved = self._now()

    def congested(self, end: End) -> None:
        if end is self.agent:
            self._unsent = end.transport.get_write_buffer_size()
            self._stall = self._loop.call_later(self._agent_write, self._stalled)

    def relieved(self, end: End) -> None:
        if end is self.agent and self._stall is not None:
            self._stall.cancel()

    def ended(self, end: End, why: Exception | None) -> None:
        if self._over.done():
            return
        if end is self.agent:
            self._finish(None if self._closed else Fault(Code.AGENT_GONE))
            self.upstream.end(at_once=why is not None)
        else:
            self._finish(self._verdict(why))
            self.agent.transport.close()

    # -- the end ---------------------------------------------------------------------------------------------------

    @property
    def _closed(self) -> bool:
        """Either side has said goodbye."""
        return self.agent.frames.closed or self.upstream.frames.closed

    def _verdict(self, why: Exception | None) -> Fault | None:
        """What the upstream's end says of it. Many servers just close between two messages: that is none."""
        frames = self.upstream.frames
        if frames.closed and (code := _FAILED.get(frames.code)) is not None:
            return Fault(code, f"closed with {frames.code}")
        if self._closed:
            return None
        if why is not None:
            return Fault(Code.CONNECTION_LOST, "the upstream broke the connection off")
        return None if frames.whole else Fault(Code.TRUNCATED, "the upstream closed in the middle of a message")

    def _finish(self, fault: Fault | None) -> None:
        if not self._over.done():
            self._over.set_result(fault)

    def _silent(self) -> None:
        assert self._idle is not None
        left = self._moved + self._idle - self._now()
        if left > 0:
            self._silence = self._loop.call_later(left, self._silent)
        else:
            self._finish(Fault(Code.TIMEOUT_STREAM_IDLE, f"neither side said anything for {self._idle:g} s"))

    def _stalled(self) -> None:
        """Nothing was read that long, or just not enough."""
        unsent = self.agent.transport.get_write_buffer_size()
        if unsent < self._unsent:
            self.congested(self.agent)
        else:
            self._finish(Fault(Code.AGENT_STALLED, f"the agent read nothing for {self._agent_write:g} s"))
