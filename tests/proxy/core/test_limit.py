from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from seawall.core.limit import Limiter, Queued, Slot, Waiting
from seawall.core.refusal import Refused


def _full(max_pending: int = 2, queue_timeout: float = 5.0) -> tuple[Limiter, Slot]:
    limiter = Limiter(1, max_pending, queue_timeout)
    slot = limiter.admit(0.0)
    assert isinstance(slot, Slot)
    return limiter, slot


def _wait(limiter: Limiter, now: float = 0.0, deadline: float | None = None) -> Queued:
    queued = limiter.admit(now, deadline)
    assert isinstance(queued, Queued)
    return queued


def test_no_limit_admits_everybody() -> None:
    limiter = Limiter(None, 0, 1.0)
    assert all(isinstance(limiter.admit(0.0), Slot) for _ in range(1000))
    assert limiter.snapshot().active == 1000


def test_waiters_are_served_in_the_order_in_which_they_came() -> None:
    limiter, slot = _full()
    first, second = _wait(limiter), _wait(limiter)
    assert limiter.release(slot, 1.0) == [first]
    assert first.slot is not None and second.slot is None
    assert limiter.release(first.slot, 2.0) == [second]


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    limiter, _ = _full(max_pending=1)
    _wait(limiter)
    assert limiter.admit(0.0) == Refused(5.0)


def test_no_queue_refuses_at_once() -> None:
    limiter, _ = _full(max_pending=0, queue_timeout=0.0)
    assert limiter.admit(0.0) == Refused(1.0)


def test_nobody_waits_beyond_the_deadline_of_the_call() -> None:
    limiter, _ = _full()
    assert _wait(limiter, 1.0, deadline=2.5).expires == 2.5
    assert _wait(limiter, 1.0, deadline=100.0).expires == 6.0
    assert isinstance(limiter.admit(1.0, 1.0), Refused)


def test_who_is_overdue_is_dropped_at_its_turn_and_the_next_one_served() -> None:
    limiter, slot = _full()
    late, live = _wait(limiter, 0.0, deadline=1.0), _wait(limiter)
    assert limiter.release(slot, 2.0) == [live]
    assert late.state is Waiting.OVERDUE


def test_an_overdue_head_does_not_keep_a_live_call_out_of_the_queue() -> None:
    limiter, _ = _full(max_pending=1)
    late = _wait(limiter, 0.0, deadline=1.0)
    assert isinstance(limiter.admit(2.0), Queued)
    assert late.state is Waiting.OVERDUE


def test_who_leaves_the_queue_makes_room_and_is_never_granted() -> None:
    limiter, slot = _full(max_pending=1)
    gone = _wait(limiter)
    assert limiter.cancel(gone, 1.0) == []
    other = _wait(limiter, 1.0)
    assert limiter.release(slot, 2.0) == [other]
    assert gone.state is Waiting.CANCELLED


def test_who_leaves_in_the_moment_of_the_grant_passes_its_place_on() -> None:
    limiter, slot = _full()
    gone, other = _wait(limiter), _wait(limiter)
    limiter.release(slot, 1.0)
    assert limiter.cancel(gone, 1.0) == [other]
    assert limiter.cancel(gone, 1.0) == []
    assert limiter.snapshot().active == 1


def test_a_slot_is_given_back_once() -> None:
    limiter, slot = _full()
    waiter = _wait(limiter)
    assert limiter.release(slot, 1.0) == [waiter]
    assert limiter.release(slot, 1.0) == []
    assert limiter.snapshot().active == 1


def test_raising_the_limit_grants_waiters() -> None:
    limiter, _ = _full()
    first, second = _wait(limiter), _wait(limiter)
    assert limiter.configure(3, 2, 5.0, 1.0) == [first, second]


def test_a_lowered_limit_drains_without_taking_places_away() -> None:
    limiter = Limiter(2, 5, 5.0)
    one, two = limiter.admit(0.0), limiter.admit(0.0)
    assert isinstance(one, Slot) and isinstance(two, Slot)
    assert limiter.configure(1, 5, 5.0, 0.0) == []
    waiter = _wait(limiter)
    assert limiter.release(one, 1.0) == []
    assert limiter.release(two, 1.0) == [waiter]


def test_the_queue_does_not_grow_with_those_who_came_and_went() -> None:
    limiter, _ = _full(max_pending=1)
    for _ in range(1000):
        limiter.cancel(_wait(limiter), 0.0)
    assert limiter.snapshot().pending == 0


