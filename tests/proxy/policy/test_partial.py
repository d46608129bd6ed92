"""Every error in one run: what is left of a wrong document is checked too, and nothing false follows from an error."""

from pathlib import Path
from typing import Any

import pytest
from policy_documents import A, document, issues, policy, route, rule, upstream

from seawall.policy import evaluate, load_policy, load_text

VERSION = "apiVersion: seawall.dev/v1alpha1\n"
LATE = {"request": "5s", "backendRequest": "9s"}
LATE_AT = "spec.rules[0].timeouts.backendRequest"


def errors(*documents: dict[str, Any]) -> list[str]:
    return [path for severity, path, _, _ in issues(*documents) if severity == "error"]


# --- the rest is checked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"retry": "fast"}, "retry"),
        ({"retry": {"codes": [99]}}, "retry.codes[0]"),
        ({"retry": {"backoff": [1]}}, "retry.backoff"),
        ({"backendRefs": [{"name": "a"}, {"name": "A"}]}, "backendRefs[1].name"),
        ({"backendRefs": [{"name": "a"}, 5]}, "backendRefs[1]"),
        ({"matches": [{"path": {"value": "v1"}}]}, "matches[0].path.value"),
        ({"matches": [{"pth": {"value": "/v1"}}]}, "matches[0].pth"),
        ({"matches": "all"}, "matches"),
        ({"streaming": {"minProgress": {"events": 1}}}, "streaming.minProgress.interval"),
        ({"name": 5}, "name"),
        ({"fallbackOn": ["NotFoud"]}, "fallbackOn[0]"),
        ({"nope": {}}, "nope"),
    ],
)
def test_a_wrong_part_does_not_hide_a_contradiction_in_the_same_document(fields: dict[str, Any], path: str) -> None:
    found = errors(upstream(), route(rule(timeouts=LATE, **{k: v for k, v in fields.items() if k not in WHOLE})))
    if WHOLE & fields.keys():
        found = errors(upstream(), route({**rule(timeouts=LATE), **fields}))
    assert sorted(found) == sorted([f"spec.rules[0].{path}", LATE_AT])


WHOLE = {"backendRefs", "matches"}


def test_rules_keep_their_numbers_behind_a_wrong_one() -> None:
    found = errors(upstream(), document("AgentRoute", "r", {"rules": ["text", rule(timeouts=LATE)]}))
    assert found == ["spec.rules[0]", "spec.rules[1].timeouts.backendRequest"]


def test_items_keep_their_numbers_behind_a_wrong_one() -> None:
    found = errors(upstream(), route(rule("/v1", {"nme": "a"}, {"name": "a"}, {"name": "b"})))
    assert sorted(found) == [
        "spec.rules[0].backendRefs[0].name",
        "spec.rules[0].backendRefs[0].nme",
        "spec.rules[0].backendRefs[2].name",
    ]


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"baseURL": "nope"}, "spec.baseURL"),
        ({"baseURL": None}, "spec.baseURL"),
        ({"dialect": "OpenAy"}, "spec.dialect"),
        ({"auth": {"type": "Key", "scheme": "Bearer", "header": "x"}}, "spec.auth.type"),
        ({"models": [{"aliases": ["x"]}]}, "spec.models[0].name"),
    ],
)
def test_an_upstream_without_a_required_field_is_still_checked(wrong: dict[str, Any], path: str) -> None:
    found = errors(upstream(circuitBreaker={"open": {"max": "1s"}}, healthCheck={}, **wrong), route(rule()))
    assert sorted(found) == sorted([path, "spec.circuitBreaker.open.max", "spec.healthCheck"])


def test_a_document_whose_name_is_wrong_is_still_checked() -> None:
    wrong = document("Upstream", "Open_AI", {**A, "type": "Warehouse", "circuitBreaker": {"open": {"max": "1s"}}})
    assert errors(wrong) == ["metadata.name", "spec.type", "spec.circuitBreaker.open.max"]


def test_a_document_whose_kind_or_version_is_misspelt_is_still_checked() -> None:
    assert errors({**upstream(type="Warehouse"), "kind": "Upstraem"}, route(rule())) == ["kind", "spec.type"]
    wrong = {**upstream(type="Warehouse"), "apiVersion": "seawal.dev/v1alpha1"}
    assert errors(wrong, route(rule())) == ["apiVersion", "spec.type"]


def test_the_second_document_of_a_name_is_still_checked() -> None:
    assert errors(upstream(), upstream(type="Warehouse"), route(rule())) == ["metadata.name", "spec.type"]


def test_a_wrong_field_does_not_hide_what_the_fields_beside_it_contradict() -> None:
    auth = {"type": "APIKey", "scheme": "Bearer", "keyFile": 5}
    assert errors(upstream(auth=auth), route(rule())) == ["spec.auth", "spec.auth.keyFile"]


