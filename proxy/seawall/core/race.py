"""A race: several attempts for one call, of which the first good one wins (SEMANTICS §4; "The Tail at Scale", gRPC's
hedging).

Starts are numbered from 1. A pure machine: it says what to start and what to cancel, and whoever drives it reports
what became of that. It must never name two winners, or start anything once it is over.
"""

import enum
from dataclasses import dataclass


class Why(enum.Enum):
    """What brings a start about; it decides which budget is asked."""

    FIRST = "first"
    HEDGE = "hedge"
    """The others take long, or all were to start at once."""
    FAILURE = "failure"
    """One of the others has failed."""


class End(enum.Enum):
    """What became of a start."""

    WON = "won"
    LOST = "lost"
    """Another one won meanwhile."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    """The race was given up: the agent left, or the call's time was over."""


@dataclass(frozen=True, slots=True)
class Start:
    number: int
    why: Why


@dataclass(frozen=True, slots=True)
class Cancel:
    number: int


@dataclass(frozen=True, slots=True)
class Finish:
    """winner: its number; None when all have failed, or the race was given up."""

    winner: int | None


Action = Start | Cancel | Finish


class Race:
    """most: attempts at most, 1 or more. delay: seconds between two starts while none has answered; 0: all at once."""

    __slots__ = ("_delay", "_ends", "_most", "_next", "_open", "_running", "over")

    def __init__(self, most: int, delay: float) -> None:
        self._most = most
        self._delay = delay
        self._ends: dict[int, End] = {}
        self._running: list[int] = []
        self._open = True
        """Further starts may come."""
        self._next: float | None = None
        self.over = False

    @property
    def starts(self) -> int:
        return len(self._ends) + len(self._running)

    @property
    def ends(self) -> dict[int, End]:
        """What became of each start that has ended."""
        return dict(self._ends)

    @property
    def wake_at(self) -> float | None:
        """When `tick` is due; None: never."""
        return self._next if self._may_start() else None

    def begin(self, now: float) -> tuple[Action, ...]:
        starts: list[Action] = [self._start(Why.FIRST, now)]
        while self._delay <= 0 and self._may_start():
            starts.append(self._start(Why.HEDGE, now))
        return tuple(starts)

    def tick(self, now: float) -> tuple[Action, ...]:
        """Time has passed."""
        due = self.wake_at
        return () if due is None or now < due else (self._start(Why.HEDGE, now),)

    def denied(self, number: int, *, later: bool, now: float) -> tuple[Action, ...]:
        """A start could not be made: no candidate (nothing more is started), or no budget (`later`: perhaps when the
        delay has passed again)."""
        if number not in self._running:
            return ()
        self._running.remove(number)
        self._open = self._open and later
        self._next = now + self._delay if self._delay > 0 else None
        return self._finished_if_alone()

    def failed(self, number: int, now: float, *, stop: bool = False) -> tuple[Action, ...]:
        """A start has failed; the next one follows at once. stop: its upstream said not to try again, so that nothing
        more is started; what runs goes on."""
        if number not in self._running:
            return ()
        self._end(number, End.FAILED)
        self._open = self._open and not stop
        if self._may_start():
            return (self._start(Why.FAILURE, now),)
        return self._finished_if_alone()

    def answered(self, number: int) -> tuple[Action, ...]:
        """A start has come to content, or to a whole plain answer: it wins."""
        if number not in self._running:
            return ()
        self._end(number, End.WON)
        return (Finish(number), *self._cancel_all(End.LOST))

    def abandon(self) -> tuple[Action, ...]:
        """Nobody waits any longer."""
        if self.over:
            return ()
        return (*self._cancel_all(End.CANCELLED), Finish(None))

    def _may_start(self) -> bool:
        return self._open and not self.over and self.starts < self._most

    def _start(self, why: Why, now: float) -> Start:
        number = self.starts + 1
        self._running.append(number)
        self._next = now + self._delay if self._delay > 0 else None
        return Start(number, why)

    def _end(self, number: int, end: End) -> None:
        self._running.remove(number)
        self._ends[number] = end

    def _cancel_all(self, end: End) -> list[Cancel]:
        self.over = True
        cancelled = [Cancel(number) for number in self._running]
        for number in list(self._running):
            self._end(number, end)
        return cancelled

    def _finished_if_alone(self) -> tuple[Action, ...]:
        if self._running or self.over:
            return ()
        self.over = True
        return (Finish(None),)
