"""What holds in each namespace, whatever else is wrong; and that the past counts only while something is."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kube_objects import BAD, Object, arbitrary, cluster_upstream, made, policy, route, upstream

from seawall.policy.bundle import pack, unpack
from seawall_operator.render import CLUSTER, Documents, Rendered, render
from seawall_operator.resources import identity

CHAT = ("AgentRoute", "team", "chat")


def rendered(*objects: Object, before: Rendered | None = None) -> Rendered:
    return render(Documents(objects), before.accepted if before else None)


def attempts(found: Rendered, name: str = "chat", namespace: str = "team") -> int:
    return found.scopes[namespace].routes["AgentRoute", namespace, name].rules[0].settings.retry.attempts


def names(found: Rendered, name: str = "chat", namespace: str = "team") -> list[str]:
    rule = found.scopes[namespace].routes["AgentRoute", namespace, name].rules[0]
    return [backend.ref.name for backend in rule.backends]


def test_a_namespace_gets_its_own_routes_and_the_upstreams_that_they_use() -> None:
    found = rendered(
        upstream("a"), upstream("unused"), cluster_upstream("c"), upstream("x", "other"),
        route("chat", "a", "/c", "other/x"), route("chat", "x", namespace="other"),
    )  # fmt: skip
    assert set(found.scopes) == {CLUSTER, "team", "other"}
    assert set(found.scopes["team"].policy.upstreams) == {"team/a", "c", "other/x"}
    assert set(found.scopes["other"].policy.upstreams) == {"other/x"}
    assert all(found.verdict(identity(obj)).accepted for obj in (upstream("unused"), cluster_upstream("c")))


def test_namespaces_may_route_the_same_paths() -> None:
    found = rendered(upstream("a"), route("chat"), upstream("a", "other"), route("chat", namespace="other"))
    assert found.verdict(CHAT).accepted and found.verdict(("AgentRoute", "other", "chat")).accepted


def test_policies_of_the_cluster_apply_in_every_namespace() -> None:
    everywhere = policy("floor", namespace="", level="overrides", retry={"attempts": 7})
    found = rendered(upstream(), route(), upstream("a", "other"), route(namespace="other"), everywhere)
    assert attempts(found) == attempts(found, namespace="other") == 7


def test_the_mistake_of_one_route_leaves_the_others_alone() -> None:
    found = rendered(upstream(), route("chat"), route("wrong", **BAD))
    assert names(found) == ["a"]
    verdict = found.verdict(("AgentRoute", "team", "wrong"))
    assert verdict.dropped and [issue.path for issue in verdict.errors] == ["spec.rules[0].timeouts.backendRequest"]


def test_a_document_that_becomes_wrong_stays_as_it_was() -> None:
    first = rendered(upstream(), route(retry={"attempts": 4}))
    second = rendered(upstream(), route(retry={"attempts": 5}, **BAD), before=first)
    assert attempts(second) == 4 and second.verdict(CHAT).held and not second.verdict(CHAT).dropped
    third = rendered(upstream(), route(retry={"attempts": 6}, **BAD), before=second)
    assert attempts(third) == 4
    assert attempts(rendered(upstream(), route(retry={"attempts": 6}), before=third)) == 6


def test_an_upstream_that_becomes_wrong_stays_as_it_was() -> None:
    first = rendered(upstream(), route())
    found = rendered(upstream(auth={"type": "APIKey"}), route(), before=first)
    assert found.verdict(("Upstream", "team", "a")).held and found.verdict(CHAT).accepted and names(found) == ["a"]


def test_a_policy_that_would_break_a_route_gives_way_to_it() -> None:
    before = rendered(upstream(), route(timeouts={"backendRequest": "60s"}))
    cut = policy("cut", namespace="", level="overrides", timeouts={"request": "5s"})
    found = rendered(upstream(), route(timeouts={"backendRequest": "60s"}), cut, before=before)
    assert found.verdict(CHAT).accepted
    assert found.scopes["team"].routes[CHAT].rules[0].settings.timeouts.backend_request == 60.0
    verdict = found.verdict(identity(cut))
    assert verdict.dropped and "exceeds timeouts.request 5s" in verdict.errors[0].message


def test_a_changed_policy_that_would_break_a_route_stays_as_it_was() -> None:
    cut = [policy("cut", level="overrides", timeouts={"request": t}) for t in ("90s", "5s")]
    before = rendered(upstream(), route(timeouts={"backendRequest": "60s"}), cut[0])
    found = rendered(upstream(), route(timeouts={"backendRequest": "60s"}), cut[1], before=before)
    assert found.scopes["team"].routes[CHAT].rules[0].settings.timeouts.request == 90.0
    assert found.verdict(identity(cut[0])).held


def test_a_change_beside_the_one_that_breaks_something_still_arrives() -> None:
    other = route("other", retry={"attempts": 1})
    before = rendered(upstream(), route(timeouts={"backendRequest": "60s"}), other)
    cut = policy("cut", level="overrides", timeouts={"request": "5s"})
    edited = route("other", retry={"attempts": 9})
    found = rendered(upstream(), route(timeouts={"backendRequest": "60s"}), edited, cut, before=before)
    assert attempts(found, "other") == 9 and found.verdict(identity(edited)).accepted


def test_an_old_route_cannot_take_a_path_that_another_one_serves() -> None:
    before = rendered(upstream(), route("old", at=1), route("chat", at=2))
    found = rendered(upstream(), route("old", path="/chat", at=1), route("chat", at=2), before=before)
    assert found.verdict(CHAT).accepted and found.verdict(("AgentRoute", "team", "old")).held
    assert found.scopes["team"].routes["AgentRoute", "team", "old"].rules[0].matches[0].path == "/old"


def test_from_scratch_the_older_of_two_routes_has_the_path() -> None:
    found = rendered(upstream(), route("chat", at=2), route("zz-old", path="/chat", at=1))
    assert found.verdict(("AgentRoute", "team", "zz-old")).accepted and found.verdict(CHAT).dropped


def test_a_rule_goes_on_with_the_upstreams_that_are_left() -> None:
    before = rendered(upstream("a"), upstream("b"), route("chat", "a", "b"))
    found = rendered(upstream("b"), route("chat", "a", "b"), before=before)
    verdict = found.verdict(CHAT)
    assert names(found) == ["b"] and verdict.accepted
    assert [(ref.rule, ref.upstream, ref.rule_gone) for ref in verdict.dead] == [(0, ("Upstream", "team", "a"), False)]


def test_a_rule_without_any_upstream_is_left_out_and_the_others_keep_their_names() -> None:
    both = route()
    both["spec"]["rules"] = [
        {"matches": [{"path": {"value": "/1"}}], "backendRefs": [{"name": "gone"}]},
        {"matches": [{"path": {"value": "/2"}}], "backendRefs": [{"name": "a"}]},
    ]
    found = rendered(upstream(), both)
    assert [rule.name for rule in found.scopes["team"].routes[CHAT].rules] == ["1"]
    assert found.verdict(CHAT).dead[0].rule_gone and found.verdict(CHAT).accepted


def test_every_namespace_has_a_bundle_for_each_profile_and_one_for_pods_without() -> None:
    profile = made("SidecarProfile", "gpu", {"selector": {"matchLabels": {"gpu": "yes"}}})
    found = rendered(upstream(), route(), profile).scopes["team"]
    bundles = found.bundles(9)
    assert [b.profile for b in bundles] == ["default", "gpu"]
    assert len({b.revision for b in bundles}) == 1
    assert all(unpack(pack(b)).sequence == 9 for b in bundles)


def contents(found: Rendered) -> dict[str, Any]:
    return {namespace: [b.revision for b in scope.bundles(1)] for namespace, scope in found.scopes.items()}


def good(objects: Documents) -> bool:
    return all(one.accepted for scope in render(objects).scopes.values() for one in scope.verdicts.values())


@pytest.mark.parametrize("seed", range(5))
def test_two_hundred_edits_end_where_a_compile_from_scratch_begins(seed: int) -> None:
    rng, live = Random(seed), Documents()
    found = render(live)
    for number in range(200):
        obj = arbitrary(rng)
        key = identity(obj)
        affected = live.affected(key)
        if rng.random() < 0.8:
            live.put(obj)
        else:
            live.remove(key)
        affected |= live.affected(key)
        whole = render(live, found.accepted) if number % 10 == 0 else None
        found = render(live, found.accepted, previous=found, only=affected)
        # What is rendered by and by is what is rendered at once.
        assert whole is None or contents(found) == contents(whole)
    # Whatever is still wrong is taken away, one document after the other.
    while wrong := [key for scope in found.scopes.values() for key, one in scope.verdicts.items() if not one.accepted]:
        affected = live.affected(wrong[0])
        live.remove(wrong[0])
        found = render(live, found.accepted, previous=found, only=affected | live.affected(wrong[0]))
    assert good(live)
    assert contents(found) == contents(render(Documents(live)))


@given(st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_no_edit_takes_down_a_route_that_did_not_change(rng: Random) -> None:
    live, edit = Documents(arbitrary(rng) for _ in range(rng.randint(5, 25))), arbitrary(rng)
    first = render(live)
    live.put(edit)
    second = render(live, first.accepted)
    for namespace, scope in first.scopes.items():
        for key in scope.routes:
            if key != identity(edit):
                assert key in second.scopes[namespace].routes


@given(st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_whom_an_upstream_s_edit_affects_is_known_whatever_came_and_went(rng: Random) -> None:
    live = Documents()
    for _ in range(rng.randint(1, 40)):
        obj = arbitrary(rng)
        if rng.random() < 0.7:
            live.put(obj)
        else:
            live.remove(identity(obj))
    for home in ("team", "other"):
        users = {home}
        for one in live:
            rules = one["spec"].get("rules", ()) if one["kind"] == "AgentRoute" else ()
            named = {ref.get("namespace") for rule in rules for ref in rule["backendRefs"]}
            users |= {one["metadata"]["namespace"]} if home in named else set()
        assert live.affected(("Upstream", home, "a")) == live.copy().affected(("Upstream", home, "a")) == users
