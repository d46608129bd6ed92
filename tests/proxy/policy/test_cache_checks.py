"""Cache fields that contradict each other or do nothing, and what an enabled cache comes to in seconds and bytes."""

from typing import Any

import pytest
from policy_documents import issues, load, policy, route, rule, upstream

from seawall.core.cache import CacheSettings, Scope
from seawall.policy.effective import build
from seawall.policy.settings import RuleSettings
from seawall.settings import cache_settings

STALE = [{"type": "StaleCache"}]


def warnings(*documents: dict[str, Any]) -> list[tuple[str, str]]:
    """(path, message) of all that is not an error: those fields are not in use yet."""
    return [(path, message) for severity, path, message, _ in issues(*documents) if severity == "warning"]


def effective(*documents: dict[str, Any]) -> RuleSettings:
    loaded = load(*documents)
    return build(loaded.documents).policy.routes[0].rules[0].settings


def cached(**fields: str) -> dict[str, str]:
    return {"mode": "Enabled", **fields}


def keyed(**spec: Any) -> dict[str, Any]:
    return upstream(auth={"type": "APIKey", "keyFile": "/key"}, **spec)


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"cache": {"ttl": "1m"}}, "cache.ttl", "unless cache.mode is Enabled"),
        ({"cache": {"mode": "Disabled", "ttl": "1m"}}, "cache.ttl", "unless cache.mode is Enabled"),
        ({"fallback": STALE}, "fallback", "finds nothing"),
        ({"cache": cached()}, "cache.mode", "gives no answer"),
        ({"cache": cached(staleWhileRevalidate="1m")}, "cache.staleWhileRevalidate", "none is fresh"),
        ({"cache": cached(ttl="1m", staleIfError="1h")}, "cache.staleIfError", "fallback type StaleCache"),
        ({"cache": cached(staleIfError="0s"), "fallback": STALE}, "cache.staleIfError", "nothing to give"),
        ({"cache": cached(ttl="1m", negativeTtl="2m")}, "cache.negativeTtl", "longer than"),
        ({"cache": cached(ttl="1m", heuristic="Allow")}, "cache.heuristic", "GET and HEAD"),
    ],
)
def test_cache_fields_that_do_nothing_or_contradict_each_other_are_warnings(
    fields: dict[str, Any], path: str, words: str
) -> None:
    ((at, message),) = warnings(upstream(), route(rule(**fields)))
    assert at == f"spec.rules[0].{path}"
    assert words in message


@pytest.mark.parametrize(
    "fields",
    [
        {"cache": cached(ttl="1m")},
        {"cache": cached(ttl="1m", staleWhileRevalidate="1m", negativeTtl="10s")},
        {"cache": cached(), "fallback": STALE},
        {"cache": cached(staleIfError="7h"), "fallback": STALE},
        {"cache": {"mode": "Disabled"}},
    ],
)
def test_fields_that_go_together_are_no_warning(fields: dict[str, Any]) -> None:
    assert warnings(upstream(), route(rule(**fields))) == []


def test_reads_need_no_ttl_and_take_no_fields_of_models() -> None:
    generic = upstream(dialect="Generic")
    assert warnings(generic, route(rule(cache=cached(heuristic="Allow")))) == []
    ((at, message),) = warnings(generic, route(rule(cache=cached(toolCalls="Allow"))))
    assert at == "spec.rules[0].cache.toolCalls"
    assert "model calls" in message


def test_a_policy_may_set_what_one_of_its_routes_has_no_use_for() -> None:
    assert warnings(upstream(), route(rule()), policy(cache={"ttl": "1m"}, fallback=STALE)) == []
    both = cached(ttl="1m", heuristic="Allow", toolCalls="Allow")
    assert warnings(upstream(), route(rule()), policy(cache=both)) == []


def test_sharing_answers_among_agents_with_keys_of_their_own_is_told() -> None:
    shared = route(rule(cache=cached(ttl="1m", scope="Namespace")))
    ((at, message),) = warnings(upstream(), shared)
    assert at == "spec.rules[0].cache.scope"
    assert "credential" in message
    assert warnings(keyed(), shared) == []


def test_without_a_mode_there_is_no_cache() -> None:
    settings = effective(upstream(), route(rule(cache={"ttl": "1m"})))
    assert settings.cache is None
    assert cache_settings(settings) is None
    assert not settings.stale_cache


def test_an_enabled_cache_changes_nothing_while_there_is_no_outage() -> None:
    settings = effective(upstream(), route(rule(cache=cached(), fallback=STALE)))
    assert cache_settings(settings) == CacheSettings(if_error=86_400.0, store="Memory")
    assert settings.stale_cache


def test_all_fields_arrive_in_seconds_and_bytes() -> None:
    written = cached(
        ttl="5m", staleWhileRevalidate="1m", staleIfError="48h", negativeTtl="10s", scope="Namespace",
        nondeterministic="Allow", toolCalls="Allow", heuristic="Allow", maxEntry="2Mi", store="Redis", timeout="20ms",
    )  # fmt: skip
    assert cache_settings(effective(upstream(), route(rule(cache=written)))) == CacheSettings(
        ttl=300.0, while_revalidate=60.0, if_error=172_800.0, negative_ttl=10.0, scope=Scope.NAMESPACE,
        nondeterministic=True, tool_calls=True, heuristic=True, max_entry=2 * 1024 * 1024, store="Redis", timeout=0.02,
    )  # fmt: skip


@pytest.mark.parametrize("wrong", [{"timeout": "0s"}, {"maxEntry": "0"}, {"scope": "Cluster"}, {"ttl": 60}])
def test_values_of_another_kind_are_errors(wrong: dict[str, Any]) -> None:
    found = issues(upstream(), route(rule(cache={"mode": "Enabled", **wrong})))
    assert any(severity == "error" and path.startswith("spec.rules[0].cache.") for severity, path, *_ in found)
