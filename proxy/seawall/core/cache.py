"""What a cache may do with a call: give a kept answer, ask whether it still holds, or leave it alone (SEMANTICS §6).

Decisions over values; whoever drives them keeps, sends and answers. They never look at a clock: `now` and all times are
wall-clock seconds since 1970, since entries outlive the process. A clock that was set back makes an answer's age
unknown, and an answer of unknown age is never given unasked. How long an answer is fresh is decided where it is kept:
by its own fields in cache_http.py, by policy in cache_model.py.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from seawall.core import cache_fields as fields
from seawall.core.cache_fields import Directives
from seawall.types import Headers

SKEW = 10.0
"""Seconds by which the clocks of replicas that share a store may differ."""


# What is made anew for each answer that is given is a msgspec struct: a frozen dataclass costs five times as much.


class Scope(enum.Enum):
    """Who shares answers."""

    TENANT = "Tenant"
    NAMESPACE = "Namespace"


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Of one rule. Seconds and bytes.

    ttl: how long answers are fresh: model calls' always, others' where they say nothing themselves. 0: never.
    while_revalidate, if_error: how long beyond that they may be given while they are renewed, or when that fails, where
    an answer does not say so itself. negative_ttl: the same as ttl for refusals that would be repeated; 0: not kept.
    heuristic: a tenth of the time since the last modification counts, where neither answer nor ttl says anything.
    """

    ttl: float = 0.0
    while_revalidate: float = 0.0
    if_error: float = 0.0
    negative_ttl: float = 0.0
    scope: Scope = Scope.TENANT
    nondeterministic: bool = False
    tool_calls: bool = False
    heuristic: bool = False
    max_entry: int = 1024 * 1024
    store: str = ""
    timeout: float = 0.05

    @property
    def shared(self) -> bool:
        """Several tenants see an answer, so that RFC 9111's rules for shared caches hold. Otherwise the cache is a
        private one: `private` answers are kept, `s-maxage` says nothing."""
        return self.scope is Scope.NAMESPACE


class Stored(msgspec.Struct, frozen=True):
    """What a decision needs to know of a kept answer.

    fresh_seconds: from response_time on, as `Keep` said. must_revalidate: it is never given once it is stale.
    request_time, response_time: when it was asked for, and when its head came or it was last found to hold.
    """

    status: int
    headers: Headers
    fresh_seconds: float
    request_time: float
    response_time: float
    must_revalidate: bool = False


class Keep(msgspec.Struct, frozen=True):
    """Keep an answer.

    fresh_seconds: from when its head came; below 0 for one that was stale when it came. keep_seconds: how much longer
    it is of use: stale, or to be validated. vary: the request fields on which it depends.
    """

    headers: Headers
    fresh_seconds: float
    keep_seconds: float
    must_revalidate: bool = False
    vary: tuple[bytes, ...] = ()


class Why(enum.Enum):
    """Why a call is none for the cache, or an answer is not kept. For logs and metrics; values are stable."""

    METHOD = "method"
    REQUEST = "request says no-store"
    ANSWER = "answer says no-store"
    RANGE = "range"
    CONDITION = "condition"
    BODY = "request has a body"
    STATUS = "status"
    INCOMPLETE = "incomplete"
    TOO_LARGE = "too large"
    COOKIE = "sets a cookie"
    VARY = "varies on everything"
    PRIVATE = "private, and the cache is shared"
    AUTHORIZED = "authorized, and the cache is shared"
    NO_LIFETIME = "no lifetime"
    NONDETERMINISTIC = "nondeterministic"
    TOOL_CALLS = "calls tools"
    UNFINISHED = "did not finish normally"


@dataclass(frozen=True, slots=True)
class Pass:
    """Nothing is kept, or looked up, for this reason. detail: what a dialect says of it."""

    why: Why
    detail: str = ""


class Forward(enum.Enum):
    """Why a call goes to an upstream: `fwd` of a Cache-Status (RFC 9211 §2.2)."""

    BYPASS = "bypass"
    METHOD = "method"
    URI_MISS = "uri-miss"
    VARY_MISS = "vary-miss"
    REQUEST = "request"
    STALE = "stale"


class Hit(msgspec.Struct, frozen=True):
    """Give the kept answer. age, ttl: seconds; a ttl below 0 is how long it has been stale. not_modified: as a 304, for
    the agent has it already."""

    age: float
    ttl: float
    not_modified: bool = False


@dataclass(frozen=True, slots=True)
class Stale:
    """Give the kept answer now, and renew it behind the agent's back with a request that has these fields."""

    hit: Hit
    conditions: Headers


