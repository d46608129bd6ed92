"""Entering an upstream: both breakers are asked, and what that moves is told whatever comes of it."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

from circuits import Drawn, admit, closed_again, open_until, tripped

from seawall.core.breaker import Breaker, State
from seawall.runtime import Candidate
from seawall.visit import Barred, Visit, enter


@dataclass
class Draws:
    """Randomness that counts how often it was asked."""

    values: list[float]
    asked: int = 0

    def random(self) -> float:
        self.asked += 1
        return self.values.pop(0)


def candidate(model: Breaker, transport: Breaker) -> Candidate:
    upstream = SimpleNamespace(name="u", breaker=lambda name, now: model, transport=transport)
    target = SimpleNamespace(endpoint=SimpleNamespace(origin="http://u"))
    return cast("Candidate", SimpleNamespace(upstream=upstream, target=target))


def test_a_refusal_by_the_ramp_moves_no_other_breaker() -> None:
    ramping, now = closed_again()
    opened = tripped(now - 15)
    later = max(now + 0.1, open_until(opened, now - 15) + 0.1)
    assert isinstance(enter(candidate(ramping, opened), "m", later, Drawn(0.999), False), Barred)
    assert [move.before for move in admit(opened, later).moved] == [State.OPEN]


def test_a_move_is_told_also_when_the_other_breaker_refuses_after_it() -> None:
    ramping, now = closed_again()
    opened = tripped(now - 15)
    later = max(now + 0.1, open_until(opened, now - 15) + 0.1)
    entered = enter(candidate(opened, ramping), "m", later, Drawn(0.999), False)
    assert isinstance(entered, Barred)
    assert [(move.before, move.after) for move in entered.told] == [("open", "half_open")]
    # The permit is back: the next call may probe.
    assert opened.snapshot(later).permits_out == 0


def test_both_breakers_draw_one_lot() -> None:
    now = 100.0
    draws = Draws([0.05, 0.99])
    entered = enter(candidate(tripped(now), tripped(now)), "m", now + 1, draws, True)
    assert isinstance(entered, Visit)
    assert draws.asked == 1
