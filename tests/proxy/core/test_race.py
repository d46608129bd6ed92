"""The race's machine: one winner at most, and every start has one end, whatever happens in whatever order."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from seawall.core.race import Action, Cancel, End, Finish, Race, Start, Why


def numbers(actions: tuple[Action, ...]) -> list[int]:
    return [action.number for action in actions if isinstance(action, Start)]


def test_all_start_at_once_without_a_delay() -> None:
    race = Race(3, 0.0)
    assert race.begin(1.0) == (Start(1, Why.FIRST), Start(2, Why.HEDGE), Start(3, Why.HEDGE))
    assert race.wake_at is None


def test_a_hedge_starts_when_the_delay_has_passed_and_not_before() -> None:
    race = Race(3, 0.5)
    assert race.begin(1.0) == (Start(1, Why.FIRST),)
    assert race.wake_at == 1.5
    assert race.tick(1.49) == ()
    assert race.tick(1.5) == (Start(2, Why.HEDGE),)
    assert race.tick(2.1) == (Start(3, Why.HEDGE),)
    assert race.wake_at is None


def test_the_first_answer_wins_and_the_others_are_cancelled() -> None:
    race = Race(3, 0.0)
    race.begin(0.0)
    assert race.answered(2) == (Finish(2), Cancel(1), Cancel(3))
    assert race.ends == {1: End.LOST, 2: End.WON, 3: End.LOST}
    assert race.answered(1) == ()


def test_a_failure_starts_the_next_at_once() -> None:
    race = Race(2, 9.0)
    race.begin(0.0)
    assert race.failed(1, 0.1) == (Start(2, Why.FAILURE),)
    assert race.failed(2, 0.2) == (Finish(None),)


def test_an_upstream_that_says_stop_stops_further_starts_only() -> None:
    race = Race(3, 1.0)
    race.begin(0.0)
    race.tick(1.0)
    assert race.failed(1, 1.1, stop=True) == ()
    assert race.wake_at is None
    assert race.answered(2) == (Finish(2),)


def test_without_a_budget_the_hedge_is_asked_for_again_a_delay_later() -> None:
    race = Race(2, 1.0)
    race.begin(0.0)
    assert numbers(race.tick(1.0)) == [2]
    assert race.denied(2, later=True, now=1.0) == ()
    assert race.wake_at == 2.0
    assert numbers(race.tick(2.0)) == [2]


def test_without_a_candidate_nothing_more_is_started() -> None:
    race = Race(2, 1.0)
    race.begin(0.0)
    race.tick(1.0)
    assert race.denied(2, later=False, now=1.0) == ()
    assert race.wake_at is None
    assert race.failed(1, 2.0) == (Finish(None),)


def test_a_race_that_is_given_up_cancels_what_runs() -> None:
    race = Race(2, 0.0)
    race.begin(0.0)
    assert race.abandon() == (Cancel(1), Cancel(2), Finish(None))
    assert set(race.ends.values()) == {End.CANCELLED}
    assert race.abandon() == ()


class Races(RuleBasedStateMachine):
    """Any order of events, among them some that come too late or twice."""

    @initialize(most=st.integers(1, 5), delay=st.sampled_from([0.0, 0.1, 2.0]))
    def start(self, most: int, delay: float) -> None:
        self.now, self.most = 0.0, most
        self.race = Race(most, delay)
        self.started: list[int] = []
        self.running: set[int] = set()
        self.finishes: list[int | None] = []
        self.take(self.race.begin(self.now))

    def take(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            match action:
                case Start(number):
                    assert not self.finishes, "a start after the finish"
                    assert number not in self.running
                    self.started.append(number)
                    self.running.add(number)
                case Cancel(number):
                    self.running.remove(number)
                case Finish(winner):
                    self.finishes.append(winner)
                    if winner is not None:
                        self.running.remove(winner)

    @rule(seconds=st.floats(0.0, 3.0))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.race.tick(self.now))

    @rule(number=st.integers(1, 6), stop=st.booleans())
    def fail(self, number: int, stop: bool) -> None:
        self.running.discard(number)
        self.take(self.race.failed(number, self.now, stop=stop))

    @rule(number=st.integers(1, 6))
    def answer(self, number: int) -> None:
        self.take(self.race.answered(number))

    @precondition(lambda self: self.running)
    @rule(later=st.booleans(), data=st.data())
    def deny(self, later: bool, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.running)))
        # Only the newest is ever denied: before it has really begun.
        if number == self.started[-1]:
            self.running.discard(number)
            self.started.pop()
            self.take(self.race.denied(number, later=later, now=self.now))

    @rule()
    def leave(self) -> None:
        self.take(self.race.abandon())

    @invariant()
    def at_most_one_finish_and_one_winner(self) -> None:
        if not hasattr(self, "race"):
            return
        assert len(self.finishes) <= 1
        assert list(self.race.ends.values()).count(End.WON) == sum(f is not None for f in self.finishes)
        assert self.race.over is bool(self.finishes)

    @invariant()
    def every_start_runs_or_has_ended_once(self) -> None:
        if not hasattr(self, "race"):
            return
        assert set(self.started) == self.running | set(self.race.ends)
        assert len(self.started) == len(set(self.started)) <= self.most
        assert not self.running & set(self.race.ends)
        assert not (self.race.over and self.running)

    @invariant()
    def somebody_runs_until_the_end(self) -> None:
        if hasattr(self, "race"):
            assert self.running or self.race.over


TestRaces = Races.TestCase
