"""What is refused before it is stored, and what is only warned of."""

from kube_objects import BAD, Object, policy, route, upstream

from seawall_operator.render import Documents, render
from seawall_operator.review import Opinion, farewell, review


def opinion(obj: Object, *known: Object, **sidecars: int) -> Opinion:
    documents = Documents(known)
    return review(obj, documents, render(documents), sidecars)


def test_a_good_document_is_taken_without_a_word() -> None:
    assert opinion(route(), upstream()) == Opinion()


def test_a_contradiction_is_refused_at_its_field() -> None:
    (error,) = opinion(route(**BAD), upstream()).errors
    assert error.startswith("spec.rules[0].timeouts.backendRequest: 9s (AgentRoute team/chat rule 0) exceeds")


def test_a_policy_that_would_break_a_route_is_refused_and_names_it() -> None:
    cut = policy("cut", level="overrides", timeouts={"request": "5s"})
    (error,) = opinion(cut, upstream(), route(timeouts={"backendRequest": "60s"})).errors
    assert "AgentRoute team/chat rule 0" in error and "exceeds timeouts.request 5s" in error


def test_a_path_that_another_route_has_is_refused() -> None:
    (error,) = opinion(route("new", path="/chat", at=9), upstream(), route()).errors
    assert "matches the same requests as AgentRoute team/chat" in error


def test_a_mistake_that_is_there_already_is_not_in_the_way() -> None:
    assert opinion(route("new"), upstream(), route("wrong", **BAD)).errors == ()
    assert opinion(route("wrong"), upstream(), route("wrong", **BAD)).errors == ()


def test_an_upstream_that_is_not_there_yet_is_a_warning() -> None:
    found = opinion(route())
    assert found.errors == () and "spec.rules[0].backendRefs: there is no Upstream team/a yet" in found.warnings


def test_a_policy_that_does_nothing_is_a_warning() -> None:
    found = opinion(policy("p", target="nobody", retry={"attempts": 1}), upstream(), route())
    assert any("targets nothing" in warning for warning in found.warnings)


def test_more_load_on_what_fails_is_a_warning_with_its_size() -> None:
    known = (upstream(), route(retry={"attempts": 0}))
    found = opinion(policy("more", level="overrides", retry={"attempts": 4}), *known, team=412)
    assert any("412 sidecars, attempts 1→5" in warning for warning in found.warnings)
    assert opinion(policy("less", level="overrides", retry={"attempts": 0}), *known, team=412).warnings == ()


def test_a_replica_that_does_not_lead_knows_from_a_status_how_many_there_are() -> None:
    said = {"sidecars": {"total": 412, "current": 412, "stale": 0, "rejected": 0}}
    known = (upstream(), {**route(retry={"attempts": 0}), "status": said})
    found = opinion(policy("more", level="overrides", retry={"attempts": 4}), *known, team=200)
    assert any("412 sidecars, attempts 1→5" in warning for warning in found.warnings)


def test_who_loses_an_upstream_is_told_when_it_is_deleted() -> None:
    documents = Documents(
        [upstream("a"), upstream("b"), route("both", "a", "b"), route("one", "a"), route("x", "team/a", namespace="y")]
    )
    assert farewell(("Upstream", "team", "a"), documents) == Opinion(
        warnings=(
            "AgentRoute team/both rule 0 goes on without it",
            "AgentRoute team/one rule 0 has no other upstream: it will answer nothing",
            "AgentRoute y/x rule 0 has no other upstream: it will answer nothing",
        )
    )
    assert farewell(("Upstream", "team", "c"), documents) == Opinion()


def test_reviewing_changes_nothing() -> None:
    documents = Documents([upstream(), route()])
    before = render(documents)
    review(route(**BAD), documents, before, {})
    assert render(documents).scopes["team"].policy.revision == before.scopes["team"].policy.revision
