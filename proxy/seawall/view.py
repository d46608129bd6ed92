"""The living parts as plain values, for /health, /state and scrapes; and what an operator may do to breakers by hand.

Reads and moves machines, and therefore runs on the event loop only. Nothing of it is on a request's way.
"""

from collections.abc import Callable

from seawall import __version__
from seawall.call import Buffers
from seawall.clock import Clock
from seawall.core.breaker import Breaker, Moved
from seawall.engine import Engine
from seawall.runtime import Match, Plan, Runtime, Upstream
from seawall.server.controls import UnknownNameError
from seawall.telemetry.metrics import Metrics
from seawall.telemetry.report import (
    BreakerView,
    CandidateView,
    LimitView,
    ProcessView,
    ReloadView,
    RestView,
    RouteView,
    Snapshot,
    UpstreamView,
)
from seawall.types import Observer, Reloaded
from seawall.visit import moves


class View:
    """`LiveState` and `Controls` of telemetry and admin."""

    def __init__(
        self,
        runtime: Callable[[], Runtime | None],
        engine: Engine,
        buffers: Buffers,
        metrics: Metrics,
        observe: Observer,
        clock: Clock,
    ) -> None:
        self._runtime = runtime
        self._engine = engine
        self._buffers = buffers
        self._metrics = metrics
        self._observe = observe
        self._clock = clock
        self._started = clock.wall()
        self.draining = False
        self.reload: ReloadView | None = None
        self.on_drain: Callable[[], None] = lambda: None

    def remember(self, event: Reloaded) -> None:
        """How the last reload went."""
        self.reload = ReloadView(self._clock.wall(), event.errors)

    # -- what there is ---------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        runtime = self._runtime()
        now = self._clock.now()
        process = ProcessView(
            version=__version__,
            revision=runtime.revision if runtime else "",
            started=self._started,
            ready=runtime is not None,
            draining=self.draining,
            in_flight=self._engine.calls,
            streams_open=self._engine.streams,
            calls=self._metrics.calls_total,
            failed=self._metrics.failed_total,
            buffer_bytes=self._buffers.used,
            buffer_limit=self._buffers.limit,
            reload=self.reload,
        )
        if runtime is None:
            return Snapshot(process)
        matches = runtime.all_matches()
        return Snapshot(
            process,
            tuple(_upstream(u, now) for u in runtime.upstreams.values()),
            tuple(_route(plan, matches) for plan in runtime.plans),
        )

    # -- what may be done by hand ----------------------------------------------------------------------------------

    def isolate(self, upstream: str, model: str | None) -> list[BreakerView]:
        """Refuse every call to an upstream, or to one of its models."""
        return self._by_hand(upstream, model, "isolate", Breaker.isolate)

    def force_close(self, upstream: str, model: str | None) -> list[BreakerView]:
        """Admit every call, whatever happens."""
        return self._by_hand(upstream, model, "force_close", Breaker.force_close)

    def reset(self, upstream: str, model: str | None) -> list[BreakerView]:
        """Back to closed, everything forgotten."""
        return self._by_hand(upstream, model, None, Breaker.reset)

    def drain(self) -> None:
        """Stop accepting and finish what is under way, as on SIGTERM."""
        self.on_drain()

    def _by_hand(
        self,
        name: str,
        model: str | None,
        manual: str | None,
        action: Callable[[Breaker, float], tuple[Moved, ...]],
    ) -> list[BreakerView]:
        runtime = self._runtime()
        known = {u.name: u for u in runtime.upstreams.values()} if runtime else {}
        if name not in known:
            raise UnknownNameError("upstream", name, known)
        upstream, now = known[name], self._clock.now()
        if model is None:
            # Models that have not been asked for yet take it over; see Upstream.breaker.
            upstream.manual = manual
            touched = dict(upstream.breakers)
            if manual != "isolate":
                # Of the origin: upstreams that share it are opened up as well. Isolating one must not touch them.
                self._tell(upstream, upstream.target.endpoint.origin, action(upstream.transport, now), now)
        else:
            touched = {model: upstream.breaker(model, now)}
        for key, breaker in touched.items():
            self._tell(upstream, key, action(breaker, now), now)
        return [_breaker(key, breaker, now) for key, breaker in sorted(touched.items())]

    def _tell(self, upstream: Upstream, key: str, moved: tuple[Moved, ...], now: float) -> None:
        for event in moves(upstream.name, key, moved, now):
            self._observe(event)


def _upstream(upstream: Upstream, now: float) -> UpstreamView:
    health = upstream.health.snapshot(now)
    limits = upstream.limiter.snapshot()
    resting = upstream.cooldowns.snapshot(now)
    rests = [(r.parked, RestView(str(r.key[0]) if isinstance(r.key, tuple) else "", r.seconds)) for r in resting]
    breakers = [_breaker(model, b, now) for model, b in upstream.breakers.items()]
    breakers.append(_breaker(upstream.target.endpoint.origin, upstream.transport, now, transport=True))
    return UpstreamView(
        name=upstream.name,
        type=upstream.type,
        dialect=upstream.target.dialect.name,
        origin=upstream.target.endpoint.origin,
        breakers=tuple(breakers),
        samples=health.calls,
        error_rate=health.error_rate if health.calls else None,
        p50=health.p50,
        p95=health.p95,
        p99=health.p99,
        availability=health.availability if health.total_calls else None,
        limit=LimitView(limits.active, limits.max_parallel, limits.pending, limits.max_pending),
        retry_budget=upstream.budget.snapshot(now).balance,
        cooldowns=tuple(rest for parked, rest in rests if not parked),
        parked=tuple(rest for parked, rest in rests if parked),
    )


def _breaker(key: str, breaker: Breaker, now: float, *, transport: bool = False) -> BreakerView:
    found = breaker.snapshot(now)
    return BreakerView(
        key=key,
        state=found.state.value,
        transport=transport,
        reason=found.reason,
        retry_after=None if found.open_until is None else max(0.0, found.open_until - now),
        level=found.level,
        admitted=found.ramp_percent / 100,
    )


def _route(plan: Plan, matches: list[tuple[str, Match]]) -> RouteView:
    return RouteView(
        route=plan.route,
        rule=plan.rule,
        dialect=plan.dialect.name,
        matches=tuple(_words(path, m) for path, m in matches if m.plan is plan),
        candidates=tuple(
            CandidateView(c.upstream.name, c.group, c.weight, c.model) for group in plan.groups for c in group
        ),
    )


def _words(path: str, match: Match) -> str:
    words = [path]
    words += [f"header {name.decode('ascii')}" for name, _ in match.headers]
    if match.models:
        words.append("models " + " ".join(match.models))
    return " ".join(words)
