"""Calls that go through beside an opening or after it: the ramp, and callers without another candidate."""

import pytest
from circuits import BAD, GOOD, RNG, Drawn, admit, closed_again, open_until, opened_for_long, tripped

from seawall.core.breaker import Refused, State, Ticket


def test_traffic_comes_back_from_a_tenth_to_all_within_half_a_minute() -> None:
    breaker, now = closed_again()
    for seconds, percent in ((0, 10), (15, 55), (29, 97), (30, 100)):
        assert breaker.snapshot(now + seconds).ramp_percent == pytest.approx(percent)
        for drawn in range(100):
            admitted = isinstance(breaker.admit(now + seconds, Drawn(drawn / 100)), Ticket)
            assert admitted == (drawn < round(percent))
        if seconds < 30:
            assert isinstance(breaker.admit(now + seconds, Drawn(0.999)), Refused)


def test_the_ramp_refuses_no_sole_caller() -> None:
    breaker, now = closed_again()
    assert isinstance(breaker.admit(now, Drawn(0.99), sole=True), Ticket)
    assert not breaker.refuses(now)


def test_failures_from_before_the_opening_do_not_trip_the_ramp() -> None:
    breaker, now = closed_again()
    assert breaker.snapshot(now).calls == 0


# Sole


def test_for_a_sole_caller_an_opening_lasts_thirty_seconds_at_most() -> None:
    breaker, now = opened_for_long()
    assert isinstance(breaker.admit(now + 30, RNG), Refused)
    assert breaker.admit(now + 29, Drawn(0.5), sole=True) == Refused(1.0)
    assert admit(breaker, now + 30, sole=True).probe


def test_a_tenth_of_a_sole_callers_calls_is_let_through_while_open() -> None:
    breaker = tripped()
    admitted = [isinstance(breaker.admit(5.0, Drawn(n / 100), sole=True), Ticket) for n in range(100)]
    assert admitted == [True] * 10 + [False] * 90
    assert not breaker.refuses(5.0, sole=True)


def test_a_tenth_is_let_through_beside_a_busy_probe() -> None:
    breaker = tripped()
    assert admit(breaker, 10.0).probe
    beside = breaker.admit(10.0, Drawn(0.0), sole=True)
    assert isinstance(beside, Ticket) and not beside.probe
    assert isinstance(breaker.admit(10.0, Drawn(0.5), sole=True), Refused)


def test_calls_that_were_let_through_neither_close_nor_lengthen_an_opening() -> None:
    breaker = tripped()
    for verdict in (GOOD, GOOD, GOOD, GOOD, BAD, BAD):
        ticket = breaker.admit(5.0, Drawn(0.0), sole=True)
        assert isinstance(ticket, Ticket)
        assert breaker.settle(ticket, verdict, 6.0, RNG) == ()
    assert (breaker.state(9.9), open_until(breaker, 9.9)) == (State.OPEN, 10.0)


def test_a_call_let_through_beside_a_probe_decides_nothing() -> None:
    breaker = tripped()
    probe = admit(breaker, 10.0)
    for verdict in (GOOD, GOOD, GOOD, BAD):
        beside = breaker.admit(10.0, Drawn(0.0), sole=True)
        assert isinstance(beside, Ticket)
        assert breaker.settle(beside, verdict, 10.0, RNG) == ()
    assert breaker.snapshot(10.0).permits_out == 1
    breaker.settle(probe, GOOD, 10.0, RNG)
