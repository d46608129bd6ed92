"""The sidecars of a namespace, and what each of them says of itself: through the API server, which must let the user
`get pods/proxy`."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from seawall_kubectl.kubectl import Kubectl, Object, Refused
from seawall_operator.inject import INJECTED
from seawall_operator.sidecar_container import ADMIN, CONTAINER

AT_ONCE = 8
BREAKERS = ("forced_closed", "closed", "half_open", "open", "isolated")
"""From the best to the worst."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """`state` None: it could not be asked, and `problem` says why."""

    namespace: str
    pod: str
    profile: str
    ready: bool
    state: dict[str, Any] | None = None
    problem: str = ""

    @property
    def revision(self) -> str:
        return str(self.state["process"]["revision"]) if self.state else ""


def has_sidecar(pod: Object) -> bool:
    everyone = (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
    return any(one["name"] == CONTAINER for one in everyone)


def found(kubectl: Kubectl, limit: int, *, everywhere: bool = False) -> tuple[list[Sidecar], int]:
    """Up to `limit` of those that run, asked; and how many there are."""
    pods = [pod for pod in kubectl.list(["pods"], everywhere=everywhere) if has_sidecar(pod) and _runs(pod)]
    pods.sort(key=lambda pod: (pod["metadata"]["namespace"], pod["metadata"]["name"]))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(lambda pod: ask(kubectl, pod), pods[:limit])), len(pods)


def ask(kubectl: Kubectl, pod: Object) -> Sidecar:
    metadata, status = pod["metadata"], pod.get("status", {})
    namespace, name = metadata["namespace"], metadata["name"]
    profile = str((metadata.get("annotations") or {}).get(INJECTED, ""))
    statuses = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    ready = any(one["name"] == CONTAINER and one.get("ready") for one in statuses)
    try:
        state = kubectl.raw(f"/api/v1/namespaces/{namespace}/pods/{name}:{ADMIN}/proxy/state")
    except (Refused, ValueError) as error:
        return Sidecar(namespace, name, profile, ready, problem=str(error).splitlines()[0][:200])
    return Sidecar(namespace, name, profile, ready, state)


def _runs(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")


@dataclass(slots=True)
class Upstream:
    """One upstream over all sidecars that were asked."""

    name: str
    sidecars: int = 0
    away: int = 0
    """Sidecars that keep calls from it, or from one of its models."""
    worst: str = "closed"
    calls: int = 0
    errors: float = 0.0
    in_flight: int = 0
    queued: int = 0
    parked: int = 0
    resting: int = 0

    @property
    def error_rate(self) -> float | None:
        return self.errors / self.calls if self.calls else None


def upstreams(sidecars: Sequence[Sidecar]) -> list[Upstream]:
    """By name."""
    rows: dict[str, Upstream] = {}
    for one in sidecars:
        for view in one.state["upstreams"] if one.state else ():
            row = rows.setdefault(view["name"], Upstream(view["name"]))
            states = [breaker["state"] for breaker in view["breakers"]]
            row.sidecars += 1
            row.away += any(state in ("open", "isolated") for state in states)
            row.worst = max((row.worst, *states), key=_rank)
            row.calls += view["samples"]
            row.errors += view["samples"] * (view["error_rate"] or 0.0)
            row.in_flight += view["limit"]["in_flight"]
            row.queued += view["limit"]["queued"]
            row.parked += len(view["parked"])
            row.resting += len(view["cooldowns"])
    return sorted(rows.values(), key=lambda row: row.name)


def _rank(state: str) -> int:
    """A state of a newer sidecar counts as the worst."""
    return BREAKERS.index(state) if state in BREAKERS else len(BREAKERS)
