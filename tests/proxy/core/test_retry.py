"""Each rule of SEMANTICS §2 and each row of §1 by itself; whole calls are in test_retry_properties.py."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall import faults
from seawall.core.retry import Decision, Next, Retry, RetrySettings, Standing, Stop, Wait, Why, delay, hinted_delay
from seawall.faults import Code, Fault
from seawall.types import Safety

SETTINGS = RetrySettings(attempts=2, base=0.5, cap=8.0, retry_after_max=20.0)
ALONE = Standing(at="a")
ANOTHER = Standing(at="a", another=True, admissible=True)


class Drawn:
    """Randomness that always draws the same; almost 1 is the longest wait."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


def _retry(safety: Safety = Safety.SAFE_BILLED, settings: RetrySettings = SETTINGS, **more: int) -> Retry:
    return Retry(settings, safety, sdk_retry_count=more.get("sdk_retry_count", 0), pinned=bool(more.get("pinned", 0)))


def _next(
    retry: Retry,
    fault: Fault,
    standing: Standing = ALONE,
    budget: Callable[[], bool] = lambda: True,
    drawn: float = 0.5,
) -> Decision:
    return retry.next(fault, standing, budget, Drawn(drawn))


def _decide(code: Code, standing: Standing = ALONE, safety: Safety = Safety.SAFE_BILLED) -> Decision:
    return _next(_retry(safety), Fault(code), standing)


def _forbidden() -> bool:
    raise AssertionError("the budget was asked for a retry that is not made")


# Waits


@given(st.integers(0, 5000), st.floats(0, 10), st.floats(0, 60), st.randoms(use_true_random=False))
def test_backoff_is_full_jitter_below_the_doubled_base_and_the_cap(
    n: int, base: float, cap: float, rng: random.Random
) -> None:
    assert 0 <= delay(n, base, cap, rng) <= min(cap, base * 2.0 ** min(n, 64))


def test_backoff_doubles_up_to_the_cap() -> None:
    assert [delay(n, 0.5, 8.0, Drawn(1.0)) for n in range(6)] == [0.5, 1, 2, 4, 8, 8]


@given(st.floats(0, 86_400), st.randoms(use_true_random=False))
def test_a_hint_is_jittered_upwards_only_by_half_at_most(hint: float, rng: random.Random) -> None:
    assert hint <= hinted_delay(hint, rng) <= 1.5 * hint


def test_each_retry_at_one_upstream_waits_longer_and_another_starts_anew() -> None:
    retry = _retry(settings=RetrySettings(3, 0.5, 8.0, 20.0))
    fault = Fault(Code.SERVER_ERROR)
    assert _next(retry, fault, drawn=1.0) == Wait(0.5)
    assert _next(retry, fault, drawn=1.0) == Wait(1.0)
    assert _next(retry, fault, Standing(at="b"), drawn=1.0) == Wait(0.5)


def test_throttling_backs_off_from_a_second() -> None:
    assert _next(_retry(), Fault(Code.RATE_LIMITED), drawn=1.0) == Wait(1.0)


def test_the_upstreams_own_hint_replaces_the_backoff() -> None:
    assert _next(_retry(), Fault(Code.RATE_LIMITED, hint=6.0), drawn=1.0) == Wait(9.0)
    assert _next(_retry(), Fault(Code.OVERLOADED, hint=6.0), drawn=0.0) == Wait(6.0)


def test_a_hint_on_a_fault_that_takes_none_is_ignored() -> None:
    assert _next(_retry(), Fault(Code.SERVER_ERROR, hint=6.0), drawn=1.0) == Wait(0.5)


@pytest.mark.parametrize("hint", [-1.0, 0.0, float("nan"), float("inf"), float("-inf"), 1e12, 86_401.0])
def test_absurd_hints_are_ignored(hint: float) -> None:
    assert _next(_retry(), Fault(Code.RATE_LIMITED, hint=hint), drawn=1.0) == Wait(1.0)


def test_a_hint_beyond_the_longest_wait_moves_on_at_once_or_stops() -> None:
    fault = Fault(Code.RATE_LIMITED, hint=20.1)
    assert _next(_retry(), fault, ALONE, _forbidden) == Stop(Why.HINT)
    assert _next(_retry(), fault, Standing(at="a", another=True), _forbidden) == Next(Why.HINT)


@pytest.mark.parametrize("fault", [Fault(Code.RATE_LIMITED, hint=5.0), Fault(Code.SERVER_ERROR)])
def test_a_wait_that_does_not_fit_the_deadline_moves_on_at_once_or_stops(fault: Fault) -> None:
    short = Standing(at="a", left=0.2)
    assert _next(_retry(), fault, short, _forbidden) == Stop(Why.DEADLINE)
    assert _next(_retry(), fault, Standing(at="a", another=True, left=0.2), _forbidden) == Next(Why.DEADLINE)


