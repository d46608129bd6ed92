"""Every rule of SEMANTICS §3, one at a time; all of them together are in test_breaker_properties.py."""

from dataclasses import replace

import pytest

from seawall.core.breaker import Breaker, BreakerSettings, Moved, Refused, State, Ticket, Verdict

GOOD, BAD, VOID = Verdict.GOOD, Verdict.BAD, Verdict.VOID
SETTINGS = BreakerSettings(
    consecutive_failures=5,
    failure_percent=50,
    window=30.0,
    minimum_calls=10,
    slow_call=8.0,
    slow_percent=80,
    open_base=10.0,
    open_max=300.0,
    jitter_percent=20,
    forget_after=300.0,
    permits=1,
    successes=3,
    ramp_seconds=30.0,
    ramp_start_percent=10,
)


class Drawn:
    """Randomness that always draws the same; 0.5 is no jitter."""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


RNG = Drawn()


def _admit(breaker: Breaker, now: float = 0.0, sole: bool = False) -> Ticket:
    ticket = breaker.admit(now, RNG, sole)
    assert isinstance(ticket, Ticket)
    return ticket


def _call(breaker: Breaker, verdict: Verdict, now: float = 0.0, slow: bool = False) -> tuple[Moved, ...]:
    return breaker.settle(_admit(breaker, now), verdict, now, RNG, slow)


def _tripped(now: float = 0.0, settings: BreakerSettings = SETTINGS) -> Breaker:
    breaker = Breaker(settings)
    for _ in range(5):
        _call(breaker, BAD, now)
    assert breaker.state(now) is State.OPEN
    return breaker


def _until(breaker: Breaker, now: float) -> float:
    until = breaker.snapshot(now).open_until
    assert until is not None
    return until


def _closed_again(now: float = 0.0) -> tuple[Breaker, float]:
    breaker = _tripped(now)
    now = _until(breaker, now)
    for _ in range(3):
        _call(breaker, GOOD, now)
    assert breaker.state(now) is State.CLOSED
    return breaker, now


# Trips


def test_five_failures_in_a_row_open_it_and_say_so() -> None:
    breaker = Breaker(SETTINGS)
    assert [_call(breaker, BAD, 7.0) for _ in range(4)] == [()] * 4
    assert _call(breaker, BAD, 7.0) == (Moved(State.CLOSED, State.OPEN, "5 consecutive failures", 17.0),)
    assert breaker.admit(8.0, RNG) == Refused(9.0)


def test_a_success_breaks_the_row() -> None:
    breaker = Breaker(replace(SETTINGS, failure_percent=0))
    for verdict in (BAD, BAD, BAD, BAD, GOOD) * 10:
        assert _call(breaker, verdict) == ()


def test_half_of_ten_calls_failing_opens_it_but_of_nine_does_not() -> None:
    breaker = Breaker(SETTINGS)
    for verdict in (BAD, GOOD, BAD, GOOD, BAD, GOOD, BAD, GOOD, BAD):
        assert _call(breaker, verdict) == ()
    (moved,) = _call(breaker, GOOD)
    assert moved.reason == "5 of 10 calls failed"


def test_failures_of_an_earlier_window_do_not_count() -> None:
    breaker = Breaker(SETTINGS)
    for number in range(400):
        now = number * 4.0  # seven calls in 30 s
        assert _call(breaker, BAD if number % 2 else GOOD, now) == ()


def test_eight_of_ten_slow_calls_open_it_though_they_succeed() -> None:
    breaker = Breaker(SETTINGS)
    for number in range(9):
        assert _call(breaker, GOOD, slow=number > 1) == ()
    (moved,) = _call(breaker, GOOD, slow=True)
    assert moved.reason == "8 of 10 calls were slow"


def test_slowness_counts_only_where_a_slow_call_is_defined() -> None:
    breaker = Breaker(replace(SETTINGS, slow_call=None))
    assert [_call(breaker, GOOD, slow=True) for _ in range(50)] == [()] * 50


def test_agents_that_leave_after_waiting_too_long_reveal_a_black_hole() -> None:
    breaker = Breaker(SETTINGS)
    moves = [move for _ in range(10) for move in _call(breaker, VOID, slow=True)]
    assert [move.after for move in moves] == [State.OPEN]


def test_agents_that_leave_early_say_nothing() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(100):
        _call(breaker, VOID)
    assert breaker.snapshot(0.0).calls == 0


def test_trips_can_be_turned_off_one_by_one() -> None:
    breaker = Breaker(replace(SETTINGS, consecutive_failures=0, failure_percent=0, slow_percent=0))
    assert [_call(breaker, BAD, slow=True) for _ in range(100)] == [()] * 100


