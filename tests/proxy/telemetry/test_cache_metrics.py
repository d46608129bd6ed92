"""What the cache did, in numbers: the families of a scrape, and that nothing lets them grow without end."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from seawall.clock import Clock
from seawall.core.cache import Why
from seawall.store.base import Stats
from seawall.store.guarded import GuardedStats, Result
from seawall.telemetry.cache import RESULTS
from seawall.telemetry.labels import OTHER, Labels, PolicyNames
from seawall.telemetry.metrics import Metrics
from seawall.types import AnswerKept, CallEnded, Outcome, Usage

NAMES = PolicyNames(frozenset({"chat", "embed"}), frozenset({"lab-east", "lab-west"}), frozenset({"gpt-4o"}))
DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
SERIES = {"route": "chat", "upstream": "lab-west", "model": "gpt-4o"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry, clock: Clock) -> Metrics:
    made = Metrics(registry, clock, Labels(others=5))
    made.apply(NAMES)
    return made


def kept(**changes: Any) -> AnswerKept:
    return replace(AnswerKept("chat", "lab-west", "gpt-4o", "", "", 1000), **changes)


def given(call: CallEnded, **changes: Any) -> CallEnded:
    """A call that a kept answer was given to."""
    saved = Usage(input=12, output=34, cached=5, reasoning=8)
    hit = replace(call, outcome=Outcome.CACHE, attempts=0, usage=None, cache="hit", saved=saved)
    return replace(hit, **changes)


def families(registry: CollectorRegistry) -> set[str]:
    return {family.name for family in registry.collect() if family.name.startswith("seawall_cache")}


def stats(kind: str, **changes: Any) -> GuardedStats:
    store = Stats(kind, entries=3, bytes=4096, bound=8192, evictions=2, refused=1)
    fields = {"down": 1, "slow": 2, "corrupt": 3, "skipped": 4, "dropped": 5, "queued": 6, "resting": True}
    return GuardedStats(**{"store": store, "last_error": "gone", **fields, **changes})


def test_without_a_cache_there_is_nothing_of_one(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    metrics(call)
    assert families(registry) == set()
    assert metrics.cache.report() == {"routes": {}, "stores": {}}


def test_calls_are_counted_by_what_the_cache_did(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    for number, result in enumerate(RESULTS):
        for _ in range(number + 1):
            metrics(given(call, cache=result))
    metrics(given(call, cache="something new"))
    for number, result in enumerate(RESULTS):
        labels = {"route": "chat", "result": result}
        assert registry.get_sample_value("seawall_cache_requests_total", labels) == number + 1
    assert registry.get_sample_value("seawall_cache_requests_total", {"route": "embed", "result": "hit"}) is None
    [family] = [f for f in registry.collect() if f.name == "seawall_cache_requests"]
    assert len(family.samples) == len(RESULTS)


def test_answers_are_counted_by_whether_they_were_kept_and_why_not(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics(kept())
    metrics(kept(size=500))
    for why in Why:
        metrics(kept(why=why.value, detail="in its dialect's words"))
    metrics(kept(why="a reason that nobody knows"))
    metrics(kept(why="another one"))
    assert registry.get_sample_value("seawall_cache_stores_total", {"route": "chat"}) == 2
    assert registry.get_sample_value("seawall_cache_stored_bytes_total", {"route": "chat"}) == 1500
    for why in Why:
        assert registry.get_sample_value("seawall_cache_not_stored_total", {"route": "chat", "why": why.value}) == 1
    assert registry.get_sample_value("seawall_cache_not_stored_total", {"route": "chat", "why": OTHER}) == 2


def test_what_was_given_again_is_saved_and_not_used(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    metrics(given(call))
    metrics(given(call, cache="coalesced"))
    metrics(given(call, cache="miss", saved=None))
    for kind, count in {"input": 24, "output": 68, "cached": 10, "reasoning": 16}.items():
        assert registry.get_sample_value("seawall_cache_saved_tokens_total", {**SERIES, "kind": kind}) == count
        assert registry.get_sample_value("seawall_tokens_total", {**SERIES, "kind": kind}) in (None, 0)
    report: Any = metrics.cache.report()
    assert report["routes"]["chat"]["saved_tokens"] == {"input": 24, "output": 68, "cached": 10, "reasoning": 16}
    assert report["routes"]["chat"]["hit_ratio"] == 2 / 3


def test_money_is_told_where_the_models_price_is_known(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    metrics(given(call))
    metrics(given(call, model="somebodys-own-model"))
    dollars = registry.get_sample_value("seawall_cache_saved_dollars_total", SERIES)
    assert dollars is not None and dollars == metrics.cache.prices.dollars("gpt-4o", Usage(12, 34, 5, 8))
    unknown = {**SERIES, "model": "somebodys-own-model"}
    assert registry.get_sample_value("seawall_cache_saved_dollars_total", unknown) is None
    assert registry.get_sample_value("seawall_cache_saved_tokens_total", {**unknown, "kind": "input"}) == 12


def test_nothing_that_agents_or_upstreams_send_makes_labels_without_end(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    for number in range(300):
        metrics(given(call, route=f"r{number}", upstream=f"u{number}", model=f"model-{number}"))
        metrics(kept(route=f"r{number}", why=f"why {number}"))
    samples = [s for f in registry.collect() for s in f.samples if s.name.startswith("seawall_cache")]
    # Five models of those that were met, and `other`.
    assert len({s.labels["model"] for s in samples if "model" in s.labels}) <= 6
    assert {s.labels["route"] for s in samples if "route" in s.labels} == {OTHER}
    assert {s.labels["upstream"] for s in samples if "upstream" in s.labels} == {OTHER}
    assert len(samples) < 60


def test_routes_that_the_policy_no_longer_has_go_away(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    metrics(given(call))
    metrics(given(call, route="embed"))
    metrics(kept(route="embed"))
    metrics.apply(PolicyNames(frozenset({"chat"}), NAMES.upstreams, NAMES.models))
    text = generate_latest(registry).decode()
    assert 'seawall_cache_requests_total{result="hit",route="chat"} 1.0' in text
    assert "embed" not in text
    report: Any = metrics.cache.report()
    assert list(report["routes"]) == ["chat"]


def test_stores_are_timed_by_operation_and_counted_by_result(metrics: Metrics, registry: CollectorRegistry) -> None:
    for seconds in (0.0001, 0.004, 0.06, 3.0):
        metrics.cache.store("Redis", "get", Result.HIT, seconds)
    metrics.cache.store("Redis", "get", Result.SLOW, 0.05)
    metrics.cache.store("Disk", "put", Result.DONE, 0.002)
    get = {"store": "Redis", "operation": "get"}
    assert registry.get_sample_value("seawall_cache_store_operations_total", {**get, "result": "hit"}) == 4
    assert registry.get_sample_value("seawall_cache_store_operations_total", {**get, "result": "slow"}) == 1
    assert registry.get_sample_value("seawall_cache_store_seconds_count", get) == 5
    assert registry.get_sample_value("seawall_cache_store_seconds_sum", get) == pytest.approx(3.1141)
    counts = {"0.0001": 1, "0.005": 2, "0.05": 3, "0.1": 4, "1.0": 4, "+Inf": 5}
    for edge, count in counts.items():
        assert registry.get_sample_value("seawall_cache_store_seconds_bucket", {**get, "le": edge}) == count
    put = {"store": "Disk", "operation": "put", "result": "done"}
    assert registry.get_sample_value("seawall_cache_store_operations_total", put) == 1


def test_stores_tell_what_they_hold_and_redis_what_it_knows(metrics: Metrics, registry: CollectorRegistry) -> None:
    redis = stats("redis", store=Stats("redis", refused=7), resting=False)
    metrics.cache.stats = lambda: {"Disk": stats("disk"), "Redis": redis}
    metrics(kept())
    disk = {
        "entries": 3, "bytes": 4096, "bytes_limit": 8192, "queue": 6, "resting": 1, "evictions_total": 2,
        "refused_total": 1, "dropped_total": 5, "skipped_total": 4,
    }  # fmt: skip
    for name, value in disk.items():
        assert registry.get_sample_value(f"seawall_cache_{name}", {"store": "Disk"}) == value, name
    for name in ("entries", "bytes", "bytes_limit"):
        assert registry.get_sample_value(f"seawall_cache_{name}", {"store": "Redis"}) is None
    assert registry.get_sample_value("seawall_cache_refused_total", {"store": "Redis"}) == 7
    assert registry.get_sample_value("seawall_cache_resting", {"store": "Redis"}) == 0
    report: Any = metrics.cache.report()
    assert report["stores"]["Disk"] == {
        "entries": 3, "bytes": 4096, "limit": 8192, "evictions": 2, "failures": {"down": 1, "slow": 2, "corrupt": 3},
        "skipped": 4, "dropped": 5, "resting": True, "last_error": "gone",
    }  # fmt: skip


def test_every_family_is_valid_and_in_the_docs(metrics: Metrics, registry: CollectorRegistry, call: CallEnded) -> None:
    metrics(given(call))
    metrics(kept())
    metrics(kept(why=Why.COOKIE.value))
    metrics.cache.store("Disk", "get", Result.HIT, 0.001)
    metrics.cache.stats = lambda: {"Disk": stats("disk")}
    documented = DOCS.read_text()
    parsed = list(text_string_to_metric_families(generate_openmetrics(registry).decode()))
    names = [family.name for family in parsed if family.name.startswith("seawall_cache")]
    assert len(names) == len(set(names)) == len(families(registry)) >= 15
    for family in parsed:
        if family.name.startswith("seawall_cache"):
            shown = f"`{family.name}_total`" if family.type == "counter" else f"`{family.name}`"
            assert shown in documented
            assert family.samples and family.documentation.endswith(".")
