"""`kubectl seawall top`: calls as they are, over all sidecars of a namespace."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from seawall_kubectl import sidecars
from seawall_kubectl.kubectl import Kubectl
from seawall_kubectl.table import percent, table

CLEAR = "\x1b[H\x1b[2J"


def look(kubectl: Kubectl, limit: int, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One look; with the one before, also the calls per second since then."""
    asked, total = sidecars.found(kubectl, limit)
    now = time.monotonic()
    pods = {}
    for one in asked:
        if one.state is not None:
            process = one.state["process"]
            pods[one.pod] = {name: process[name] for name in ("calls", "failed", "in_flight", "streams_open")}
    # A sidecar that started anew has counted from nothing.
    were = before["sidecars"] if before else {}
    rate = None
    if before and now > before["at"]:
        new = sum(max(0, one["calls"] - were[pod]["calls"]) for pod, one in pods.items() if pod in were)
        rate = new / (now - before["at"])
    return {
        "at": now,
        "sidecars": pods,
        "asked": len(asked),
        "total": total,
        "calls_per_second": rate,
        "upstreams": [
            {"name": u.name, "breaker": u.worst, "away": u.away, "sidecars": u.sidecars, "in_flight": u.in_flight,
             "queued": u.queued, "error_rate": u.error_rate}
            for u in sidecars.upstreams(asked)
        ],
    }  # fmt: skip


def looks(kubectl: Kubectl, limit: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Without end."""
    found = None
    while True:
        found = look(kubectl, limit, found)
        yield found
        time.sleep(seconds)


def text(found: dict[str, Any]) -> str:
    """For people."""
    rate = "-" if found["calls_per_second"] is None else f"{found['calls_per_second']:.1f}"
    calls = sum(one["in_flight"] for one in found["sidecars"].values())
    streams = sum(one["streams_open"] for one in found["sidecars"].values())
    head = (
        f"{len(found['sidecars'])}/{found['total']} sidecars   {rate} calls/s   {calls} under way   {streams} streams\n"
    )
    upstreams = table(
        ("UPSTREAM", "BREAKER", "AWAY", "IN FLIGHT", "WAITING", "ERRORS"),
        [
            (
                u["name"],
                u["breaker"],
                f"{u['away']}/{u['sidecars']}",
                u["in_flight"],
                u["queued"],
                percent(u["error_rate"]),
            )
            for u in found["upstreams"]
        ],
    )
    busiest = sorted(found["sidecars"].items(), key=lambda one: -one[1]["in_flight"])[:15]
    pods = table(
        ("SIDECAR", "UNDER WAY", "STREAMS", "CALLS", "FAILED"),
        [(pod, one["in_flight"], one["streams_open"], one["calls"], one["failed"]) for pod, one in busiest],
    )
    return "\n".join(filter(None, (head, upstreams, pods)))