# Open


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 8.0), (0.5, 10.0), (1.0, 12.0)])
def test_openings_are_jittered_by_a_fifth(drawn: float, seconds: float) -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(5):
        breaker.settle(_admit(breaker), BAD, 0.0, Drawn(drawn))
    assert _until(breaker, 0.0) == pytest.approx(seconds)


def test_failed_probes_double_the_opening_up_to_five_minutes() -> None:
    breaker, now, lengths = _tripped(), 0.0, []
    for _ in range(8):
        until = _until(breaker, now)
        lengths.append(until - now)
        now = until
        _call(breaker, BAD, now)
    assert lengths == [10, 20, 40, 80, 160, 300, 300, 300]


def test_the_level_is_kept_for_five_minutes_after_closing_and_then_forgotten() -> None:
    breaker, now = _closed_again()
    for _ in range(5):
        breaker.settle(_admit(breaker, now + 299, sole=True), BAD, now + 299, RNG)
    assert _until(breaker, now + 299) == now + 299 + 20
    breaker, now = _closed_again()
    for _ in range(5):
        _call(breaker, BAD, now + 300)
    assert _until(breaker, now + 300) == now + 300 + 10


# Half-open


def test_three_good_probes_one_after_the_other_close_it() -> None:
    breaker = _tripped()
    ticket = _admit(breaker, 10.0)
    assert ticket.moved == (Moved(State.OPEN, State.HALF_OPEN, "open time is over"),)
    assert breaker.settle(ticket, GOOD, 10.5, RNG) == ()
    assert _call(breaker, GOOD, 11.0) == ()
    assert _call(breaker, GOOD, 12.0) == (Moved(State.HALF_OPEN, State.CLOSED, "3 good probes"),)


def test_a_stampede_of_a_hundred_sends_one() -> None:
    breaker = _tripped()
    admitted = [breaker.admit(10.0, RNG) for _ in range(100)]
    assert sum(isinstance(one, Ticket) for one in admitted) == 1


def test_a_failed_probe_opens_it_again() -> None:
    breaker = _tripped()
    assert _call(breaker, BAD, 10.0) == (Moved(State.HALF_OPEN, State.OPEN, "a probe failed", 30.0),)


def test_successes_before_a_failed_probe_are_forgotten() -> None:
    breaker = _tripped()
    _call(breaker, GOOD, 10.0)
    _call(breaker, GOOD, 10.0)
    _call(breaker, BAD, 10.0)
    assert _call(breaker, GOOD, 30.0) == _call(breaker, GOOD, 30.0) == ()
    assert breaker.state(30.0) is State.HALF_OPEN


def test_a_probe_cancelled_by_its_agent_frees_the_permit_and_leaves_it_half_open() -> None:
    breaker = _tripped()
    assert _call(breaker, VOID, 10.0) == ()
    assert breaker.state(10.0) is State.HALF_OPEN
    assert breaker.snapshot(10.0).permits_out == 0
    assert _admit(breaker, 10.0).probe


def test_cancelled_probes_never_close_it() -> None:
    breaker = _tripped()
    assert [_call(breaker, VOID, 10.0) for _ in range(100)] == [()] * 100
    assert breaker.state(10.0) is State.HALF_OPEN


def test_a_permit_held_when_a_person_resets_is_not_counted_in_the_next_opening() -> None:
    breaker = _tripped()
    probe = _admit(breaker, 10.0)
    breaker.reset(11.0)
    for _ in range(5):
        _call(breaker, BAD, 12.0)
    assert _admit(breaker, 22.0).probe
    breaker.settle(probe, VOID, 23.0, RNG)
    assert breaker.snapshot(23.0).permits_out == 1


def test_a_probe_whose_agent_left_after_waiting_too_long_opens_it_again() -> None:
    (moved,) = _call(_tripped(), VOID, 10.0, slow=True)
    assert moved.after is State.OPEN


def test_slow_probes_do_not_end_an_opening_for_slowness_but_one_for_failures() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(10):
        _call(breaker, GOOD, slow=True)
    (moved,) = _call(breaker, GOOD, 10.0, slow=True)
    assert (moved.after, moved.reason) == (State.OPEN, "a probe was slow")
    assert _call(_tripped(), GOOD, 10.0, slow=True) == ()


def test_the_commit_of_a_stream_frees_its_permit_and_its_end_still_counts() -> None:
    breaker = _tripped()
    streams = []
    for _ in range(3):
        streams.append(_admit(breaker, 10.0))
        assert isinstance(breaker.admit(10.0, RNG), Refused)
        breaker.committed(streams[-1], 11.0)
        breaker.committed(streams[-1], 11.0)
    moves = [breaker.settle(stream, GOOD, 200.0, RNG) for stream in streams]
    assert [len(move) for move in moves] == [0, 0, 1]
    assert breaker.snapshot(200.0).permits_out == 0