def test_with_no_time_left_nothing_is_tried_anywhere() -> None:
    standing = Standing(at="a", another=True, admissible=True, left=0.0)
    assert _next(_retry(), Fault(Code.SERVER_ERROR), standing, _forbidden) == Stop(Why.DEADLINE)


@pytest.mark.parametrize("code", Code)
def test_after_the_commit_or_with_a_body_that_was_not_kept_nothing_is_sent_again(code: Code) -> None:
    standing = Standing(at="a", another=True, admissible=True, listed=True, repeatable=False)
    assert _next(_retry(Safety.SAFE), Fault(code), standing, _forbidden) == Stop(Why.UNREPEATABLE)


# How often


def test_two_retries_make_three_tries() -> None:
    retry, fault = _retry(), Fault(Code.SERVER_ERROR)
    assert isinstance(_next(retry, fault), Wait)
    assert isinstance(_next(retry, fault), Wait)
    assert _next(retry, fault, budget=_forbidden) == Stop(Why.ATTEMPTS)
    assert retry.retries == 2


def test_a_further_candidate_gets_no_more_retries_than_are_left_of_the_calls() -> None:
    retry, fault = _retry(), Fault(Code.SERVER_ERROR)
    assert isinstance(_next(retry, fault, Standing(at="a", another=True)), Wait)
    assert isinstance(_next(retry, fault, Standing(at="b", another=True)), Wait)
    assert _next(retry, fault, Standing(at="b", another=True)) == Next(Why.ATTEMPTS)
    assert _next(retry, fault, Standing(at="c")) == Stop(Why.ATTEMPTS)


@pytest.mark.parametrize(("count", "left"), [(-3, 2), (0, 2), (1, 1), (2, 0), (9, 0)])
def test_an_sdk_that_retries_too_does_not_multiply(count: int, left: int) -> None:
    retry, made = _retry(sdk_retry_count=count), 0
    while isinstance(_next(retry, Fault(Code.SERVER_ERROR)), Wait):
        made += 1
    assert made == left


def test_an_sdk_and_a_proxy_with_two_retries_each_stay_under_six_tries() -> None:
    tries = 0
    for count in range(3):  # the SDK's first call and its two retries
        retry, tries = _retry(sdk_retry_count=count), tries + 1
        while isinstance(_next(retry, Fault(Code.SERVER_ERROR)), Wait):
            tries += 1
    assert tries == 6  # instead of nine


def test_an_overloaded_upstream_is_retried_once() -> None:
    retry = _retry()
    assert isinstance(_next(retry, Fault(Code.OVERLOADED)), Wait)
    assert _next(retry, Fault(Code.OVERLOADED)) == Stop(Why.ONCE)
    assert isinstance(_next(retry, Fault(Code.SERVER_ERROR)), Wait)


def test_a_spent_budget_stops_retries_but_not_failover() -> None:
    fault = Fault(Code.SERVER_ERROR)
    assert _next(_retry(), fault, ALONE, lambda: False) == Stop(Why.BUDGET)
    retry = _retry()
    assert _next(retry, fault, ANOTHER, lambda: False) == Next(Why.BUDGET)
    assert retry.retries == 0


def test_the_budget_is_asked_once_per_retry_and_for_nothing_else() -> None:
    asked: list[bool] = []

    def withdraw() -> bool:
        asked.append(True)
        return True

    retry = _retry()
    assert isinstance(_next(retry, Fault(Code.SERVER_ERROR), ANOTHER, withdraw), Wait)
    assert len(asked) == 1
    for code in (Code.RATE_LIMITED, Code.TIMEOUT_FIRST_CONTENT, Code.INVALID_REQUEST, Code.QUOTA_EXHAUSTED):
        _next(retry, Fault(code), ANOTHER, withdraw)
    assert len(asked) == 1


# Where


def test_a_throttled_call_moves_before_it_is_retried() -> None:
    assert _decide(Code.RATE_LIMITED, ANOTHER) == Next(Why.PREFERRED)
    assert _decide(Code.OVERLOADED, ANOTHER) == Next(Why.PREFERRED)


def test_a_server_error_is_retried_before_the_call_moves() -> None:
    assert isinstance(_decide(Code.SERVER_ERROR, ANOTHER), Wait)


@pytest.mark.parametrize("code", [Code.TIMEOUT_FIRST_BYTE, Code.TIMEOUT_FIRST_CONTENT, Code.TIMEOUT_STREAM_IDLE])
def test_silence_is_retried_on_the_same_upstream_only_while_no_other_is_left(code: Code) -> None:
    assert _decide(code, ANOTHER) == Next(Why.PREFERRED)
    assert isinstance(_decide(code, ALONE), Wait)


