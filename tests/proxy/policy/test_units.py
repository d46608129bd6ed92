"""Durations and sizes: what GEP-2257 and Kubernetes quantities allow, and nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.policy.units import DURATION_PATTERN, SIZE_PATTERN, seconds, size_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", 0),
        ("10s", 10),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1m1s1ms", 61.001),
        ("5m", 300),
        ("99999h", 359_996_400),
    ],
)
def test_a_duration_is_the_sum_of_its_parts(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "10", "1.5s", "-1s", "1d", "10 s", "10s\n", "100000s", "1s1s1s1s1s", "１s"])
def test_what_gep_2257_does_not_allow_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        seconds(text)


@pytest.mark.parametrize(("text", "expected"), [("4Mi", 4 << 20), ("1k", 1000), ("7", 7), ("1Gi", 1 << 30), ("0", 0)])
def test_a_size_is_its_number_times_its_unit(text: str, expected: int) -> None:
    assert size_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "Mi", "4MB", "4 Mi", "1.5Gi", "-1", "4m", "4Mi\n"])
def test_other_quantities_are_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        size_bytes(text)


@given(st.text(alphabet="0123456789hmsKMGi ", max_size=12))
def test_the_schema_patterns_accept_exactly_what_can_be_read(text: str) -> None:
    for pattern, read in ((DURATION_PATTERN, seconds), (SIZE_PATTERN, size_bytes)):
        try:
            assert read(text) >= 0
            readable = True
        except ValueError:
            readable = False
        assert bool(re.match(pattern, text)) == readable
