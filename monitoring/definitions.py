"""Every metric that the proxy and the operator may show, with its labels, as their own collectors have them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from seawall.clock import SystemClock
from seawall.telemetry.labels import Labels
from seawall.telemetry.live import LiveCollector
from seawall.telemetry.metrics import Metrics
from seawall.telemetry.report import BreakerView, ProcessView, ShadowCount, Snapshot, UpstreamView
from seawall.types import AnswerKept, Reloaded, ShadowMoved
from seawall_operator.meters import Meters


@dataclass(frozen=True, slots=True)
class Definition:
    kind: str
    labels: frozenset[str]


class _Shadowed:
    """A process under a Shadow policy, which has more metrics than others."""

    def snapshot(self) -> Snapshot:
        upstream = UpstreamView("", "", "", "", shadow=(BreakerView("", "closed"),))
        return Snapshot(ProcessView("", "", 0.0, ready=True), (upstream,), shadow=(ShadowCount("", "", "", "", "", 0),))


def known() -> Mapping[str, Definition]:
    """By the name of the series: `…_total` of a counter, `…_bucket`, `…_sum` and `…_count` of a histogram."""
    labels = Labels()
    metrics = Metrics(CollectorRegistry(), SystemClock(), labels)
    # Some are there once there is something to tell: a cache, a Shadow policy, a policy that was taken.
    for event in (AnswerKept("", "", "", "", "", 0), ShadowMoved("", "", "", "", ""), Reloaded("")):
        metrics(event)
    live = LiveCollector(CollectorRegistry(), _Shadowed(), labels)
    operator = Meters().registry._collector_to_names
    return {**_series((metrics, live, ProcessCollector(registry=None))), **_series(operator)}


def _series(collectors: Iterable[Collector]) -> dict[str, Definition]:
    found = {}
    for collector in collectors:
        # A labelled metric of prometheus-client itself shows its labels in none of its families while it has no child.
        own = collector._labelnames if isinstance(collector, MetricWrapperBase) else ()
        for family in collector.collect():
            names = frozenset(own or getattr(family, "_labelnames", ()))
            for suffix in {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",)):
                found[family.name + suffix] = Definition(family.type, names)
    return found
