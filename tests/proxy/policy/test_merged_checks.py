"""Contradictions between values, in whichever documents they stand."""

from typing import Any

import pytest
from policy_documents import issues, one, policy, route, rule, upstream


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


def test_a_race_that_nobody_could_win_is_an_error() -> None:
    found = one(upstream(), route(rule(hedging={"maxAttempts": 2}, streaming={"commit": "Headers"})))
    assert found[:2] == ("error", "spec.rules[0].hedging.maxAttempts")
    assert "commit FirstContent" in found[3]


def test_a_delay_without_a_second_attempt_is_a_warning() -> None:
    found = one(upstream(), route(rule(hedging={"maxAttempts": 1, "hedgingDelay": "1s"})))
    assert found[:2] == ("warning", "spec.rules[0].hedging.hedgingDelay")
    assert not issues(upstream(), route(rule(hedging={"hedgingDelay": "1s"})))


def test_fields_without_effect_are_warnings() -> None:
    assert "does nothing" in one(upstream(), route(rule(streaming={"maxHold": "1Mi"})))[2]
    assert "does nothing" in one(upstream(), route(rule(fallbackOn=["NotFound"])))[2]
    for slow in ({"percent": 50}, {"percent": 50, "duration": "0s"}):
        assert "does nothing" in one(upstream(circuitBreaker={"slowCall": slow}), route(rule()))[2]


def test_an_interval_for_comments_where_nothing_is_held_is_a_warning() -> None:
    at_once = {"commit": "Headers", "keepAlive": "5s"}
    found = one(upstream(), route(rule(streaming=at_once)))
    assert found[:2] == ("warning", "spec.rules[0].streaming.keepAlive")
    assert not issues(upstream(), route(rule(streaming={"commit": "Headers", "keepAlive": "0s"})))
    assert not issues(upstream(), route(rule(streaming={"commit": "Complete", "keepAlive": "5s"})))
    assert not issues(upstream(), route(rule(streaming={"commit": "Headers"})))
    # A translated stream has silences of its own.
    there = upstream("b", dialect="Anthropic", auth={"type": "APIKey", "keyFile": "/k"})
    refs: list[dict[str, Any]] = [{"name": "a"}, {"name": "b", "model": "claude", "priority": 1}]
    assert not issues(upstream(), there, route(rule("/v1", *refs, streaming=at_once)))


def test_what_is_only_queued_is_not_raced() -> None:
    hedged = route(rule(hedging={"maxAttempts": 2}))
    assert "nothing to win" in one(upstream(dialect="Trino"), hedged)[2]
    assert issues(upstream(dialect="ClickHouse"), hedged) == []