def test_a_committed_stream_that_breaks_opens_it_again() -> None:
    breaker = _tripped()
    stream = _admit(breaker, 10.0)
    breaker.committed(stream, 11.0)
    (moved,) = breaker.settle(stream, BAD, 200.0, RNG)
    assert moved.after is State.OPEN


def test_more_permits_let_more_probes_out() -> None:
    breaker = _tripped(settings=replace(SETTINGS, permits=3))
    assert sum(isinstance(breaker.admit(10.0, RNG), Ticket) for _ in range(100)) == 3


# Stale and settled tickets


def test_a_late_success_from_before_the_trip_does_not_close_it() -> None:
    breaker = Breaker(SETTINGS)
    late = [_admit(breaker) for _ in range(10)]
    for _ in range(5):
        _call(breaker, BAD)
    for ticket in late[:5]:
        assert breaker.settle(ticket, GOOD, 5.0, RNG) == ()
    probe = _admit(breaker, 10.0)
    for ticket in late[5:]:
        assert breaker.settle(ticket, GOOD, 11.0, RNG) == ()
    assert breaker.state(11.0) is State.HALF_OPEN
    assert breaker.snapshot(11.0).permits_out == 1
    breaker.settle(probe, VOID, 12.0, RNG)


def test_a_late_failure_from_before_the_trip_does_not_lengthen_it() -> None:
    breaker = Breaker(SETTINGS)
    late = [_admit(breaker) for _ in range(50)]
    for _ in range(5):
        _call(breaker, BAD)
    for ticket in late:
        breaker.settle(ticket, BAD, 5.0, RNG)
    assert _until(breaker, 5.0) == 10.0


def test_a_late_probe_decides_nothing_after_the_circuit_opened_again() -> None:
    breaker = _tripped(settings=replace(SETTINGS, permits=2))
    one, two = _admit(breaker, 10.0), _admit(breaker, 10.0)
    breaker.settle(one, BAD, 11.0, RNG)
    assert breaker.settle(two, BAD, 12.0, RNG) == ()
    assert _until(breaker, 12.0) == 31.0
    assert breaker.snapshot(12.0).permits_out == 0


def test_settling_twice_counts_once() -> None:
    breaker = Breaker(SETTINGS)
    ticket = _admit(breaker)
    for _ in range(10):
        assert breaker.settle(ticket, BAD, 0.0, RNG) == ()
    assert breaker.snapshot(0.0).consecutive_failures == 1


# Ramp


def test_traffic_comes_back_from_a_tenth_to_all_within_half_a_minute() -> None:
    breaker, now = _closed_again()
    for seconds, percent in ((0, 10), (15, 55), (29, 97), (30, 100)):
        assert breaker.snapshot(now + seconds).ramp_percent == pytest.approx(percent)
        for drawn in range(100):
            admitted = isinstance(breaker.admit(now + seconds, Drawn(drawn / 100)), Ticket)
            assert admitted == (drawn < round(percent))
        if seconds < 30:
            assert isinstance(breaker.admit(now + seconds, Drawn(0.999)), Refused)


def test_the_ramp_refuses_no_sole_caller() -> None:
    breaker, now = _closed_again()
    assert isinstance(breaker.admit(now, Drawn(0.99), sole=True), Ticket)
    assert not breaker.refuses(now)


def test_failures_from_before_the_opening_do_not_trip_the_ramp() -> None:
    breaker, now = _closed_again()
    assert breaker.snapshot(now).calls == 0


# Sole


def _opened_for_long() -> tuple[Breaker, float]:
    """Open since `now`, for 80 s."""
    breaker, now = _tripped(), 0.0
    for _ in range(3):
        now = _until(breaker, now)
        _call(breaker, BAD, now)
    assert _until(breaker, now) == now + 80
    return breaker, now


def test_for_a_sole_caller_an_opening_lasts_thirty_seconds_at_most() -> None:
    breaker, now = _opened_for_long()
    assert isinstance(breaker.admit(now + 30, RNG), Refused)
    assert breaker.admit(now + 29, Drawn(0.5), sole=True) == Refused(1.0)
    assert _admit(breaker, now + 30, sole=True).probe


def test_a_tenth_of_a_sole_callers_calls_is_let_through_while_open() -> None:
    breaker = _tripped()
    admitted = [isinstance(breaker.admit(5.0, Drawn(n / 100), sole=True), Ticket) for n in range(100)]
    assert admitted == [True] * 10 + [False] * 90
    assert not breaker.refuses(5.0, sole=True)


