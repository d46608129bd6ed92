"""What nothing implements yet is an error, never silently inert."""

from typing import Any

import pytest
from policy_documents import document, issues, one, policy, route, rule, upstream

from seawall.policy.blocks import RouteFields, UpstreamFields
from seawall.policy.unimplemented import NOT_IMPLEMENTED

GAPS: dict[str, Any] = {"rateLimit": {"requests": {"count": 1}}, "healthCheck": {"path": "/"}}


@pytest.mark.parametrize("field", sorted({gap.field for gap in NOT_IMPLEMENTED}))
def test_a_field_that_nothing_implements_is_an_error_wherever_it_stands(field: str) -> None:
    inline = upstream(**{field: GAPS[field]})
    attached = policy("overrides", "Upstream", "a", **{field: GAPS[field]})
    found = issues(inline, route(rule()), attached)
    assert [issue[0] for issue in found] == ["error"] * 2
    assert all("not implemented yet" in issue[2] for issue in found)


def test_every_top_level_field_is_either_implemented_or_listed() -> None:
    implemented = {"timeouts", "retry", "hedging", "streaming", "fallbackOn", "limits", "sticky", "fallback", "offline"}
    implemented |= {"clientHints", "retryConstraint", "circuitBreaker", "concurrency", "cache"}
    listed = {gap.field for gap in NOT_IMPLEMENTED}
    fields = [*RouteFields.model_fields.values(), *UpstreamFields.model_fields.values()]
    assert {field.alias for field in fields} <= implemented | listed


def test_kinds_of_the_control_plane_are_accepted_with_a_warning() -> None:
    profile = document("SidecarProfile", "s", {"selector": {"matchLabels": {"a": "b"}}})
    assert one(upstream(), route(rule()), profile)[:2] == ("warning", "kind")


def test_a_policy_that_does_the_same_to_many_routes_is_named_once() -> None:
    spec = {
        "targetSelectors": [{"kind": "AgentRoute", "matchLabels": {}}],
        "overrides": {"timeouts": {"request": "5s", "backendRequest": "6s"}},
    }
    routes = [route(rule(f"/{n}"), name=f"r{n}") for n in range(5)]
    assert (
        one(upstream(), *routes, document("ResiliencePolicy", "p", spec))[1] == "spec.overrides.timeouts.backendRequest"
    )
