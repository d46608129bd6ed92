"""What is wrong between documents: references, contradictions, fields that would do nothing."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from seawall.policy import Loaded, evaluate, load_text, unreadable_files
from seawall.policy.blocks import RouteFields, UpstreamFields
from seawall.policy.unimplemented import NOT_IMPLEMENTED

A: dict[str, Any] = {"dialect": "OpenAI", "baseURL": "https://a/v1"}


def document(kind: str, name: str, spec: object, **metadata: object) -> dict[str, Any]:
    meta = {"name": name, **metadata}
    return {"apiVersion": "seawall.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def rule(path: str = "/v1", *backends: dict[str, Any], **fields: Any) -> dict[str, Any]:
    refs = list(backends) or [{"name": "a"}]
    return {"matches": [{"path": {"value": path}}], "backendRefs": refs, **fields}


def route(*rules: dict[str, Any], name: str = "r", **metadata: object) -> dict[str, Any]:
    return document("AgentRoute", name, {"rules": list(rules)}, **metadata)


def upstream(name: str = "a", kind: str = "Upstream", **spec: Any) -> dict[str, Any]:
    return document(kind, name, {**A, **spec})


def policy(level: str = "defaults", kind: str = "AgentRoute", name: str = "r", **fields: Any) -> dict[str, Any]:
    return document("ResiliencePolicy", "p", {"targetRefs": [{"kind": kind, "name": name}], level: fields})


def load(*documents: dict[str, Any]) -> Loaded:
    return evaluate(load_text(yaml.safe_dump_all(documents, sort_keys=False), "p.yaml"))


def issues(*documents: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    loaded = load(*documents)
    assert (loaded.policy is None) == any(i.severity == "error" for i in loaded.issues)
    return [(i.severity, i.path, i.message, i.hint) for i in loaded.issues]


def one(*documents: dict[str, Any]) -> tuple[str, str, str, str]:
    found = issues(*documents)
    assert len(found) == 1, found
    return found[0]


def test_good_documents_have_no_issues() -> None:
    assert issues(upstream(), route(rule())) == []


# --- references -----------------------------------------------------------------------------------------------------


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


# --- candidates -----------------------------------------------------------------------------------------------------


def test_upstreams_of_different_dialects_in_one_rule_are_an_error() -> None:
    found = one(upstream(), upstream("b", dialect="Anthropic"), route(rule("/v1", {"name": "a"}, {"name": "b"})))
    assert found[:2] == ("error", "spec.rules[0].backendRefs")
    assert "mixes dialects (Anthropic, OpenAI)" in found[2]


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


# --- matches --------------------------------------------------------------------------------------------------------


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


# --- contradictions -------------------------------------------------------------------------------------------------


def test_an_attempt_longer_than_its_request_is_an_error_within_one_document() -> None:
    found = one(upstream(), route(rule(timeouts={"request": "5s", "backendRequest": "6s"})))
    assert found[:2] == ("error", "spec.rules[0].timeouts.backendRequest")


def test_an_attempt_longer_than_its_request_is_an_error_across_documents_and_both_are_named() -> None:
    found = one(
        upstream(), route(rule(timeouts={"backendRequest": "60s"})), policy("overrides", timeouts={"request": "30s"})
    )
    assert found[0] == "error"
    assert found[2] == (
        "60s (AgentRoute default/r rule 0) exceeds timeouts.request 30s (ResiliencePolicy default/p overrides)"
    )


def test_an_attempt_longer_than_the_default_request_is_an_error_that_names_the_default() -> None:
    assert (
        "exceeds timeouts.request 600s (default)"
        in one(upstream(), route(rule(timeouts={"backendRequest": "601s"})))[2]
    )


@pytest.mark.parametrize(
    "timeouts", [{"request": "5s"}, {"request": "0s", "backendRequest": "900s"}, {"backendRequest": "0s"}]
)
def test_tight_requests_and_limits_switched_off_are_no_contradiction(timeouts: dict[str, str]) -> None:
    assert issues(upstream(), route(rule(timeouts=timeouts))) == []


def test_a_first_content_later_than_the_attempt_is_a_warning() -> None:
    found = one(upstream(), route(rule(timeouts={"backendRequest": "5s", "firstContent": "6s"})))
    assert found[:2] == ("warning", "spec.rules[0].timeouts.firstContent")


def test_backoff_and_opening_must_not_begin_above_their_maximum() -> None:
    found = one(upstream(), route(rule(retry={"backoff": {"base": "9s"}})))
    assert found[:2] == ("error", "spec.rules[0].retry.backoff.base")
    found = one(upstream(circuitBreaker={"open": {"max": "1s"}}), route(rule()))
    assert found[:2] == ("error", "spec.circuitBreaker.open.max")


def test_load_multiplication_is_a_warning_that_does_the_sum() -> None:
    refs: list[dict[str, Any]] = [{"name": "a"}, {"name": "b", "priority": 1}]
    found = one(upstream(), upstream("b"), route(rule("/v1", *refs, retry={"attempts": 6})))
    assert found[:2] == ("warning", "spec.rules[0].retry.attempts")
    assert "one call may become 8 requests" in found[2]


def test_hedging_requests_that_must_not_run_twice_is_an_error_of_its_own() -> None:
    found = issues(upstream(dialect="Generic"), route(rule(hedging={"maxAttempts": 2})))
    assert any("must not be sent twice" in message for _, _, message, _ in found)
    found = issues(upstream(), route(rule(hedging={"maxAttempts": 2})))
    assert not any("sent twice" in message for _, _, message, _ in found)


def test_fields_without_effect_are_warnings() -> None:
    assert "does nothing" in one(upstream(), route(rule(streaming={"maxHold": "1Mi"})))[2]
    assert "does nothing" in one(upstream(), route(rule(fallbackOn=["NotFound"])))[2]
    assert "does nothing" in one(upstream(circuitBreaker={"slowCall": {"percent": 50}}), route(rule()))[2]


# --- policies -------------------------------------------------------------------------------------------------------


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
        {"defaults": {}},
        {"targetRefs": [], "targetSelectors": [], "defaults": {}},
        {"targetRefs": []},
        {"targetRefs": [], "defaults": {}, "overrides": {}},
    ],
)
def test_a_policy_has_one_way_to_target_and_one_level(spec: dict[str, Any]) -> None:
    found = one(upstream(), route(rule()), document("ResiliencePolicy", "p", spec))
    assert found[:2] == ("error", "spec")
    assert "exactly one of" in found[2]


# --- upstreams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "severity", "path"),
    [
        ({"type": "Warehouse"}, "error", "spec.type"),
        ({"tls": {"verification": "None"}}, "warning", "spec.tls.verification"),
        ({"baseURL": "http://a", "tls": {"caFile": "/x"}}, "warning", "spec.tls"),
        ({"baseURL": "http://a", "auth": {"type": "APIKey", "keyFile": "/x"}}, "warning", "spec.baseURL"),
        ({"models": [{"name": "m"}, {"name": "n", "aliases": ["m"]}]}, "error", "spec.models[1]"),
        ({"auth": {"type": "APIKey"}}, "error", "spec.auth"),
        ({"auth": {"type": "Passthrough", "keyFile": "/x"}}, "error", "spec.auth"),
        ({"auth": {"type": "APIKey", "keyFile": "/x", "scheme": "Bearer"}}, "error", "spec.auth"),
        ({"models": [{"name": "m", "capabilities": ["Tools"]}]}, "error", "spec.models[0].capabilities"),
        (
            {"baseURL": "http://localhost.example", "auth": {"type": "APIKey", "keyFile": "/x"}},
            "warning",
            "spec.baseURL",
        ),
    ],
)
def test_what_an_upstream_must_not_say(spec: dict[str, Any], severity: str, path: str) -> None:
    assert one(upstream(**spec), route(rule()))[:2] == (severity, path)


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost", "[::1]:8080"])
def test_a_key_may_go_unencrypted_to_this_machine(host: str) -> None:
    assert issues(upstream(baseURL=f"http://{host}", auth={"type": "APIKey", "keyFile": "/x"}), route(rule())) == []


@pytest.mark.parametrize("content", [None, "", " \n", "a key\n"])
def test_key_files_are_looked_at_when_asked(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    loaded = load(upstream(auth={"type": "APIKey", "keyFile": str(file)}, tls={"caFile": str(tmp_path)}), route(rule()))
    assert loaded.policy is not None
    key = {None: "cannot be read: No such file or directory", "": "holds no key", " \n": "holds no key"}.get(content)
    expected = [f"{file}: error: Upstream default/a spec.auth.keyFile: {key}"] if key else []
    expected.append(f"{tmp_path}: error: Upstream default/a spec.tls.caFile: cannot be read: Is a directory")
    assert [str(issue) for issue in unreadable_files(loaded.policy)] == expected


# --- not implemented yet --------------------------------------------------------------------------------------------

GAPS: dict[str, Any] = {
    "hedging": {"maxAttempts": 2},
    "cache": {"mode": "Enabled"},
    "fallback": [{"type": "StaleCache"}],
    "rateLimit": {"requests": {"count": 1}},
    "healthCheck": {"path": "/"},
    "capabilities": ["Tools"],
    "dialect": "Trino",
    "type": {"type": "AWSSigV4"},
    "enforcement": "Shadow",
}


@pytest.mark.parametrize("field", sorted({gap.field for gap in NOT_IMPLEMENTED}))
def test_a_field_that_nothing_implements_is_an_error_wherever_it_stands(field: str) -> None:
    value = GAPS[field]
    inline, attached = upstream(), []
    rules = rule()
    if field in RouteFields.model_fields:
        rules[field] = value
        attached = [policy(**{field: value})]
    elif field in ("rateLimit", "healthCheck"):
        inline["spec"][field] = value
        attached = [policy("overrides", "Upstream", "a", **{field: value})]
    elif field == "enforcement":
        attached = [policy(retry={"attempts": 1})]
        attached[0]["spec"]["enforcement"] = value
    elif field == "capabilities":
        inline["spec"]["models"] = [{"name": "m", "capabilities": value}]
    else:
        inline["spec"]["auth" if field == "type" else field] = value
    found = issues(inline, route(rules), *attached)
    assert all(issue[0] == "error" and "not implemented yet" in issue[2] for issue in found)
    assert len(found) == (1 if field in ("capabilities", "dialect", "type", "enforcement") else 2)


def test_every_top_level_field_is_either_implemented_or_listed() -> None:
    implemented = {"timeouts", "retry", "streaming", "fallbackOn", "limits"}
    implemented |= {"retryConstraint", "circuitBreaker", "concurrency"}
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