def test_a_field_with_a_wrong_value_that_nothing_implements_is_both() -> None:
    text = f"{VERSION}kind: Upstream\nmetadata: {{name: u}}\nspec: {{rateLimit: fast}}\n"
    found = [(i.path, i.message) for i in evaluate(load_text(text)).issues]
    assert ("spec.rateLimit", "must be a mapping of fields, not text") in found
    assert ("spec.rateLimit", "is not implemented yet") in found


# --- nothing false follows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        upstream(baseURL=[1]),
        {**upstream(), "spec": "fast"},
        {**upstream(), "apiVersion": "seawall.dev/v2"},
        {**upstream(), "kind": "Upstraem"},
        document("Upstream", "A!", A),
        {**upstream(), "metadata": {}},
        upstream(dialect="OpenAy"),
    ],
)
def test_a_reference_to_a_wrong_document_is_no_second_error(wrong: dict[str, Any]) -> None:
    assert not [path for path in errors(wrong, route(rule())) if path.startswith("spec.rules")]


@pytest.mark.parametrize(
    "head",
    [
        "kind: Upstream\nmetadata: {name: a}\nspec: [}\n",
        "metadata: {name: a}\nkind: Upstream\nspec:\n\tdialect: x\n",
        "kind: Upstream\nmetadata:\n  name: a\n  labels: [\n",
        "spec: [}\nkind: Upstream\nmetadata: {name: a}\n",
    ],
)
def test_a_reference_to_a_document_that_is_no_yaml_is_no_second_error(head: str) -> None:
    text = (
        f"{VERSION}{head}---\n{VERSION}kind: AgentRoute\nmetadata: {{name: r}}\n"
        "spec: {rules: [{backendRefs: [{name: a}]}]}\n"
    )
    (issue,) = evaluate(load_text(text)).issues
    assert "not valid YAML" in issue.message


def test_a_document_that_is_no_yaml_hides_no_other_missing_document() -> None:
    text = (
        f"{VERSION}kind: Upstream\nmetadata: {{name: a}}\nspec: [}}\n---\n{VERSION}kind: AgentRoute\n"
        "metadata: {name: r}\nspec: {rules: [{backendRefs: [{name: b}]}]}\n"
    )
    assert [i.path for i in evaluate(load_text(text)).issues] == ["", "spec.rules[0].backendRefs[0].name"]


def test_what_an_unreadable_file_may_hold_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        f"{VERSION}kind: AgentRoute\nmetadata: {{name: r}}\nspec: {{rules: [{{backendRefs: [{{name: a}}]}}]}}\n"
    )
    found = load_policy([tmp_path / "p.yaml", tmp_path / "gone.yaml"])
    assert found.policy is None
    assert [Path(i.file).name for i in found.issues] == ["gone.yaml"]


@pytest.mark.parametrize(
    "fields",
    [
        {"timeouts": {"request": 900, "backendRequest": "700s"}},
        {"timeouts": {"reqest": "900s", "backendRequest": "700s"}},
        {"timeouts": {"backendRequest": "700s"}, "request": "900s"},
        {"backendRefs": [{"name": "a", "weight": 0}, {"name": "a", "weight": "1"}]},
        {"backendRefs": [{"name": "a", "priority": 1}, {"name": 5}]},
        {"backendRef": [{"name": "a"}], "backendRefs": None},
        {"backendRefs": [{"name": "a", "namespase": "other"}]},
        {"backendRefs": [{"name": "a", "kind": "ClusterUpstreams"}]},
        {"streaming": {"commit": "complete", "maxHold": "1Mi"}},
        {"fallbackOn": ["NotFound"], "backendRefs": [{"name": "a"}, {"name": 5}]},
        {"matches": [{"path": {"value": "/v1"}, "headers": [{"name": "a", "value": 1}]}]},
        {"matches": [{"pth": {"value": "/v2"}}]},
    ],
)
def test_nothing_follows_from_what_a_wrong_field_may_have_said(fields: dict[str, Any]) -> None:
    wrong = {name: value for name, value in {**rule("/other"), **fields}.items() if value is not None}
    found = issues(upstream(), route(wrong, rule(), name="r"))
    words = ("must be", "unknown field", "does not", "in the form")
    assert all(any(word in message for word in words) for _, _, message, _ in found), found


def test_a_policy_with_a_wrong_target_may_apply_to_any() -> None:
    spec = {"targetRefs": [{"kind": "AgentRoute", "nme": "r"}], "overrides": {"timeouts": {"request": "900s"}}}
    late = route(rule(timeouts={"backendRequest": "700s"}))
    found = errors(upstream(), late, document("ResiliencePolicy", "p", spec))
    assert sorted(found) == ["spec.targetRefs[0].name", "spec.targetRefs[0].nme"]


