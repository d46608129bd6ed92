"""What to do after a failed attempt: wait and try the same upstream, take the next candidate, or stop (SEMANTICS §2).

A pure decision over the fault's row in the taxonomy; the engine only executes it. It must never send again what may
have had effects, wait for longer than the call has left, or take from the retry budget for a retry that is not made.
"""

import enum
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seawall import faults
from seawall.types import Safety

if TYPE_CHECKING:
    from seawall.clock import Rng

LONGEST_HINT = 86_400.0
"""Seconds; a hint above a day is taken for a mistake and ignored, as negative, infinite and NaN ones are."""


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """attempts: retries per call, 0 or more, however many upstreams it visits. base, cap: of the back-off, seconds.
    retry_after_max: the longest hint that is waited for, seconds. codes: HTTP statuses to retry, in place of the
    taxonomy's choice; None leaves it to the taxonomy."""

    attempts: int
    base: float
    cap: float
    retry_after_max: float
    codes: frozenset[int] | None = None


class Why(enum.Enum):
    """Why the same upstream is not tried again. For logs; values are stable."""

    NOT_RETRYABLE = "not retryable"
    UNSAFE = "the request may have had effects"
    PREFERRED = "another upstream is better"
    ATTEMPTS = "no retries left"
    ONCE = "retried once already"
    PROBE = "it was a probe"
    OPEN = "breaker open"
    HINT = "asked to wait too long"
    DEADLINE = "no time left"
    UNREPEATABLE = "the request can not be sent again"
    BUDGET = "retry budget spent"


@dataclass(frozen=True, slots=True)
class Wait:
    """Try the same upstream again after so many seconds (0: at once)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Next:
    """Go to the next candidate now. Without an `admissible` one this is the engine's last way to look for a place."""

    why: Why


@dataclass(frozen=True, slots=True)
class Stop:
    """Give the call up: fall back, or answer with the fault."""

    why: Why


