"""First contents, and the delay that hedges wait for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.core.latency import ENOUGH, FLOOR, SAMPLES, UNKNOWN, Latencies


def filled(*seconds: float) -> Latencies:
    latencies = Latencies()
    for one in seconds:
        latencies.add(one)
    return latencies


def test_too_few_say_nothing_about_a_tail() -> None:
    assert Latencies().p95() is None
    assert filled(*[9.0] * (ENOUGH - 1)).hedging_delay() == UNKNOWN
    assert filled(*[9.0] * ENOUGH).hedging_delay() == 9.0


def test_noise_is_not_hedged() -> None:
    assert filled(*[0.001] * ENOUGH).hedging_delay() == FLOOR


def test_one_in_twenty_is_later() -> None:
    assert filled(*[1.0] * 95, *[5.0] * 5).p95() == 1.0
    assert filled(*[1.0] * 94, *[5.0] * 6).p95() == 5.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=3 * SAMPLES))
def test_only_the_latest_count_and_by_nearest_rank(seconds: list[float]) -> None:
    latencies = filled(*seconds)
    kept = sorted(seconds[-SAMPLES:])
    assert len(latencies) == len(kept)
    assert latencies.p95() == pytest.approx(kept[math.ceil(0.95 * len(kept)) - 1])
