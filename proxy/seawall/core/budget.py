"""The retry budget of one upstream: retries and hedges may add so many percent to the first attempts, and no more.

It keeps an outage from being answered with a storm (SEMANTICS §2; Finagle's RetryBudget, Gateway API's
`retryConstraint`). It must never be asked about a first attempt, not even at another upstream: that is no extra load.
"""

from dataclasses import dataclass

from seawall.core.window import PARTS, Window


@dataclass(frozen=True, slots=True)
class BudgetSnapshot:
    first_attempts: int
    """In the interval that ends now."""
    withdrawn: int
    """Retries and hedges of that interval (remembered up to a tenth longer)."""
    balance: float
    """What may be withdrawn now; below 1 the budget is spent."""


class Budget:
    """percent: extra attempts per 100 first ones, 0 or more. interval: seconds, above 0. min_per_second: extra attempts
    that are there without any traffic, so that a quiet upstream can be retried at all."""

    __slots__ = ("_firsts", "_interval", "_min_per_second", "_percent", "_withdrawn")

    def __init__(self, percent: float, interval: float, min_per_second: float) -> None:
        self._percent = percent
        self._interval = interval
        self._min_per_second = min_per_second
        width = interval / PARTS
        self._firsts = Window(width, PARTS, 1)
        # One cell more: a withdrawal is remembered for a whole interval at least, a deposit for one at most. So
        # the limit holds over every interval, however it lies to the cells.
        self._withdrawn = Window(width, PARTS + 1, 1)

    def configure(self, percent: float, interval: float, min_per_second: float) -> None:
        """Take new settings in place; what was deposited and withdrawn stays."""
        self._percent = percent
        self._interval = interval
        self._min_per_second = min_per_second
        self._firsts.rescale(interval / PARTS)
        self._withdrawn.rescale(interval / PARTS)

    def deposit(self, now: float) -> None:
        """A first attempt at this upstream was made."""
        self._firsts.add(now, 0)

    def withdraw(self, now: float) -> bool:
        """Ask for one retry or hedge; call it only when that would really be made. False: the budget is spent."""
        if self.spent(now):
            return False
        self._withdrawn.add(now, 0)
        return True

    def spent(self, now: float) -> bool:
        """Whether it would refuse."""
        return self._balance(now) < 1.0

    def snapshot(self, now: float) -> BudgetSnapshot:
        balance = self._balance(now)
        return BudgetSnapshot(self._firsts.sums[0], self._withdrawn.sums[0], max(0.0, balance))

    def _balance(self, now: float) -> float:
        self._firsts.advance(now)
        self._withdrawn.advance(now)
        allowed = self._firsts.sums[0] * self._percent / 100 + self._min_per_second * self._interval
        return allowed - self._withdrawn.sums[0]


class HedgeBudget:
    """Hedges may add so many percent to the calls of an upstream that could be hedged, and no more (SEMANTICS §4).

    A bucket without a clock: a quiet sidecar earns its hedges call by call. At most `_MOST` are saved up.
    """

    __slots__ = ("_balance",)
    _PERCENT = 5
    _MOST = 10.0

    def __init__(self) -> None:
        self._balance = 1.0

    def deposit(self) -> None:
        """A call began that could be hedged."""
        self._balance = min(self._MOST, self._balance + self._PERCENT / 100)

    def withdraw(self) -> bool:
        """Ask for one hedge. False: they would be more than the share."""
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True