@pytest.mark.parametrize("code", [Code.RATE_LIMITED, Code.TIMEOUT_FIRST_CONTENT])
def test_another_that_would_not_be_admitted_is_no_better_place(code: Code) -> None:
    assert isinstance(_decide(code, Standing(at="a", another=True, admissible=False)), Wait)


def test_when_all_were_tried_retries_go_on_at_the_current_one() -> None:
    retry = _retry()
    assert isinstance(_next(retry, Fault(Code.RATE_LIMITED), ANOTHER), Next)
    assert isinstance(_next(retry, Fault(Code.RATE_LIMITED), Standing(at="b")), Wait)


def test_an_open_breaker_is_not_retried() -> None:
    assert _decide(Code.SERVER_ERROR, Standing(at="a", open=True)) == Stop(Why.OPEN)
    assert _decide(Code.SERVER_ERROR, Standing(at="a", open=True, another=True)) == Next(Why.OPEN)


def test_a_probe_is_not_retried() -> None:
    assert _decide(Code.SERVER_ERROR, Standing(at="a", probe=True)) == Stop(Why.PROBE)
    assert _decide(Code.SERVER_ERROR, Standing(at="a", probe=True, another=True)) == Next(Why.PROBE)


def test_a_pinned_call_never_leaves_its_upstream() -> None:
    retry = _retry(pinned=1)
    assert isinstance(_next(retry, Fault(Code.RATE_LIMITED), ANOTHER), Wait)
    assert isinstance(_next(retry, Fault(Code.TIMEOUT_FIRST_CONTENT), ANOTHER), Wait)
    assert _next(retry, Fault(Code.SERVER_ERROR), ANOTHER) == Stop(Why.ATTEMPTS)


@pytest.mark.parametrize("code", [Code.UNAUTHORIZED, Code.FORBIDDEN, Code.NOT_FOUND, Code.CONTENT_POLICY])
def test_refusals_move_only_where_the_policy_lists_them(code: Code) -> None:
    assert _decide(code, ANOTHER) == Stop(Why.NOT_RETRYABLE)
    assert _decide(code, Standing(at="a", another=True, listed=True)) == Next(Why.NOT_RETRYABLE)
    assert _decide(code, Standing(at="a", listed=True)) == Stop(Why.NOT_RETRYABLE)


def test_a_spent_quota_is_never_retried_but_moves() -> None:
    assert _decide(Code.QUOTA_EXHAUSTED, ALONE) == Stop(Why.NOT_RETRYABLE)
    assert _decide(Code.QUOTA_EXHAUSTED, ANOTHER) == Next(Why.NOT_RETRYABLE)


# Safety

SENT = [code for code in Code if code.rule.sent]
NEVER_SENT = [Code.DNS_FAILED, Code.CONNECT_FAILED, Code.CONNECT_TIMEOUT, Code.TLS_FAILED]


@pytest.mark.parametrize("code", SENT)
@pytest.mark.parametrize("standing", [ALONE, ANOTHER, Standing(at="a", another=True, admissible=True, listed=True)])
def test_an_unsafe_request_that_was_sent_is_neither_retried_nor_moved(code: Code, standing: Standing) -> None:
    for status in (None, 500, 503):
        retry = _retry(Safety.UNSAFE, RetrySettings(2, 0.5, 8.0, 20.0, frozenset({500, 503})))
        assert isinstance(_next(retry, Fault(code, status=status), standing, _forbidden), Stop)


@pytest.mark.parametrize("code", NEVER_SENT)
def test_an_unsafe_request_that_was_never_sent_is_retried_and_moved(code: Code) -> None:
    assert isinstance(_decide(code, ALONE, Safety.UNSAFE), Wait)
    retry = _retry(Safety.UNSAFE, RetrySettings(0, 0.5, 8.0, 20.0))
    assert isinstance(_next(retry, Fault(code), ANOTHER), Next)


@pytest.mark.parametrize("code", [Code.RATE_LIMITED, Code.OVERLOADED])
def test_an_unsafe_request_of_which_nothing_was_done_is_retried_and_moved(code: Code) -> None:
    fault = Fault(code, undone=True)
    assert isinstance(_next(_retry(Safety.UNSAFE), fault), Wait)
    assert isinstance(_next(_retry(Safety.UNSAFE), fault, ANOTHER), Next)
    later = _retry(Safety.UNSAFE)
    _next(later, fault)
    assert _next(later, Fault(Code.CONNECTION_LOST)) == Stop(Why.UNSAFE)
    assert _next(later, fault) == Stop(Why.UNSAFE), "an earlier one may have had effects"


@pytest.mark.parametrize("code", SENT)
def test_a_keyed_request_that_was_sent_stays_with_its_upstream(code: Code) -> None:
    standing = Standing(at="a", another=True, admissible=True, listed=True)
    assert not isinstance(_decide(code, standing, Safety.KEYED), Next)


