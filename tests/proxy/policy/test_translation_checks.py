"""Rules whose agents and upstreams speak different dialects, and the names of models there."""

from typing import Any

import pytest
from policy_documents import issues, load, one, route, rule, upstream

KEY = {"auth": {"type": "APIKey", "keyFile": "/key"}}


def mixed(ref: dict[str, Any], **spare: Any) -> list[tuple[str, str, str, str]]:
    """An OpenAI upstream, then another one as `ref` names it."""
    documents = upstream(), upstream("b", **{"dialect": "Anthropic", **KEY, **spare})
    return issues(*documents, route(rule("/v1", {"name": "a"}, {"name": "b", "priority": 1, **ref})))


def test_a_rule_speaks_the_dialect_of_the_upstream_that_is_asked_first() -> None:
    refs = [{"name": "a", "priority": 1, "model": "gpt"}, {"name": "b"}]
    documents = upstream(**KEY), upstream("b", dialect="Anthropic"), route(rule("/v1", *refs))
    policy = load(*documents).policy
    assert policy is not None
    assert policy.routes[0].rules[0].dialect == "Anthropic"
    assert policy.translated == {"OpenAI"}


def test_an_upstream_of_weight_0_does_not_decide_what_a_rule_speaks() -> None:
    refs = [{"name": "a", "weight": 0}, {"name": "b"}]
    policy = load(upstream(**KEY), upstream("b", dialect="Anthropic"), route(rule("/v1", *refs))).policy
    assert policy is not None and policy.routes[0].rules[0].dialect == "Anthropic"
    assert policy.translated == set()


def test_a_rule_may_say_itself_what_its_agents_speak() -> None:
    asked = {**rule("/v1", {"name": "b", "model": "claude"}), "dialect": "OpenAI"}
    policy = load(upstream("b", dialect="Anthropic", **KEY), route(asked)).policy
    assert policy is not None and policy.translated == {"Anthropic"}


def test_an_upstream_of_another_dialect_needs_a_key_of_its_own() -> None:
    found = mixed({"model": "claude"}, auth={"type": "Passthrough"})
    assert [issue[:2] for issue in found] == [("error", "spec.rules[0].backendRefs[1].name")]
    assert "needs a key of its own: the agents' are for OpenAI" in found[0][2]
    assert mixed({"model": "claude"}) == []


@pytest.mark.parametrize("ref", [{"model": "claude"}, {"modelMap": [{"from": "gpt-*", "to": "claude"}]}])
def test_names_of_models_are_expected_to_be_mapped(ref: dict[str, Any]) -> None:
    (found,) = mixed({})
    assert found[:2] == ("warning", "spec.rules[0].backendRefs[1]")
    assert "are sent to a provider of Anthropic as they are" in found[2]
    assert mixed(ref) == []
    assert mixed({}, models=[{"name": "claude", "aliases": ["gpt-5"]}]) == []


def test_there_is_no_translation_to_and_from_any_http() -> None:
    documents = upstream(), upstream("b", dialect="Generic", **KEY)
    refs = [{"name": "a"}, {"name": "b", "priority": 1}]
    found = one(*documents, route(rule("/v1", *refs)))
    assert found[:2] == ("error", "spec.rules[0].backendRefs[1].name")
    spoken = "Anthropic, AzureOpenAI, Gemini and OpenAI"
    assert f"translation is from {spoken} to Anthropic, AzureOpenAI, Bedrock, Gemini and OpenAI" in found[3]


@pytest.mark.parametrize("dialect", ["AzureOpenAI", "Gemini"])
def test_gemini_and_azure_may_be_asked_and_spoken_by_agents(dialect: str) -> None:
    refs = [{"name": "a"}, {"name": "b", "priority": 1, "model": "m"}]
    policy = load(upstream(), upstream("b", dialect=dialect, **KEY), route(rule("/v1", *refs))).policy
    assert policy is not None and policy.translated == {dialect}
    policy = load(upstream(dialect=dialect), upstream("b", **KEY), route(rule("/v1", *refs))).policy
    assert policy is not None and policy.translated == {"OpenAI"}


def test_bedrock_may_be_asked_and_is_not_spoken_by_agents() -> None:
    refs = [{"name": "a"}, {"name": "b", "priority": 1, "model": "m"}]
    bedrock = upstream(dialect="Bedrock", auth={"type": "AWSSigV4"})
    found = issues(bedrock, upstream("b", **KEY), route(rule("/v1", *refs)))
    assert ["the rule's agents speak Bedrock" in issue[2] for issue in found].count(True) == 1


def test_a_dialect_that_nobody_speaks_is_an_error() -> None:
    found = issues(upstream(), route({**rule("/v1", {"name": "a"}), "dialect": "Generic"}))
    assert ("error", "spec.rules[0].dialect") in [issue[:2] for issue in found]


def test_the_most_specific_name_of_a_model_map_counts() -> None:
    names = [{"from": "*", "to": "c"}, {"from": "gpt-5*", "to": "b"}, {"from": "gpt-5-mini", "to": "a"}]
    documents = upstream(), route(rule("/v1", {"name": "a", "modelMap": names}))
    policy = load(*documents).policy
    assert policy is not None
    (backend,) = policy.routes[0].rules[0].backends
    assert backend.ref.model_map == (("gpt-5-mini", "a"), ("gpt-5*", "b"), ("*", "c"))


def test_a_model_map_says_each_name_once() -> None:
    names = [{"from": "gpt-5", "to": "a"}, {"from": "gpt-5", "to": "b"}]
    found = one(upstream(), route(rule("/v1", {"name": "a", "modelMap": names})))
    assert found[:2] == ("error", "spec.rules[0].backendRefs[0].modelMap[1].from")


def test_a_model_behind_a_map_of_all_names_does_nothing() -> None:
    ref = {"name": "a", "model": "x", "modelMap": [{"from": "*", "to": "y"}]}
    found = one(upstream(), route(rule("/v1", ref)))
    assert found[:2] == ("warning", "spec.rules[0].backendRefs[0].model")


def test_a_model_map_leads_to_models_that_the_upstream_lists() -> None:
    ref = {"name": "a", "modelMap": [{"from": "gpt-5", "to": "gpt-55"}]}
    found = one(upstream(models=[{"name": "gpt-5"}]), route(rule("/v1", ref)))
    assert found[:2] == ("warning", "spec.rules[0].backendRefs[0].modelMap[0].to")
    assert "does not list the model gpt-55" in found[2]


def test_requests_without_a_model_have_none_to_map() -> None:
    ref = {"name": "a", "modelMap": [{"from": "*", "to": "y"}]}
    assert "have no model to replace" in one(upstream(dialect="Generic"), route(rule("/v1", ref)))[2]
