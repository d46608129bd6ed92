"""Policies with `enforcement: Shadow`: what they would change lies beside what is enforced, and never in it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_documents import document, issues, load, one, route, rule, upstream

from seawall.policy import Change, EffectivePolicy, changes, differences

FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "retry": st.fixed_dictionaries({}, optional={"attempts": st.integers(0, 5), "codes": st.just([520])}),
        "timeouts": st.fixed_dictionaries(
            {}, optional={"request": st.sampled_from(["600s", "700s"]), "firstContent": st.just("9s")}
        ),
        "hedging": st.fixed_dictionaries({}, optional={"maxAttempts": st.integers(1, 3)}),
        "circuitBreaker": st.fixed_dictionaries({}, optional={"consecutiveFailures": st.integers(0, 9)}),
        "offline": st.sampled_from(["Enabled", "Disabled"]),
    },
)
POLICIES = st.lists(
    st.tuples(st.booleans(), st.sampled_from(["overrides", "defaults"]), st.booleans(), FIELDS), max_size=5
)
BOTH = [{"kind": "AgentRoute", "matchLabels": {}}, {"kind": "Upstream", "matchLabels": {}}]


def attached(name: str, fields: Any, *, level: str = "overrides", cluster: bool = False, shadow: bool = True) -> Any:
    spec: dict[str, Any] = {"targetSelectors": BOTH, level: fields}
    if shadow:
        spec["enforcement"] = "Shadow"
    return document("ClusterResiliencePolicy" if cluster else "ResiliencePolicy", name, spec)


def taken(*documents: dict[str, Any]) -> EffectivePolicy:
    loaded = load(*documents)
    assert loaded.policy is not None, [str(issue) for issue in loaded.issues]
    return loaded.policy


def shown(policy: EffectivePolicy) -> list[Any]:
    """Everything that is enforced."""
    rules = [rule for one in policy.routes for rule in one.rules]
    return [
        [(u.settings, u.values, u.sources) for u in policy.upstreams.values()],
        [(r.settings, r.values, r.sources) for r in rules],
        [(b.timeouts, b.timeout_values, b.timeout_sources) for r in rules for b in r.backends],
    ]


@given(POLICIES, FIELDS)
def test_what_is_enforced_never_depends_on_shadow_policies_and_what_they_would_do_is_the_merge_with_them(
    policies: list[Any], inline: Any
) -> None:
    inline = {name: value for name, value in inline.items() if name != "circuitBreaker"}
    base = [upstream(), upstream("b", timeouts={"firstContent": "8s"})]
    base.append(route(rule("/v1", {"name": "a"}, {"name": "b", "priority": 1}, **inline)))
    every = [
        attached(f"p{number}", fields, level=level, cluster=cluster, shadow=shadow)
        for number, (cluster, level, shadow, fields) in enumerate(policies)
    ]
    mixed = taken(*base, *every)
    enforced = taken(*base, *(one for one in every if "enforcement" not in one["spec"]))
    for each in every:
        each["spec"].pop("enforcement", None)
    wanted = taken(*base, *every)
    assert shown(mixed) == shown(enforced)
    pairs = [*zip(mixed.upstreams.values(), wanted.upstreams.values(), strict=True)]
    rules = [*zip(mixed.routes[0].rules, wanted.routes[0].rules, strict=True)]
    for here, there in [*pairs, *rules]:
        if here.shadow is None:
            assert (here.values, here.settings) == (there.values, there.settings)
        else:
            assert here.shadow.settings == there.settings
            assert {**here.values, **here.shadow.values} == there.values
            assert all(there.sources[path] == source for path, source in here.shadow.sources.items())
    for here, there in rules:
        for backend, other in zip(here.backends, there.backends, strict=True):
            found = backend.timeouts if backend.shadow is None else backend.shadow.settings
            assert found == other.timeouts


def test_without_a_shadow_policy_or_a_difference_there_is_nothing_beside() -> None:
    for extra in ([], [attached("p", {"retry": {"attempts": 2}, "circuitBreaker": {"consecutiveFailures": 5}})]):
        made = taken(upstream(), route(rule()), *extra)
        assert made.upstreams["default/a"].shadow is None
        assert made.routes[0].rules[0].shadow is None
        assert made.routes[0].rules[0].backends[0].shadow is None


def test_only_the_fields_that_differ_are_carried_with_who_would_set_them() -> None:
    fields = {"retry": {"attempts": 5, "backoff": {"base": "500ms"}}, "circuitBreaker": {"consecutiveFailures": 2}}
    made = taken(upstream(), route(rule()), attached("p", fields, level="defaults"))
    found = made.routes[0].rules[0]
    assert found.settings.retry.attempts == 2
    assert found.shadow is not None
    assert found.shadow.settings.retry.attempts == 5
    assert dict(found.shadow.values) == {"retry.attempts": 5}
    assert list(differences(found.values, found.shadow)) == [
        "retry.attempts 2 → 5, ResiliencePolicy default/p defaults"
    ]
    beside = made.upstreams["default/a"].shadow
    assert beside is not None
    assert beside.sources == {"circuitBreaker.consecutiveFailures": "ResiliencePolicy default/p defaults"}


def test_a_timeout_that_would_only_be_set_to_its_default_differs_since_it_would_hold_for_streams() -> None:
    found = taken(upstream(), route(rule()), attached("p", {"timeouts": {"request": "600s"}})).routes[0].rules[0]
    assert found.shadow is not None
    assert found.shadow.settings.timeouts.request_set
    assert not found.settings.timeouts.request_set


def test_an_upstreams_own_timeout_still_caps_what_a_shadow_policy_would_set() -> None:
    refs = [{"kind": "AgentRoute", "name": "r"}]
    spec = {"targetRefs": refs, "enforcement": "Shadow", "overrides": {"timeouts": {"firstContent": "20s"}}}
    capped = upstream(timeouts={"firstContent": "5s"})
    made = taken(capped, upstream("b"), route(rule("/v1", {"name": "a"}, {"name": "b"})),
                 document("ResiliencePolicy", "p", spec)).routes[0].rules[0]  # fmt: skip
    first, second = made.backends
    assert first.shadow is None
    assert second.shadow is not None
    assert (second.timeouts.first_content, second.shadow.settings.first_content) == (300, 20)


def test_a_contradiction_that_only_a_shadow_policy_brings_about_refuses_nothing_but_is_told() -> None:
    found = one(
        upstream(), route(rule(timeouts={"backendRequest": "60s"})), attached("p", {"timeouts": {"request": "30s"}})
    )
    assert found[:2] == ("warning", "spec.rules[0].timeouts.backendRequest")
    assert found[2].startswith("in Shadow: 60s (AgentRoute default/r rule 0) exceeds timeouts.request 30s")
    assert found[3] == "enforced, it would be refused"


def test_what_is_wrong_without_shadow_policies_too_is_told_once_and_as_an_error() -> None:
    wrong = route(rule(timeouts={"request": "5s", "backendRequest": "6s"}))
    found = one(upstream(), wrong, attached("p", {"retry": {"attempts": 1}}))
    assert found[:2] == ("error", "spec.rules[0].timeouts.backendRequest")


def test_a_shadow_policy_is_checked_like_any_other() -> None:
    assert "unknown field" in issues(upstream(), route(rule()), attached("p", {"retri": {}}))[0][2]
    gone = document("ResiliencePolicy", "p", {"targetRefs": [{"kind": "AgentRoute", "name": "gone"}],
                    "enforcement": "Shadow", "overrides": {"retry": {"attempts": 1}}})  # fmt: skip
    assert "targets nothing" in one(upstream(), route(rule()), gone)[2]


@pytest.mark.parametrize(
    "fields", [{"timeouts": {"streamIdle": "9s"}}, {"sticky": "Conversation"}, {"streaming": {"commit": "Complete"}}]
)
def test_a_field_whose_effect_cannot_be_told_is_a_warning(fields: Any) -> None:
    found = one(upstream(), route(rule()), attached("p", fields))
    assert (found[0], "is not evaluated in Shadow" in found[2]) == ("warning", True)


def test_a_policy_whose_enforcement_cannot_be_read_decides_nothing_and_contradicts_nothing() -> None:
    wrong = attached("p", {"timeouts": {"request": "5s"}}, shadow=False)
    wrong["spec"]["enforcement"] = "Shaddow"
    found = one(upstream(), route(rule(timeouts={"backendRequest": "6s"})), wrong)
    assert found[:2] == ("error", "spec.enforcement")


def test_changes_tell_of_every_shadow_policy_what_it_would_change_and_where() -> None:
    loaded = load(
        upstream(), upstream("b"), route(rule("/v1"), rule("/v2")),
        attached("p", {"retry": {"attempts": 3}, "circuitBreaker": {"consecutiveFailures": 1}}),
        attached("q", {"retry": {"attempts": 4}}), attached("r", {"offline": "Enabled"}, shadow=False),
    )  # fmt: skip
    assert loaded.policy is not None
    found = changes(loaded.documents, loaded.policy)
    assert found == [
        Change("ResiliencePolicy default/p overrides", ("circuitBreaker.consecutiveFailures", "retry.attempts"), 4),
        Change("ResiliencePolicy default/q overrides", (), 0),
    ]
    assert str(found[0]).endswith("would change circuitBreaker.consecutiveFailures, retry.attempts at 4 targets")
    assert str(found[1]) == "ResiliencePolicy default/q overrides would change nothing"
