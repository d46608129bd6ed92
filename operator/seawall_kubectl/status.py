"""`kubectl seawall status`: routes, upstreams and sidecars, and what is wrong with them."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from seawall_kubectl import sidecars
from seawall_kubectl.kubectl import Kubectl, Object
from seawall_kubectl.table import percent, table

KINDS = ("upstreams.seawall.dev", "agentroutes.seawall.dev", "resiliencepolicies.seawall.dev",
         "sidecarprofiles.seawall.dev")  # fmt: skip
GOOD = {"Accepted": "True", "ResolvedRefs": "True", "Programmed": "True", "Conflicted": "False"}
"""Where a condition says something else, somebody should know. A policy that is overridden is as somebody meant it."""


def conditions(obj: Object) -> dict[str, dict[str, Any]]:
    return {one["type"]: one for one in obj.get("status", {}).get("conditions", ())}


def problems(obj: Object) -> list[str]:
    """In words."""
    found = conditions(obj)
    if not found:
        return ["the operator has not looked at it"]
    return [
        f"{name}={found[name]['status']} {found[name]['reason']}: {found[name]['message']}"
        for name, good in GOOD.items()
        if name in found and found[name]["status"] != good
    ]


def status(kubectl: Kubectl, limit: int, *, everywhere: bool = False) -> dict[str, Any]:
    """All of it, plain."""
    documents = kubectl.list(KINDS, everywhere=everywhere)
    asked, total = sidecars.found(kubectl, limit, everywhere=everywhere)
    routes = [one for one in documents if one["kind"] == "AgentRoute"]
    revisions = Counter((one.namespace, one.revision) for one in asked if one.state)
    usual = {}
    for (namespace, revision), _ in reversed(revisions.most_common()):
        usual[namespace] = revision
    return {
        "routes": [_route(one) for one in routes],
        "upstreams": [{**asdict(one), "error_rate": one.error_rate} for one in sidecars.upstreams(asked)],
        "sidecars": [
            {
                "namespace": one.namespace,
                "pod": one.pod,
                "profile": one.profile,
                "ready": one.ready,
                "revision": one.revision,
                "differs": bool(one.state) and one.revision != usual[one.namespace],
                "problem": one.problem,
            }
            for one in asked
        ],
        "sidecars_total": total,
        "problems": [
            {
                "kind": one["kind"],
                "namespace": one["metadata"]["namespace"],
                "name": one["metadata"]["name"],
                "is": what,
            }
            for one in documents
            for what in problems(one)
        ],
    }


def _route(obj: Object) -> dict[str, Any]:
    found, known = conditions(obj), obj.get("status", {})
    said = {name: found[name]["status"] for name in ("Accepted", "Programmed") if name in found}
    metadata = obj["metadata"]
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "accepted": said.get("Accepted", "Unknown"),
        "programmed": said.get("Programmed", "Unknown"),
        "revision": known.get("revision", ""),
        "synced": known.get("synced", ""),
    }


def text(found: dict[str, Any]) -> str:
    """For people."""
    routes = table(
        ("ROUTE", "ACCEPTED", "PROGRAMMED", "REVISION", "SYNCED"),
        [
            (f"{r['namespace']}/{r['name']}", r["accepted"], r["programmed"], r["revision"], r["synced"])
            for r in found["routes"]
        ],
    )
    upstreams = table(
        ("UPSTREAM", "BREAKER", "AWAY", "ERRORS", "IN FLIGHT", "WAITING", "PARKED", "RESTING"),
        [
            (u["name"], u["worst"], f"{u['away']}/{u['sidecars']}", percent(u["error_rate"]), u["in_flight"],
             u["queued"], u["parked"], u["resting"])
            for u in found["upstreams"]
        ],
    )  # fmt: skip
    pods = table(
        ("SIDECAR", "PROFILE", "READY", "REVISION", ""),
        [
            (f"{s['namespace']}/{s['pod']}", s["profile"], "yes" if s["ready"] else "no", s["revision"],
             s["problem"] or ("differs from most" if s["differs"] else " "))
            for s in found["sidecars"]
        ],
    )  # fmt: skip
    parts = [routes or "no routes\n", upstreams, pods or "no sidecars\n"]
    if (more := found["sidecars_total"] - len(found["sidecars"])) > 0:
        parts.append(f"{more} sidecars were not asked: --sidecars {found['sidecars_total']} asks them all\n")
    if found["problems"]:
        lines = (f"  {p['kind']} {p['namespace']}/{p['name']}: {p['is']}\n" for p in found["problems"])
        parts.append("What is wrong:\n" + "".join(lines))
    return "\n".join(part for part in parts if part)
