"""Keeps an agent waiting whose stream is silent for our sake: held back (SEMANTICS §5), or translated, so that its
provider's own pings do not come through. A direct call would have shown the agent a head, and pings.

It writes comments, which say nothing, and before the first of them a head of its own. That is no commit: anything may
still follow but another status. It must never write within an event, nor to an agent that does not read.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from seawall.answer import Answer
from seawall.call import Call
from seawall.clock import Clock
from seawall.decode import decoder_for
from seawall.dialects.base import Watch
from seawall.faults import Code, Fault
from seawall.reply import opening
from seawall.types import Agent

# Seconds. So long the first content may take after a head that came late: most providers send both at once, and then
# the agent gets that head as it is.
_GRACE = 1.0

Read = Callable[[], Awaitable[bytes | Fault]]


class KeepAlive:
    """One call's, with one timer at most. Whoever makes one calls `close` at the call's end.

    opened: the agent has a head of ours and comments. comments: so many.
    """

    __slots__ = (
        "_agent", "_call", "_clock", "_committed", "_due", "_seconds", "_silent_since", "_timer", "_waiting", "_watch",
        "comments", "opened",
    )  # fmt: skip

    def __init__(self, call: Call, agent: Agent, clock: Clock, seconds: float) -> None:
        self._call = call
        self._agent = agent
        self._clock = clock
        self._seconds = seconds
        self._silent_since = clock.now()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = False
        """Nothing else is written now."""
        self._committed = False
        self._watch: Watch | None = None
        """Of a translated stream that is committed."""
        self.opened = False
        self.comments = 0

    def held(self) -> None:
        """An upstream has begun a stream well, and it is held back. From now on the agent's silence is our doing."""
        if self._timer is None and not self._committed:
            self._waiting = True
            self._arm(max(self._left(), min(_GRACE, self._seconds)))

    def commit(self) -> None:
        """What the agent gets from now on is its answer."""
        self._committed = True
        self._rest()

    def reading(self, answer: Answer) -> Read:
        """How what is left of a committed stream is to be read."""
        if self.opened and answer.decoder is not None:
            return _unpacked(self._call, answer)
        if answer.candidate.foreign and answer.watch is not None:
            self._watch = answer.watch
            return partial(self._awaited, answer.exchange.read)
        return answer.exchange.read

    def close(self) -> None:
        self.commit()

    async def _awaited(self, read: Read) -> bytes | Fault:
        self._silent_since = self._clock.now()
        self._waiting = True
        if self._timer is None:
            # The one of an earlier wait goes on where it has not rung yet.
            self._arm(self._seconds)
        try:
            return await read()
        finally:
            self._waiting = False

    # -- the timer -------------------------------------------------------------------------------------------------

    def _left(self) -> float:
        return self._silent_since + self._seconds - self._clock.now()

    def _arm(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _rest(self) -> None:
        self._waiting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if not self._waiting:
            # Events flow, or wait for the agent. The next wait arms it again.
            return
        left = self._left()
        if left <= 0:
            self._speak()
            self._silent_since, left = self._clock.now(), self._seconds
        self._arm(left)

    def _speak(self) -> None:
        agent, dialect = self._agent, self._call.plan.dialect
        if agent.congested or (self._watch is not None and self._watch.midway):
            return
        if not self._committed and not self.opened:
            self.opened = True
            agent.start(200, opening(self._call), reason=b"OK")
        agent.write(dialect.keep_alive)
        self.comments += 1


def _unpacked(call: Call, answer: Answer) -> Read:
    """A compressed stream, from its first byte on and decoded piece by piece: the head that the agent has got
    announces no coding."""
    decoder, source, whole = decoder_for(answer.exchange.headers), answer.exchange, answer.whole
    assert decoder is not None
    held = deque(answer.held)
    answer.held.clear()
    answer.decoder, answer.watch, answer.whole = None, call.plan.dialect.watch(call.facts), False

    async def read() -> bytes | Fault:
        while True:
            data = held.popleft() if held else b"" if whole else await source.read()
            if isinstance(data, Fault) or not data:
                return data
            plain = decoder.feed(data)
            if plain is None:
                return Fault(Code.PROTOCOL_ERROR, "the answer's coding cannot be read")
            if plain:
                return plain

    return read
