"""What opens a circuit, and for how long: SEMANTICS §3, one rule at a time."""

from dataclasses import replace

import pytest
from circuits import BAD, GOOD, RNG, SETTINGS, VOID, Drawn, admit, call, closed_again, open_until, tripped

from seawall.core.breaker import Breaker, Moved, Refused, State


def test_five_failures_in_a_row_open_it_and_say_so() -> None:
    breaker = Breaker(SETTINGS)
    assert [call(breaker, BAD, 7.0) for _ in range(4)] == [()] * 4
    assert call(breaker, BAD, 7.0) == (Moved(State.CLOSED, State.OPEN, "5 consecutive failures", 17.0),)
    assert breaker.admit(8.0, RNG) == Refused(9.0)


def test_a_success_breaks_the_row() -> None:
    breaker = Breaker(replace(SETTINGS, failure_percent=0))
    for verdict in (BAD, BAD, BAD, BAD, GOOD) * 10:
        assert call(breaker, verdict) == ()


def test_half_of_ten_calls_failing_opens_it_but_of_nine_does_not() -> None:
    breaker = Breaker(SETTINGS)
    for verdict in (BAD, GOOD, BAD, GOOD, BAD, GOOD, BAD, GOOD, BAD):
        assert call(breaker, verdict) == ()
    (moved,) = call(breaker, GOOD)
    assert moved.reason == "5 of 10 calls failed"


def test_failures_of_an_earlier_window_do_not_count() -> None:
    breaker = Breaker(SETTINGS)
    for number in range(400):
        now = number * 4.0  # seven calls in 30 s
        assert call(breaker, BAD if number % 2 else GOOD, now) == ()


def test_eight_of_ten_slow_calls_open_it_though_they_succeed() -> None:
    breaker = Breaker(SETTINGS)
    for number in range(9):
        assert call(breaker, GOOD, slow=number > 1) == ()
    (moved,) = call(breaker, GOOD, slow=True)
    assert moved.reason == "8 of 10 calls were slow"


def test_slowness_counts_only_where_a_slow_call_is_defined() -> None:
    breaker = Breaker(replace(SETTINGS, slow_call=None))
    assert [call(breaker, GOOD, slow=True) for _ in range(50)] == [()] * 50


def test_agents_that_leave_after_waiting_too_long_reveal_a_black_hole() -> None:
    breaker = Breaker(SETTINGS)
    moves = [move for _ in range(10) for move in call(breaker, VOID, slow=True)]
    assert [move.after for move in moves] == [State.OPEN]


def test_agents_that_leave_early_say_nothing() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(100):
        call(breaker, VOID)
    assert breaker.snapshot(0.0).calls == 0


def test_trips_can_be_turned_off_one_by_one() -> None:
    breaker = Breaker(replace(SETTINGS, consecutive_failures=0, failure_percent=0, slow_percent=0))
    assert [call(breaker, BAD, slow=True) for _ in range(100)] == [()] * 100


# Open


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 8.0), (0.5, 10.0), (1.0, 12.0)])
def test_openings_are_jittered_by_a_fifth(drawn: float, seconds: float) -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(5):
        breaker.settle(admit(breaker), BAD, 0.0, Drawn(drawn))
    assert open_until(breaker, 0.0) == pytest.approx(seconds)


def test_failed_probes_double_the_opening_up_to_five_minutes() -> None:
    breaker, now, lengths = tripped(), 0.0, []
    for _ in range(8):
        until = open_until(breaker, now)
        lengths.append(until - now)
        now = until
        call(breaker, BAD, now)
    assert lengths == [10, 20, 40, 80, 160, 300, 300, 300]


def test_the_level_is_kept_for_five_minutes_after_closing_and_then_forgotten() -> None:
    breaker, now = closed_again()
    for _ in range(5):
        breaker.settle(admit(breaker, now + 299, sole=True), BAD, now + 299, RNG)
    assert open_until(breaker, now + 299) == now + 299 + 20
    breaker, now = closed_again()
    for _ in range(5):
        call(breaker, BAD, now + 300)
    assert open_until(breaker, now + 300) == now + 300 + 10
