import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.core.health import Health


def _health(calls: int, errors: int = 0, seconds: float = 0.2) -> Health:
    health = Health()
    for number in range(calls):
        health.record(100.0, number >= errors, seconds)
    return health


def test_without_traffic_it_is_well() -> None:
    snapshot = Health().snapshot(0.0)
    assert snapshot.p50 is snapshot.p95 is snapshot.p99 is None
    assert snapshot.availability == 1.0


def test_errors_are_a_share_of_the_calls() -> None:
    snapshot = _health(100, 25).snapshot(100.0)
    assert (snapshot.calls, snapshot.error_rate) == (100, 0.25)


def test_the_rate_is_forgotten_with_its_window_but_availability_is_not() -> None:
    snapshot = _health(100, 50).snapshot(200.0)
    assert (snapshot.calls, snapshot.error_rate) == (0, 0.0)
    assert (snapshot.total_calls, snapshot.availability) == (100, 0.5)


def test_a_call_without_a_latency_counts_as_a_call() -> None:
    health = Health()
    health.record(1.0, False)
    snapshot = health.snapshot(1.0)
    assert (snapshot.calls, snapshot.p50) == (1, None)


@given(st.lists(st.floats(0.001, 900), min_size=1, max_size=200))
def test_quantiles_are_within_five_percent(latencies: list[float]) -> None:
    health = Health()
    for seconds in latencies:
        health.record(10.0, True, seconds)
    snapshot = health.snapshot(10.0)
    latencies.sort()
    for share, found in ((0.5, snapshot.p50), (0.95, snapshot.p95), (0.99, snapshot.p99)):
        exact = latencies[math.ceil(len(latencies) * share) - 1]
        assert found == pytest.approx(exact, rel=0.051)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e9])
def test_values_beyond_the_scale_count_at_its_ends(seconds: float) -> None:
    assert _health(1, seconds=seconds).snapshot(100.0).p50 is not None