def test_a_tenth_is_let_through_beside_a_busy_probe() -> None:
    breaker = _tripped()
    assert _admit(breaker, 10.0).probe
    beside = breaker.admit(10.0, Drawn(0.0), sole=True)
    assert isinstance(beside, Ticket) and not beside.probe
    assert isinstance(breaker.admit(10.0, Drawn(0.5), sole=True), Refused)


def test_calls_that_were_let_through_neither_close_nor_lengthen_an_opening() -> None:
    breaker = _tripped()
    for verdict in (GOOD, GOOD, GOOD, GOOD, BAD, BAD):
        ticket = breaker.admit(5.0, Drawn(0.0), sole=True)
        assert isinstance(ticket, Ticket)
        assert breaker.settle(ticket, verdict, 6.0, RNG) == ()
    assert (breaker.state(9.9), _until(breaker, 9.9)) == (State.OPEN, 10.0)


def test_a_call_let_through_beside_a_probe_decides_nothing() -> None:
    breaker = _tripped()
    probe = _admit(breaker, 10.0)
    for verdict in (GOOD, GOOD, GOOD, BAD):
        beside = breaker.admit(10.0, Drawn(0.0), sole=True)
        assert isinstance(beside, Ticket)
        assert breaker.settle(beside, verdict, 10.0, RNG) == ()
    assert breaker.snapshot(10.0).permits_out == 1
    breaker.settle(probe, GOOD, 10.0, RNG)


# By hand


def test_isolated_refuses_everybody_for_ever() -> None:
    breaker = Breaker(SETTINGS)
    assert breaker.isolate(0.0) == (Moved(State.CLOSED, State.ISOLATED, "isolated by hand"),)
    assert breaker.isolate(1.0) == ()
    assert all(breaker.admit(now, Drawn(0.0), sole=True) == Refused(10.0) for now in (1.0, 1e6))
    assert breaker.refuses(1e6, sole=True)


def test_forced_closed_admits_everybody_counts_and_never_trips() -> None:
    breaker = _tripped()
    assert [move.after for move in breaker.force_close(1.0)] == [State.FORCED_CLOSED]
    assert [_call(breaker, BAD, 2.0) for _ in range(100)] == [()] * 100
    assert breaker.snapshot(2.0).failure_rate == 1.0


def test_a_reset_closes_at_once_without_ramp_or_memory() -> None:
    breaker, _ = _opened_for_long()
    now = 100.0
    assert [move.after for move in breaker.reset(now)] == [State.CLOSED]
    assert breaker.reset(now) == ()
    snapshot = breaker.snapshot(now)
    assert (snapshot.calls, snapshot.level, snapshot.ramp_percent) == (0, 0, 100.0)


def test_answers_from_before_an_action_by_hand_decide_nothing() -> None:
    breaker = Breaker(SETTINGS)
    before = [_admit(breaker) for _ in range(20)]
    breaker.reset(1.0)
    assert [breaker.settle(ticket, BAD, 2.0, RNG) for ticket in before] == [()] * 20
    assert breaker.snapshot(2.0).calls == 0


# Reload and report


def test_changed_settings_apply_in_place_and_reset_no_state() -> None:
    breaker = _tripped()
    breaker.configure(replace(SETTINGS, window=60.0, open_base=1.0, permits=2))
    assert (breaker.state(9.0), _until(breaker, 9.0)) == (State.OPEN, 10.0)
    assert sum(isinstance(breaker.admit(10.0, RNG), Ticket) for _ in range(9)) == 2


def test_changed_settings_keep_the_counts_of_a_closed_circuit() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(4):
        _call(breaker, BAD, 100.0)
    breaker.configure(replace(SETTINGS, window=60.0))
    assert breaker.snapshot(100.0).calls == 4
    assert len(_call(breaker, BAD, 101.0)) == 1


def test_refuses_agrees_with_admit_where_it_is_sure() -> None:
    breaker = _tripped()
    assert breaker.refuses(9.9)
    assert not breaker.refuses(10.0)
    _admit(breaker, 10.0)
    assert breaker.refuses(10.0)


def test_the_snapshot_tells_why_it_is_open_and_until_when() -> None:
    snapshot = _tripped(50.0).snapshot(51.0)
    assert snapshot.state is State.OPEN
    assert snapshot.reason == "5 consecutive failures"
    assert (snapshot.calls, snapshot.failure_rate, snapshot.open_until, snapshot.level) == (5, 1.0, 60.0, 0)
    assert snapshot.ramp_percent == 0.0
