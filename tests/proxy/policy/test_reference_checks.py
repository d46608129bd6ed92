"""References between documents, and the upstreams that a rule has to choose from."""

from typing import Any

import pytest
import yaml
from policy_documents import A, document, issues, one, route, rule, upstream

from seawall.policy import evaluate, load_text


def test_good_documents_have_no_issues() -> None:
    assert issues(upstream(), route(rule())) == []


@pytest.mark.parametrize(
    ("ref", "message", "hint"),
    [
        ({"name": "opnai"}, "there is no Upstream opnai in namespace default", "did you mean `openai`?"),
        ({"name": "far"}, "there is no Upstream far in namespace default", "there is one in namespace other"),
        ({"name": "shared"}, "there is no Upstream shared in namespace default", "did you mean kind: ClusterUpstream?"),
        ({"name": "openai", "kind": "ClusterUpstream"}, "there is no ClusterUpstream openai", "did you mean kind: "
         "Upstream?"),
        ({"name": "openai", "namespace": "x"}, "there is no Upstream openai in namespace x", "there is one in "
         "namespace default"),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere_says_what_was_meant(ref: dict[str, Any], message: str, hint: str) -> None:
    far = document("Upstream", "far", A, namespace="other")
    known = [upstream("openai"), far, upstream("shared", "ClusterUpstream")]
    assert one(*known, route(rule("/v1", ref))) == ("error", "spec.rules[0].backendRefs[0].name", message, hint)


def test_a_reference_to_a_document_that_is_itself_wrong_is_no_second_error() -> None:
    assert one(upstream(baseURL="nope"), route(rule()))[1] == "spec.baseURL"


def test_an_issue_points_at_the_line_of_the_field() -> None:
    text = yaml.safe_dump_all([upstream(), route(rule("/v1", {"name": "a"}, {"name": "b"}))], sort_keys=False)
    (issue,) = evaluate(load_text(text, "p.yaml")).issues
    assert text.splitlines()[issue.line - 1].strip() == "- name: b"


def test_a_rule_without_backends_is_an_error() -> None:
    found = one(upstream(), route({"matches": [{}]}))
    assert found[:3] == ("error", "spec.rules[0]", "the rule has no backendRefs")


def test_no_route_at_all_is_a_warning() -> None:
    assert "there is no AgentRoute" in one(upstream())[2]


def test_weights_of_0_leave_a_rule_without_answers() -> None:
    assert one(upstream(), route(rule("/v1", {"name": "a", "weight": 0})))[:3] == (
        "error", "spec.rules[0].backendRefs", "all weights are 0: the rule could answer nothing",
    )  # fmt: skip
    spare = {"name": "b", "priority": 1, "weight": 0}
    found = one(upstream(), upstream("b"), route(rule("/v1", {"name": "a"}, spare)))
    assert found[0] == "warning"
    assert "all weights of priority 1 are 0" in found[2]


def test_a_rule_without_priority_0_and_an_upstream_listed_twice_are_warnings() -> None:
    assert "no upstream has priority 0" in one(upstream(), route(rule("/v1", {"name": "a", "priority": 1})))[2]
    found = one(upstream(), route(rule("/v1", {"name": "a"}, {"name": "a", "priority": 1})))
    assert found[:2] == ("warning", "spec.rules[0].backendRefs[1]")


def test_a_model_override_must_be_possible_and_known() -> None:
    generic = one(upstream(dialect="Generic"), route(rule("/v1", {"name": "a", "model": "m"})))
    assert generic[:2] == ("error", "spec.rules[0].backendRefs[0].model")
    listed = upstream(models=[{"name": "gpt-4o", "aliases": ["best"]}])
    for model, hint in (("gpt-4", "did you mean `gpt-4o`?"), ("best", "it is an alias: write gpt-4o")):
        found = one(listed, route(rule("/v1", {"name": "a", "model": model})))
        assert (found[0], found[3]) == ("warning", hint)
    assert issues(listed, route(rule("/v1", {"name": "a", "model": "gpt-4o"}))) == []


def test_matching_models_on_generic_upstreams_is_a_warning() -> None:
    matches = [{"path": {"value": "/v1"}, "models": ["gpt-*"]}]
    assert "never matches" in one(upstream(dialect="Generic"), route({**rule(), "matches": matches}))[2]


def test_each_of_two_equal_references_has_its_own_issue() -> None:
    listed = upstream(models=[{"name": "gpt-4o"}])
    found = issues(listed, route(rule("/v1", {"name": "a", "model": "m"}, {"name": "a", "model": "m"})))
    at = [path for _, path, message, _ in found if "does not list" in message]
    assert at == ["spec.rules[0].backendRefs[0].model", "spec.rules[0].backendRefs[1].model"]
