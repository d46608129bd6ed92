from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seawall.dialects.hints import LONGEST, retry_hint

WALL = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC).timestamp()


def _hint(*fields: tuple[str, str]) -> float | None:
    return retry_hint([(name.encode("latin-1"), value.encode()) for name, value in fields], WALL)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(WALL, UTC) + timedelta(seconds=seconds)


def test_an_answer_without_hints_says_nothing() -> None:
    assert _hint() is None
    assert _hint(("content-type", "application/json"), ("x-ratelimit-limit-requests", "10")) is None


# Retry-After


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        ("retry-after-ms", "1500", 1.5),
        ("retry-after-ms", "0.5", 0.0005),
        ("Retry-After", "7", 7.0),
        ("RETRY-AFTER", " 0.25 ", 0.25),
        ("retry-after", "0", 0.0),
        ("retry-after", "86400", 86_400.0),
        ("retry-after", format_datetime(_at(30), usegmt=True), 30.0),
        ("retry-after", "Sunday, 01-Jun-25 12:00:30 GMT", 30.0),
        ("retry-after", "Sun Jun  1 12:00:30 2025", 30.0),
        ("retry-after", "Sun, 01 Jun 2025 14:00:30 +0200", 30.0),
    ],
)
def test_retry_after_in_each_of_its_forms(name: str, value: str, seconds: float) -> None:
    assert _hint((name, value)) == pytest.approx(seconds)


def test_milliseconds_win_over_seconds_and_both_over_rate_limits() -> None:
    limits = (("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "9s"))
    assert _hint(*limits, ("retry-after", "7"), ("retry-after-ms", "1500")) == 1.5
    assert _hint(*limits, ("retry-after", "7")) == 7.0
    assert _hint(*limits, ("retry-after", "soon"), ("retry-after-ms", "nan")) == 9.0


def test_of_a_repeated_field_the_first_counts() -> None:
    assert _hint(("retry-after", "3"), ("retry-after", "5")) == 3.0


ABSURD = [
    "", " ", "-1", "-0.5", "nan", "NaN", "inf", "-inf", "Infinity", "1e3", "1_000", "0x10", "86401", "9" * 15,
    "9" * 200, "9" * 5000, "soon", "10 seconds", "1;2", "٣", "Sun, 01 Jun 2025 11:59:59 GMT",
    "Sun, 01 Jun 2031 12:00:00 GMT",
    "Sun, 99 Jun 2025 12:00:00 GMT", "Mon, 01 Jan 99999 00:00:00 GMT", "Sun, 01 Jun 2025 12:00:30 +9999999999",
]  # fmt: skip


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms"])
def test_absurd_values_are_ignored(name: str, value: str) -> None:
    if name == "retry-after-ms" and value == "86401":
        value = "86400001"
    assert _hint((name, value)) is None


# Exhausted dimensions


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("6m0s", 360.0), ("1s", 1.0), ("20ms", 0.02), ("2m59.56s", 179.56), ("1h30m", 5400.0), ("7.66s", 7.66),
        ("500us", 0.0005), ("500µs", 0.0005), ("12", 12.0), ("0.5", 0.5),
        (str(int(WALL) + 40), 40.0), (str((int(WALL) + 40) * 1000), 40.0), ("2025-06-01T12:00:45Z", 45.0),
    ],
)  # fmt: skip
def test_a_reset_in_each_of_its_forms(reset: str, seconds: float) -> None:
    hint = _hint(("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", reset))
    assert hint == pytest.approx(seconds)


@pytest.mark.parametrize(
    "reset", ["", "-1s", "s", "1x", "25h", "1d1s", "6m0", "2025-13-01T00:00:00Z", "0001-01-01", *ABSURD]
)
def test_an_absurd_reset_is_ignored(reset: str) -> None:
    assert _hint(("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", reset)) is None


def test_a_reset_counts_only_for_a_dimension_of_which_nothing_remains() -> None:
    requests = (("x-ratelimit-remaining-requests", "12"), ("x-ratelimit-reset-requests", "6m0s"))
    tokens = (("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "20ms"))
    assert _hint(*requests) is None
    assert _hint(*requests, *tokens) == 0.02


def test_the_latest_of_several_exhausted_dimensions_counts() -> None:
    assert (
        _hint(
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "5s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "1m2s"),
        )
        == 62.0
    )


def test_anthropics_own_fields() -> None:
    assert (
        _hint(
            ("anthropic-ratelimit-requests-remaining", "40"),
            ("anthropic-ratelimit-requests-reset", "2025-06-01T12:10:00Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2025-06-01T12:00:42Z"),
        )
        == 42.0
    )


def test_resets_of_other_dimensions_are_not_mixed_up() -> None:
    assert _hint(("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-tokens", "5s")) is None
    assert (
        _hint(
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2025-06-01T12:00:42Z"),
        )
        is None
    )


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([("RateLimit", '"default";r=0;t=30')], 30.0),
        ([("RateLimit", '"burst";r=5;t=10, "daily";r=0;t=3600')], 3600.0),
        ([("RateLimit", '"burst"; r=0; t=10, "daily"; r=0; t=3600')], 3600.0),
        ([("RateLimit", '"default";t=30;r=0')], 30.0),
        ([("RateLimit", '"default";r=1;t=30')], None),
        ([("RateLimit", '"default";r=0')], None),
        ([("RateLimit", "limit=100, remaining=0, reset=50")], 50.0),
        ([("RateLimit", "limit=100, remaining=10, reset=50")], None),
        ([("RateLimit-Remaining", "0"), ("RateLimit-Reset", "50")], 50.0),
        ([("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", str(int(WALL) + 50))], 50.0),
    ],
)
def test_the_standards_fields_in_each_of_the_drafts_forms(fields: list[tuple[str, str]], seconds: float | None) -> None:
    assert _hint(*fields) == seconds


# Never raises

NAMES = st.sampled_from(
    [
        b"retry-after", b"retry-after-ms", b"ratelimit", b"ratelimit-remaining", b"ratelimit-reset",
        b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens", b"x-ratelimit-remaining", b"x-ratelimit-reset",
        b"anthropic-ratelimit-tokens-remaining", b"anthropic-ratelimit-tokens-reset",
    ]
)  # fmt: skip
VALUES = st.one_of(
    st.binary(max_size=300),
    st.just(b"0"),
    st.floats().map(lambda value: str(value).encode()),
    st.integers().map(lambda value: str(value).encode()),
    st.text('0123456789.,;:=rtTZmsh+- GMTJunSu"', max_size=60).map(lambda value: value.encode()),
    st.datetimes().map(lambda value: value.isoformat().encode()),
    st.datetimes(timezones=st.timezones()).map(lambda value: format_datetime(value).encode()),
)


@given(st.lists(st.tuples(NAMES | st.binary(max_size=80), VALUES), max_size=6), st.floats(0, 1e11))
@example([(b"x-ratelimit-remaining-tokens", b"0"), (b"x-ratelimit-reset-tokens", b"0001-01-01T00:00:00+23:59")], 0.0)
@example([(b"retry-after", b"Mon, 01 Jan 0001 00:00:00 +2359")], 0.0)
def test_whatever_an_upstream_sends_the_hint_is_a_sane_wait_or_nothing(
    headers: list[tuple[bytes, bytes]], wall: float
) -> None:
    hint = retry_hint(headers, wall)
    assert hint is None or 0 <= hint <= LONGEST
