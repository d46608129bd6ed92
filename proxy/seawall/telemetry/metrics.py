"""Prometheus metrics of everything that happens: plain numbers on the hot path, turned into prometheus-client's
families only when they are scraped. It must stay cheap (a few look-ups and additions per event), must not raise, and
lets only bounded label sets in (labels.py).

Events come in on the event loop; a scrape may run on another thread. Every table is copied by one C call before it is
walked, so that a scrape needs no lock; it may miss the call that ends meanwhile.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from seawall.faults import RULES, Code
from seawall.telemetry.cache import CacheMetrics
from seawall.telemetry.labels import OTHER, Labels, PolicyNames
from seawall.types import (
    AnswerKept,
    AttemptEnded,
    BreakerMoved,
    CallEnded,
    CoolingDown,
    CredentialParked,
    Event,
    Outcome,
    Raced,
    Reloaded,
    ShadowMoved,
    Usage,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from seawall.clock import Clock

# Upper bounds in seconds. Silent reasoning lasts minutes; seawall's own share is some hundred microseconds.
CONTENT_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
DURATION_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
OVERHEAD_BOUNDS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)

CANCELLED = "cancelled"
"""`AttemptEnded.result` of a race's loser."""

_FAULTS = frozenset(code.value for code in Code)
_RESULTS = _FAULTS | {"ok", CANCELLED}
_SENT = frozenset(code.value for code, rule in RULES.items() if rule.sent)
_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")
_BREAKER = frozenset({"closed", "open", "half_open", "isolated", "forced_closed"})
_KINDS = ("input", "output", "cached", "reasoning")

_Example = tuple[dict[str, str], float]
"""Of a call that is traced: an exemplar's labels, and the time of day."""
_Route = tuple[str]
_Target = tuple[str, str]
_Series = tuple[str, str, str]
_Call = tuple[str, str, str, str, str, str]
K = TypeVar("K", bound=tuple[str, ...])
V = TypeVar("V")


