"""Who rests: (upstream, model, credential) after a transient 429, and credentials that are out of quota (SEMANTICS §1).

Resting is no sickness and never touches a breaker. It must never make a sole candidate unusable: what it forbids is
only to be the first choice.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

PARK_SECONDS = 60.0
"""Between two tries of a parked credential: a top-up shows within a minute, and a minute's call harms nobody."""


class _Rest:
    __slots__ = ("began", "parked", "pause", "until")

    def __init__(self, began: float, until: float, pause: float, parked: bool) -> None:
        self.began = began
        self.until = until
        self.pause = pause
        self.parked = parked


@dataclass(frozen=True, slots=True)
class Resting:
    """For /state. seconds: until the next try."""

    key: Hashable
    parked: bool
    seconds: float


class Cooldowns:
    """limit: keys remembered at most, since models and credentials are named by agents; the oldest rest goes first."""

    __slots__ = ("_limit", "_rests")

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._rests: OrderedDict[Hashable, _Rest] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether anybody rests at all; lets callers skip making a key."""
        return bool(self._rests)

    def rest(self, key: Hashable, now: float, seconds: float) -> None:
        """A transient 429: not the first choice for so long. Never shortens a rest, nor ends a parking."""
        present = self._rests.get(key)
        if present is None or (not present.parked and present.until < now + seconds):
            self._put(key, _Rest(now, now + seconds, 0.0, False))

    def park(self, key: Hashable, now: float, seconds: float = PARK_SECONDS) -> None:
        """A terminal quota error: one try in so many seconds, until one succeeds."""
        self._put(key, _Rest(now, now + seconds, seconds, True))

    def seconds(self, key: Hashable, now: float) -> float:
        """Until the key may be tried; 0 when it may be now. Takes no turn."""
        found = self._rests.get(key)
        return max(0.0, found.until - now) if found else 0.0

    def due(self, key: Hashable, now: float, sole: bool = False) -> bool:
        """Whether this call may use the key now. Of a parked one that takes the turn: the next is a minute later.
        A sole candidate is always tried."""
        found = self._rests.get(key)
        if found is None:
            return True
        if found.until > now:
            return sole
        if found.parked:
            found.until = now + found.pause
        else:
            del self._rests[key]
        return True

    def clear(self, key: Hashable, started: float) -> None:
        """A call that started then has succeeded. One from before the rest says nothing about it."""
        found = self._rests.get(key)
        if found and started >= found.began:
            del self._rests[key]

    def snapshot(self, now: float) -> list[Resting]:
        """Who rests now, and who is parked."""
        return [
            Resting(key, rest.parked, max(0.0, rest.until - now))
            for key, rest in self._rests.items()
            if rest.parked or rest.until > now
        ]

    def _put(self, key: Hashable, rest: _Rest) -> None:
        self._rests.pop(key, None)
        self._rests[key] = rest
        if len(self._rests) > self._limit:
            self._rests.popitem(last=False)
