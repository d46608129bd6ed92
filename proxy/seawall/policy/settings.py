"""Effective settings in the units that machines take: seconds, bytes, whole percents. Complete and typed, so that
compiling them cannot fail.

Built from merged fields only (the models checked each value, defaults.py fills the gaps).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast

from seawall.policy.cache_settings import Cache, cache_of
from seawall.policy.defaults import DEFAULT
from seawall.policy.units import seconds, size_bytes

Value = str | int | tuple[str | int, ...]
Values = Mapping[str, Value]
"""Fields as written, by dotted path: `retry.backoff.base` → `500ms`."""

S = TypeVar("S")

Commit = Literal["FirstContent", "Complete", "Headers"]
TIMEOUT_NAMES = ("request", "backendRequest", "connect", "firstByte", "firstContent", "streamIdle", "agentWrite")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; None: no such limit (unset, or `0s`)."""

    request: float | None = None
    request_set: bool = False
    """Some document says so: `request` then holds for streams as well, not only for plain calls."""
    backend_request: float | None = None
    connect: float = 0.0
    """Always above 0 in a rule's and a backend's timeouts."""
    first_byte: float | None = None
    first_content: float | None = None
    stream_idle: float | None = None
    agent_write: float = 0.0
    """Always above 0 in a rule's and a backend's timeouts."""
    stream_idle_set: bool = False
    """Some document says so: `stream_idle` then holds for WebSockets as well."""


@dataclass(frozen=True, slots=True)
class Retry:
    attempts: int
    """Retries on one upstream, 0 to 10; tries there are one more."""
    backoff_base: float
    backoff_max: float
    """Not below the base."""
    codes: frozenset[int]
    """Statuses (400 to 599) that are retried, in place of the taxonomy's choice; empty: the taxonomy's."""
    retry_after_max: float


@dataclass(frozen=True, slots=True)
class MinProgress:
    events: int
    interval: float


@dataclass(frozen=True, slots=True)
class Streaming:
    commit: Commit
    max_hold: int
    min_progress: MinProgress | None
    keep_alive: float | None
    """Seconds; None: nothing is said while an answer is held."""


@dataclass(frozen=True, slots=True)
class Limits:
    max_body: int | None
    """Bytes; None: any."""
    replay_buffer: int
    """Bytes; 0: no body is ever replayed."""


@dataclass(frozen=True, slots=True)
class Hedging:
    attempts: int
    """In parallel at most, 2 to 10."""
    delay: float | None
    """Seconds between two starts, 0: all at once; None: the 95th percentile of what was measured."""


@dataclass(frozen=True, slots=True)
class StaticResponse:
    status: int
    """200, or 400 to 599."""
    text: str
    """`{model}`, `{requestId}` and `{code}` stand for the request's model and id, and for why it failed."""


@dataclass(frozen=True, slots=True)
class RuleSettings:
    timeouts: Timeouts
    retry: Retry
    hedging: Hedging | None
    streaming: Streaming
    limits: Limits
    fallback_on: frozenset[str]
    fallback: StaticResponse | None
    stale_cache: bool
    """A stale answer comes before that."""
    cache: Cache | None
    offline: bool
    """No upstream is asked; calls go straight to the fallback."""
    sticky: bool
    """A conversation stays with the upstream that answered it."""
    client_hints: frozenset[str]
    """What agents may ask for by `x-seawall-*` fields: `Priority`, `Timeout`, `CacheTTL`."""


@dataclass(frozen=True, slots=True)
class RetryConstraint:
    percent: int
    interval: float
    min_count: int
    min_interval: float

    @property
    def min_per_second(self) -> float:
        return self.min_count / self.min_interval


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """0 switches `consecutive_failures`, `error_percent` and `slow_percent` off; `slow_call` None switches slowness
    off."""

    consecutive_failures: int
    error_percent: int
    error_window: float
    minimum_calls: int
    slow_call: float | None
    slow_percent: int
    open_base: float
    open_max: float
    """Not below the base."""
    jitter_percent: int
    forget_after: float
    half_open_permits: int
    half_open_successes: int
    ramp_up: float
    """0: at once."""
    ramp_start_percent: int


@dataclass(frozen=True, slots=True)
class Concurrency:
    max_parallel: int
    max_pending: int
    queue_timeout: float


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    retry_constraint: RetryConstraint
    circuit_breaker: CircuitBreaker
    concurrency: Concurrency


@dataclass(frozen=True, slots=True)
class Shadow(Generic[S]):
    """What would hold if policies with `enforcement: Shadow` were enforced. `values` and `sources`: only of the fields
    that would be different."""

    settings: S
    values: Values
    sources: Mapping[str, str]


def timeouts_of(values: Values, sources: Mapping[str, str]) -> Timeouts:
    def limit(name: str) -> float | None:
        return _seconds(values, f"timeouts.{name}") or None

    return Timeouts(
        request=limit("request"),
        request_set=sources.get("timeouts.request", DEFAULT) != DEFAULT,
        backend_request=limit("backendRequest"),
        connect=_seconds(values, "timeouts.connect"),
        first_byte=limit("firstByte"),
        first_content=limit("firstContent"),
        stream_idle=limit("streamIdle"),
        agent_write=_seconds(values, "timeouts.agentWrite"),
        stream_idle_set=sources.get("timeouts.streamIdle", DEFAULT) != DEFAULT,
    )