class _Histogram:
    """examples: for each bucket the latest call of it that is traced; None while there was none."""

    __slots__ = ("bounds", "counts", "examples", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.examples: list[Exemplar | None] | None = None

    def observe(self, value: float, example: _Example | None = None) -> None:
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.sum += value
        if example is not None:
            if self.examples is None:
                self.examples = [None] * len(self.counts)
            labels, at = example
            self.examples[bucket] = Exemplar(labels, value, at)

    def buckets(self) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
        edges = [*map(floatToGoString, self.bounds), "+Inf"]
        pairs = zip(edges, accumulate(list(self.counts)), strict=True)
        if self.examples is None:
            return list(pairs)
        examples = zip(pairs, list(self.examples), strict=True)
        return [pair if example is None else (*pair, example) for pair, example in examples]


class _Timing:
    """What is kept for one (route, upstream, model)."""

    __slots__ = ("content", "duration", "tokens")

    def __init__(self) -> None:
        self.content = _Histogram(CONTENT_BOUNDS)
        self.duration = _Histogram(DURATION_BOUNDS)
        self.tokens = [0, 0, 0, 0]

    def bill(self, usage: Usage) -> None:
        tokens = self.tokens
        tokens[0] += usage.input
        tokens[1] += usage.output
        tokens[2] += usage.cached
        tokens[3] += usage.reasoning


class _Own:
    """What is kept for one route."""

    __slots__ = ("keep_alives", "opened", "overhead", "retries")

    def __init__(self) -> None:
        self.overhead = _Histogram(OVERHEAD_BOUNDS)
        self.retries = 0
        self.opened = 0
        self.keep_alives = 0


class Metrics(Collector):
    """An `Observer` of events and a prometheus-client `Collector` of what they add up to."""

    def __init__(self, registry: "CollectorRegistry", clock: "Clock", labels: Labels | None = None) -> None:
        self.labels = labels or Labels()
        self.calls_total = 0
        """Calls that ended since the start; those with outcome `error` are also in `failed_total`."""
        self.failed_total = 0
        self.cache = CacheMetrics(self.labels)
        self._clock = clock
        self._calls: defaultdict[_Call, int] = defaultdict(int)
        self._timing: defaultdict[_Series, _Timing] = defaultdict(_Timing)
        self._own: defaultdict[_Route, _Own] = defaultdict(_Own)
        self._attempts: defaultdict[_Series, int] = defaultdict(int)
        self._wasted: defaultdict[_Target, int] = defaultdict(int)
        self._wasted_seconds: defaultdict[_Target, float] = defaultdict(float)
        self._wasted_tokens: defaultdict[_Series, int] = defaultdict(int)
        self._races: defaultdict[_Target, int] = defaultdict(int)
        self._hedges: defaultdict[_Route, int] = defaultdict(int)
        self._saved: defaultdict[_Route, float] = defaultdict(float)
        self._moves: defaultdict[_Series, int] = defaultdict(int)
        self._shadow_moves: defaultdict[_Series, int] = defaultdict(int)
        self._cooldowns: defaultdict[_Target, int] = defaultdict(int)
        self._parked: defaultdict[_Target, int] = defaultdict(int)
        self._reloads = {"ok": 0, "refused": 0}
        self._reload_ok = True
        self._taken_at: float | None = None
        registry.register(self)

    # Events

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, CallEnded):
            self._call_ended(event)
        elif isinstance(event, AttemptEnded):
            self._attempt_ended(event)
        else:
            self._rare(event)

    def _call_ended(self, event: CallEnded) -> None:
        labels = self.labels
        route, upstream, model = labels.route(event.route), labels.upstream(event.upstream), labels.model(event.model)
        fault = event.fault
        if fault and fault not in _FAULTS:
            fault = OTHER
        status = _CLASSES[event.status // 100] if 100 <= event.status < 600 else ""
        outcome = event.outcome
        self._calls[route, upstream, model, outcome.value, fault, status] += 1
        self.calls_total += 1
        if outcome is Outcome.ERROR:
            self.failed_total += 1
        timing = self._timing[route, upstream, model]
        example = ({"trace_id": event.trace_id}, self._clock.wall()) if event.trace_id else None
        timing.duration.observe(event.seconds, example)
        if event.first_content_seconds is not None:
            timing.content.observe(event.first_content_seconds, example)
        own = self._own[route,]
        own.overhead.observe(max(0.0, event.overhead_seconds), example)
        own.retries += event.retries
        if event.opened or event.keep_alives:
            own.opened += event.opened is True
            own.keep_alives += event.keep_alives or 0
        if event.cache:
            self.cache.ended(route, upstream, model, event)
        if event.usage is not None:
            timing.bill(event.usage)

    def _attempt_ended(self, event: AttemptEnded) -> None:
        result = event.result
        target = self.labels.upstream(event.upstream), self.labels.model(event.model)
        self._attempts[*target, result if result in _RESULTS else OTHER] += 1
        if result != "ok" and (result == CANCELLED or (event.next and result in _SENT)):
            self._wasted[target] += 1
            self._wasted_seconds[target] += event.seconds
            if event.usage is not None:
                for kind, count in zip(_KINDS, astuple(event.usage), strict=True):
                    if count:
                        self._wasted_tokens[*target, kind] += count

    def _rare(self, event: Event) -> None:
        labels = self.labels
        match event:
            case AnswerKept():
                self.cache.kept(event)
                if event.usage is not None:
                    series = labels.route(event.route), labels.upstream(event.upstream), labels.model(event.model)
                    self._timing[series].bill(event.usage)
            case BreakerMoved():
                after = event.after if event.after in _BREAKER else OTHER
                self._moves[labels.upstream(event.upstream), labels.key(event.key), after] += 1
            case ShadowMoved():
                after = event.after if event.after in _BREAKER else OTHER
                self._shadow_moves[labels.upstream(event.upstream), labels.key(event.key), after] += 1
            case Raced():
                route = labels.route(event.route)
                self._races[route, labels.upstream(event.winner)] += 1
                self._hedges[route,] += event.hedges
                if event.saved_seconds is not None:
                    self._saved[route,] += event.saved_seconds
            case CoolingDown():
                self._cooldowns[labels.upstream(event.upstream), labels.model(event.model)] += 1
            case CredentialParked():
                self._parked[labels.upstream(event.upstream), labels.model(event.model)] += 1
            case Reloaded():
                self._reload_ok = not event.errors
                self._reloads["refused" if event.errors else "ok"] += 1
                if self._reload_ok:
                    self._taken_at = self._clock.wall()

    def apply(self, names: PolicyNames) -> None:
        """Take a new policy's names; series of routes, upstreams and models that it no longer has go away."""
        labels = self.labels
        labels.apply(names)
        self.cache.apply()
        _keep(self._calls, lambda k: labels.current(route=k[0], upstream=k[1], key=k[2]))
        _keep(self._timing, lambda k: labels.current(route=k[0], upstream=k[1], key=k[2]))
        _keep(self._own, lambda k: labels.current(route=k[0]))
        _keep(self._races, lambda k: labels.current(route=k[0], upstream=k[1]))
        _keep(self._hedges, lambda k: labels.current(route=k[0]))
        _keep(self._saved, lambda k: labels.current(route=k[0]))
        for series in (self._attempts, self._moves, self._shadow_moves, self._wasted_tokens):
            _keep(series, lambda k: labels.current(upstream=k[0], key=k[1]))
        _keep(self._wasted_seconds, lambda k: labels.current(upstream=k[0], key=k[1]))
        for target in (self._wasted, self._cooldowns, self._parked):
            _keep(target, lambda k: labels.current(upstream=k[0], key=k[1]))

    # Scrapes

    def collect(self) -> Iterator[Metric]:
        yield from self._collect_calls()
        yield from self._collect_timing()
        yield from self._collect_reloads()
        yield from self.cache.collect()

    def _collect_calls(self) -> Iterator[Metric]:
        target, series = ("upstream", "model"), ("route", "upstream", "model")
        own = list(self._own.items())
        yield _counter(
            "requests", "Calls, by how they were answered.", (*series, "outcome", "fault", "status"), self._calls
        )
        yield _counter("attempts", "Requests sent to upstreams, by result.", (*target, "result"), self._attempts)
        yield _counter(
            "retries", "Attempts repeated on the same upstream.", ("route",), {key: row.retries for key, row in own}
        )
        opened = {key: row.opened for key, row in own if row.opened}
        yield _counter("answers_opened", "Answers that were opened before anybody had one.", ("route",), opened)
        comments = {key: row.keep_alives for key, row in own if row.keep_alives}
        yield _counter("keep_alives", "Comments that kept agents waiting.", ("route",), comments)
        yield _counter("wasted_attempts", "Attempts that reached an upstream and were not used.", target, self._wasted)
        yield _counter("wasted_seconds", "How long attempts took that were not used.", target, self._wasted_seconds)
        yield _counter("wasted_tokens", "Tokens known to be billed for those.", (*target, "kind"), self._wasted_tokens)
        yield _counter("races", "Races with more than one attempt, by winner.", ("route", "winner"), self._races)
        yield _counter("hedges", "Attempts that no failure called for.", ("route",), self._hedges)
        yield _counter("race_saved_seconds", "What races saved, where it is known.", ("route",), self._saved)
        yield _counter("breaker_transitions", "Changes of a circuit's state.", ("upstream", "key", "to"), self._moves)
        if self._shadow_moves:
            text = "Changes that a circuit would have made under a Shadow policy."
            yield _counter("shadow_breaker_transitions", text, ("upstream", "key", "to"), self._shadow_moves)
        yield _counter("cooldowns", "Rests of a model after a 429.", target, self._cooldowns)
        yield _counter("credential_parked", "Credentials found without quota.", target, self._parked)

    def _collect_timing(self) -> Iterator[Metric]:
        series = ("route", "upstream", "model")
        rows = list(self._timing.items())
        content = HistogramMetricFamily(
            "seawall_first_content_seconds", "From the call's arrival to its first content.", labels=series
        )
        duration = HistogramMetricFamily(
            "seawall_request_duration_seconds", "From the call's arrival to its end.", labels=series
        )
        tokens = CounterMetricFamily("seawall_tokens", "Tokens as providers counted them.", labels=(*series, "kind"))
        for key, row in rows:
            duration.add_metric(key, row.duration.buckets(), row.duration.sum)
            if any(row.content.counts):
                content.add_metric(key, row.content.buckets(), row.content.sum)
            for kind, count in zip(_KINDS, row.tokens, strict=True):
                if count:
                    tokens.add_metric((*key, kind), count)
        overhead = HistogramMetricFamily("seawall_overhead_seconds", "seawall's own time per call.", labels=("route",))
        for route, own in list(self._own.items()):
            overhead.add_metric(route, own.overhead.buckets(), own.overhead.sum)
        yield from (duration, content, overhead, tokens)

    def _collect_reloads(self) -> Iterator[Metric]:
        reloads = {(result,): count for result, count in self._reloads.items()}
        yield _counter("config_reloads", "Policies offered, by result.", ("result",), reloads)
        yield GaugeMetricFamily(
            "seawall_config_last_reload_successful", "1: the last offered policy was taken.", int(self._reload_ok)
        )
        if self._taken_at is not None:
            yield GaugeMetricFamily(
                "seawall_config_last_reload_success_timestamp_seconds", "When the policy was taken.", self._taken_at
            )


def _counter(name: str, text: str, labels: tuple[str, ...], rows: Mapping[K, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"seawall_{name}", text, labels=labels)
    for key, count in list(rows.items()):
        family.add_metric(key, count)
    return family


def _keep(rows: dict[K, V], wanted: Callable[[K], bool]) -> None:
    for key in [key for key in rows if not wanted(key)]:
        del rows[key]
