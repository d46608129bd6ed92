from hypothesis import given
from hypothesis import strategies as st

from seawall.core.budget import Budget, HedgeBudget


def _spend(budget: Budget, now: float) -> int:
    taken = 0
    while budget.withdraw(now):
        taken += 1
    return taken


def test_without_traffic_one_retry_a_second_is_there() -> None:
    assert _spend(Budget(20, 10, 1), 100.0) == 10


def test_a_hundred_first_attempts_allow_twenty_more_retries() -> None:
    budget = Budget(20, 10, 1)
    for _ in range(100):
        budget.deposit(100.0)
    assert _spend(budget, 100.0) == 30


def test_it_fills_again_as_withdrawals_age() -> None:
    budget = Budget(20, 10, 1)
    _spend(budget, 100.95)
    assert _spend(budget, 110.9) == 0
    assert _spend(budget, 112.0) == 10


def test_nothing_configured_means_no_retries() -> None:
    budget = Budget(0, 10, 0)
    budget.deposit(1.0)
    assert not budget.withdraw(1.0)


def test_a_reload_keeps_what_was_spent() -> None:
    budget = Budget(20, 10, 1)
    _spend(budget, 100.0)
    budget.configure(20, 20, 1)
    assert budget.snapshot(100.0).withdrawn == 10
    assert _spend(budget, 100.0) == 10


def test_the_snapshot_tells_what_is_left() -> None:
    budget = Budget(50, 10, 0)
    for _ in range(10):
        budget.deposit(5.0)
    budget.withdraw(5.0)
    snapshot = budget.snapshot(5.0)
    assert (snapshot.first_attempts, snapshot.withdrawn, snapshot.balance) == (10, 1, 4.0)


def test_an_outage_at_full_load_stays_under_a_quarter_of_extra_load() -> None:
    """Retry storms: every call fails and wants two retries (SEMANTICS §10: under 1.25x)."""
    budget, retries = Budget(20, 10, 1), 0
    for tick in range(60 * 200):
        now = 1000 + tick / 200
        budget.deposit(now)
        retries += budget.withdraw(now) + budget.withdraw(now)
    assert retries / (60 * 200) < 0.25


steps = st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=200)


@given(steps, st.integers(0, 100), st.floats(0.5, 20), st.integers(0, 3))
def test_no_interval_ever_holds_more_than_percent_plus_minimum(
    events: list[tuple[float, bool]], percent: int, interval: float, minimum: int
) -> None:
    budget, now = Budget(percent, interval, minimum), 500.0
    firsts: list[float] = []
    taken: list[float] = []
    for step, first in events:
        now += step
        if first:
            budget.deposit(now)
            firsts.append(now)
        elif budget.withdraw(now):
            taken.append(now)
            in_interval = sum(at > now - interval for at in taken)
            allowed = percent / 100 * sum(at > now - interval for at in firsts) + minimum * interval
            assert in_interval <= allowed + 1e-9


def test_hedges_are_a_twentieth_of_the_calls_and_one_to_begin_with() -> None:
    hedges = HedgeBudget()
    granted = 0
    for _ in range(1000):
        hedges.deposit()
        granted += hedges.withdraw()
    assert granted == 51


@given(st.lists(st.booleans(), max_size=2000))
def test_at_most_ten_hedges_are_saved_up(asks: list[bool]) -> None:
    hedges, granted, calls = HedgeBudget(), 0, 0
    for ask in asks:
        if ask:
            granted += hedges.withdraw()
        else:
            hedges.deposit()
            calls += 1
    assert granted <= 1 + calls / 20 + 1e-6
    for _ in range(1000):
        hedges.deposit()
    assert sum(hedges.withdraw() for _ in range(20)) == 10
