"""Whole calls over failing upstreams, played as the engine plays them: what holds whatever fails in what order."""

import random
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from seawall.core.retry import Next, Retry, RetrySettings, Standing, Wait
from seawall.faults import Code, Fault
from seawall.types import Safety

HINTS = st.one_of(st.none(), st.floats(-10, 200), st.sampled_from([float("nan"), float("inf")]))
FAULTS = st.builds(Fault, st.sampled_from(Code), status=st.sampled_from([None, 200, 400, 429, 500, 503]), hint=HINTS)


@dataclass
class Played:
    tries: list[tuple[int, Fault]] = field(default_factory=list)
    """Candidate and how its attempt failed."""
    waited: float = 0.0
    free: int = 0
    drawn: int = 0


def _play(draw: st.DataObject, retry: Retry, candidates: int, deadline: float | None, rng: random.Random) -> Played:
    played, at = Played(), 0

    def withdraw() -> bool:
        allowed = draw.draw(st.booleans() | st.just(True))
        played.drawn += allowed
        return allowed

    while True:
        fault = draw.draw(FAULTS)
        played.tries.append((at, fault))
        another = at + 1 < candidates
        standing = Standing(
            at=at,
            another=another,
            admissible=another and draw.draw(st.booleans()),
            listed=draw.draw(st.booleans()),
            open=draw.draw(st.sampled_from([False, False, False, True])),
            probe=draw.draw(st.sampled_from([False, False, False, True])),
            left=None if deadline is None else deadline - played.waited,
        )
        drawn = played.drawn
        match retry.next(fault, standing, withdraw, rng):
            case Wait(seconds):
                assert seconds >= 0
                played.waited += seconds
                played.free += played.drawn == drawn
            case Next():
                assert another
                at += 1
            case _:
                return played


@given(
    st.data(),
    st.integers(0, 4),
    st.integers(1, 4),
    st.sampled_from(Safety),
    st.booleans(),
    st.integers(0, 3),
    st.none() | st.floats(0, 60),
    st.none() | st.frozensets(st.sampled_from([200, 400, 429, 500, 503])),
    st.randoms(use_true_random=False),
)
def test_a_call_ends_within_its_tries_its_budget_and_its_deadline(
    draw: st.DataObject,
    attempts: int,
    candidates: int,
    safety: Safety,
    pinned: bool,
    sdk_retry_count: int,
    deadline: float | None,
    codes: frozenset[int] | None,
    rng: random.Random,
) -> None:
    settings = RetrySettings(attempts, 0.5, 8.0, 20.0, codes)
    retry = Retry(settings, safety, pinned=pinned, sdk_retry_count=sdk_retry_count)
    played = _play(draw, retry, candidates, deadline, rng)
    visited = {at for at, _ in played.tries}

    assert retry.retries <= max(0, attempts - sdk_retry_count)
    assert retry.retries == played.drawn, "each retry drew on the budget once, and nothing else did"
    assert len(played.tries) == len(visited) + retry.retries + played.free
    assert len(played.tries) - played.free <= attempts + candidates
    assert played.free <= sum(fault.code is Code.STALE_CONNECTION for _, fault in played.tries)
    assert played.free <= len(visited)
    assert deadline is None or played.waited <= deadline
    if pinned:
        assert visited == {0}
    for _, fault in played.tries[:-1]:  # all that were followed by another try
        assert not (fault.rule.sent and safety is Safety.UNSAFE)
    if safety is Safety.KEYED:
        sent = [fault.rule.sent for _, fault in played.tries]
        # From the first one that may have had effects on, only that upstream knows the key.
        assert not any(sent) or len({at for at, _ in played.tries[sent.index(True) :]}) == 1
