"""What holds after merging: defaults, precedence, provenance, and what an upstream's timeouts do to a route's."""

import yaml

from seawall.policy import DEFAULT, EffectivePolicy, EffectiveRule, evaluate, load_text
from seawall.policy.settings import CircuitBreaker, Concurrency, Limits, Retry, RetryConstraint, Streaming, Timeouts

UPSTREAM = {"dialect": "OpenAI", "baseURL": "https://a/v1/"}


def document(kind: str, name: str, spec: object, **metadata: object) -> dict[str, object]:
    return {
        "apiVersion": "seawall.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def policy(*documents: dict[str, object]) -> EffectivePolicy:
    loaded = evaluate(load_text(yaml.safe_dump_all(documents)))
    assert loaded.policy is not None, [str(issue) for issue in loaded.issues]
    return loaded.policy


def route(**rule: object) -> dict[str, object]:
    return document("AgentRoute", "chat", {"rules": [{"name": "main", "backendRefs": [{"name": "a"}], **rule}]})


def upstream(**spec: object) -> dict[str, object]:
    return document("Upstream", "a", {**UPSTREAM, **spec})


def resilience(
    name: str, level: str, fields: object, *, kind: str = "AgentRoute", **metadata: object
) -> dict[str, object]:
    target = {"kind": kind, "name": "a" if kind == "Upstream" else "chat"}
    return document("ResiliencePolicy", name, {"targetRefs": [target], level: fields}, **metadata)


def cluster(name: str, level: str, fields: object, **metadata: object) -> dict[str, object]:
    target = {"kind": "AgentRoute", "name": "chat"}
    return document("ClusterResiliencePolicy", name, {"targetRefs": [target], level: fields}, **metadata)


def rule(*documents: dict[str, object]) -> EffectiveRule:
    return policy(upstream(), *documents).routes[0].rules[0]


def test_the_defaults_are_those_of_the_semantics() -> None:
    made = policy(upstream(), route())
    settings = made.routes[0].rules[0].settings
    assert settings.timeouts == Timeouts(600, False, None, 5, None, 300, 300, 30)
    assert settings.retry == Retry(2, 0.5, 8, frozenset(), 20)
    assert settings.streaming == Streaming("FirstContent", 8 << 20, None, 15)
    assert settings.limits == Limits(None, 4 << 20)
    assert settings.fallback_on == frozenset()
    upstream_settings = made.upstreams["default/a"].settings
    assert upstream_settings.retry_constraint == RetryConstraint(20, 10, 1, 1)
    assert upstream_settings.circuit_breaker == CircuitBreaker(5, 50, 30, 10, None, 80, 10, 300, 20, 300, 1, 3, 30, 10)
    assert upstream_settings.concurrency == Concurrency(1024, 1024, 10)
    assert set(made.routes[0].rules[0].sources.values()) == {DEFAULT}


def test_the_interval_of_comments_is_merged_like_any_field_and_can_be_switched_off() -> None:
    patient = cluster("p", "overrides", {"streaming": {"keepAlive": "1m"}})
    assert rule(route(streaming={"commit": "Complete", "keepAlive": "5s"})).settings.streaming.keep_alive == 5
    held = rule(route(streaming={"commit": "Complete", "keepAlive": "5s"}), patient).settings.streaming
    assert (held.commit, held.keep_alive) == ("Complete", 60)
    assert rule(route(streaming={"keepAlive": "0s"})).settings.streaming.keep_alive is None


def test_an_upstream_without_more_is_a_pass_through() -> None:
    made = policy(upstream(), route()).upstreams["default/a"]
    assert (made.type, made.base_url, made.proxy, made.host_header) == ("LLM", "https://a/v1", "Direct", "Upstream")
    assert (made.auth.type, made.tls.verification, made.models) == ("Passthrough", None, ())


def test_precedence_is_cluster_overrides_overrides_inline_defaults_cluster_defaults() -> None:
    layers = [
        cluster("co", "overrides", {"retry": {"attempts": 1}}),
        resilience("no", "overrides", {"retry": {"attempts": 2}}),
        route(retry={"attempts": 3}),
        resilience("nd", "defaults", {"retry": {"attempts": 4}}),
        cluster("cd", "defaults", {"retry": {"attempts": 5}}),
    ]
    sources = [
        "ClusterResiliencePolicy co overrides",
        "ResiliencePolicy default/no overrides",
        'AgentRoute default/chat rule "main"',
        "ResiliencePolicy default/nd defaults",
        "ClusterResiliencePolicy cd defaults",
    ]
    for first, source in enumerate(sources):
        left = layers[first:] if first < 3 else [route(), *layers[first:]]
        made = rule(*left)
        assert made.settings.retry.attempts == first + 1
        assert made.sources["retry.attempts"] == source
        # The rest of the block still comes from where it came from: a merge, not a replacement.
        assert made.sources["retry.backoff.base"] == DEFAULT


def test_lists_are_taken_as_a_whole() -> None:
    made = rule(route(retry={"codes": [520]}), resilience("p", "overrides", {"retry": {"codes": [522, 524]}}))
    assert made.settings.retry.codes == {522, 524}


def test_among_equals_the_oldest_wins_then_the_name() -> None:
    def attempts(*ages: str | None) -> int:
        policies = [
            resilience(name, "overrides", {"retry": {"attempts": n}}, **({"creationTimestamp": age} if age else {}))
            for n, (name, age) in enumerate(zip("bac", ages, strict=True))
        ]
        return rule(route(), *policies).settings.retry.attempts

    assert attempts(None, None, None) == 1
    assert attempts("2025-01-01T00:00:00Z", None, None) == 0
    assert attempts("2025-01-01T12:00:00Z", "2025-01-01T13:00:00+02:00", "2025-01-01T11:00:01Z") == 1


def test_a_policy_for_one_rule_gives_way_to_the_routes_overrides_and_beats_its_defaults() -> None:
    def section(name: str, level: str, attempts: int, rule: str) -> dict[str, object]:
        target = {"kind": "AgentRoute", "name": "chat", "sectionName": rule}
        return document("ResiliencePolicy", name, {"targetRefs": [target], level: {"retry": {"attempts": attempts}}})

    whole = resilience("b", "defaults", {"retry": {"attempts": 1}})
    assert rule(route(), section("c", "defaults", 2, "main"), whole).settings.retry.attempts == 2
    whole = resilience("b", "overrides", {"retry": {"attempts": 1}})
    assert rule(route(), section("a", "overrides", 2, "main"), whole).settings.retry.attempts == 1
    assert rule(route(), section("a", "defaults", 7, "other")).sources["retry.attempts"] == DEFAULT


def test_a_namespaced_policy_does_not_reach_into_another_namespace() -> None:
    other = resilience("p", "overrides", {"retry": {"attempts": 7}}, namespace="other")
    assert rule(route(), other).settings.retry.attempts == 2


def test_selectors_choose_by_label_and_a_cluster_policy_in_every_namespace() -> None:
    fields = {"retry": {"attempts": 7}}
    selector = [{"kind": "AgentRoute", "matchLabels": {"team": "x"}}]
    everywhere = document("ClusterResiliencePolicy", "p", {"targetSelectors": selector, "overrides": fields})
    backend = [{"name": "a", "namespace": "default"}]
    routes = [
        document("AgentRoute", name, {"rules": [{"matches": [{"path": {"value": path}}], "backendRefs": backend}]},
                 namespace=namespace, labels=labels)
        for name, path, namespace, labels in (
            ("in", "/a", "n1", {"team": "x", "more": "y"}), ("out", "/b", "n2", {"team": "z"}),
        )
    ]  # fmt: skip
    made = policy(upstream(), *routes, everywhere)
    assert [r.rules[0].settings.retry.attempts for r in made.routes] == [7, 2]


def test_an_upstreams_fields_merge_like_a_routes() -> None:
    made = policy(
        upstream(circuitBreaker={"consecutiveFailures": 9, "open": {"base": "1s"}}),
        route(),
        resilience("p", "overrides", {"circuitBreaker": {"consecutiveFailures": 3}}, kind="Upstream"),
    ).upstreams["default/a"]
    assert made.settings.circuit_breaker.consecutive_failures == 3
    assert made.settings.circuit_breaker.open_base == 1
    assert made.sources["circuitBreaker.consecutiveFailures"] == "ResiliencePolicy default/p overrides"
    assert made.sources["circuitBreaker.open.base"] == "Upstream default/a"
    assert made.sources["circuitBreaker.open.max"] == DEFAULT


def pair(rule_timeouts: object, upstream_timeouts: object) -> tuple[Timeouts, dict[str, str]]:
    made = policy(upstream(timeouts=upstream_timeouts), route(timeouts=rule_timeouts))
    backend = made.routes[0].rules[0].backends[0]
    return backend.timeouts, dict(backend.timeout_sources)


def test_an_upstreams_timeout_caps_the_routes() -> None:
    timeouts, sources = pair(
        {"backendRequest": "60s", "streamIdle": "5s"}, {"backendRequest": "20s", "streamIdle": "9s"}
    )
    assert (timeouts.backend_request, timeouts.stream_idle) == (20, 5)
    assert sources["timeouts.backendRequest"] == "Upstream default/a"
    assert sources["timeouts.streamIdle"] == 'AgentRoute default/chat rule "main"'


def test_against_a_default_the_upstreams_timeout_holds_even_if_it_is_longer() -> None:
    timeouts, sources = pair({}, {"firstContent": "900s", "connect": "1s"})
    assert (timeouts.first_content, timeouts.connect) == (900, 1)
    assert sources["timeouts.firstContent"] == "Upstream default/a"
    assert sources["timeouts.streamIdle"] == DEFAULT


def test_request_is_known_to_be_set_by_someone_so_that_it_holds_for_streams_too() -> None:
    assert not pair({}, {})[0].request_set
    assert pair({"request": "600s"}, {})[0].request_set
    assert pair({}, {"request": "100s"})[0] == Timeouts(100, True, None, 5, None, 300, 300, 30)


def test_stream_idle_is_known_to_be_set_by_someone_so_that_it_holds_for_websockets_too() -> None:
    assert not pair({}, {})[0].stream_idle_set
    assert pair({"streamIdle": "300s"}, {})[0].stream_idle_set
    assert pair({}, {"streamIdle": "100s"})[0].stream_idle_set


def test_0s_switches_a_timeout_off_but_not_the_upstreams_cap() -> None:
    assert pair({"firstContent": "0s"}, {})[0].first_content is None
    assert pair({"firstContent": "0s"}, {"firstContent": "8s"})[0].first_content == 8
    assert pair({"firstContent": "8s"}, {"firstContent": "0s"})[0].first_content == 8


def test_an_attempt_never_outlasts_a_request_that_an_upstream_made_shorter() -> None:
    timeouts, sources = pair({"request": "100s", "backendRequest": "50s"}, {"request": "30s"})
    assert (timeouts.request, timeouts.backend_request) == (30, 30)
    assert sources["timeouts.backendRequest"] == "Upstream default/a"


def test_matches_come_with_their_defaults_and_in_one_form() -> None:
    headers = [{"name": "X-B", "value": "1"}, {"name": "A", "value": "2"}]
    made = rule(
        route(
            matches=[
                {},
                {"path": {"value": "/v1/"}, "models": ["gpt-*"]},
                {"path": {"type": "Exact", "value": "/x/"}, "headers": headers},
            ]
        )
    )  # fmt: skip
    assert [(m.path_type, m.path, m.models) for m in made.matches] == [
        ("PathPrefix", "/", ()), ("PathPrefix", "/v1", ("gpt-*",)), ("Exact", "/x/", ()),
    ]  # fmt: skip
    assert [(h.name, h.type, h.value) for h in made.matches[2].headers] == [("a", "Exact", "2"), ("x-b", "Exact", "1")]


def test_backends_carry_kind_priority_weight_and_model() -> None:
    shared = document("ClusterUpstream", "shared", UPSTREAM)
    refs = [
        {"name": "a"},
        {"name": "shared", "kind": "ClusterUpstream", "priority": 1, "weight": 0, "model": "m"},
        {"name": "a", "priority": 1},
    ]
    made = rule(shared, route(backendRefs=refs))
    assert [(b.upstream.key, b.ref.priority, b.ref.weight, b.ref.model) for b in made.backends] == [
        ("default/a", 0, 1, ""), ("shared", 1, 0, "m"), ("default/a", 1, 1, ""),
    ]  # fmt: skip


def test_an_unnamed_rule_is_called_by_its_index() -> None:
    rules = [{"backendRefs": [{"name": "a"}], "retry": {"attempts": 0}}]
    made = policy(upstream(), document("AgentRoute", "chat", {"rules": rules}))
    assert made.routes[0].rules[0].name == "0"
    assert made.routes[0].rules[0].sources["retry.attempts"] == "AgentRoute default/chat rule 0"


def test_the_revision_names_the_content_and_nothing_else() -> None:
    base = policy(upstream(), route()).revision
    noisy = {**route(), "status": {"conditions": []}}
    noisy["metadata"] = {"name": "chat", "namespace": "default", "resourceVersion": "7", "annotations": {"a": "b"}}
    assert base.startswith("sha256:")
    assert len(base) == len("sha256:") + 12
    assert policy(noisy, upstream()).revision == base
    assert policy(upstream(), route(retry={"attempts": 3})).revision != base
    assert policy(upstream(), {**route(), "metadata": {"name": "chat", "labels": {"a": "b"}}}).revision != base
    ages = [("2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z"), ("2025-01-02T00:00:00Z", "2025-01-01T00:00:00Z")]
    first, second = (
        policy(
            upstream(),
            route(),
            resilience("p", "overrides", {"retry": {"attempts": 0}}, creationTimestamp=p),
            resilience("q", "overrides", {"retry": {"attempts": 1}}, creationTimestamp=q),
        ).revision
        for p, q in ages
    )
    assert first != second
