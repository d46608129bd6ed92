"""Matches that are the same, or that hide each other."""

import time
from typing import Any

import pytest
from policy_documents import issues, one, route, rule, upstream

from seawall.policy import evaluate, load_objects


def test_two_rules_that_match_the_same_are_an_error_in_whatever_routes_they_are() -> None:
    found = one(upstream(), route(rule("/v1/")), route(rule("/v1"), name="s", namespace="default"))
    assert found[:2] == ("error", "spec.rules[0].matches[0]")
    assert found[2] == "matches the same requests as AgentRoute default/r rule 0: PathPrefix /v1"


def test_the_order_of_headers_and_models_makes_no_difference() -> None:
    headers = [{"name": "X-A", "value": "1"}, {"name": "x-b", "value": "2"}]
    first = {**rule(), "matches": [{"headers": headers, "models": ["m", "n"]}]}
    second = {**rule(), "matches": [{"headers": [{**headers[1], "name": "X-B"}, headers[0]], "models": ["n", "m"]}]}
    assert "matches the same requests" in one(upstream(), route(first, second))[2]


@pytest.mark.parametrize(
    ("first", "second", "hidden"),
    [
        ({"models": ["gpt-*"]}, {"models": ["gpt-4*", "gpt-5"]}, 1),
        ({"models": ["*"]}, {}, 1),
        ({}, {"models": ["*"]}, 0),  # what names models comes first, wherever it is written
        ({}, {"models": ["gpt-4"]}, None),
        ({"models": ["gpt-*"]}, {}, None),
        ({"models": ["gpt-4"]}, {"models": ["gpt-4*"]}, None),
        ({}, {"headers": [{"name": "a", "value": "b"}]}, None),
        ({}, {"path": {"value": "/v1"}}, None),
        ({"path": {"value": "/v1"}}, {"path": {"type": "Exact", "value": "/v1"}}, None),
    ],
)
def test_a_rule_that_another_one_hides_is_a_warning(
    first: dict[str, Any], second: dict[str, Any], hidden: int | None
) -> None:
    found = issues(upstream(), route({**rule(), "matches": [first]}, {**rule(), "matches": [second]}))
    expected = [] if hidden is None else [("warning", f"spec.rules[{hidden}].matches[0]")]
    assert [(severity, path) for severity, path, _, _ in found] == expected


def test_two_rules_of_one_name_are_an_error() -> None:
    assert one(upstream(), route(rule("/a", name="x"), rule("/b", name="x")))[1] == "spec.rules[1].name"


def test_a_header_that_is_no_regular_expression_is_an_error() -> None:
    headers = [{"name": "a", "type": "RegularExpression", "value": "("}]
    found = one(upstream(), route({**rule(), "matches": [{"headers": headers}]}))
    assert found[:2] == ("error", "spec.rules[0].matches[0].headers[0]")
    assert "value is not a regular expression" in found[2]


def test_many_rules_for_many_models_are_compared_in_no_time() -> None:
    rules = [{**rule(), "matches": [{"models": [f"m{n}"]}, {"path": {"value": f"/{n}"}}]} for n in range(2000)]
    documents = load_objects([upstream(), route(*rules, {**rule(), "matches": [{"models": ["m7", "m*"]}]})])
    before = time.process_time()
    assert evaluate(documents).issues == ()
    assert time.process_time() - before < 5
