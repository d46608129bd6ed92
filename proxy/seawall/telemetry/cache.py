"""What the cache did, in numbers: per route what calls found, what was kept and why not, and what that saved; per store
how it answers. Plain additions on calls' way; families are made when they are scraped (see metrics.py).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from seawall.core.cache import Why
from seawall.store.guarded import GuardedStats, Result
from seawall.telemetry.labels import OTHER, Labels
from seawall.telemetry.prices import Prices
from seawall.types import AnswerKept, CallEnded, Usage

RESULTS = ("hit", "stale", "miss", "revalidated", "coalesced", "bypass")
_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
_KINDS = ("input", "output", "cached", "reasoning")
_WHYS = frozenset(why.value for why in Why)

StoreStats = Callable[[], Mapping[str, GuardedStats]]


class _Route:
    __slots__ = ("kept", "kept_bytes", "results", "whys")

    def __init__(self) -> None:
        self.results = dict.fromkeys(RESULTS, 0)
        self.kept = 0
        self.kept_bytes = 0
        self.whys: defaultdict[str, int] = defaultdict(int)


class _Times:
    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.sum = 0.0


class CacheMetrics:
    """Told of calls by Metrics, and of stores by `store`. stats: of the stores that are in use."""

    def __init__(self, labels: Labels) -> None:
        self.stats: StoreStats = dict
        self.prices = Prices()
        self._labels = labels
        self._routes: defaultdict[str, _Route] = defaultdict(_Route)
        self._saved: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        self._times: defaultdict[tuple[str, str], _Times] = defaultdict(_Times)
        self._operations: defaultdict[tuple[str, str, str], int] = defaultdict(int)

    def ended(self, route: str, upstream: str, model: str, event: CallEnded) -> None:
        """A call of a rule that has a cache; route, upstream, model: its labels."""
        result = event.cache
        results = self._routes[route].results
        if isinstance(result, str) and result in results:
            results[result] += 1
        saved = event.saved
        if isinstance(saved, Usage):
            tokens = self._saved[route, upstream, model]
            tokens[0] += saved.input
            tokens[1] += saved.output
            tokens[2] += saved.cached
            tokens[3] += saved.reasoning

    def kept(self, event: AnswerKept) -> None:
        row = self._routes[self._labels.route(event.route)]
        if event.why:
            row.whys[event.why if event.why in _WHYS else OTHER] += 1
        else:
            row.kept += 1
            row.kept_bytes += event.size

    def store(self, kind: str, operation: str, result: Result, seconds: float) -> None:
        """See places.Watch."""
        self._operations[kind, operation, result.value] += 1
        times = self._times[kind, operation]
        times.counts[bisect_left(_BOUNDS, seconds)] += 1
        times.sum += seconds

    def apply(self) -> None:
        """Forget the routes that the labels no longer have."""
        for route in [route for route in self._routes if not self._labels.current(route=route)]:
            del self._routes[route]
        for key in [k for k in self._saved if not self._labels.current(route=k[0], upstream=k[1], key=k[2])]:
            del self._saved[key]

    # -- for people --------------------------------------------------------------------------------------------------

    def report(self) -> dict[str, object]:
        """What `/cache` shows. Money is told where it is known without importing anything."""
        routes: dict[str, object] = {}
        for route, row in sorted(self._routes.items()):
            asked = sum(row.results.values()) - row.results["bypass"]
            found = row.results["hit"] + row.results["stale"] + row.results["coalesced"] + row.results["revalidated"]
            saved = [sum(column) for column in zip(*(v for k, v in self._saved.items() if k[0] == route), strict=True)]
            routes[route] = {
                **row.results,
                "hit_ratio": found / asked if asked else None,
                "kept": row.kept,
                "kept_bytes": row.kept_bytes,
                "not_kept": dict(row.whys),
                "saved_tokens": dict(zip(_KINDS, saved or [0, 0, 0, 0], strict=True)),
            }
        return {"routes": routes, "stores": {kind: _shown(stats) for kind, stats in self.stats().items()}}

    # -- scrapes -----------------------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Nothing where no policy has had a cache."""
        if not (self._routes or self._operations):
            return
        yield from self._collect_routes()
        yield from self._collect_saved()
        yield from self._collect_stores()

    def _collect_routes(self) -> Iterator[Metric]:
        asked = CounterMetricFamily(
            "seawall_cache_requests", "Calls of rules with a cache, by what it did.", labels=("route", "result")
        )
        kept = CounterMetricFamily("seawall_cache_stores", "Answers that were kept.", labels=("route",))
        size = CounterMetricFamily("seawall_cache_stored_bytes", "Bytes of those.", labels=("route",))
        passed = CounterMetricFamily("seawall_cache_not_stored", "Answers that were not.", labels=("route", "why"))
        for route, row in list(self._routes.items()):
            for result, count in row.results.items():
                asked.add_metric((route, result), count)
            kept.add_metric((route,), row.kept)
            size.add_metric((route,), row.kept_bytes)
            for why, count in list(row.whys.items()):
                passed.add_metric((route, why), count)
        yield from (asked, kept, size, passed)

    def _collect_saved(self) -> Iterator[Metric]:
        series = ("route", "upstream", "model")
        tokens = CounterMetricFamily(
            "seawall_cache_saved_tokens", "Tokens of answers given again, by kind.", labels=(*series, "kind")
        )
        dollars = CounterMetricFamily(
            "seawall_cache_saved_dollars", "What those would have cost, where prices are known.", labels=series
        )
        for key, counts in list(self._saved.items()):
            for kind, count in zip(_KINDS, counts, strict=True):
                if count:
                    tokens.add_metric((*key, kind), count)
            cost = self.prices.dollars(key[2], Usage(*counts))
            if cost is not None:
                dollars.add_metric(key, cost)
        yield from (tokens, dollars)

    def _collect_stores(self) -> Iterator[Metric]:
        labels = ("store", "operation")
        operations = CounterMetricFamily(
            "seawall_cache_store_operations", "What stores were asked, by result.", labels=(*labels, "result")
        )
        for key, count in list(self._operations.items()):
            operations.add_metric(key, count)
        seconds = HistogramMetricFamily("seawall_cache_store_seconds", "How long that took.", labels=labels)
        edges = [*map(floatToGoString, _BOUNDS), "+Inf"]
        for place, times in list(self._times.items()):
            buckets = list(zip(edges, accumulate(list(times.counts)), strict=True))
            seconds.add_metric(place, buckets, times.sum)
        yield from (operations, seconds)
        yield from _collect_stats(self.stats())


