"""What a line holds, and what can never get into one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from seawall.clock import Clock, SystemClock
from seawall.telemetry.access_log import AccessLog
from seawall.telemetry.redact import redact
from seawall.types import (
    AttemptEnded,
    AttemptTraced,
    BreakerMoved,
    CallEnded,
    CallTraced,
    CoolingDown,
    CredentialParked,
    Event,
    Outcome,
    Reloaded,
    ServiceLevel,
    ShadowMoved,
    TraceContext,
)

SECRETS = [
    "sk-proj-abcdefgh12345678",
    "sk-ant-api03-abcdefgh_1234",
    "AIzaSyA1234567890abcdefghijklmnop",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnop1234",
    "dapi0123456789abcdef0123",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "gsk_abcdefghijklmnopqrstuvwx",
    "hf_abcdefghijklmnopqrstuvwx",
    "xai-abcdefghijklmnopqrstuvwx",
    "ya29.a0AfH6SMBabcdefghijkl",
    "github_pat_abcdefghijklmnop",
]


class Lines:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def put(self, line: bytes, /) -> None:
        self.lines.append(line)


def logged(clock: Clock, *events: Event) -> list[dict[str, object]]:
    sink = Lines()
    log = AccessLog(sink, clock)
    for event in events:
        log(event)
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in sink.lines)
    return [json.loads(line) for line in sink.lines]


def attempt(detail: str = "", **changes: Any) -> AttemptEnded:
    event = AttemptEnded("id", "chat", "lab-east", "gpt-4o", 1, "OVERLOADED", 503, 0.01, detail, "retry in 0.42 s")
    return replace(event, **changes)


def test_a_line_of_a_traced_call_says_where_its_span_is(clock: Clock, call: CallEnded) -> None:
    place = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
    trace = TraceContext(**place, parent_id="00f067aa0ba902b7", state="other=secret")
    traced = replace(call, **place)
    failed = attempt(**place)
    spans = (AttemptTraced(trace, "1" * 16, failed, "POST", "chat", False, False), CallTraced(trace, traced))
    lines = logged(clock, failed, traced, *spans)
    assert [{name: line[name] for name in place} for line in lines] == [place, place]
    assert "secret" not in str(lines)


def test_a_call_is_one_line_with_the_events_own_names(clock: Clock, call: CallEnded) -> None:
    (line,) = logged(clock, call)
    assert line["ts"] == "2025-06-15T15:06:40.125Z"
    assert (line["level"], line["event"]) == ("info", "call")
    assert line["call_id"] == "0af76519"
    assert line["outcome"] == "failover"
    assert line["service_level"] == "degraded"
    assert line["usage"] == {"input": 12, "output": 34, "cached": 5, "reasoning": 8}
    # Nothing is told of a Shadow policy, a cache or a trace that is not there, or of an answer that was not opened.
    absent = {"shadow", "opened", "keep_alives", "cache", "cache_key", "saved", "trace_id", "span_id"}
    assert set(CallEnded.__struct_fields__) - absent == set(line) - {"ts", "level", "event"}


def test_the_second_is_made_anew_when_it_passes(call: CallEnded) -> None:
    class Passing:
        times = iter((1_750_000_000.9994, 1_750_000_001.0))

        def now(self) -> float:
            return 0.0

        def wall(self) -> float:
            return next(self.times)

    first, second = logged(Passing(), call, call)
    assert (first["ts"], second["ts"]) == ("2025-06-15T15:06:40.999Z", "2025-06-15T15:06:41.000Z")


@pytest.mark.parametrize(
    ("event", "name", "level"),
    [
        (attempt(), "attempt", "info"),
        (attempt(next=""), "attempt", "warn"),
        (attempt(next="", result="AGENT_GONE"), "attempt", "info"),
        (BreakerMoved("lab-east", "gpt-4o", "closed", "open", "5 consecutive failures", 9.8), "breaker", "warn"),
        (BreakerMoved("lab-east", "gpt-4o", "half_open", "closed", "3 good probes"), "breaker", "info"),
        (ShadowMoved("lab-east", "gpt-4o", "closed", "open", "2 consecutive failures", 9.8), "shadow_breaker", "info"),
        (CredentialParked("lab-east", "gpt-4o", 60.0, "QUOTA_EXHAUSTED"), "credential_parked", "error"),
        (CoolingDown("lab-east", "gpt-4o", 2.0), "cooldown", "info"),
        (Reloaded("c0ffee"), "reload", "info"),
        (Reloaded("c0ffee", ("policy.yaml:3: unknown field",)), "reload", "error"),
    ],
)
def test_each_event_has_its_name_and_level(event: Event, name: str, level: str, clock: Clock) -> None:
    (line,) = logged(clock, event)
    assert (line["event"], line["level"]) == (name, level)


def test_a_failed_call_is_a_warning_unless_the_agent_went_away(clock: Clock, call: CallEnded) -> None:
    failed = replace(call, outcome=Outcome.ERROR, fault="BREAKER_OPEN", status=503)
    lines = logged(clock, failed, replace(failed, fault="AGENT_GONE", status=499))
    assert [line["level"] for line in lines] == ["warn", "info"]


def test_an_attempt_that_went_well_has_no_line_of_its_own(clock: Clock) -> None:
    assert logged(clock, attempt(result="ok", next="")) == []


@pytest.mark.parametrize("secret", SECRETS)
def test_no_credential_leaves_through_any_text(secret: str, clock: Clock, call: CallEnded) -> None:
    events: list[Event] = [
        replace(call, path=f"/bot/{secret}/send", skipped=(f"lab-east: bad key {secret}",)),
        replace(call, model=secret),
        attempt(f"Incorrect API key provided: {secret}."),
        attempt(f"Authorization: Bearer {secret}"),
        BreakerMoved("lab-east", secret, "closed", "open", f"last: {secret}"),
        Reloaded("r", (f"auth.key: {secret}",)),
    ]
    lines = logged(clock, *events, *events)  # twice: what was seen before is taken from memory
    assert len(lines) == 12
    assert secret not in json.dumps(lines)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET https://user:hunter2@example.com/x", "GET https://[redacted]@example.com/x"),
        ("api_key=abc123&x=1", "[redacted]&x=1"),
        ("token: Basic dXNlcjpwYXNz", "token: [redacted]"),
        ("access_token=hunter2&x=1", "[redacted]&x=1"),
        ("X-Amz-Signature=hunter2 x", "X-Amz-[redacted] x"),
        ("got api-key: hunter2, x", "got [redacted], x"),
        ('{"api_key": "hunter2", "x": 1}', '{"[redacted]", "x": 1}'),
        ("authorization: Basic hunter2 x", "[redacted] x"),
        ("policy.yaml:3: unknown key: colour", "policy.yaml:3: unknown key: colour"),
        ("monkey=1 hockey-key", "monkey=1 hockey-key"),
        ("task-manager-service risk-assessment", "task-manager-service risk-assessment"),
        ("/v1/chat/completions", "/v1/chat/completions"),
    ],
)
def test_redaction_takes_the_credential_and_leaves_the_rest(text: str, clean: str) -> None:
    assert redact(text).startswith(clean)
    assert "hunter2" not in redact(text)
    assert "dXNlcjpwYXNz" not in redact(text)


def test_a_forged_line_stays_inside_its_string(clock: Clock, call: CallEnded) -> None:
    forged = '/x\n{"event":"call","status":200}\r\n\x1b[2J"'
    (line,) = logged(clock, replace(call, path=forged))
    assert line["path"] == forged


def test_endless_values_are_cut(clock: Clock, call: CallEnded) -> None:
    long = "m" * 1_000_000
    sink = Lines()
    log = AccessLog(sink, clock)
    log(replace(call, model=long, path="/" + long, skipped=(long,) * 1000))
    log(attempt(long))
    log(replace(call, method=long))
    log(attempt("-eyJ" * 250_000))
    assert all(len(line) < 40_000 for line in sink.lines)
    assert json.loads(sink.lines[0])["status"] == 200


@given(path=st.text(st.characters(codec=None)), model=st.text(st.characters(codec=None)))
def test_any_text_at_all_makes_one_valid_line(path: str, model: str) -> None:
    event = CallEnded(
        "id", "", "", "OpenAI", "chat", "POST", path, "", model, Outcome.PRIMARY, "", 200, 1, 0, True,
        ServiceLevel.FULL, 0.1, None, 0.0, 0, 0,
    )  # fmt: skip
    (line,) = logged(SystemClock(), event)
    assert line["first_content_seconds"] is None
