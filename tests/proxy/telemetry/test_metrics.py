"""What a scrape shows after events, and what it never shows."""

import dataclasses
import random
import string
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from seawall.clock import Clock, SystemClock
from seawall.telemetry.labels import OTHER, Labels, PolicyNames
from seawall.telemetry.live import LiveCollector
from seawall.telemetry.metrics import CONTENT_BOUNDS, Metrics
from seawall.telemetry.report import BreakerView, CredentialView, Snapshot, UpstreamView
from seawall.types import (
    AttemptEnded,
    BreakerMoved,
    CallEnded,
    CoolingDown,
    CredentialParked,
    Outcome,
    Raced,
    Reloaded,
    ServiceLevel,
    ShadowMoved,
    Usage,
)


class Live(Protocol):
    shown: Snapshot

    def snapshot(self) -> Snapshot: ...


NAMES = PolicyNames(
    routes=frozenset({"chat", "embed"}),
    upstreams=frozenset({"lab-east", "lab-west"}),
    models=frozenset({"gpt-4o"}),
    origins=frozenset({"http://127.0.0.1:4110"}),
)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry, clock: Clock) -> Metrics:
    made = Metrics(registry, clock)
    made.apply(NAMES)
    return made


def attempt(**changes: Any) -> AttemptEnded:
    event = AttemptEnded("id", "chat", "lab-east", "gpt-4o", 1, "OVERLOADED", 503, 0.01, next="failover to lab-west")
    return replace(event, **changes)


