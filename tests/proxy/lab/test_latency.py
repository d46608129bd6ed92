"""Latency distributions: seeded, within bounds, of the stated shape."""

import math
import random
import statistics

from hypothesis import given
from hypothesis import strategies as st

from seawall.lab.plan import Latency


def drawn(latency: Latency, number: int = 4000) -> list[float]:
    rng = random.Random(11)
    return [latency.draw(rng) for _ in range(number)]


def test_constant_is_constant() -> None:
    assert set(drawn(Latency("constant", 0.2), 10)) == {0.2}


def test_uniform_fills_its_range() -> None:
    values = drawn(Latency("uniform", 0.1, 0.5))
    assert min(values) >= 0.1
    assert max(values) <= 0.5
    assert abs(statistics.mean(values) - 0.3) < 0.01


def test_lognormal_has_its_median_and_sigma() -> None:
    values = drawn(Latency("lognormal", 0.3, 0.5))
    assert abs(statistics.median(values) - 0.3) < 0.02
    assert abs(statistics.stdev(math.log(value) for value in values) - 0.5) < 0.03


def test_the_same_seed_draws_the_same_waits() -> None:
    assert drawn(Latency("lognormal", 0.3, 0.5), 5) == drawn(Latency("lognormal", 0.3, 0.5), 5)


@given(
    st.sampled_from(["constant", "uniform", "lognormal"]),
    st.floats(0, 1e4),
    st.floats(0, 50),
    st.integers(0, 2**32),
)
def test_a_wait_is_finite_and_never_negative(kind: str, a: float, b: float, seed: int) -> None:
    assert 0.0 <= Latency(kind, a, b).draw(random.Random(seed)) <= 3600.0
