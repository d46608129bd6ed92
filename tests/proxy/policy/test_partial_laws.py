"""Laws of partly wrong documents, for any damage to any documents: nothing new follows, and nothing is let through."""

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_documents import document, rule, upstream

from seawall.policy import evaluate, has_errors, load_objects

BAD: list[Any] = [1.5, [1.5], "\0"]
TIMEOUTS = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(["5s", "9s", "700s"]) for name in ("request", "backendRequest", "firstContent")}
)
REFS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["a", "b", "gone"])},
        optional={"weight": st.integers(0, 1), "priority": st.integers(0, 1), "model": st.just("m")},
    ),
    min_size=1,
    max_size=3,
)
RULES = st.builds(
    lambda path, refs, timeouts, more: {**rule(path, *refs, **more), "timeouts": timeouts},
    st.sampled_from(["/v1", "/v2"]),
    REFS,
    TIMEOUTS,
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["m", "n"]),
            "retry": st.just({"attempts": 6, "backoff": {"base": "9s"}}),
            "streaming": st.just({"maxHold": "1Mi"}),
            "fallbackOn": st.just(["NotFound"]),
            "hedging": st.just({"maxAttempts": 2}),
        },
    ),
)
POLICIES = st.builds(
    lambda kind, name, level, timeouts: document(
        "ResiliencePolicy", "p", {"targetRefs": [{"kind": kind, "name": name}], level: {"timeouts": timeouts}}
    ),
    st.sampled_from(["AgentRoute", "Upstream"]),
    st.sampled_from(["a", "r", "gone"]),
    st.sampled_from(["defaults", "overrides"]),
    TIMEOUTS,
)
UPSTREAMS = st.builds(
    lambda name, dialect, more: upstream(name, dialect=dialect, **more),
    st.just("b"),
    st.sampled_from(["OpenAI", "Generic"]),
    st.fixed_dictionaries(
        {},
        optional={
            "models": st.just([{"name": "x", "aliases": ["x"]}]),
            "type": st.just("Warehouse"),
            "auth": st.sampled_from([{"type": "APIKey"}, {"type": "Passthrough", "scheme": "Bearer"}]),
        },
    ),
)


OF_A_POLICY = [(3, "apiVersion"), (3, "kind"), (3, "spec")]
"""Without these nothing is known of a policy. What other documents set is then held against them as it stands."""


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, one in items for place in places(one, (*at, key)))]


def damaged(documents: list[Any], place: tuple[Any, ...], bad: Any, misspell: bool) -> list[Any]:
    result = copy.deepcopy(documents)
    parent: Any = result
    for key in place[:-1]:
        parent = parent[key]
    if misspell and isinstance(parent, dict):
        parent[f"{place[-1]}x"] = parent.pop(place[-1])
    else:
        parent[place[-1]] = bad
    return result


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=3), UPSTREAMS, POLICIES, st.data())
def test_damage_never_adds_an_issue_but_its_own(
    rules: list[Any], other: dict[str, Any], attached: dict[str, Any], data: st.DataObject
) -> None:
    documents = [upstream(), other, document("AgentRoute", "r", {"rules": rules}), attached]
    fields = [place for place in places(documents) if len(place) > 1 and place not in OF_A_POLICY]
    wrong = damaged(
        documents, data.draw(st.sampled_from(fields)), data.draw(st.sampled_from(BAD)), data.draw(st.booleans())
    )
    read = load_objects(wrong)
    found = evaluate(read)
    assert (found.policy is None) == has_errors(found.issues)
    assert len(set(found.issues)) == len(found.issues)
    if not read.issues:
        return  # no damage after all, such as another name
    before = {(i.severity, i.path) for i in evaluate(load_objects(documents)).issues}
    after = {(i.severity, i.path) for i in found.issues if i not in read.issues}
    assert after <= before


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=3), UPSTREAMS, POLICIES, st.data())
def test_an_unknown_field_hides_nothing(
    rules: list[Any], other: dict[str, Any], attached: dict[str, Any], data: st.DataObject
) -> None:
    documents = [upstream(), other, document("AgentRoute", "r", {"rules": rules}), attached]
    before = evaluate(load_objects(documents)).issues
    wrong = copy.deepcopy(documents)
    where: Any = data.draw(
        st.sampled_from([wrong[0]["spec"], wrong[1]["spec"], wrong[2]["spec"]["rules"][0], wrong[3]])
    )
    where["zzzzzz"] = {}
    assert set(before) <= set(evaluate(load_objects(wrong)).issues)