def test_a_policy_that_is_wrong_altogether_may_set_what_has_only_a_default() -> None:
    late = route(rule(timeouts={"backendRequest": "700s"}))
    broken = {**policy(), "spec": "fast"}
    assert errors(upstream(), late, broken) == ["spec"]
    both = route(rule(timeouts=LATE))
    assert errors(upstream(), both, broken) == [LATE_AT, "spec"]


def test_a_target_or_a_section_that_is_wrong_is_not_missing() -> None:
    refs = [{"kind": "AgentRoute", "name": "r", "sectionName": "m"}]
    attached = document("ResiliencePolicy", "p", {"targetRefs": refs, "defaults": {"retry": {"attempts": 1}}})
    assert [path for _, path, _, _ in issues(upstream(), route(rule(name="M")), attached)] == ["spec.rules[0].name"]
    selector = [{"kind": "AgentRoute", "matchLabels": {"a": "b"}}]
    attached = document("ResiliencePolicy", "p", {"targetSelectors": selector, "defaults": {"retry": {"attempts": 1}}})
    found = issues(upstream(), route(rule(), labels={"a": 1}), attached)
    assert [path for _, path, _, _ in found] == ["metadata.labels.a"]


def test_a_copied_document_is_one_error_and_not_one_for_each_match() -> None:
    assert errors(upstream(), route(rule()), route(rule())) == ["metadata.name"]


def test_of_an_upstream_that_is_there_twice_nobody_knows_the_dialect() -> None:
    twice = [upstream(dialect="Anthropic"), upstream()]
    assert errors(*twice, upstream("b"), route(rule("/v1", {"name": "a"}, {"name": "b"}))) == ["metadata.name"]


# --- YAML -----------------------------------------------------------------------------------------------------------


def paths(text: str) -> list[str]:
    return [issue.path for issue in evaluate(load_text(text)).issues]


def test_a_value_that_yaml_cannot_read_is_one_error() -> None:
    spec = "spec: {dialect: OpenAI, baseURL: !env URL, timeouts: {request: !!int x}}\n"
    route_text = (
        f"---\n{VERSION}kind: AgentRoute\nmetadata: {{name: r}}\nspec: {{rules: [{{backendRefs: [{{name: a}}]}}]}}\n"
    )
    text = f"{VERSION}kind: Upstream\nmetadata: {{name: a}}\n{spec}{route_text}"
    assert paths(text) == ["spec.baseURL", "spec.timeouts.request"]


def test_of_a_block_that_is_there_twice_both_are_checked_and_neither_is_believed() -> None:
    text = (
        f"{VERSION}kind: Upstream\nmetadata: {{name: a}}\nspec:\n  dialect: OpenAI\n  baseURL: https://a\n"
        "  timeouts: {request: 5s}\n  timeouts: {backendRequest: 9s, nope: 1s}\n"
    )
    found = [(issue.line, issue.path) for issue in load_text(text).issues]
    assert found == [(8, "spec.timeouts"), (8, "spec.timeouts.nope")]
    assert "spec.timeouts.backendRequest" not in paths(text)


def test_documents_without_a_line_between_them_are_both_checked() -> None:
    one = f"{VERSION}kind: Upstream\nmetadata: {{name: %s}}\nspec: {{dialect: OpenAI, baseURL: 'https://a', nope: 1}}\n"
    found = load_text(one % "a" + one % "b").issues
    assert sorted((i.line, i.path) for i in found) == [(4, "spec.nope"), (5, "apiVersion"), (8, "spec.nope")]
    assert found[0].hint == "a line --- is missing before the second document"


def test_a_directive_before_the_first_document_is_no_error_of_its_own() -> None:
    (issue,) = load_text(f"%YAML 1.1\n---\n{VERSION}kind: Upstream\nmetadata: {{name: a}}\nspec: [}}\n").issues
    assert issue.line == 6


# --- order ----------------------------------------------------------------------------------------------------------


def test_errors_come_by_file_as_read_then_by_line_and_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        f"{VERSION}kind: AgentRoute\nmetadata: {{name: r}}\nspec:\n  rules:\n"
        "    - timeouts: {request: 5s, backendRequest: 6s}\n      nope: 1\n      backendRefs: [{name: b}]\n"
    )
    (tmp_path / "b.yaml").write_text(f"{VERSION}kind: Upstream\nmetadata: {{name: a}}\nspec: {{}}\n")
    found = [(Path(i.file).name, i.line) for i in load_policy([tmp_path]).issues]
    assert found == [("a.yaml", 6), ("a.yaml", 7), ("a.yaml", 8), ("b.yaml", 4), ("b.yaml", 4)]


def test_many_wrong_references_take_little_time() -> None:
    upstreams = [upstream(f"up{n}") for n in range(300)]
    rules = [rule(f"/{n}", {"name": f"u{n}p"}) for n in range(300)]
    found = issues(*upstreams, route(*rules))
    assert len(found) == 300
    assert found[0][3].startswith("did you mean")
    assert found[-1][3] == ""
