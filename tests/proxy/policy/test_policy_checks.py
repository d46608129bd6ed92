"""What a policy targets, and whether its targets take what it sets."""

from typing import Any

import pytest
from policy_documents import document, issues, one, policy, route, rule, upstream

TARGETS = [{"kind": "AgentRoute", "name": "r"}]
RETRY = {"retry": {"attempts": 1}}


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ({"name": "chta"}, "there is no AgentRoute chta in namespace default", "did you mean `chat`?"),
        ({"name": "chat", "sectionName": "man"}, "AgentRoute chat has no rule of that name", "did you mean `main`?"),
    ],
)  # fmt: skip
def test_a_policy_that_targets_nothing_is_a_warning(target: dict[str, str], message: str, hint: str) -> None:
    refs = [{"kind": "AgentRoute", **target}]
    attached = document("ResiliencePolicy", "p", {"targetRefs": refs, "defaults": {"retry": {"attempts": 1}}})
    found = one(upstream(), route(rule(name="main"), name="chat"), attached)
    assert (found[0], found[2], found[3]) == ("warning", f"targets nothing: {message}", hint)


def test_a_selector_that_selects_nothing_is_a_warning() -> None:
    spec = {"targetSelectors": [{"kind": "AgentRoute", "matchLabels": {"a": "b"}}], "defaults": {"retry": {}}}
    attached = document("ResiliencePolicy", "p", spec)
    assert one(upstream(), route(rule()), attached)[:3] == (
        "warning",
        "spec.targetSelectors[0]",
        "selects no AgentRoute",
    )
    assert issues(upstream(), route(rule(), labels={"a": "b"}), attached) == []


def test_a_field_that_no_target_takes_is_an_error() -> None:
    found = one(upstream(), route(rule()), policy(circuitBreaker={"consecutiveFailures": 1}))
    assert found[:3] == (
        "error", "spec.defaults.circuitBreaker",
        "belongs to an Upstream or ClusterUpstream; this policy targets only AgentRoute",
    )  # fmt: skip
    found = one(upstream(), route(rule()), policy("overrides", "Upstream", "a", retry={"attempts": 1}))
    assert found[:2] == ("error", "spec.overrides.retry")


def test_a_namespace_does_not_decide_for_a_cluster_upstream() -> None:
    shared = upstream("s", "ClusterUpstream")
    attached = policy("overrides", "ClusterUpstream", "s", concurrency={"maxParallelRequests": 1})
    found = one(shared, route(rule("/v1", {"name": "s", "kind": "ClusterUpstream"})), attached)
    assert found[0::3] == ("error", "target it with a ClusterResiliencePolicy")


@pytest.mark.parametrize(
    "spec",
    [
        {"defaults": RETRY},
        {"targetRefs": TARGETS, "targetSelectors": [], "defaults": RETRY},
        {"targetRefs": TARGETS},
        {"targetRefs": TARGETS, "defaults": RETRY, "overrides": RETRY},
    ],
)
def test_a_policy_has_one_way_to_target_and_one_level(spec: dict[str, Any]) -> None:
    found = one(upstream(), route(rule()), document("ResiliencePolicy", "p", spec))
    assert found[:2] == ("error", "spec")
    assert "exactly one of" in found[2]
