"""Builds `/health` and `/state` from a snapshot of the live parts. Pure: it takes values and gives values; it never
reads a clock, a file or a machine itself. Whoever owns the machines fills the views below.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from seawall.types import ServiceLevel

WARNING_ERRORS, CRITICAL_ERRORS = 0.10, 0.25
WARNING_LATENCY, CRITICAL_LATENCY = 5.0, 10.0
"""Seconds, of the 95th percentile."""
MINIMUM_CALLS = 5
"""Fewer say little: one failure among three calls is no outage."""

# From best to worst; the values of core.breaker.State.
BREAKER_STATES = ("forced_closed", "closed", "half_open", "open", "isolated")
_BLOCKED = frozenset({"open", "isolated"})
EVERY = "*"
"""Instead of a model: all that an operator's action holds."""


class Severity(enum.Enum):
    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class BreakerView:
    """One circuit. `key` is a model, the origin when `transport`, or EVERY when `by_hand`; `state` one of
    BREAKER_STATES."""

    key: str
    state: str
    transport: bool = False
    by_hand: bool = False
    """No circuit of its own: an operator holds the whole upstream so, also for models that nobody asked for yet."""
    reason: str = ""
    """Of the last move."""
    retry_after: float | None = None
    """Seconds until an open one lets a probe through."""
    level: int = 0
    """How often the opening was doubled."""
    admitted: float = 1.0
    """Share of calls let through while it ramps up, 0 to 1."""


@dataclass(frozen=True, slots=True)
class RestView:
    """A model that rests on this upstream: a cooldown after a 429, or a credential without quota."""

    model: str
    seconds: float
    code: str = ""


@dataclass(frozen=True, slots=True)
class CredentialView:
    """A key file, or another source of credentials, that gives no usable one now."""

    problem: str
    """The file and what is wrong with it, never its content."""
    last_key_in_use: bool
    """Calls go on with the last key that the file held; else they fail."""


@dataclass(frozen=True, slots=True)
class LimitView:
    """Concurrency of an upstream; None: no limit."""

    in_flight: int = 0
    max_in_flight: int | None = None
    queued: int = 0
    max_queued: int | None = None


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """One upstream. Rates are 0 to 1 over a recent window, percentiles are seconds; None: too few calls to tell."""

    name: str
    type: str
    dialect: str
    origin: str
    """Scheme, host and port; never user information or a query."""
    breakers: tuple[BreakerView, ...] = ()
    samples: int = 0
    error_rate: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    availability: float | None = None
    limit: LimitView = LimitView()
    retry_budget: float = 0.0
    """Retries that may be sent right now."""
    cooldowns: tuple[RestView, ...] = ()
    parked: tuple[RestView, ...] = ()
    credential: CredentialView | None = None
    """None: nothing is wrong with the injected key, or there is none."""
    shadow: tuple[BreakerView, ...] = ()
    """Circuits as they would be under a Shadow policy; nothing else in a report looks at them."""


@dataclass(frozen=True, slots=True)
class CandidateView:
    upstream: str
    group: int = 0
    """0 for the first priority."""
    weight: int = 1
    model: str = ""
    """Sent instead of the agent's; "" leaves it."""


@dataclass(frozen=True, slots=True)
class RouteView:
    """One rule of a route, with what it matches in words (`/v1`, `/ models gpt-*`)."""

    route: str
    rule: str
    dialect: str
    matches: tuple[str, ...]
    candidates: tuple[CandidateView, ...]
    offline: bool = False
    """By policy or by hand: no upstream is asked."""


@dataclass(frozen=True, slots=True)
class ReloadView:
    """The last attempt to take a policy. `at`: seconds since 1970."""

    at: float
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessView:
    """The process itself. `started`: seconds since 1970. `calls` and `failed` count since then."""

    version: str
    revision: str
    started: float
    ready: bool
    """It has a usable policy."""
    draining: bool = False
    in_flight: int = 0
    streams_open: int = 0
    calls: int = 0
    failed: int = 0
    buffer_bytes: int = 0
    buffer_limit: int = 0
    reload: ReloadView | None = None


@dataclass(frozen=True, slots=True)
class ShadowCount:
    """How often a Shadow policy would have done this, and what was done. `upstream` "": it is about none."""

    route: str
    upstream: str
    about: str
    would: str
    did: str
    count: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    process: ProcessView
    upstreams: tuple[UpstreamView, ...] = ()
    routes: tuple[RouteView, ...] = ()
    shadow: tuple[ShadowCount, ...] = ()


class LiveState(Protocol):
    """Whoever owns the machines. Asked on the event loop, at scrape and report time only."""

    def snapshot(self) -> Snapshot: ...


def severity(upstream: UpstreamView) -> Severity:
    """How bad recent calls look, by error rate and 95th percentile."""
    if upstream.samples < MINIMUM_CALLS:
        return Severity.OK
    errors, latency = upstream.error_rate or 0.0, upstream.p95 or 0.0
    if errors >= CRITICAL_ERRORS or latency >= CRITICAL_LATENCY:
        return Severity.CRITICAL
    if errors >= WARNING_ERRORS or latency >= WARNING_LATENCY:
        return Severity.WARNING
    return Severity.OK


