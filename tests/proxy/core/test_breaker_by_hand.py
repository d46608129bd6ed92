"""A circuit as an operator moves, changes and sees it."""

from dataclasses import replace

from circuits import BAD, RNG, SETTINGS, Drawn, admit, call, open_until, opened_for_long, tripped

from seawall.core.breaker import Breaker, Moved, Refused, State, Ticket


def test_isolated_refuses_everybody_for_ever() -> None:
    breaker = Breaker(SETTINGS)
    assert breaker.isolate(0.0) == (Moved(State.CLOSED, State.ISOLATED, "isolated by hand"),)
    assert breaker.isolate(1.0) == ()
    assert all(breaker.admit(now, Drawn(0.0), sole=True) == Refused(10.0) for now in (1.0, 1e6))
    assert breaker.refuses(1e6, sole=True)


def test_forced_closed_admits_everybody_counts_and_never_trips() -> None:
    breaker = tripped()
    assert [move.after for move in breaker.force_close(1.0)] == [State.FORCED_CLOSED]
    assert [call(breaker, BAD, 2.0) for _ in range(100)] == [()] * 100
    assert breaker.snapshot(2.0).failure_rate == 1.0


def test_a_reset_closes_at_once_without_ramp_or_memory() -> None:
    breaker, _ = opened_for_long()
    now = 100.0
    assert [move.after for move in breaker.reset(now)] == [State.CLOSED]
    assert breaker.reset(now) == ()
    snapshot = breaker.snapshot(now)
    assert (snapshot.calls, snapshot.level, snapshot.ramp_percent) == (0, 0, 100.0)


def test_answers_from_before_an_action_by_hand_decide_nothing() -> None:
    breaker = Breaker(SETTINGS)
    before = [admit(breaker) for _ in range(20)]
    breaker.reset(1.0)
    assert [breaker.settle(ticket, BAD, 2.0, RNG) for ticket in before] == [()] * 20
    assert breaker.snapshot(2.0).calls == 0


# Reload and report


def test_changed_settings_apply_in_place_and_reset_no_state() -> None:
    breaker = tripped()
    breaker.configure(replace(SETTINGS, window=60.0, open_base=1.0, permits=2))
    assert (breaker.state(9.0), open_until(breaker, 9.0)) == (State.OPEN, 10.0)
    assert sum(isinstance(breaker.admit(10.0, RNG), Ticket) for _ in range(9)) == 2


def test_changed_settings_keep_the_counts_of_a_closed_circuit() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(4):
        call(breaker, BAD, 100.0)
    breaker.configure(replace(SETTINGS, window=60.0))
    assert breaker.snapshot(100.0).calls == 4
    assert len(call(breaker, BAD, 101.0)) == 1


def test_refuses_agrees_with_admit_where_it_is_sure() -> None:
    breaker = tripped()
    assert breaker.refuses(9.9)
    assert not breaker.refuses(10.0)
    admit(breaker, 10.0)
    assert breaker.refuses(10.0)


def test_the_snapshot_tells_why_it_is_open_and_until_when() -> None:
    snapshot = tripped(50.0).snapshot(51.0)
    assert snapshot.state is State.OPEN
    assert snapshot.reason == "5 consecutive failures"
    assert (snapshot.calls, snapshot.failure_rate, snapshot.open_until, snapshot.level) == (5, 1.0, 60.0, 0)
    assert snapshot.ramp_percent == 0.0
