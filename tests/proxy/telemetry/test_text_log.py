"""The lines that people read while the demo runs."""

import datetime
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from seawall.clock import Clock
from seawall.telemetry.recent import Recent
from seawall.telemetry.text_log import TextLog, line, wants_colour
from seawall.types import (
    AttemptEnded,
    BreakerMoved,
    CallEnded,
    CoolingDown,
    CredentialParked,
    Event,
    Outcome,
    Reloaded,
    ShadowMoved,
)

NOON = datetime.datetime(2025, 6, 15, 12, 1, 3, tzinfo=datetime.UTC).timestamp()
FAILED = AttemptEnded("id", "chat", "lab-east", "m", 1, "OVERLOADED", 503, 0.01, next="failover to lab-west")


def shown(event: Event, *, colour: bool = False) -> str:
    return line(event, NOON, colour=colour, zone=datetime.UTC)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (FAILED, "12:01:03 retry     chat → lab-east 503 OVERLOADED, failover to lab-west"),
        (replace(FAILED, status=None, next=""), "12:01:03 failed    chat → lab-east OVERLOADED"),
        (
            BreakerMoved("lab-east", "", "closed", "open", "5 consecutive failures", 9.8),
            "12:01:03 breaker   lab-east OPEN for 9.8 s (5 consecutive failures)",
        ),
        (
            BreakerMoved("lab-east", "gpt-4o", "open", "half_open", "open time is over"),
            "12:01:03 breaker   lab-east gpt-4o HALF-OPEN (open time is over)",
        ),
        (
            ShadowMoved("lab-east", "gpt-4o", "closed", "open", "2 consecutive failures", 9.8),
            "12:01:03 shadow    lab-east gpt-4o OPEN for 9.8 s (2 consecutive failures), if it were enforced",
        ),
        (CoolingDown("lab-east", "gpt-4o", 2.0), "12:01:03 cooldown  lab-east gpt-4o rests for 2.0 s (429)"),
        (
            CredentialParked("lab-east", "", 60.0, "QUOTA_EXHAUSTED"),
            "12:01:03 parked    lab-east credential out of use for 60.0 s (QUOTA_EXHAUSTED)",
        ),
        (Reloaded("c0ffee"), "12:01:03 policy    revision c0ffee in use"),
        (Reloaded("c0ffee", ("a", "b", "c")), "12:01:03 policy    refused, the old one stays: a (and 2 more)"),
        (replace(FAILED, result="ok"), ""),
    ],
)
def test_each_event_reads_like_a_sentence(event: Event, expected: str) -> None:
    assert shown(event) == expected


def test_a_call_says_where_it_went_and_how(call: CallEnded) -> None:
    assert shown(call) == "12:01:03 200       chat lab-west 2 attempts 31 ms failover"
    plain = replace(call, outcome=Outcome.PRIMARY, attempts=1, seconds=130.0)
    assert shown(plain) == "12:01:03 200       chat lab-west 1 attempt 2 min"


def test_colour_is_only_for_terminals_without_no_color() -> None:
    terminal, other = os.openpty()
    try:
        assert wants_colour(other, {})
        assert not wants_colour(other, {"NO_COLOR": "1"})
        assert wants_colour(other, {"NO_COLOR": ""})
        assert not wants_colour(other, {"TERM": "dumb"})
    finally:
        os.close(terminal)
        os.close(other)
    read, write = os.pipe()
    assert not wants_colour(write, {})
    os.close(read)
    os.close(write)


def test_without_colour_there_is_no_escape_and_with_it_there_is(call: CallEnded) -> None:
    assert "\x1b" not in shown(call)
    assert "\x1b[" in shown(call, colour=True)


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_no_agent_can_move_the_cursor_or_add_a_line(model: str, reason: str) -> None:
    assert shown(BreakerMoved("lab-east", model, "closed", "open", reason)).isprintable()


def test_a_line_goes_to_the_sink_as_utf8(clock: Clock, call: CallEnded) -> None:
    lines: list[bytes] = []

    class Sink:
        def put(self, line: bytes, /) -> None:
            lines.append(line)

    log = TextLog(Sink(), clock, colour=False)
    log(FAILED)
    log(replace(FAILED, result="ok"))
    log(call)
    assert [line.decode().rstrip().endswith(end) for line, end in zip(lines, ("lab-west", "failover"), strict=True)]


def test_plain_calls_do_not_push_a_breaker_out_of_the_last_events(clock: Clock, call: CallEnded) -> None:
    recent = Recent(clock, calls=2, moves=2)
    moved = BreakerMoved("lab-east", "m", "closed", "open", "x")
    recent(moved)
    for _ in range(50):
        recent(replace(call, outcome=Outcome.PRIMARY))
        recent(replace(FAILED, result="ok"))
    events = [event for _, event in recent.events()]
    assert moved in events
    assert len(events) == 3
