"""How long an upstream takes to its first content, from its latest answers: what a hedge's delay is measured by.

Memory and time per sample do not depend on traffic. It only counts; whether to hedge is the race's business.
"""

import math
from bisect import bisect_left, insort
from collections import deque

SAMPLES = 256
"""Kept at most; about 4 kB."""
ENOUGH = 100
"""Fewer say too little about a tail (SEMANTICS §4)."""
UNKNOWN = 2.0
"""Seconds; the delay while there are too few."""
FLOOR = 0.1
"""Seconds; a shorter delay would hedge on noise."""


class Latencies:
    """The last SAMPLES of them, in seconds."""

    __slots__ = ("_latest", "_sorted")

    def __init__(self) -> None:
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """One answer's. Of one that was given up when another won, as long as it had taken by then: it is known to be
        in the tail, and without it the tail would seem to vanish."""
        if len(self._latest) >= SAMPLES:
            oldest = self._latest.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
        self._latest.append(seconds)
        insort(self._sorted, seconds)

    def __len__(self) -> int:
        return len(self._latest)

    def p95(self) -> float | None:
        """By nearest rank; None without any sample."""
        count = len(self._sorted)
        return self._sorted[math.ceil(0.95 * count) - 1] if count else None

    def hedging_delay(self) -> float:
        """Seconds after which the next attempt starts, where the policy says `P95`."""
        found = self.p95()
        return UNKNOWN if found is None or len(self) < ENOUGH else max(FLOOR, found)