class _Column(Protocol):
    def __call__(self, stats: GuardedStats, /) -> float | None: ...


_GAUGES: tuple[tuple[str, str, _Column], ...] = (
    ("entries", "Answers in the store.", lambda s: s.store.entries),
    ("bytes", "What they take.", lambda s: s.store.bytes),
    ("bytes_limit", "What they may take.", lambda s: s.store.bound),
    ("queue", "Puts and deletes that wait.", lambda s: s.queued),
    ("resting", "1: the store failed, and is left alone for a while.", lambda s: int(s.resting)),
)
_COUNTERS: tuple[tuple[str, str, _Column], ...] = (
    ("evictions", "Answers given up for want of room.", lambda s: s.store.evictions),
    ("refused", "Answers too large for the store.", lambda s: s.store.refused),
    ("dropped", "Puts and deletes that never reached the store.", lambda s: s.dropped),
    ("skipped", "Questions that were not put to a store that fails.", lambda s: s.skipped),
)


def _collect_stats(stats: Mapping[str, GuardedStats]) -> Iterator[Metric]:
    for kind, columns in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
        for name, text, read in columns:
            family = kind(f"seawall_cache_{name}", text, labels=("store",))
            for store, one in stats.items():
                value = read(one)
                if value is not None:
                    family.add_metric((store,), value)
            yield family


def _shown(stats: GuardedStats) -> dict[str, object]:
    store = stats.store
    return {
        "entries": store.entries,
        "bytes": store.bytes,
        "limit": store.bound,
        "evictions": store.evictions,
        "failures": {"down": stats.down, "slow": stats.slow, "corrupt": stats.corrupt},
        "skipped": stats.skipped,
        "dropped": stats.dropped,
        "resting": stats.resting,
        "last_error": stats.last_error,
    }