Decision = Wait | Next | Stop


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the call stands when an attempt has failed.

    at: identity of the candidate that was tried.
    another: a candidate is left that this call has not tried. admissible: one of those would be admitted now (breaker,
    cooldown, limits).
    listed: the route's `fallbackOn` names the fault. open: this upstream's breaker refuses calls by now.
    probe: the attempt was a half-open probe. left: seconds to the call's deadline; None: it has none.
    repeatable: False when the body was too large to keep, or some of an answer has reached the agent.
    """

    at: Hashable
    another: bool = False
    admissible: bool = False
    listed: bool = False
    open: bool = False
    probe: bool = False
    left: float | None = None
    repeatable: bool = True


def delay(n: int, base: float, cap: float, rng: "Rng") -> float:
    """Seconds before retry n (0 is the first): full jitter, random(0, min(cap, base * 2^n)) [AWS, gRPC]."""
    return rng.random() * min(cap, base * 2.0 ** min(n, 64))


def hinted_delay(hint: float, rng: "Rng") -> float:
    """Seconds to wait for a hint: never less than it says, up to half as much again, so that callers who were told
    the same do not come back together."""
    return hint * (1 + rng.random() / 2)


class Retry:
    """The retries of one call. Make one at the call's first fault: a call without any needs none.

    pinned: conversation state ties the call to its upstream. sdk_retry_count: of `x-stainless-retry-count`; an agent's
    SDK that retries by itself has spent that many of our attempts, else the two would multiply.
    """

    __slots__ = ("_given", "_left", "_pinned", "_safety", "_settings", "retries", "sent")

    def __init__(
        self, settings: RetrySettings, safety: Safety, *, pinned: bool = False, sdk_retry_count: int = 0
    ) -> None:
        self._settings = settings
        self._safety = safety
        self._pinned = pinned
        self._left = max(0, settings.attempts - max(0, sdk_retry_count))
        self._given: dict[tuple[Hashable, faults.Code | None], int] = {}
        """Retries by candidate and fault; with None for all faults that drew on the attempts."""
        self.sent = False
        """Some attempt of the call may have had effects, whatever became of later ones."""
        self.retries = 0
        """Retries that drew on attempts and budget. Above 0, giving up answers `x-should-retry: false`."""

    def next(self, fault: faults.Fault, standing: Standing, withdraw: Callable[[], bool], rng: "Rng") -> Decision:
        """Decide after `fault`. `withdraw` takes one retry from the upstream's budget; it is called at most once, and
        only when nothing else speaks against the retry."""
        self.sent = self.sent or fault.sent
        if standing.left is not None and standing.left <= 0:
            return Stop(Why.DEADLINE)
        if not standing.repeatable:
            return Stop(Why.UNREPEATABLE)
        if fault.final:
            return Stop(Why.NOT_RETRYABLE)
        may_move = self._may_move(fault, standing)
        wait = self._same_again(fault, standing, may_move and standing.admissible, withdraw, rng)
        if isinstance(wait, Why):
            return Next(wait) if may_move else Stop(wait)
        return Wait(wait)

    def _may_move(self, fault: faults.Fault, standing: Standing) -> bool:
        if not standing.another or self._pinned:
            return False
        if self.sent and self._safety in (Safety.KEYED, Safety.UNSAFE):
            return False  # the key is known to this upstream only
        match fault.rule.failover:
            case faults.Failover.NO:
                return False
            case faults.Failover.LISTED:
                return standing.listed
            case _:
                return True

    def _same_again(
        self, fault: faults.Fault, standing: Standing, elsewhere: bool, withdraw: Callable[[], bool], rng: "Rng"
    ) -> float | Why:
        """Seconds until the retry, or why there is none. elsewhere: the call could move on and be admitted."""
        if self.sent and self._safety is Safety.UNSAFE:
            return Why.UNSAFE
        stale = (standing.at, faults.Code.STALE_CONNECTION)
        if fault.code is faults.Code.STALE_CONNECTION and stale not in self._given and not standing.open:
            self._given[stale] = 1  # nothing was tried yet: free, at once, and a probe may too
            return 0.0
        against = self._against(fault, standing, elsewhere)
        if against:
            return against
        wait = self._wait(fault, standing, rng)
        if isinstance(wait, Why):
            return wait
        if not withdraw():
            return Why.BUDGET
        self._left -= 1
        self.retries += 1
        for counted in ((standing.at, fault.code), (standing.at, None)):
            self._given[counted] = self._given.get(counted, 0) + 1
        return wait

    def _against(self, fault: faults.Fault, standing: Standing, elsewhere: bool) -> Why | None:
        retry = self._by_policy(fault)
        if retry is faults.Retry.NEVER:
            return Why.NOT_RETRYABLE
        if elsewhere and (retry is faults.Retry.LAST_RESORT or fault.rule.failover is faults.Failover.PREFERRED):
            return Why.PREFERRED
        if self._left <= 0:
            return Why.ATTEMPTS
        if retry is faults.Retry.ONCE and (standing.at, fault.code) in self._given:
            return Why.ONCE
        if standing.probe:
            return Why.PROBE
        if standing.open:
            return Why.OPEN
        return None

    def _by_policy(self, fault: faults.Fault) -> faults.Retry:
        """The taxonomy's choice, unless the policy's `codes` speak about this status. They never reach a spent quota
        (no retry brings it back) or an error inside a 2xx answer (its status says nothing)."""
        codes, status = self._settings.codes, fault.status
        if codes is None or status is None or 200 <= status < 300 or fault.rule.sample is faults.Sample.PARK:
            return fault.rule.retry
        return faults.Retry.YES if status in codes else faults.Retry.NEVER

    def _wait(self, fault: faults.Fault, standing: Standing, rng: "Rng") -> float | Why:
        rule, settings, hint = fault.rule, self._settings, fault.hint
        if rule.hinted and hint is not None and 0 < hint <= LONGEST_HINT:
            if hint > settings.retry_after_max:
                return Why.HINT
            seconds = hinted_delay(hint, rng)
        else:
            base = settings.base if rule.backoff is None else max(rule.backoff, settings.base)
            seconds = delay(self._given.get((standing.at, None), 0), base, settings.cap, rng)
        return Why.DEADLINE if standing.left is not None and seconds >= standing.left else seconds
