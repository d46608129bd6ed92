"""The only source of time and randomness. Machines get numbers; everything else gets one of these Protocols."""

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: `now` for durations and deadlines, `wall` for what people and HTTP dates read."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC."""


class Rng(Protocol):
    def random(self) -> float:
        """A number in [0, 1)."""


class SystemClock:
    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


def system_rng() -> Rng:
    return random.Random()