def rule_settings(values: Values, sources: Mapping[str, str]) -> RuleSettings:
    base = _seconds(values, "retry.backoff.base")
    events = _int(values, "streaming.minProgress.events")
    return RuleSettings(
        timeouts=timeouts_of(values, sources),
        retry=Retry(
            attempts=_int(values, "retry.attempts"),
            backoff_base=base,
            backoff_max=max(base, _seconds(values, "retry.backoff.max")),
            codes=frozenset(int(code) for code in _list(values, "retry.codes")),
            retry_after_max=_seconds(values, "retry.retryAfterMax"),
        ),
        hedging=_hedging(values),
        streaming=Streaming(
            commit=cast("Commit", values["streaming.commit"]),
            max_hold=size_bytes(str(values["streaming.maxHold"])),
            min_progress=MinProgress(events, _seconds(values, "streaming.minProgress.interval")) if events else None,
            keep_alive=_seconds(values, "streaming.keepAlive") or None,
        ),
        limits=Limits(
            max_body=size_bytes(str(values["limits.maxBody"])) if "limits.maxBody" in values else None,
            replay_buffer=size_bytes(str(values["limits.replayBuffer"])),
        ),
        fallback_on=frozenset(str(name) for name in _list(values, "fallbackOn")),
        fallback=_fallback(values),
        stale_cache=any(json.loads(str(step))["type"] == "StaleCache" for step in _list(values, "fallback")),
        cache=cache_of(values),
        offline=values.get("offline") == "Enabled",
        sticky=values.get("sticky") == "Conversation",
        client_hints=frozenset(str(name) for name in _list(values, "clientHints")),
    )


def _fallback(values: Values) -> StaticResponse | None:
    for step in _list(values, "fallback"):
        fields = json.loads(str(step))
        if fields["type"] == "StaticResponse":
            return StaticResponse(fields.get("status", 503), fields.get("text", ""))
    return None


def _hedging(values: Values) -> Hedging | None:
    """None where no document asks for any, or one attempt is all that may be made."""
    if not any(f"hedging.{name}" in values for name in ("maxAttempts", "hedgingDelay")):
        return None
    attempts = _int({"hedging.maxAttempts": 2, **values}, "hedging.maxAttempts")
    delay = str(values.get("hedging.hedgingDelay", "P95"))
    return Hedging(attempts, None if delay == "P95" else seconds(delay)) if attempts > 1 else None


def upstream_settings(values: Values) -> UpstreamSettings:
    return UpstreamSettings(
        retry_constraint=RetryConstraint(
            percent=_int(values, "retryConstraint.budget.percent"),
            interval=_seconds(values, "retryConstraint.budget.interval"),
            min_count=_int(values, "retryConstraint.minRetryRate.count"),
            min_interval=_seconds(values, "retryConstraint.minRetryRate.interval"),
        ),
        circuit_breaker=_circuit_breaker(values),
        concurrency=Concurrency(
            max_parallel=_int(values, "concurrency.maxParallelRequests"),
            max_pending=_int(values, "concurrency.maxPendingRequests"),
            queue_timeout=_seconds(values, "concurrency.queueTimeout"),
        ),
    )


def _circuit_breaker(values: Values) -> CircuitBreaker:
    base = _seconds(values, "circuitBreaker.open.base")
    return CircuitBreaker(
        consecutive_failures=_int(values, "circuitBreaker.consecutiveFailures"),
        error_percent=_int(values, "circuitBreaker.errorRate.percent"),
        error_window=_seconds(values, "circuitBreaker.errorRate.window"),
        minimum_calls=_int(values, "circuitBreaker.errorRate.minimumCalls"),
        slow_call=_seconds(values, "circuitBreaker.slowCall.duration") or None,
        slow_percent=_int(values, "circuitBreaker.slowCall.percent"),
        open_base=base,
        open_max=max(base, _seconds(values, "circuitBreaker.open.max")),
        jitter_percent=_int(values, "circuitBreaker.open.jitterPercent"),
        forget_after=_seconds(values, "circuitBreaker.open.forgetAfter"),
        half_open_permits=_int(values, "circuitBreaker.halfOpen.permits"),
        half_open_successes=_int(values, "circuitBreaker.halfOpen.successes"),
        ramp_up=_seconds(values, "circuitBreaker.rampUp.duration"),
        ramp_start_percent=_int(values, "circuitBreaker.rampUp.startPercent"),
    )


def _seconds(values: Values, path: str) -> float:
    """0 where the field is not set."""
    return seconds(str(values.get(path, "0s")))


def _int(values: Values, path: str) -> int:
    value = values.get(path, 0)
    return value if isinstance(value, int) else 0


def _list(values: Values, path: str) -> tuple[str | int, ...]:
    value = values.get(path, ())
    return value if isinstance(value, tuple) else ()