@pytest.mark.parametrize("later", [Code.CONNECT_FAILED, Code.CONNECT_TIMEOUT, Code.QUEUE_FULL, Code.QUEUE_TIMEOUT])
def test_a_keyed_request_that_was_sent_once_goes_nowhere_else_though_a_later_try_never_left(later: Code) -> None:
    """The first try may have had its effects, and only that upstream knows the key."""
    never_sent = Standing(at="a", another=True, admissible=True)
    fresh = _retry(Safety.KEYED, RetrySettings(0, 0.5, 8.0, 20.0))
    assert isinstance(_next(fresh, Fault(later), never_sent), Next)
    retry = _retry(Safety.KEYED, RetrySettings(1, 0.5, 8.0, 20.0))
    assert isinstance(_next(retry, Fault(Code.SERVER_ERROR), never_sent), Wait)
    assert isinstance(_next(retry, Fault(later), never_sent), Stop)


def test_a_keyed_request_is_retried_on_its_upstream_even_where_another_would_be_better() -> None:
    assert isinstance(_decide(Code.TIMEOUT_FIRST_BYTE, ANOTHER, Safety.KEYED), Wait)


# Codes


def _listing(*codes: int) -> Retry:
    return _retry(settings=RetrySettings(2, 0.5, 8.0, 20.0, frozenset(codes)))


def test_a_status_that_the_policy_lists_is_retried_even_if_the_table_says_no() -> None:
    assert isinstance(_next(_listing(404), Fault(Code.NOT_FOUND, status=404)), Wait)
    retry = _listing(503)
    assert [type(_next(retry, Fault(Code.OVERLOADED, status=503))) for _ in range(3)] == [Wait, Wait, Stop]


def test_a_status_that_it_does_not_list_is_not_retried() -> None:
    assert _next(_listing(503), Fault(Code.SERVER_ERROR, status=500)) == Stop(Why.NOT_RETRYABLE)
    assert _next(_listing(503), Fault(Code.SERVER_ERROR, status=500), ANOTHER) == Next(Why.NOT_RETRYABLE)


def test_codes_say_nothing_about_faults_without_a_status_or_inside_a_good_one() -> None:
    assert isinstance(_next(_listing(503), Fault(Code.CONNECTION_LOST)), Wait)
    assert isinstance(_next(_listing(503), Fault(Code.SERVER_ERROR, status=200)), Wait)
    assert isinstance(_next(_listing(200), Fault(Code.INVALID_REQUEST, status=200)), Stop)


def test_a_listed_status_never_retries_a_spent_quota() -> None:
    assert _next(_listing(429), Fault(Code.QUOTA_EXHAUSTED, status=429)) == Stop(Why.NOT_RETRYABLE)


# A pooled connection that the upstream had closed


def test_a_stale_connection_is_tried_again_at_once_for_free() -> None:
    retry = _retry()
    stale = Fault(Code.STALE_CONNECTION)
    assert _next(retry, stale, Standing(at="a", probe=True, another=True, admissible=True), _forbidden) == Wait(0.0)
    assert retry.retries == 0
    assert [type(_next(retry, stale, drawn=1.0)) for _ in range(3)] == [Wait, Wait, Stop]


def test_it_is_free_without_any_attempts_left() -> None:
    retry = _retry(settings=RetrySettings(0, 0.5, 8.0, 20.0))
    assert _next(retry, Fault(Code.STALE_CONNECTION), ALONE, _forbidden) == Wait(0.0)
    assert _next(retry, Fault(Code.STALE_CONNECTION), ALONE, _forbidden) == Stop(Why.ATTEMPTS)


# The whole table


@pytest.mark.parametrize("code", Code)
def test_every_fault_has_a_decision_that_its_row_allows(code: Code) -> None:
    for standing in (ALONE, ANOTHER, Standing(at="a", another=True, listed=True)):
        for safety in Safety:
            match _decide(code, standing, safety):
                case Wait():
                    assert code.rule.retry is not faults.Retry.NEVER
                case Next():
                    assert code.rule.failover is not faults.Failover.NO
                    assert standing.another
                case Stop(why):
                    assert why in Why


@pytest.mark.parametrize("code", [Code.SERVER_ERROR, Code.OVERLOADED, Code.RATE_LIMITED])
def test_what_would_be_told_again_is_not_asked_again(code: Code) -> None:
    assert _next(_retry(Safety.SAFE), Fault(code, final=True), ANOTHER) == Stop(Why.NOT_RETRYABLE)


def test_a_gateway_that_cannot_reach_its_provider_is_asked_again_at_once() -> None:
    decision = _next(_retry(Safety.SAFE), Fault(Code.GATEWAY_ERROR, hint=0.05))
    assert isinstance(decision, Wait) and 0.05 <= decision.seconds <= 0.075
