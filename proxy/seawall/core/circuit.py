"""What goes into a circuit breaker and comes out of it. Values only; the machine is in breaker.py."""

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seawall.clock import Rng


class State(enum.Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    ISOLATED = "isolated"
    FORCED_CLOSED = "forced_closed"


class Verdict(enum.Enum):
    GOOD = "good"
    BAD = "bad"
    VOID = "void"
    """Says nothing about the upstream: cancelled, or failed by our own doing. Gives the permit back."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Percents are 0 to 100, times are seconds. 0 turns off the trip of `consecutive_failures`, `failure_percent` or
    `slow_percent`; `slow_call` None turns slowness off. `permits` and `successes` count as 1 at least."""

    consecutive_failures: int
    failure_percent: float
    window: float
    minimum_calls: int
    slow_call: float | None
    """First content later than this is slow. The caller measures it and says so to `settle`."""
    slow_percent: float
    open_base: float
    open_max: float
    """Of the doubled base; jitter comes on top, so that breakers which reached it do not probe in step."""
    jitter_percent: float
    forget_after: float
    """Closed for so long, the next opening is a first one again."""
    permits: int
    successes: int
    ramp_seconds: float
    ramp_start_percent: float
    sole_open_max: float = 30.0
    sole_pass_percent: float = 10.0


@dataclass(frozen=True, slots=True)
class Moved:
    """A change of state. until: when the opening ends, on the clock of `now`; None for other states."""

    before: State
    after: State
    reason: str
    until: float | None = None


class Ticket:
    """Leave to make one call; settle it exactly once, whatever happens to the call."""

    __slots__ = ("epoch", "holds", "live", "moved", "probe")

    def __init__(self, epoch: int, probe: bool = False, moved: tuple[Moved, ...] = ()) -> None:
        self.epoch = epoch
        self.probe = probe
        """Its end decides whether the circuit closes."""
        self.holds = probe
        """It holds a half-open permit."""
        self.live = True
        """Not settled yet."""
        self.moved = moved
        """What its admission did to the state, to be told along with what `settle` returns."""


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """For /state. Rates are 0 to 1, `open_until` is on the clock of `now`."""

    state: State
    reason: str
    """Of the last move."""
    calls: int
    failure_rate: float
    slow_rate: float
    consecutive_failures: int
    open_until: float | None
    level: int
    """k of the present opening, or of the next one; the opening lasts open_base * 2^k."""
    permits_out: int
    ramp_percent: float
    """Share of calls admitted while closed; 0 in other states."""


class Lot:
    """One draw for two circuits: a share of 10 % of the calls stays 10 % where both of them draw."""

    __slots__ = ("_drawn", "_rng")

    def __init__(self, rng: "Rng") -> None:
        self._rng = rng
        self._drawn = -1.0

    def random(self) -> float:
        if self._drawn < 0:
            self._drawn = self._rng.random()
        return self._drawn
