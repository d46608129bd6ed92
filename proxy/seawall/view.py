"""The living parts as plain values, for /health, /state and scrapes; and what an operator may do to breakers by hand.

Reads and moves machines, and therefore runs on the event loop only. Nothing of it is on a request's way.
"""

from collections.abc import Callable, Mapping

from seawall import __version__
from seawall.call import Buffers
from seawall.clock import Clock
from seawall.core.breaker import Breaker, Moved, State
from seawall.engine import Engine
from seawall.runtime import Match, Plan, Runtime, Upstream
from seawall.server.controls import UnknownNameError
from seawall.store.base import Unavailable, Which
from seawall.store.guarded import Guarded
from seawall.telemetry.metrics import Metrics
from seawall.telemetry.redact import redact
from seawall.telemetry.report import (
    EVERY,
    BreakerView,
    CandidateView,
    CredentialView,
    LimitView,
    ProcessView,
    ReloadView,
    RestView,
    RouteView,
    ShadowCount,
    Snapshot,
    UpstreamView,
)
from seawall.types import Observer, Reloaded
from seawall.upstream.credential import Credential
from seawall.visit import moves

# By Upstream.manual.
_HELD = {"isolate": (State.ISOLATED, "isolated by hand"), "force_close": (State.FORCED_CLOSED, "forced closed by hand")}


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
        self._names = _Names({})
        self.draining = False
        self.reload: ReloadView | None = None
        self.on_drain: Callable[[], None] = lambda: None
        self.stores: Callable[[], Mapping[str, Guarded]] = dict
        """Of the cache, by kind."""

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
        self._names = names = _Names(self._names.shown)
        return Snapshot(
            process,
            tuple(_upstream(u, now, names) for u in runtime.upstreams.values()),
            tuple(_route(plan, matches, self._engine.is_offline(plan)) for plan in runtime.plans),
            tuple(ShadowCount(*key, count) for key, count in sorted(self._engine.shadows.counts.items())),
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

    def set_offline(self, route: str | None, offline: bool) -> list[str]:
        """Ask no upstream for a route (or for any), or ask them again."""
        runtime = self._runtime()
        known = {plan.route for plan in runtime.plans} if runtime else set()
        if route is not None and route not in known:
            raise UnknownNameError("route", route, known)
        held = self._engine.offline
        if offline:
            held.add(route or "")
        elif route is None:
            held.clear()
        else:
            if "" in held:
                # All were; all but this one still are.
                held.remove("")
                held.update(known)
            held.discard(route)
        return sorted(known if "" in held else held & known)

    def cache(self) -> dict[str, object]:
        return self._metrics.cache.report()

    async def purge(self, which: Which) -> dict[str, int]:
        purged, failed = dict[str, int](), None
        for kind, store in self.stores().items():
            try:
                purged[kind] = await store.purge(which)
            except Unavailable as error:
                # What lies elsewhere must go all the same.
                failed = failed or error
        if failed is not None:
            raise failed
        return purged

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
        if model is not None:
            breaker = upstream.breaker(model, now)
            self._tell(upstream, model, action(breaker, now), now)
            return [_breaker(redact(model), breaker, now)]
        self._hold(upstream, manual, now)
        for key, breaker in upstream.breakers.items():
            self._tell(upstream, key, action(breaker, now), now)
        moved = _held(upstream) + [_breaker(redact(key), b, now) for key, b in sorted(upstream.breakers.items())]
        if manual != "isolate":
            # Of the origin: upstreams that share it are opened up as well. Isolating one must not touch them.
            origin = upstream.target.endpoint.origin
            self._tell(upstream, origin, action(upstream.transport, now), now)
            moved.append(_breaker(origin, upstream.transport, now, transport=True))
        return moved

    def _hold(self, upstream: Upstream, manual: str | None, now: float) -> None:
        """For models that have not been asked for yet as well; see Upstream.breaker."""
        before, _ = _HELD.get(upstream.manual or "", (State.CLOSED, ""))
        after, reason = _HELD.get(manual or "", (State.CLOSED, "reset by hand"))
        upstream.manual = manual
        if after is not before:
            self._tell(upstream, EVERY, (Moved(before, after, reason),), now)

    def _tell(self, upstream: Upstream, key: str, moved: tuple[Moved, ...], now: float) -> None:
        for event in moves(upstream.name, key, moved, now):
            self._observe(event)


class _Names:
    """Names of models as they may be shown: agents choose them, and some send a key.

    Looking through one takes tens of microseconds and there may be thousands, so those of the last report (`before`)
    are not looked through again.
    """

    def __init__(self, before: Mapping[str, str]) -> None:
        self._before = before
        self.shown: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        found = self._before.get(name)
        if found is None:
            found = redact(name)
        self.shown[name] = found
        return found


def _upstream(upstream: Upstream, now: float, names: _Names) -> UpstreamView:
    health = upstream.health.snapshot(now)
    limits = upstream.limiter.snapshot()
    resting = upstream.cooldowns.snapshot(now)
    rests = [(r.parked, RestView(names(str(r.key[0])) if isinstance(r.key, tuple) else "", r.seconds)) for r in resting]
    breakers = _held(upstream) + [_breaker(names(model), b, now) for model, b in upstream.breakers.items()]
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
        credential=_credential(upstream.target.credential),
        shadow=_shadow(upstream, now, names),
    )


def _shadow(upstream: Upstream, now: float, names: _Names) -> tuple[BreakerView, ...]:
    shadow = upstream.shadow
    if shadow is None or shadow.transport is None:
        return ()
    found = [_breaker(names(model), breaker, now) for model, breaker in shadow.breakers.items()]
    return (*found, _breaker(shadow.origin, shadow.transport, now, transport=True))


def _credential(credential: Credential | None) -> CredentialView | None:
    if credential is None or not (problem := credential.problem()):
        return None
    return CredentialView(problem, credential.usable)


def _held(upstream: Upstream) -> list[BreakerView]:
    """What an operator holds, in a row of its own; none where nothing is held."""
    if upstream.manual is None:
        return []
    state, reason = _HELD[upstream.manual]
    return [BreakerView(EVERY, state.value, by_hand=True, reason=reason, admitted=float(state is State.FORCED_CLOSED))]


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


def _route(plan: Plan, matches: list[tuple[str, Match]], offline: bool) -> RouteView:
    return RouteView(
        route=plan.route,
        rule=plan.rule,
        dialect=plan.dialect.name,
        matches=tuple(_words(path, m) for path, m in matches if m.plan is plan),
        candidates=tuple(
            CandidateView(c.upstream.name, c.group, c.weight, c.model) for group in plan.groups for c in group
        ),
        offline=offline,
    )


def _words(path: str, match: Match) -> str:
    words = [path]
    words += [f"header {name.decode('ascii')}" for name, _ in match.headers]
    if match.models:
        words.append("models " + " ".join(match.models))
    return " ".join(words)
