"""How many requests one upstream gets at a time, and who waits for a place (SEMANTICS §7).

First come, first served within a priority, in a bounded queue; when that is full, a call takes the place of the last
one of a lower priority. A waiter is an opaque ticket, for which the engine holds whatever it
waits on; this machine never wakes anybody itself, and it must never hand out a place that it cannot take back.
"""

import enum
from collections import OrderedDict
from dataclasses import dataclass

from seawall.core.refusal import SOON, Refused

LONGEST_RETRY_AFTER = 10.0
"""Seconds; a full queue moves long before its last waiter would give up."""


PRIORITIES = 4
NORMAL = 1
"""Of 0 (low), 1, 2 (high) and 3 (critical)."""


class Slot:
    """A place. Give it back with `release`, once; again does nothing."""

    __slots__ = ("live",)

    def __init__(self) -> None:
        self.live = True


class Waiting(enum.Enum):
    WAITING = enum.auto()
    GRANTED = enum.auto()
    """It has its slot."""
    OVERDUE = enum.auto()
    """It was dropped at its turn, which came too late."""
    CANCELLED = enum.auto()
    SHED = enum.auto()
    """A call of a higher priority has its place in the queue."""


class Queued:
    """A waiter. `expires`: when to stop waiting, on the clock of `now`; then, as when the agent leaves, `cancel` it."""

    __slots__ = ("expires", "instead_of", "priority", "slot", "state")

    def __init__(self, expires: float, priority: int) -> None:
        self.expires = expires
        self.priority = priority
        self.state = Waiting.WAITING
        self.instead_of: Queued | None = None
        """Whose place in the queue it took; the engine wakes that one."""
        self.slot: Slot | None = None
        """Set once granted; release it as any other."""


@dataclass(frozen=True, slots=True)
class LimiterSnapshot:
    active: int
    pending: int
    max_parallel: int | None
    max_pending: int


class Limiter:
    """max_parallel: places, 1 or more; None for no limit. max_pending: waiters, 0 or more. queue_timeout: seconds."""

    __slots__ = ("_active", "_max_parallel", "_max_pending", "_queue_timeout", "_queues")

    def __init__(self, max_parallel: int | None, max_pending: int, queue_timeout: float) -> None:
        self._max_parallel = max_parallel
        self._max_pending = max_pending
        self._queue_timeout = queue_timeout
        self._active = 0
        # Ordered, and a waiter in the middle leaves in O(1): the queue never holds those who went away.
        self._queues: tuple[OrderedDict[Queued, None], ...] = tuple(OrderedDict() for _ in range(PRIORITIES))

    def configure(self, max_parallel: int | None, max_pending: int, queue_timeout: float, now: float) -> list[Queued]:
        """Take new limits in place. Returns the waiters that got a place by it; nobody loses one, and who waits goes
        on waiting by the time it was promised."""
        self._max_parallel = max_parallel
        self._max_pending = max_pending
        self._queue_timeout = queue_timeout
        return self._grant(now)

    def admit(self, now: float, deadline: float | None = None, priority: int = NORMAL) -> Slot | Queued | Refused:
        """Ask for a place. deadline: of the call, on the clock of `now`; it will not wait beyond that. priority: from 0
        (low) to PRIORITIES - 1."""
        if self._free():
            self._active += 1
            return Slot()
        self._drop_overdue(now)
        expires = now + self._queue_timeout
        if deadline is not None and deadline < expires:
            expires = deadline
        queued = Queued(expires, priority)
        if expires > now and self._pending() >= self._max_pending:
            queued.instead_of = self._shed(priority)
        if expires <= now or self._pending() >= self._max_pending:
            return Refused(min(max(self._queue_timeout, SOON), LONGEST_RETRY_AFTER))
        self._queues[priority][queued] = None
        return queued

    def release(self, slot: Slot, now: float) -> list[Queued]:
        """Give a place back. Returns the waiters to wake, their `slot` set."""
        if not slot.live:
            return []
        slot.live = False
        self._active -= 1
        return self._grant(now)

    def cancel(self, queued: Queued, now: float) -> list[Queued]:
        """Stop waiting. If a place had been granted meanwhile it is given back; returns the waiters to wake."""
        if queued.state is Waiting.WAITING:
            del self._queues[queued.priority][queued]
            queued.state = Waiting.CANCELLED
        return self.release(queued.slot, now) if queued.slot else []

    def snapshot(self) -> LimiterSnapshot:
        return LimiterSnapshot(self._active, self._pending(), self._max_parallel, self._max_pending)

    def _free(self) -> bool:
        return self._max_parallel is None or self._active < self._max_parallel

    def _grant(self, now: float) -> list[Queued]:
        granted: list[Queued] = []
        while self._free() and (queue := next((queue for queue in reversed(self._queues) if queue), None)):
            queued, _ = queue.popitem(last=False)
            if queued.expires <= now:
                queued.state = Waiting.OVERDUE
                continue
            self._active += 1
            queued.slot = Slot()
            queued.state = Waiting.GRANTED
            granted.append(queued)
        return granted

    def _drop_overdue(self, now: float) -> None:
        """Those at the head whose time is over hold a place in the queue that a live waiter could have."""
        for queue in self._queues:
            while queue and (first := next(iter(queue))).expires <= now:
                del queue[first]
                first.state = Waiting.OVERDUE

    def _pending(self) -> int:
        return sum(map(len, self._queues))

    def _shed(self, priority: int) -> Queued | None:
        """Take the last waiter of the lowest priority out of the queue, where that is lower than this one."""
        for queue in self._queues[:priority]:
            if queue:
                queued, _ = queue.popitem()
                queued.state = Waiting.SHED
                return queued
        return None