def breaker_rank(state: str) -> int:
    """Position in BREAKER_STATES; a state from a newer core counts as the worst."""
    return BREAKER_STATES.index(state) if state in BREAKER_STATES else len(BREAKER_STATES)


def worst_state(upstream: UpstreamView) -> str:
    return max((b.state for b in upstream.breakers), key=breaker_rank, default="closed")


def upstream_level(upstream: UpstreamView) -> ServiceLevel:
    """Offline: no call gets through. Degraded: some models do not, recent calls look bad, or the key is an old one."""
    if upstream.credential is not None and not upstream.credential.last_key_in_use:
        return ServiceLevel.OFFLINE
    models = [b for b in upstream.breakers if not b.transport]
    blocked = sum(b.state in _BLOCKED for b in models)
    if (models and blocked == len(models)) or any(b.transport and b.state in _BLOCKED for b in upstream.breakers):
        return ServiceLevel.OFFLINE
    troubled = any(breaker_rank(b.state) > 1 for b in upstream.breakers)
    troubled = troubled or bool(upstream.parked or upstream.cooldowns or upstream.credential)
    return ServiceLevel.DEGRADED if troubled or severity(upstream) is not Severity.OK else ServiceLevel.FULL


def route_level(route: RouteView, levels: Mapping[str, ServiceLevel]) -> ServiceLevel:
    """Full as long as one upstream of the first priority is; offline when none of any priority is left."""
    here = [(c.group, levels.get(c.upstream, ServiceLevel.OFFLINE)) for c in route.candidates]
    if route.offline or all(level is ServiceLevel.OFFLINE for _, level in here):
        return ServiceLevel.OFFLINE
    first = min(group for group, _ in here)
    full = any(group == first and level is ServiceLevel.FULL for group, level in here)
    return ServiceLevel.FULL if full else ServiceLevel.DEGRADED


def service_level(snapshot: Snapshot) -> ServiceLevel:
    """Of the whole proxy: the routes' level where they agree, else degraded."""
    if not snapshot.process.ready:
        return ServiceLevel.OFFLINE
    levels = {u.name: upstream_level(u) for u in snapshot.upstreams}
    found = {route_level(r, levels) for r in snapshot.routes} or {ServiceLevel.FULL}
    return found.pop() if len(found) == 1 else ServiceLevel.DEGRADED


def health(snapshot: Snapshot, wall: float, memory_bytes: int) -> dict[str, object]:
    """The full report. `wall`: seconds since 1970."""
    process = snapshot.process
    levels = {u.name: upstream_level(u) for u in snapshot.upstreams}
    return {
        "service_level": service_level(snapshot).value,
        "severity": _worst(severity(u) for u in snapshot.upstreams).value,
        "ready": process.ready and not process.draining,
        "draining": process.draining,
        "version": process.version,
        "revision": process.revision,
        "last_reload": _reload(process.reload, wall),
        "uptime_seconds": round(max(0.0, wall - process.started), 3),
        "memory_bytes": memory_bytes,
        "calls": process.calls,
        "availability": (process.calls - process.failed) / process.calls if process.calls else None,
        "requests_in_flight": process.in_flight,
        "streams_open": process.streams_open,
        "thresholds": {
            "error_rate": {"warning": WARNING_ERRORS, "critical": CRITICAL_ERRORS},
            "p95_seconds": {"warning": WARNING_LATENCY, "critical": CRITICAL_LATENCY},
            "minimum_calls": MINIMUM_CALLS,
        },
        "upstreams": {u.name: _upstream(u, levels[u.name]) for u in snapshot.upstreams},
        "routes": {f"{r.route}/{r.rule}": route_level(r, levels).value for r in snapshot.routes},
    }


def state(snapshot: Snapshot) -> dict[str, object]:
    """Everything that is live, as it is: process, routes, upstreams with breakers, limits, budgets and cooldowns."""
    plain: dict[str, object] = msgspec.to_builtins(snapshot)
    return plain


def _upstream(upstream: UpstreamView, level: ServiceLevel) -> dict[str, object]:
    return {
        "service_level": level.value,
        "severity": severity(upstream).value,
        "state": worst_state(upstream),
        "calls": upstream.samples,
        "error_rate": upstream.error_rate,
        "availability": upstream.availability,
        "p50_seconds": upstream.p50,
        "p95_seconds": upstream.p95,
        "p99_seconds": upstream.p99,
        "breakers": _states(upstream.breakers),
        "credentials_parked": len(upstream.parked),
        "cooling_down": len(upstream.cooldowns),
        "credential": msgspec.to_builtins(upstream.credential),
    }


def _states(breakers: Iterable[BreakerView]) -> dict[str, str]:
    """By key. Several models may be shown under one redacted name: the worst of them counts."""
    found: dict[str, str] = {}
    for breaker in breakers:
        found[breaker.key] = max(found.get(breaker.key, breaker.state), breaker.state, key=breaker_rank)
    return found


def _reload(reload: ReloadView | None, wall: float) -> dict[str, object] | None:
    if reload is None:
        return None
    age = round(max(0.0, wall - reload.at), 3)
    return {"ok": not reload.errors, "seconds_ago": age, "errors": list(reload.errors)}


def _worst(found: Iterable[Severity]) -> Severity:
    order = list(Severity)
    return max(found, key=order.index, default=Severity.OK)
