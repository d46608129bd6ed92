"""Probes: who may make one, what its end decides, and that no answer from before a move decides anything."""

from dataclasses import replace

from circuits import BAD, GOOD, RNG, SETTINGS, VOID, admit, call, open_until, tripped

from seawall.core.breaker import Breaker, Moved, Refused, State, Ticket


def test_three_good_probes_one_after_the_other_close_it() -> None:
    breaker = tripped()
    ticket = admit(breaker, 10.0)
    assert ticket.moved == (Moved(State.OPEN, State.HALF_OPEN, "open time is over"),)
    assert breaker.settle(ticket, GOOD, 10.5, RNG) == ()
    assert call(breaker, GOOD, 11.0) == ()
    assert call(breaker, GOOD, 12.0) == (Moved(State.HALF_OPEN, State.CLOSED, "3 good probes"),)


def test_a_stampede_of_a_hundred_sends_one() -> None:
    breaker = tripped()
    admitted = [breaker.admit(10.0, RNG) for _ in range(100)]
    assert sum(isinstance(one, Ticket) for one in admitted) == 1


def test_a_failed_probe_opens_it_again() -> None:
    breaker = tripped()
    assert call(breaker, BAD, 10.0) == (Moved(State.HALF_OPEN, State.OPEN, "a probe failed", 30.0),)


def test_successes_before_a_failed_probe_are_forgotten() -> None:
    breaker = tripped()
    call(breaker, GOOD, 10.0)
    call(breaker, GOOD, 10.0)
    call(breaker, BAD, 10.0)
    assert call(breaker, GOOD, 30.0) == call(breaker, GOOD, 30.0) == ()
    assert breaker.state(30.0) is State.HALF_OPEN


def test_a_probe_cancelled_by_its_agent_frees_the_permit_and_leaves_it_half_open() -> None:
    breaker = tripped()
    assert call(breaker, VOID, 10.0) == ()
    assert breaker.state(10.0) is State.HALF_OPEN
    assert breaker.snapshot(10.0).permits_out == 0
    assert admit(breaker, 10.0).probe


def test_cancelled_probes_never_close_it() -> None:
    breaker = tripped()
    assert [call(breaker, VOID, 10.0) for _ in range(100)] == [()] * 100
    assert breaker.state(10.0) is State.HALF_OPEN


def test_a_permit_held_when_a_person_resets_is_not_counted_in_the_next_opening() -> None:
    breaker = tripped()
    probe = admit(breaker, 10.0)
    breaker.reset(11.0)
    for _ in range(5):
        call(breaker, BAD, 12.0)
    assert admit(breaker, 22.0).probe
    breaker.settle(probe, VOID, 23.0, RNG)
    assert breaker.snapshot(23.0).permits_out == 1


def test_a_probe_whose_agent_left_after_waiting_too_long_opens_it_again() -> None:
    (moved,) = call(tripped(), VOID, 10.0, slow=True)
    assert moved.after is State.OPEN


def test_slow_probes_do_not_end_an_opening_for_slowness_but_one_for_failures() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(10):
        call(breaker, GOOD, slow=True)
    (moved,) = call(breaker, GOOD, 10.0, slow=True)
    assert (moved.after, moved.reason) == (State.OPEN, "a probe was slow")
    assert call(tripped(), GOOD, 10.0, slow=True) == ()


def test_the_commit_of_a_stream_frees_its_permit_and_its_end_still_counts() -> None:
    breaker = tripped()
    streams = []
    for _ in range(3):
        streams.append(admit(breaker, 10.0))
        assert isinstance(breaker.admit(10.0, RNG), Refused)
        breaker.committed(streams[-1], 11.0)
        breaker.committed(streams[-1], 11.0)
    moves = [breaker.settle(stream, GOOD, 200.0, RNG) for stream in streams]
    assert [len(move) for move in moves] == [0, 0, 1]
    assert breaker.snapshot(200.0).permits_out == 0


def test_a_committed_stream_that_breaks_opens_it_again() -> None:
    breaker = tripped()
    stream = admit(breaker, 10.0)
    breaker.committed(stream, 11.0)
    (moved,) = breaker.settle(stream, BAD, 200.0, RNG)
    assert moved.after is State.OPEN


def test_more_permits_let_more_probes_out() -> None:
    breaker = tripped(settings=replace(SETTINGS, permits=3))
    assert sum(isinstance(breaker.admit(10.0, RNG), Ticket) for _ in range(100)) == 3


# Stale and settled tickets


def test_a_late_success_from_before_the_trip_does_not_close_it() -> None:
    breaker = Breaker(SETTINGS)
    late = [admit(breaker) for _ in range(10)]
    for _ in range(5):
        call(breaker, BAD)
    for ticket in late[:5]:
        assert breaker.settle(ticket, GOOD, 5.0, RNG) == ()
    probe = admit(breaker, 10.0)
    for ticket in late[5:]:
        assert breaker.settle(ticket, GOOD, 11.0, RNG) == ()
    assert breaker.state(11.0) is State.HALF_OPEN
    assert breaker.snapshot(11.0).permits_out == 1
    breaker.settle(probe, VOID, 12.0, RNG)


def test_a_late_failure_from_before_the_trip_does_not_lengthen_it() -> None:
    breaker = Breaker(SETTINGS)
    late = [admit(breaker) for _ in range(50)]
    for _ in range(5):
        call(breaker, BAD)
    for ticket in late:
        breaker.settle(ticket, BAD, 5.0, RNG)
    assert open_until(breaker, 5.0) == 10.0


def test_a_late_probe_decides_nothing_after_the_circuit_opened_again() -> None:
    breaker = tripped(settings=replace(SETTINGS, permits=2))
    one, two = admit(breaker, 10.0), admit(breaker, 10.0)
    breaker.settle(one, BAD, 11.0, RNG)
    assert breaker.settle(two, BAD, 12.0, RNG) == ()
    assert open_until(breaker, 12.0) == 31.0
    assert breaker.snapshot(12.0).permits_out == 0


def test_settling_twice_counts_once() -> None:
    breaker = Breaker(SETTINGS)
    ticket = admit(breaker)
    for _ in range(10):
        assert breaker.settle(ticket, BAD, 0.0, RNG) == ()
    assert breaker.snapshot(0.0).consecutive_failures == 1