@dataclass(frozen=True, slots=True)
class Revalidate:
    """Ask an upstream first.

    conditions: they take the place of the agent's own If-None-Match and If-Modified-Since; none: the agent's stay, and
    a 304 is then for the agent. on_error: the kept answer may be given if no upstream has one.
    """

    forward: Forward
    conditions: Headers
    on_error: Hit | None


@dataclass(frozen=True, slots=True)
class Miss:
    forward: Forward


@dataclass(frozen=True, slots=True)
class Bypass:
    """Neither look up nor keep."""

    forward: Forward
    why: Why


@dataclass(frozen=True, slots=True)
class OnlyIfCached:
    """Answer 504: the agent wants a kept answer, and there is none for it (RFC 9111 §5.2.1.7)."""


Decision = Hit | Stale | Revalidate | Miss | Bypass | OnlyIfCached


class Windows(msgspec.Struct, frozen=True):
    """How a stale answer may be used, in seconds after it was fresh. valid: it may be used at all without asking."""

    while_revalidate: float
    if_error: float
    valid: bool = True


def current_age(stored: Stored, now: float) -> float | None:
    """RFC 9111 §4.2.3, in seconds. None: the clock has been set back since, so that nobody can tell."""
    resident = _resident(stored, now)
    if resident is None:
        return None
    return initial_age(stored.headers, stored.request_time, stored.response_time) + resident


def initial_age(headers: Headers, request_time: float, response_time: float) -> float:
    """The age of an answer when it came: `corrected_initial_age` of RFC 9111 §4.2.3, in seconds."""
    date = fields.date(headers, b"date", response_time) if headers else None
    apparent = max(0.0, response_time - date) if date is not None else 0.0
    delay = max(0.0, response_time - request_time)
    return max(apparent, fields.age(headers) + delay)


def _resident(stored: Stored, now: float) -> float | None:
    seconds = now - stored.response_time
    return None if seconds < -SKEW else max(0.0, seconds)


def decide(
    asked: Directives, stored: Stored, windows: Windows, conditions: Headers, now: float, *, not_modified: bool = False
) -> Decision:
    """What to do with a kept answer that is this call's. conditions: what would validate it. not_modified: the agent
    has it already."""
    age, resident = current_age(stored, now), _resident(stored, now)
    if age is None or resident is None:
        return _ask(asked, Forward.STALE, conditions, None)
    hit = Hit(age, stored.fresh_seconds - resident, not_modified)
    if not windows.valid or asked.no_cache:
        return _ask(asked, Forward.REQUEST if asked.no_cache else Forward.STALE, conditions, None)
    late = -hit.ttl
    refused = _refused(asked, hit)
    if late < 0 and not refused:
        return hit
    may_be_stale = not stored.must_revalidate
    if may_be_stale and not refused:
        if asked.max_stale is not None and late <= asked.max_stale:
            return hit
        if late < windows.while_revalidate and not asked.only_if_cached:
            return Stale(hit, conditions)
    return _ask(
        asked,
        Forward.REQUEST if refused else Forward.STALE,
        conditions,
        hit if may_be_stale and _usable_on_error(asked, hit, windows, refused) else None,
    )


def on_error(
    asked: Directives, stored: Stored, windows: Windows, now: float, *, not_modified: bool = False
) -> Hit | None:
    """Whether the kept answer may be given now that no upstream has one: for the step StaleCache, when it is taken."""
    match decide(asked, stored, windows, [], now, not_modified=not_modified):
        case Hit() as hit:
            return hit
        case Stale(hit=hit):
            return hit
        case Revalidate(on_error=hit):
            return hit
    return None


def _refused(asked: Directives, hit: Hit) -> bool:
    """Whether the agent wants a younger one."""
    if asked.max_age is not None and hit.age > asked.max_age:
        return True
    return asked.min_fresh is not None and hit.ttl < asked.min_fresh


def _usable_on_error(asked: Directives, hit: Hit, windows: Windows, refused: bool) -> bool:
    """The agent's own stale-if-error counts before all else (RFC 5861 §4): it may widen the time, or say 0. Without it
    an answer that it called too old stays so."""
    late = -hit.ttl
    if asked.stale_if_error is not None:
        return late < asked.stale_if_error and (not refused or asked.stale_if_error > 0)
    return not refused and late < windows.if_error


def _ask(asked: Directives, forward: Forward, conditions: Headers, hit: Hit | None) -> Decision:
    return OnlyIfCached() if asked.only_if_cached else Revalidate(forward, conditions, hit)


def no_answer(asked: Directives, forward: Forward) -> Decision:
    """Nothing of this call's is kept."""
    return OnlyIfCached() if asked.only_if_cached else Miss(forward)


def without(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> Headers:
    return [field for field in headers if field[0].lower() not in names]
