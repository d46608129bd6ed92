"""Levels and thresholds of the report, from views filled by hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from seawall.telemetry.process import resident_bytes
from seawall.telemetry.report import (
    BreakerView,
    CandidateView,
    CredentialView,
    ProcessView,
    ReloadView,
    RestView,
    RouteView,
    Severity,
    Snapshot,
    UpstreamView,
    health,
    route_level,
    service_level,
    severity,
    state,
    upstream_level,
    worst_state,
)
from seawall.types import ServiceLevel

FULL, DEGRADED, OFFLINE = ServiceLevel.FULL, ServiceLevel.DEGRADED, ServiceLevel.OFFLINE
UPSTREAM = UpstreamView("east", "LLM", "OpenAI", "https://api.example.com:443", samples=100, error_rate=0.0, p95=0.5)
OPEN, CLOSED = BreakerView("a", "open"), BreakerView("b", "closed")
HELD = BreakerView("*", "isolated", by_hand=True)
ORIGIN = BreakerView("https://api.example.com:443", "open", transport=True)


class Live(Protocol):
    shown: Snapshot


@pytest.mark.parametrize(
    ("errors", "p95", "expected"),
    [
        (0.0999, 0.1, Severity.OK),
        (0.10, 0.1, Severity.WARNING),
        (0.2499, 0.1, Severity.WARNING),
        (0.25, 0.1, Severity.CRITICAL),
        (0.0, 4.999, Severity.OK),
        (0.0, 5.0, Severity.WARNING),
        (0.0, 10.0, Severity.CRITICAL),
        (None, None, Severity.OK),
    ],
)
def test_severity_follows_the_thresholds(errors: float | None, p95: float | None, expected: Severity) -> None:
    assert severity(replace(UPSTREAM, error_rate=errors, p95=p95)) is expected


def test_a_handful_of_calls_says_nothing_about_a_rate() -> None:
    assert severity(replace(UPSTREAM, samples=4, error_rate=1.0, p95=60.0)) is Severity.OK
    assert severity(replace(UPSTREAM, samples=5, error_rate=1.0)) is Severity.CRITICAL


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (UPSTREAM, FULL),
        (replace(UPSTREAM, breakers=(CLOSED,)), FULL),
        (replace(UPSTREAM, breakers=(replace(CLOSED, state="forced_closed"),)), FULL),
        (replace(UPSTREAM, shadow=(OPEN, ORIGIN)), FULL),
        (replace(UPSTREAM, breakers=(OPEN, CLOSED)), DEGRADED),
        (replace(UPSTREAM, breakers=(replace(OPEN, state="half_open"),)), DEGRADED),
        (replace(UPSTREAM, breakers=(OPEN,)), OFFLINE),
        (replace(UPSTREAM, breakers=(replace(OPEN, state="isolated"),)), OFFLINE),
        (replace(UPSTREAM, breakers=(CLOSED, ORIGIN)), OFFLINE),
        (replace(UPSTREAM, error_rate=0.3), DEGRADED),
        (replace(UPSTREAM, parked=(RestView("a", 60.0),)), DEGRADED),
        (replace(UPSTREAM, cooldowns=(RestView("a", 2.0),)), DEGRADED),
        (replace(UPSTREAM, credential=CredentialView("key: gone", last_key_in_use=True)), DEGRADED),
        (replace(UPSTREAM, credential=CredentialView("key: gone", last_key_in_use=False)), OFFLINE),
        (replace(UPSTREAM, breakers=(HELD,)), OFFLINE),
        (replace(UPSTREAM, breakers=(HELD, replace(ORIGIN, state="closed"))), OFFLINE),
        (replace(UPSTREAM, breakers=(HELD, CLOSED)), DEGRADED),
        (replace(UPSTREAM, breakers=(replace(HELD, state="forced_closed"),)), FULL),
    ],
)
def test_an_upstreams_level_comes_from_its_breakers_rests_and_calls(
    changed: UpstreamView, expected: ServiceLevel
) -> None:
    assert upstream_level(changed) is expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (FULL, OFFLINE, FULL),
        (DEGRADED, FULL, DEGRADED),
        (OFFLINE, FULL, DEGRADED),
        (OFFLINE, OFFLINE, OFFLINE),
    ],
)
def test_a_route_is_as_good_as_its_first_priority_and_lives_while_any_is_left(
    first: ServiceLevel, second: ServiceLevel, expected: ServiceLevel
) -> None:
    route = RouteView("r", "d", "OpenAI", ("/",), (CandidateView("a", 0), CandidateView("b", 1)))
    assert route_level(route, {"a": first, "b": second}) is expected


def test_the_whole_is_offline_without_a_policy_and_degraded_when_routes_differ(live: Live) -> None:
    shown = live.shown
    assert service_level(replace(shown, process=replace(shown.process, ready=False))) is OFFLINE
    assert service_level(shown) is DEGRADED
    dead = replace(shown.routes[0], candidates=(CandidateView("lab-east"),))
    good = replace(shown.routes[0], candidates=(CandidateView("lab-west"),))
    assert service_level(replace(shown, routes=(dead,))) is OFFLINE
    assert service_level(replace(shown, routes=(good,))) is FULL
    assert service_level(replace(shown, routes=(good, dead))) is DEGRADED


def test_health_holds_the_whole_report(live: Live) -> None:
    shown = live.shown
    reload = ReloadView(shown.process.started, ("policy.yaml:3: unknown field",))
    shown = replace(shown, process=replace(shown.process, reload=reload))
    full = json.loads(json.dumps(health(shown, shown.process.started + 90.0, 50_000_000)))
    assert full["service_level"] == "degraded"
    assert full["severity"] == "critical"
    assert full["uptime_seconds"] == 90.0
    assert full["memory_bytes"] == 50_000_000
    assert full["availability"] == pytest.approx(197 / 200)
    assert full["last_reload"] == {"ok": False, "seconds_ago": 90.0, "errors": ["policy.yaml:3: unknown field"]}
    east = full["upstreams"]["lab-east"]
    assert (east["state"], east["service_level"], east["error_rate"]) == ("open", "offline", 0.6)
    assert (east["p50_seconds"], east["p95_seconds"], east["p99_seconds"]) == (0.1, 0.4, 0.9)
    assert full["routes"] == {"chat/default": "degraded"}


def test_of_models_that_share_a_redacted_name_the_worst_state_is_shown(live: Live) -> None:
    states = ("closed", "open", "half_open")
    breakers = tuple(BreakerView("[redacted]", state) for state in states)
    shown = replace(live.shown, upstreams=(replace(UPSTREAM, breakers=breakers),))
    full = json.loads(json.dumps(health(shown, 0.0, 1)))
    assert full["upstreams"]["east"]["breakers"] == {"[redacted]": "open"}


def test_health_of_a_process_that_took_no_call_yet_has_no_availability() -> None:
    fresh = Snapshot(ProcessView("0.1.0", "", started=100.0, ready=True))
    full = health(fresh, wall=99.0, memory_bytes=1)  # the clock was set back
    assert full["availability"] is None
    assert full["uptime_seconds"] == 0.0


def test_state_is_plain_values_all_the_way_down(live: Live) -> None:
    plain = json.loads(json.dumps(state(live.shown)))
    assert plain["upstreams"][0]["breakers"][0]["retry_after"] == 9.8
    assert plain["routes"][0]["candidates"][1] == {"upstream": "lab-west", "group": 1, "weight": 1, "model": ""}


def test_the_worst_breaker_is_the_upstreams_state() -> None:
    assert worst_state(UPSTREAM) == "closed"
    assert worst_state(replace(UPSTREAM, breakers=(CLOSED, replace(OPEN, state="half_open")))) == "half_open"
    assert worst_state(replace(UPSTREAM, breakers=(replace(OPEN, state="isolated"), OPEN))) == "isolated"


def test_resident_memory_is_plausible_with_and_without_proc(tmp_path: Path) -> None:
    assert 5_000_000 < resident_bytes() < 10_000_000_000
    assert 5_000_000 < resident_bytes(tmp_path / "absent") < 10_000_000_000
