"""Gauges of live state (breakers, budgets, queues, streams), read when scraped and never pushed per request. Machines
are asked on the event loop only: `take()` there, `collect()` anywhere.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from seawall.telemetry.labels import Labels
from seawall.telemetry.report import (
    BreakerView,
    LiveState,
    ProcessView,
    Snapshot,
    UpstreamView,
    breaker_rank,
    upstream_level,
)
from seawall.types import ServiceLevel

# By breaker_rank: an alert on `> 0` sees every circuit that keeps calls away.
_STATE_VALUES = (-1.0, 0.0, 1.0, 2.0, 3.0, math.nan)
_LEVEL_VALUES = {ServiceLevel.FULL: 1.0, ServiceLevel.DEGRADED: 0.5, ServiceLevel.OFFLINE: 0.0}


class LogStats(Protocol):
    """What a log's writer tells about itself (lines.LineWriter)."""

    @property
    def dropped(self) -> int: ...

    @property
    def failures(self) -> int: ...


class LiveCollector(Collector):
    """The one custom collector. `logs`: writers by name, for their counts of dropped lines and failed writes. `spans`:
    see tracer.Tracer."""

    def __init__(
        self,
        registry: CollectorRegistry,
        live: LiveState,
        labels: Labels,
        logs: Mapping[str, LogStats] | None = None,
        spans: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._live = live
        self._labels = labels
        self._logs = dict(logs or {})
        self._spans = spans
        self._taken: Snapshot | None = None
        registry.register(self)

    def take(self) -> None:
        """Read the machines now, for the next `collect`. Call it on the event loop."""
        self._taken = self._live.snapshot()

    def collect(self) -> Iterator[Metric]:
        snapshot = self._taken or self._live.snapshot()
        self._taken = None
        yield from _process(snapshot.process)
        yield from self._upstreams(snapshot.upstreams)
        yield self._breakers(
            "seawall_breaker_state",
            "-1 forced closed, 0 closed, 1 half-open, 2 open, 3 isolated.",
            {u.name: u.breakers for u in snapshot.upstreams},
        )
        yield from self._shadow(snapshot)
        yield from self._log_counts()
        spans = CounterMetricFamily("seawall_trace_spans", "Spans, by what became of them.", labels=("result",))
        for result, count in self._spans().items():
            spans.add_metric((result,), count)
        yield spans

    def _upstreams(self, upstreams: tuple[UpstreamView, ...]) -> Iterator[Metric]:
        columns = (
            ("retry_budget", "Retries that the upstream's budget allows right now.", lambda u: u.retry_budget),
            ("credentials_parked", "Credentials out of quota; alert on any.", lambda u: len(u.parked)),
            (
                "credential_unreadable",
                "1: the key file, or the source of AWS credentials, gives no usable key.",
                lambda u: int(u.credential is not None),
            ),
            ("cooldowns_active", "Models that rest after a 429.", lambda u: len(u.cooldowns)),
            ("upstream_requests_in_flight", "Attempts under way.", lambda u: u.limit.in_flight),
            ("upstream_queue_depth", "Calls that wait for a free slot.", lambda u: u.limit.queued),
            (
                "upstream_service_level",
                "1 full, 0.5 degraded, 0 offline.",
                lambda u: _LEVEL_VALUES[upstream_level(u)],
            ),
        )
        for name, text, read in columns:
            family = GaugeMetricFamily(f"seawall_{name}", text, labels=("upstream",))
            for upstream in upstreams:
                family.add_metric((upstream.name,), read(upstream))
            yield family

    def _shadow(self, snapshot: Snapshot) -> Iterator[Metric]:
        """Nothing where no Shadow policy is evaluated."""
        circuits = {u.name: u.shadow for u in snapshot.upstreams if u.shadow}
        if circuits:
            text = "What a circuit would be under a Shadow policy: 0 closed, 1 half-open, 2 open."
            yield self._breakers("seawall_shadow_breaker_state", text, circuits)
        if snapshot.shadow:
            family = CounterMetricFamily(
                "seawall_shadow",
                "What a Shadow policy would have done, beside what was done.",
                labels=("route", "upstream", "about", "would", "did", "agrees"),
            )
            for one in snapshot.shadow:
                # PromQL cannot compare two labels.
                agrees = "yes" if one.would == one.did else "no"
                family.add_metric((one.route, one.upstream, one.about, one.would, one.did, agrees), one.count)
            yield family

    def _breakers(self, name: str, text: str, circuits: Mapping[str, tuple[BreakerView, ...]]) -> Metric:
        # Several models may share the label "other": the worst of them is shown.
        ranks: dict[tuple[str, str], int] = defaultdict(int)
        for upstream, breakers in circuits.items():
            for breaker in breakers:
                key = breaker.key if breaker.transport or breaker.by_hand else self._labels.key(breaker.key)
                ranks[upstream, key] = max(ranks[upstream, key], breaker_rank(breaker.state))
        family = GaugeMetricFamily(name, text, labels=("upstream", "key"))
        for labels, rank in ranks.items():
            family.add_metric(labels, _STATE_VALUES[rank])
        return family

    def _log_counts(self) -> Iterator[Metric]:
        dropped = CounterMetricFamily("seawall_log_lines_dropped", "Lines lost to a slow log.", labels=("log",))
        failures = CounterMetricFamily("seawall_log_write_failures", "Failed writes to a log.", labels=("log",))
        for name, stats in self._logs.items():
            dropped.add_metric((name,), stats.dropped)
            failures.add_metric((name,), stats.failures)
        yield from (dropped, failures)


def _process(process: ProcessView) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "seawall_config_info", "The policy revision that is in use.", labels=("revision", "version")
    )
    info.add_metric((process.revision, process.version), 1)
    yield info
    for name, text, value in (
        ("ready", "1: it has a usable policy and takes calls.", int(process.ready and not process.draining)),
        ("requests_in_flight", "Agents' calls under way.", process.in_flight),
        ("streams_open", "Streamed answers under way.", process.streams_open),
        ("buffer_bytes", "Held by replay, hold and prelude buffers.", process.buffer_bytes),
        ("buffer_limit_bytes", "What those may hold in all.", process.buffer_limit),
    ):
        yield GaugeMetricFamily(f"seawall_{name}", text, value)
