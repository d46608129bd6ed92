"""What holds for a breaker whatever happens in whatever order, and how it bears a day of traffic."""

import heapq
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from seawall.core.breaker import Breaker, BreakerSettings, Moved, Refused, State, Ticket, Verdict


def _settings(permits: int = 1, successes: int = 3, consecutive_failures: int = 5) -> BreakerSettings:
    return BreakerSettings(
        consecutive_failures=consecutive_failures,
        failure_percent=50,
        window=30.0,
        minimum_calls=10,
        slow_call=8.0,
        slow_percent=80,
        open_base=10.0,
        open_max=300.0,
        jitter_percent=20,
        forget_after=300.0,
        permits=permits,
        successes=successes,
        ramp_seconds=30.0,
        ramp_start_percent=10,
    )


class Circuit(RuleBasedStateMachine):
    """Calls overlap, end late, twice or never begin to stream, while people and reloads interfere.

    One failure trips it, so that few steps reach much.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.rng = random.Random(7)
        self.permits, self.successes = 2, 3
        self.breaker = Breaker(_settings(self.permits, self.successes, 1))
        self.fresh: list[Ticket] = []
        self.stale: list[Ticket] = []
        self.state = State.CLOSED
        self.good_probes = 0

    def _follow(self, moves: tuple[Moved, ...]) -> None:
        for moved in moves:
            assert moved.before is self.state
            assert moved.before is not moved.after
            self.state = moved.after
            self._new_epoch()

    def _new_epoch(self) -> None:
        self.stale += self.fresh
        self.fresh = []
        self.good_probes = 0

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(sole=st.booleans(), count=st.integers(1, 5))
    def calls_come(self, sole: bool, count: int) -> None:
        for _ in range(count):
            sure = self.breaker.refuses(self.now, sole)
            admitted = self.breaker.admit(self.now, self.rng, sole)
            if isinstance(admitted, Refused):
                assert admitted.retry_after > 0
                assert self.state is not State.FORCED_CLOSED
                continue
            assert not sure
            assert self.state is not State.ISOLATED
            self._follow(admitted.moved)
            assert admitted.probe <= (self.state is State.HALF_OPEN)
            self.fresh.append(admitted)

    @precondition(lambda self: self.fresh)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict), slow=st.booleans())
    def a_call_ends(self, data: st.DataObject, verdict: Verdict, slow: bool) -> None:
        ticket = data.draw(st.sampled_from(self.fresh))
        self.fresh.remove(ticket)
        if self.state is State.HALF_OPEN and ticket.probe and verdict is Verdict.GOOD:
            self.good_probes += 1
        good_probes = self.good_probes
        moves = self.breaker.settle(ticket, verdict, self.now, self.rng, slow)
        for moved in moves:
            if moved.after is State.CLOSED:
                assert good_probes >= self.successes
            if moved.before is State.HALF_OPEN:
                assert ticket.probe
        self._follow(moves)
        self.stale.append(ticket)

    @precondition(lambda self: self.fresh)
    @rule(data=st.data())
    def a_stream_commits(self, data: st.DataObject) -> None:
        self.breaker.committed(data.draw(st.sampled_from(self.fresh)), self.now)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict), slow=st.booleans())
    def a_stale_or_settled_ticket_comes_back(self, data: st.DataObject, verdict: Verdict, slow: bool) -> None:
        before = self.breaker.snapshot(self.now)
        ticket = data.draw(st.sampled_from(self.stale))
        self.breaker.committed(ticket, self.now)
        assert self.breaker.settle(ticket, verdict, self.now, self.rng, slow) == ()
        assert self.breaker.snapshot(self.now) == before

    @rule(action=st.sampled_from(["isolate", "force_close", "reset"]))
    def a_person_acts(self, action: str) -> None:
        moves: tuple[Moved, ...] = getattr(self.breaker, action)(self.now)
        self._follow(moves)
        self._new_epoch()

    @rule(permits=st.integers(1, 3), successes=st.integers(1, 3))
    def a_reload(self, permits: int, successes: int) -> None:
        self.permits, self.successes = max(self.permits, permits), successes
        self.breaker.configure(_settings(permits, successes, 1))

    @invariant()
    def permits_out_are_the_probes_out(self) -> None:
        held = sum(ticket.holds for ticket in self.fresh)
        assert self.breaker.snapshot(self.now).permits_out == held <= self.permits

    def teardown(self) -> None:
        for ticket in (*self.fresh, *self.stale):
            self.breaker.settle(ticket, Verdict.VOID, self.now, self.rng)
        assert self.breaker.snapshot(self.now).permits_out == 0
        if self.state is not State.ISOLATED:
            # It never gets stuck: a call is admitted at the latest when the longest opening is over.
            assert isinstance(self.breaker.admit(self.now + 361, self.rng), Ticket)


class TestCircuit(Circuit.TestCase):
    settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_a_day_of_traffic_with_outages_loses_little_and_leaks_nothing() -> None:
    """Two calls a second for 24 hours with a breaker whose upstream dies for ten minutes every four hours."""
    rng = random.Random(42)
    breaker = Breaker(_settings())
    in_flight: list[tuple[float, int, Ticket, Verdict]] = []
    refused_while_well = dead_attempts = refused_while_dead = 0
    for number in range(2 * 86_400):
        now = number / 2
        while in_flight and in_flight[0][0] <= now:
            ended, _, ticket, verdict = heapq.heappop(in_flight)
            breaker.settle(ticket, verdict, ended, rng)
        dead = now % 14_400 > 13_800
        admitted = breaker.admit(now, rng)
        if isinstance(admitted, Refused):
            refused_while_dead += dead
            refused_while_well += not dead
            continue
        dead_attempts += dead
        fails = dead or rng.random() < 0.01
        verdict = Verdict.VOID if rng.random() < 0.05 else Verdict.BAD if fails else Verdict.GOOD
        heapq.heappush(in_flight, (now + rng.expovariate(1 / 3), number, admitted, verdict))
    for ended, _, ticket, verdict in in_flight:
        breaker.settle(ticket, verdict, ended, rng)
    assert breaker.snapshot(86_400.0).permits_out == 0
    outages = 6
    assert dead_attempts < outages * 40, "the first failures, what was in flight, then only probes"
    assert refused_while_dead > outages * 1100
    # A recovery is seen within one opening (at most 360 s), then three probes and the ramp.
    assert refused_while_well < outages * (360 + 60) * 2
