"""Every reason that a condition may have: it occurs, and it is in the reference."""

import re
from collections.abc import Iterator
from pathlib import Path

from kube_objects import BAD, cluster_upstream, made, policy, route, upstream
from kube_sim import Simulated

from seawall_operator.resources import WRITTEN_BY_USERS

ROOT = Path(__file__).parents[2]
Reason = tuple[str, str, str]
"""Type, status, reason."""


def worlds() -> Iterator[Simulated]:
    """In each of them something is as it is in no other."""
    profile = made("SidecarProfile", "gpu", {"selector": {"matchLabels": {"gpu": "yes"}}})
    world = Simulated(
        upstream(), upstream("spare"), cluster_upstream(), profile, route(), route("half", "a", "gone"),
        route("dead", "gone"), route("wrong", **BAD),
        policy("old", at=1, streaming={"keepAlive": "5s"}),
        policy("new", at=2, streaming={"keepAlive": "9s"}, retry={"attempts": 2}),
        policy("all", level="overrides", retry={"attempts": 1}), policy("everywhere", namespace="", streaming={}),
    )  # fmt: skip
    world.step()
    yield world
    world.report("p1", world.revision())
    world.step()
    yield world
    world.report("p2", "", refused=world.revision(), error="no")
    world.step()
    yield world
    world.report("p2", "an older one")
    world.step()
    yield world


def found(world: Simulated) -> Iterator[Reason]:
    for obj in world.documents:
        for one in obj.get("status", {}).get("conditions", ()):
            yield one["type"], one["status"], one["reason"]
        for ancestor in obj.get("status", {}).get("ancestors", ()):
            for one in ancestor["conditions"]:
                yield one["type"], one["status"], one["reason"]


def documented() -> set[Reason]:
    """Of the table in docs/status.md."""
    reasons: set[Reason] = set()
    kind = ""
    text = (ROOT / "docs" / "status.md").read_text(encoding="utf-8").partition("## Conditions")[2].partition("\n## ")[0]
    for line in text.splitlines():
        if not line.startswith("|") or "---" in line:
            continue
        first, second = (cell.strip() for cell in line.split("|")[1:3])
        kind = first.partition("`")[2].partition("`")[0] or kind
        if status := re.match(r"(True|False|Unknown) ", second):
            reasons |= {(kind, status[1], reason) for reason in re.findall(r"`(\w+)`", second)}
    return reasons


def test_every_reason_of_the_reference_occurs_and_no_other() -> None:
    occurring = {reason for world in worlds() for reason in found(world)}
    assert occurring == documented()


def test_the_code_names_no_reason_that_does_not_occur() -> None:
    text = (ROOT / "operator" / "seawall_operator" / "conditions.py").read_text(encoding="utf-8")
    named = set(re.findall(r'"(True|False|Unknown)", "(?!True|False|Unknown)(\w+)"', text))
    assert named and named <= {(status, reason) for _, status, reason in documented()}


def test_every_kind_has_its_conditions() -> None:
    world = next(worlds())
    types = {kind: {one[0] for obj in world.documents if obj["kind"] == kind for one in found(Simulated(obj))}
             for kind in (*WRITTEN_BY_USERS, "EffectivePolicy")}  # fmt: skip
    whole = {"Accepted", "ResolvedRefs", "Programmed", "Ready"}
    decided = {"Accepted", "Programmed", "Overridden", "Conflicted"}
    assert types == {
        "Upstream": whole, "ClusterUpstream": whole, "AgentRoute": whole, "EffectivePolicy": whole,
        "SidecarProfile": whole - {"ResolvedRefs"}, "ResiliencePolicy": decided, "ClusterResiliencePolicy": decided,
    }  # fmt: skip
