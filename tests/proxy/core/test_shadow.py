"""Machines of a policy that is only evaluated: fed with what happens, bounded, and never sure of what did not."""

from circuits import BAD, GOOD, RNG, SETTINGS, VOID, Drawn
from hypothesis import given
from hypothesis import strategies as st

from seawall.core.breaker import Breaker, Refused, State, Verdict
from seawall.core.by_model import MAX_MODELS
from seawall.core.shadow import Limits, Shadow, ShadowSettings, missed, place

OURS = ShadowSettings(SETTINGS, (2, 1), percent=0, interval=10.0, min_per_second=0.2, budgeted=True)
ORIGIN = "https://u"


def sampled(shadow: Shadow, verdict: Verdict, now: float = 0.0, model: str = "m", times: int = 1) -> list[State]:
    """Calls that ended so; the states that a circuit would have come to."""
    states = []
    for _ in range(times):
        held, moves = shadow.admit(model, now, RNG, False)
        assert held is not None
        moves += held.settle(verdict, GOOD, now, RNG)
        states += [move.moved.after for move in moves]
    return states


def test_its_circuits_move_as_real_ones_with_the_same_settings_would() -> None:
    shadow = Shadow(OURS, ORIGIN)
    assert sampled(shadow, BAD, times=5) == [State.OPEN]
    assert shadow.refuses("m", 1.0)
    assert not shadow.refuses("other", 1.0)
    assert sampled(shadow, GOOD, 11.0, times=3) == [State.HALF_OPEN, State.CLOSED]


def test_a_call_that_it_would_have_refused_teaches_it_nothing() -> None:
    shadow = Shadow(OURS, ORIGIN)
    sampled(shadow, BAD, times=5)
    before = shadow.breakers["m"].snapshot(1.0)
    assert shadow.admit("m", 1.0, RNG, False) == (None, [])
    assert shadow.breakers["m"].snapshot(1.0) == before


def test_the_origin_has_a_circuit_of_its_own() -> None:
    shadow = Shadow(OURS, ORIGIN)
    moves = []
    for _ in range(5):
        held, _ = shadow.admit("m", 0.0, RNG, False)
        assert held is not None
        moves += held.settle(VOID, BAD, 0.0, RNG)
    assert [(move.transport, move.moved.after) for move in moves] == [(True, State.OPEN)]
    assert shadow.refuses("other", 1.0)


def test_a_probe_that_the_other_circuit_stops_gives_its_permit_back() -> None:
    shadow = Shadow(OURS, ORIGIN)
    sampled(shadow, BAD, times=5)
    transport = shadow.transport
    assert transport is not None
    for _ in range(5):
        ticket = transport.admit(0.0, RNG)
        assert not isinstance(ticket, Refused)
        transport.settle(ticket, BAD, 0.0, RNG)
    # Both openings are over for a sole caller's patience only at the origin's ramp: draw the worst lot.
    held, _ = shadow.admit("m", 1.0, Drawn(0.99), True)
    assert held is None
    assert shadow.breakers["m"].snapshot(1.0).permits_out == 0


def test_a_streams_commit_frees_the_probes_permit() -> None:
    shadow = Shadow(OURS, ORIGIN)
    sampled(shadow, BAD, times=5)
    held, moves = shadow.admit("m", 11.0, RNG, False)
    assert held is not None
    assert held.probe
    assert [move.moved.after for move in moves] == [State.HALF_OPEN]
    assert shadow.refuses("m", 11.0)
    held.committed(11.0)
    assert not shadow.refuses("m", 11.0)


def test_without_settings_of_its_own_it_keeps_no_circuit() -> None:
    shadow = Shadow(ShadowSettings(None, None, 20, 10.0, 1.0, budgeted=False), ORIGIN)
    assert shadow.admit("m", 0.0, RNG, False) == (None, [])
    assert not shadow.breakers
    assert not shadow.decides
    assert not shadow.refuses("m", 0.0)


def test_new_settings_are_taken_in_place_and_another_origin_begins_anew() -> None:
    shadow = Shadow(OURS, ORIGIN)
    sampled(shadow, BAD, times=5)
    transport = shadow.transport
    shadow.configure(OURS, ORIGIN)
    assert shadow.refuses("m", 1.0)
    assert shadow.transport is transport
    shadow.configure(OURS, "https://elsewhere")
    assert shadow.transport is not transport
    assert shadow.refuses("m", 1.0)
    shadow.configure(ShadowSettings(None, None, 20, 10.0, 1.0, budgeted=False), "https://elsewhere")
    assert (len(shadow.breakers), shadow.transport) == (0, None)


def test_models_are_bounded_and_one_that_is_closed_anyway_goes_first() -> None:
    shadow = Shadow(OURS, ORIGIN)
    sampled(shadow, BAD, times=5, model="first")
    for number in range(MAX_MODELS + 10):
        sampled(shadow, GOOD, model=f"m{number}")
    assert len(shadow.breakers) == MAX_MODELS
    assert shadow.breakers["first"].state(1.0) is State.OPEN


def test_its_budget_is_spent_by_its_own_retries_and_hedges_only() -> None:
    shadow = Shadow(OURS, ORIGIN)
    assert shadow.budget.withdraw(0.0)
    assert shadow.hedge(0.0, capped=True)
    assert not shadow.budget.withdraw(0.0)
    assert not shadow.hedge(0.0, capped=False)


def test_a_place_is_judged_by_who_runs_and_waits_already() -> None:
    assert [place(load, 2, 1) for load in range(5)] == ["admit", "admit", "queue", "refuse", "refuse"]
    assert place(99, None, 0) == "admit"


TIMES = st.none() | st.floats(0, 100)


@given(TIMES, TIMES, TIMES, TIMES, TIMES, TIMES, st.floats(0, 100))
def test_the_limit_that_is_told_as_missed_is_the_first_that_was(
    request: float | None,
    attempt: float | None,
    first_byte: float | None,
    first_content: float | None,
    head: float | None,
    content: float | None,
    end: float,
) -> None:
    found = missed(Limits(request, attempt, first_byte, first_content), head, content, end)
    came = {
        "request": (request, end),
        "attempt": (attempt, end),
        "first_byte": (first_byte, end if head is None else head),
        "first_content": (first_content, end if content is None else content),
    }
    late = {name: by for name, (by, at) in came.items() if by is not None and at >= by}
    if found is None:
        assert not late
    else:
        name, by = found
        assert late[name] == by == min(late.values())


@given(st.lists(st.sampled_from([GOOD, BAD, VOID]), max_size=40))
def test_with_the_enforced_settings_a_shadow_circuit_is_the_real_one(verdicts: list[Verdict]) -> None:
    shadow, real = Shadow(OURS, ORIGIN), Breaker(SETTINGS)
    for second, verdict in enumerate(verdicts):
        held, _ = shadow.admit("m", second, RNG, False)
        ticket = real.admit(second, RNG)
        assert isinstance(ticket, Refused) == (held is None)
        if held is not None and not isinstance(ticket, Refused):
            held.settle(verdict, VOID, second, RNG)
            real.settle(ticket, verdict, second, RNG)
        assert shadow.breakers["m"].snapshot(second) == real.snapshot(second)