class Limits(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.maximum = 2
        self.limiter = Limiter(self.maximum, 3, 5.0)
        self.slots: list[Slot] = []
        self.waiting: list[Queued] = []
        self.all: list[Queued] = []
        self.granted: set[Queued] = set()

    def _take(self, granted: list[Queued]) -> None:
        for queued in granted:
            assert queued in self.waiting and queued not in self.granted
            assert queued.slot is not None and queued.expires > self.now
            assert queued is next(one for one in self.waiting if one.state is not Waiting.OVERDUE)
            self.waiting.remove(queued)
            self.granted.add(queued)
            self.slots.append(queued.slot)
        self.waiting = [one for one in self.waiting if one.state is Waiting.WAITING]

    @rule(seconds=st.floats(0, 4))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(patience=st.floats(0, 8))
    def a_call_comes(self, patience: float) -> None:
        match self.limiter.admit(self.now, self.now + patience):
            case Slot() as slot:
                self.slots.append(slot)
            case Queued() as queued:
                self.waiting.append(queued)
                self.all.append(queued)

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), twice=st.booleans())
    def a_call_ends(self, data: st.DataObject, twice: bool) -> None:
        slot = self.slots.pop(data.draw(st.integers(0, len(self.slots) - 1)))
        self._take(self.limiter.release(slot, self.now))
        if twice:
            assert self.limiter.release(slot, self.now) == []

    @precondition(lambda self: self.all)
    @rule(data=st.data())
    def an_agent_leaves(self, data: st.DataObject) -> None:
        queued = data.draw(st.sampled_from(self.all))
        if queued.slot in self.slots:
            self.slots.remove(queued.slot)
        granted = self.limiter.cancel(queued, self.now)
        if queued.state is Waiting.CANCELLED and queued in self.waiting:
            self.waiting.remove(queued)
        self._take(granted)

    @rule(maximum=st.integers(1, 5))
    def a_reload(self, maximum: int) -> None:
        self.maximum = maximum
        self._take(self.limiter.configure(maximum, 3, 5.0, self.now))

    @invariant()
    def the_count_is_right_and_nobody_waits_while_a_place_is_free(self) -> None:
        snapshot = self.limiter.snapshot()
        assert snapshot.active == len(self.slots)
        live = [one for one in self.waiting if one.state is Waiting.WAITING]
        assert snapshot.pending == len(live)
        assert not live or snapshot.active >= self.maximum

    def teardown(self) -> None:
        while self.slots:
            self._take(self.limiter.release(self.slots.pop(), self.now))
        assert self.limiter.snapshot().active == self.limiter.snapshot().pending == 0
        for queued in self.all:
            assert queued.state is not Waiting.WAITING
            assert (queued.state is Waiting.GRANTED) == (queued in self.granted) == (queued.slot is not None)


class TestLimits(Limits.TestCase):
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("ar"), max_size=120), st.integers(1, 4))
def test_never_more_than_the_maximum_at_a_time(steps: list[str], maximum: int) -> None:
    limiter = Limiter(maximum, 3, 5.0)
    active: list[Slot] = []
    for now, step in enumerate(steps):
        if step == "a":
            admitted = limiter.admit(now)
            active += [admitted] if isinstance(admitted, Slot) else []
        elif active:
            active += [queued.slot for queued in limiter.release(active.pop(0), now) if queued.slot]
        assert len(active) == limiter.snapshot().active <= maximum


def test_a_higher_priority_is_served_first() -> None:
    limiter = Limiter(1, 10, 5.0)
    slot = limiter.admit(0.0)
    low, normal, critical, also = (limiter.admit(0.0, None, priority) for priority in (0, 1, 3, 3))
    order = []
    for _ in range(4):
        assert isinstance(slot, Slot)
        [granted] = limiter.release(slot, 1.0)
        order.append(granted)
        slot = granted.slot
    assert order == [critical, also, normal, low]


def test_a_full_queue_sheds_its_lowest_for_a_higher_one() -> None:
    limiter = Limiter(1, 2, 5.0)
    limiter.admit(0.0)
    first, second = limiter.admit(0.0, None, 1), limiter.admit(0.0, None, 1)
    assert isinstance(limiter.admit(0.0, None, 1), Refused), "its equals are not shed"
    assert isinstance(limiter.admit(0.0, None, 0), Refused)
    high = limiter.admit(0.0, None, 2)
    assert isinstance(high, Queued) and high.instead_of is second
    assert isinstance(second, Queued) and second.state is Waiting.SHED
    assert limiter.cancel(second, 0.0) == []
    assert isinstance(first, Queued) and first.state is Waiting.WAITING
    assert limiter.snapshot().pending == 2


def test_one_that_would_not_wait_sheds_nobody() -> None:
    limiter = Limiter(1, 1, 5.0)
    limiter.admit(0.0)
    waiting = limiter.admit(0.0, None, 0)
    assert isinstance(limiter.admit(1.0, 1.0, 3), Refused)
    assert isinstance(waiting, Queued) and waiting.state is Waiting.WAITING