def text(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_a_call_is_counted_by_how_it_was_answered(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    metrics(call)
    metrics(call)
    labels = {"route": "chat", "upstream": "lab-west", "model": "gpt-4o"}
    full = {**labels, "outcome": "failover", "fault": "", "status": "2xx"}
    assert registry.get_sample_value("seawall_requests_total", full) == 2
    assert registry.get_sample_value("seawall_retries_total", {"route": "chat"}) == 2
    assert registry.get_sample_value("seawall_request_duration_seconds_sum", labels) == pytest.approx(0.062)
    assert registry.get_sample_value("seawall_first_content_seconds_count", labels) == 2
    for kind, count in {"input": 24, "output": 68, "cached": 10, "reasoning": 16}.items():
        assert registry.get_sample_value("seawall_tokens_total", {**labels, "kind": kind}) == count
    assert (metrics.calls_total, metrics.failed_total) == (2, 0)


def test_a_failed_call_counts_its_fault_and_lowers_availability(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    metrics(replace(call, outcome=Outcome.ERROR, fault="BREAKER_OPEN", status=503, upstream="", usage=None))
    full = {
        "route": "chat", "upstream": "", "model": "gpt-4o", "outcome": "error", "fault": "BREAKER_OPEN",
        "status": "5xx",
    }  # fmt: skip
    assert registry.get_sample_value("seawall_requests_total", full) == 1
    assert (metrics.calls_total, metrics.failed_total) == (1, 1)


def test_only_attempts_that_reached_an_upstream_and_were_not_used_are_wasted(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics(attempt())
    metrics(attempt(result="cancelled", status=None, next=""))
    metrics(attempt(result="CONNECT_FAILED", status=None))  # never sent
    metrics(attempt(next=""))  # this one was the answer
    metrics(attempt(result="ok", status=200, next=""))
    target = {"upstream": "lab-east", "model": "gpt-4o"}
    assert registry.get_sample_value("seawall_wasted_attempts_total", target) == 2
    assert registry.get_sample_value("seawall_attempts_total", {**target, "result": "OVERLOADED"}) == 2
    assert registry.get_sample_value("seawall_attempts_total", {**target, "result": "ok"}) == 1


def test_a_race_counts_its_winner_its_hedges_and_what_its_losers_cost(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics(Raced("id", "chat", "lab-west", starts=3, hedges=2, seconds=0.4))
    metrics(Raced("id", "chat", "lab-west", starts=2, hedges=0, seconds=0.4, saved_seconds=0.25))
    metrics(Raced("id", "chat", "", starts=2, hedges=1, seconds=0.4))
    metrics(attempt(result="cancelled", status=None, next="", seconds=0.3, usage=Usage(input=12)))
    metrics(attempt(result="cancelled", status=None, next="", seconds=0.2))
    target = {"upstream": "lab-east", "model": "gpt-4o"}
    value = registry.get_sample_value
    assert value("seawall_races_total", {"route": "chat", "winner": "lab-west"}) == 2
    assert value("seawall_races_total", {"route": "chat", "winner": ""}) == 1
    assert value("seawall_hedges_total", {"route": "chat"}) == 3
    assert value("seawall_race_saved_seconds_total", {"route": "chat"}) == 0.25
    assert value("seawall_wasted_seconds_total", target) == pytest.approx(0.5)
    assert value("seawall_wasted_tokens_total", {**target, "kind": "input"}) == 12
    assert value("seawall_wasted_tokens_total", {**target, "kind": "output"}) is None


def test_breakers_rests_and_reloads_are_counted(metrics: Metrics, registry: CollectorRegistry, clock: Clock) -> None:
    metrics(BreakerMoved("lab-east", "http://127.0.0.1:4110", "closed", "open", "5 consecutive failures", 9.8))
    metrics(CoolingDown("lab-east", "gpt-4o", 2.0))
    metrics(CredentialParked("lab-east", "gpt-4o", 60.0, "QUOTA_EXHAUSTED"))
    metrics(Reloaded("c0ffee"))
    metrics(Reloaded("c0ffee", errors=("policy.yaml:3: unknown field",)))
    moved = {"upstream": "lab-east", "key": "http://127.0.0.1:4110", "to": "open"}
    target = {"upstream": "lab-east", "model": "gpt-4o"}
    assert registry.get_sample_value("seawall_breaker_transitions_total", moved) == 1
    assert registry.get_sample_value("seawall_cooldowns_total", target) == 1
    assert registry.get_sample_value("seawall_credential_parked_total", target) == 1
    assert registry.get_sample_value("seawall_config_last_reload_successful") == 0
    assert registry.get_sample_value("seawall_config_last_reload_success_timestamp_seconds") == clock.wall()
    assert registry.get_sample_value("seawall_config_reloads_total", {"result": "refused"}) == 1


def test_a_circuit_that_would_have_moved_is_counted_apart(metrics: Metrics, registry: CollectorRegistry) -> None:
    moved = {"upstream": "lab-east", "key": "gpt-4o", "to": "open"}
    assert "shadow" not in text(registry)
    metrics(ShadowMoved("lab-east", "gpt-4o", "closed", "open", "2 consecutive failures", 9.8))
    assert registry.get_sample_value("seawall_shadow_breaker_transitions_total", moved) == 1
    assert registry.get_sample_value("seawall_breaker_transitions_total", moved) is None
    metrics.apply(dataclasses.replace(NAMES, upstreams=frozenset({"lab-west"})))
    assert "shadow" not in text(registry)


def test_ten_thousand_made_up_models_add_a_hundred_labels(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    chance = random.Random(7)
    for _ in range(10_000):
        model = "".join(chance.choices(string.ascii_lowercase, k=12))
        metrics(replace(call, model=model))
        metrics(attempt(model=model))
        metrics(BreakerMoved("lab-east", model, "closed", "open", "x"))
    families = list(registry.collect())
    labels = {s.labels["model"] for f in families for s in f.samples if "model" in s.labels}
    keys = {s.labels["key"] for f in families for s in f.samples if "key" in s.labels}
    assert len(labels) == len(keys) == 101
    assert OTHER in labels
    assert registry.get_sample_value("seawall_attempts_total", {
        "upstream": "lab-east", "model": OTHER, "result": "OVERLOADED"
    }) == 9_900  # fmt: skip


@pytest.mark.parametrize(
    "model",
    ["sk-proj-abcdefgh12345678", "AIzaSyA1234567890abcdefghijklmnop", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln",
     "a\nb", 'x"} 1', "m" * 129, "", "🦆", "\ud800"],
)  # fmt: skip
def test_a_model_that_looks_like_a_secret_or_no_model_is_no_label(
    model: str, metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    metrics(replace(call, model=model))
    shown = {s.labels["model"] for f in registry.collect() for s in f.samples if "model" in s.labels}
    assert shown == {"other" if model else ""}


def test_a_call_of_a_route_that_the_policy_does_not_know_is_other(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    metrics(replace(call, route="removed", upstream="removed", fault="MADE_UP", status=9999))
    full = {
        "route": "other", "upstream": "other", "model": "gpt-4o", "outcome": "failover", "fault": "other", "status": "",
    }  # fmt: skip
    assert registry.get_sample_value("seawall_requests_total", full) == 1


def test_series_of_a_removed_upstream_go_away_and_the_rest_keeps_counting(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    metrics(call)
    metrics(attempt())
    metrics(replace(call, upstream="lab-east", route="embed"))
    metrics(BreakerMoved("lab-east", "gpt-4o", "closed", "open", "x"))
    metrics.apply(dataclasses.replace(NAMES, upstreams=frozenset({"lab-west"}), routes=frozenset({"chat"})))
    shown = text(registry)
    assert "lab-east" not in shown
    assert "embed" not in shown
    labels = {"route": "chat", "upstream": "lab-west", "model": "gpt-4o"}
    assert registry.get_sample_value("seawall_request_duration_seconds_count", labels) == 1


def test_histogram_buckets_are_cumulative_with_inclusive_upper_bounds(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    for seconds in (0.05, 0.050001, 1000.0):
        metrics(replace(call, first_content_seconds=seconds))
    labels = {"route": "chat", "upstream": "lab-west", "model": "gpt-4o"}
    name = "seawall_first_content_seconds_bucket"
    assert registry.get_sample_value(name, {**labels, "le": "0.05"}) == 1
    assert registry.get_sample_value(name, {**labels, "le": "0.1"}) == 2
    assert registry.get_sample_value(name, {**labels, "le": "300.0"}) == 2
    assert registry.get_sample_value(name, {**labels, "le": "+Inf"}) == 3


@given(st.lists(st.floats(min_value=0, max_value=1e4), max_size=30))
def test_every_observation_is_in_just_the_buckets_that_hold_it(seconds: list[float]) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, SystemClock())
    for value in seconds:
        metrics(
            CallEnded(
                "id", "", "", "OpenAI", "chat", "POST", "/", "", "", Outcome.PRIMARY, "", 200, 1, 0, True,
                ServiceLevel.FULL, value, value, 0.0, 0, 0,
            )
        )  # fmt: skip
    labels = {"route": "", "upstream": "", "model": ""}
    for bound in CONTENT_BOUNDS:
        shown = registry.get_sample_value("seawall_first_content_seconds_bucket", {**labels, "le": str(bound)})
        assert (shown or 0) == sum(value <= bound for value in seconds)


def test_live_gauges_are_read_at_the_scrape(metrics: Metrics, registry: CollectorRegistry, live: Live) -> None:
    class Stats:
        dropped, failures = 12, 3

    LiveCollector(registry, live, metrics.labels, {"access": Stats()})
    read = registry.get_sample_value
    east = {"upstream": "lab-east"}
    assert read("seawall_breaker_state", {**east, "key": "gpt-4o"}) == 2
    assert read("seawall_breaker_state", {**east, "key": "http://127.0.0.1:4110"}) == 0
    assert read("seawall_retry_budget", east) == 4.5
    assert read("seawall_credentials_parked", east) == 1
    assert read("seawall_upstream_queue_depth", east) == 3
    assert read("seawall_upstream_service_level", east) == 0
    assert read("seawall_streams_open") == 4
    assert read("seawall_requests_in_flight") == 7
    assert read("seawall_config_info", {"revision": "c0ffee", "version": "0.1.0"}) == 1
    assert read("seawall_log_lines_dropped_total", {"log": "access"}) == 12


def test_breakers_that_share_the_label_other_show_the_worst(registry: CollectorRegistry, live: Live) -> None:
    states = ("closed", "open", "half_open", "forced_closed")
    breakers = tuple(BreakerView(f"model-{state}", state) for state in states)
    live.shown = dataclasses.replace(
        live.shown, upstreams=(UpstreamView("lab-east", "LLM", "OpenAI", "x", breakers=breakers),)
    )
    LiveCollector(registry, live, Labels(NAMES, others=0))
    assert registry.get_sample_value("seawall_breaker_state", {"upstream": "lab-east", "key": "other"}) == 2


def test_a_breaker_forced_closed_alone_reads_minus_one(registry: CollectorRegistry, live: Live) -> None:
    upstream = UpstreamView("lab-east", "LLM", "OpenAI", "x", breakers=(BreakerView("gpt-4o", "forced_closed"),))
    live.shown = dataclasses.replace(live.shown, upstreams=(upstream,))
    LiveCollector(registry, live, Labels(NAMES))
    assert registry.get_sample_value("seawall_breaker_state", {"upstream": "lab-east", "key": "gpt-4o"}) == -1


def test_what_is_held_by_hand_and_an_unreadable_key_file_have_gauges(registry: CollectorRegistry, live: Live) -> None:
    held = BreakerView("*", "isolated", by_hand=True)
    east, west = live.shown.upstreams
    east = dataclasses.replace(east, breakers=(held,), credential=CredentialView("key: gone", True))
    live.shown = dataclasses.replace(live.shown, upstreams=(east, west))
    LiveCollector(registry, live, Labels(NAMES, others=0))
    read = registry.get_sample_value
    assert read("seawall_breaker_state", {"upstream": "lab-east", "key": "*"}) == 3
    assert read("seawall_credential_unreadable", {"upstream": "lab-east"}) == 1
    assert read("seawall_credential_unreadable", {"upstream": "lab-west"}) == 0


def test_latencies_carry_the_latest_trace_of_each_bucket(
    metrics: Metrics, registry: CollectorRegistry, call: CallEnded
) -> None:
    for trace, seconds in (("", 0.02), ("a" * 32, 0.02), ("b" * 32, 0.03), ("c" * 32, 7.0), ("", 0.04)):
        metrics(replace(call, seconds=seconds, **({"trace_id": trace} if trace else {})))
    families = text_string_to_metric_families(generate_openmetrics(registry).decode())
    (family,) = (f for f in families if f.name == "seawall_request_duration_seconds")
    found = {s.labels["le"]: s.exemplar for s in family.samples if s.name.endswith("_bucket") and s.exemplar}
    assert {le: (one.labels, one.value) for le, one in found.items()} == {
        "0.05": ({"trace_id": "b" * 32}, 0.03),
        "10.0": ({"trace_id": "c" * 32}, 7.0),
    }
    assert "trace_id" not in generate_latest(registry).decode()


def test_openmetrics_output_parses(metrics: Metrics, registry: CollectorRegistry, live: Live, call: CallEnded) -> None:
    LiveCollector(registry, live, metrics.labels)
    metrics(call)
    metrics(attempt())
    metrics(Reloaded("c0ffee"))
    families = {f.name for f in text_string_to_metric_families(generate_openmetrics(registry).decode())}
    assert {"seawall_requests", "seawall_overhead_seconds", "seawall_breaker_state"} <= families
