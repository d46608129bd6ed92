"""The operator's own metrics."""

from contextlib import AbstractContextManager
from typing import TypedDict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from seawall_operator.sidecars import Counts


class _Named(TypedDict):
    namespace: str
    registry: CollectorRegistry


class Meters:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        named = _Named(namespace="seawall_operator", registry=self.registry)
        self._observed = Counter("changes", "Changes that watches told of.", ["kind"], **named)
        self._missed = Counter(
            "missed_changes", "Changes that a watch had not told of, found by reading anew.", ["kind"], **named
        )
        self._failed = Counter("api_failures", "Calls to the API server that failed.", ["reason"], **named)
        self._too_large = Counter("bundles_too_large", "Bundles that no ConfigMap holds.", **named)
        self._written = Counter("writes", "Objects and statuses that were written.", ["kind"], **named)
        self._waiting = Gauge("waiting", "Namespaces of which something is to be written.", **named)
        self._leads = Gauge("leader", "1 in the replica that writes.", **named)
        self._sidecars = Gauge(
            "sidecars", "Sidecars seen in the last minute, by whether they run what is served.", ["state"], **named
        )
        self._documents = Gauge("objects", "Objects that are known.", **named)
        self._rendering = Histogram("render_seconds", "Time to compile what changed.", **named)
        self._reconciled = Histogram(
            "reconcile_seconds", "Time to write what is due of one namespace, if anything.", ["outcome"], **named
        )
        self._stale = Gauge(
            "watch_stale_seconds", "For how long a watch has not told of what this replica wrote.", ["kind"], **named
        )

    def observed(self, kind: str) -> None:
        self._observed.labels(kind).inc()

    def missed(self, kind: str, number: int) -> None:
        self._missed.labels(kind).inc(number)

    def failed(self, reason: str) -> None:
        self._failed.labels(reason).inc()

    def too_large(self) -> None:
        self._too_large.inc()

    def wrote(self, kind: str) -> None:
        self._written.labels(kind).inc()

    def waiting(self, namespaces: int) -> None:
        self._waiting.set(namespaces)

    def lead(self, leads: bool) -> None:
        self._leads.set(leads)

    def known(self, sidecars: Counts, documents: int) -> None:
        for state in ("current", "stale", "rejected"):
            self._sidecars.labels(state).set(getattr(sidecars, state))
        self._documents.set(documents)

    def stale(self, kind: str, seconds: float) -> None:
        self._stale.labels(kind).set(seconds)

    def reconciled(self, seconds: float, *, good: bool) -> None:
        self._reconciled.labels("good" if good else "failed").observe(seconds)

    def rendering(self) -> AbstractContextManager[object]:
        return self._rendering.time()
