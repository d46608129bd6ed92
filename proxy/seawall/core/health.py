"""How one upstream has been doing lately: rates and percentiles for /health, /state and metrics.

It only counts. Whether a call may be made is the breaker's business, and nothing here may ever refuse one.
"""

import math
from dataclasses import dataclass
from itertools import accumulate

from seawall.core.window import PARTS, Window

# Latencies fall into cells that grow by a tenth, from 1 ms to 1,000 s: a cell's middle is within 5 % of what it holds.
_SHORTEST, _GROWTH = 0.001, 1.1
_CELLS = math.ceil(math.log(1_000_000) / math.log(_GROWTH)) + 1
_CALLS, _ERRORS, _FIRST_CELL = 0, 1, 2
_PER_LOG = 1 / math.log(_GROWTH)


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """Latencies in seconds within 5 %, None without any; rates 0 to 1. All over the window but `total_calls` and
    `availability`, which are over the process's life."""

    calls: int
    error_rate: float
    p50: float | None
    p95: float | None
    p99: float | None
    total_calls: int
    availability: float


class Health:
    """window: seconds. About 15 kB, whatever the traffic."""

    __slots__ = ("_total", "_total_errors", "_window")

    def __init__(self, window: float = 60.0) -> None:
        self._window = Window(window / PARTS, PARTS, _FIRST_CELL + _CELLS)
        self._total = 0
        self._total_errors = 0

    def record(self, now: float, ok: bool, seconds: float | None = None) -> None:
        """One sample per call and upstream that says something about it (GOOD or BAD, never VOID or ignored).

        seconds: what an agent waits for: the first content of a stream, the whole of another answer; None: unknown.
        """
        self._total += 1
        self._window.add(now, _CALLS)
        if not ok:
            self._total_errors += 1
            self._window.add(now, _ERRORS)
        if seconds is not None:
            self._window.add(now, _FIRST_CELL + _cell(seconds))

    def snapshot(self, now: float) -> HealthSnapshot:
        self._window.advance(now)
        calls, errors, *cells = self._window.sums
        p50, p95, p99 = (_quantile(cells, share) for share in (0.50, 0.95, 0.99))
        rate = errors / calls if calls else 0.0
        availability = (self._total - self._total_errors) / self._total if self._total else 1.0
        return HealthSnapshot(calls, rate, p50, p95, p99, self._total, availability)


def _cell(seconds: float) -> int:
    if seconds <= _SHORTEST:
        return 0
    return min(_CELLS - 1, int(math.log(seconds / _SHORTEST) * _PER_LOG))


def _quantile(cells: list[int], share: float) -> float | None:
    """Nearest rank, as the geometric middle of its cell."""
    rank = math.ceil(sum(cells) * share)
    if not rank:
        return None
    seen = accumulate(cells)
    cell = next(index for index, count in enumerate(seen) if count >= rank)
    return _SHORTEST * math.pow(_GROWTH, cell + 0.5)
