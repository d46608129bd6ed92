"""When an operator that knows less than its sidecar is one that lags, and when one that was set back."""

import asyncio
from pathlib import Path

import pytest

from seawall.follow import BEHIND, Follower, Following
from seawall.policy import EffectivePolicy
from seawall.policy.bundle import bundle


class Clock:
    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock.time)
    return clock


def follower(sequence: int) -> Follower:
    nothing = EffectivePolicy({}, (), "")
    first = bundle("team", "default", sequence, nothing)
    following = Following("https://operator", "team", "default", Path("/nowhere"))
    return Follower(following, first, nothing, lambda _: None, lambda _: None, lambda _: None)


async def test_an_operator_that_stays_behind_for_five_minutes_was_set_back_and_is_right(clock: Clock) -> None:
    one = follower(10)
    one._caught_up(7)
    clock.now += BEHIND
    one._caught_up(8)
    assert one._sequence == 10
    clock.now += 0.1
    one._caught_up(8)
    assert one._sequence == 0
    # And from there on as ever.
    one._caught_up(8)
    assert one._sequence == 8


async def test_one_that_catches_up_meanwhile_only_lagged(clock: Clock) -> None:
    one = follower(10)
    one._caught_up(7)
    clock.now += BEHIND - 1
    one._caught_up(11)
    assert one._sequence == 11
    clock.now += 2
    one._caught_up(7)
    clock.now += BEHIND - 1
    one._caught_up(7)
    assert one._sequence == 11, "it is behind since then, and not since the first time"
