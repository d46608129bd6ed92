"""The words of the fault grammar, in one table: the parser, `GET /_lab/grammar` and the test of docs/lab.md read it.

A word sets fields of a Plan and nothing else. A text that no word matches is an error, never a healthy answer.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from seawall.lab.plan import (
    HALF,
    NO_FIELDS,
    PRELUDE,
    Break,
    Breakage,
    Drip,
    FirstOf,
    Flaky,
    Flap,
    Gate,
    Latency,
    Part,
    Scenario,
    Status,
    Trouble,
    Wire,
)

_DURATION = r"\d+(?:\.\d+)?(?:ms|s|m)"
_AT = r"(?:-(\d+|prelude))?"
_TROUBLE = "|".join(trouble.value for trouble in Trouble)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


class FaultSyntaxError(ValueError):
    """A fault text that does not parse; the message names the word."""


def seconds(text: str) -> float:
    """`250ms`, `2s`, `1.5m` or a bare number of seconds. Raises FaultSyntaxError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)?", text)
    if match is None:
        raise FaultSyntaxError(f"not a duration: {text!r} (such as 250ms, 2s, 1m)")
    return float(match[1]) * _UNITS[match[2] or "s"]


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the grammar: how it is written, an example for docs and tests, and what it means."""

    form: str
    example: str
    effect: str
    pattern: re.Pattern[str]
    part: Callable[[re.Match[str]], Part]


def _set(**fields: object) -> Part:
    return Part(fields)


def _at(text: str | None) -> int:
    return HALF if text is None else PRELUDE if text == "prelude" else int(text)


def _break(how: Break) -> Callable[[re.Match[str]], Part]:
    return lambda m: _set(breakage=Breakage(how, _at(m[1])))


def _error_event(how: Break) -> Callable[[re.Match[str]], Part]:
    return lambda m: _set(breakage=Breakage(how, _at(m[1]), Trouble(m[2] or "server")))


def _latency(m: re.Match[str]) -> Part:
    kind = m["kind"] or "constant"
    second = m["b"]
    if kind == "lognormal":
        return _set(first_byte=Latency(kind, seconds(m["a"]), float(second or 0.5)))
    return _set(first_byte=Latency(kind, seconds(m["a"]), seconds(second) if second else 0.0))


def _status(m: re.Match[str]) -> Part:
    return _set(status=Status(int(m[1]), retry_after=m[2]))


def _gated(gate: Gate, inner: str | None) -> Part:
    part = part_of(inner or "503")
    if part.gate is not None:
        raise FaultSyntaxError(f"{inner!r} can not be nested in another condition")
    return Part(part.fields, gate)


def _flaky(m: re.Match[str]) -> Part:
    return _gated(Flaky(int(m[1] or 50) / 100), m[2])


def _flap(m: re.Match[str]) -> Part:
    up, down = seconds(m[1]), seconds(m[2])
    if up + down <= 0:
        raise FaultSyntaxError("flap needs a period above zero")
    return _gated(Flap(up, down), m[3])


def _scenario(**fields: Any) -> Part:
    return _set(scenario=replace(Scenario(), **fields))


def _word(form: str, example: str, pattern: str, effect: str, part: Callable[[re.Match[str]], Part]) -> Word:
    return Word(form, example, effect, re.compile(pattern), part)


WORDS: tuple[Word, ...] = (
    _word(
        "ok",
        "ok",
        r"ok|small|large",
        "a healthy answer (`small` and `large` likewise: names without a meaning)",
        lambda m: Part(NO_FIELDS),
    ),
    _word(
        "NNN[-retry-after-S]",
        "429-retry-after-2",
        r"([2-5]\d\d)(?:-retry-after-(\d+))?",
        "this status, with the dialect's error body; Retry-After only if asked for",
        _status,
    ),
    _word(
        "rate-limit[-S]",
        "rate-limit-1",
        r"rate-limit(?:-(\d+))?",
        "a transient 429 in the dialect's shape, with Retry-After S and exhausted rate-limit fields",
        lambda m: _set(status=Status(trouble=Trouble.RATE_LIMIT, retry_after=m[1])),
    ),
    _word(
        "overloaded, quota, context, filter, auth, forbidden, not-found, invalid, server, timeout",
        "quota",
        f"({_TROUBLE})",
        "the dialect's own status and body: 529 or 503, insufficient_quota or low credit, context length …",
        lambda m: _set(status=Status(trouble=Trouble(m[1]))),
    ),
    _word(
        "error-body[-TROUBLE]",
        "error-body-overloaded",
        f"error-body(?:-({_TROUBLE}))?",
        "200 with an error as the body",
        lambda m: _set(error_body=Trouble(m[1] or "server")),
    ),
    _word(
        "reset-N",
        "reset-3",
        r"reset-(\d+|prelude)",
        "TCP reset after the head and N events (`reset-0`: right after the head)",
        _break(Break.RESET),
    ),
    _word("reset", "reset", r"reset", "TCP reset before the head", lambda m: _set(wire=Wire.RESET)),
    _word("close", "close", r"close", "the connection closes before the head", lambda m: _set(wire=Wire.CLOSE)),
    _word("silent", "silent", r"silent", "accepts the request and never answers", lambda m: _set(wire=Wire.SILENT)),
    _word("garbage", "garbage", r"garbage", "bytes that are not HTTP", lambda m: _set(wire=Wire.GARBAGE)),
    _word(
        "endless-headers",
        "endless-headers",
        r"endless-headers",
        "a head that never ends",
        lambda m: _set(wire=Wire.ENDLESS_HEADERS),
    ),
    _word(
        "bad-header",
        "bad-header",
        r"bad-header",
        "a whole answer with a control character in a header field",
        lambda m: _set(wire=Wire.BAD_HEADER),
    ),
    _word(
        "cut[-N]",
        "cut-5",
        "cut" + _AT,
        "the stream ends after N events, with a proper last chunk but no terminal event",
        _break(Break.CUT),
    ),
    _word(
        "unclean[-N]",
        "unclean-5",
        "unclean" + _AT,
        "the connection closes after N events, without a last chunk",
        _break(Break.UNCLEAN),
    ),
    _word(
        "stall[-N]", "stall-2", "stall" + _AT, "N events, then silence with the connection open", _break(Break.STALL)
    ),
    _word(
        "malformed[-N]",
        "malformed-4",
        "malformed" + _AT,
        "the event after N events is not valid JSON; the rest follows",
        _break(Break.MALFORMED),
    ),
    _word(
        "bad-chunk[-N]",
        "bad-chunk-3",
        "bad-chunk" + _AT,
        "an invalid chunk size after N events",
        _break(Break.BAD_CHUNK),
    ),
    _word(
        "truncated[-N]",
        "truncated",
        "truncated" + _AT,
        "a Content-Length longer than what comes; the connection closes after N events",
        _break(Break.TRUNCATED),
    ),
    _word(
        "no-terminal",
        "no-terminal",
        r"no-terminal()",
        "all the content, no terminal event, a proper last chunk",
        lambda m: _set(breakage=Breakage(Break.NO_TERMINAL)),
    ),
    _word(
        "error[-N][-TROUBLE]",
        "error-prelude-overloaded",
        f"error{_AT}(?:-({_TROUBLE}))?",
        "an error event after N events, then a proper end",
        _error_event(Break.ERROR),
    ),
    _word(
        "failed[-N][-TROUBLE]",
        "failed-3-rate-limit",
        f"failed{_AT}(?:-({_TROUBLE}))?",
        "as `error`, but `response.failed` in the responses dialect",
        _error_event(Break.FAILED),
    ),
    _word(
        "huge[-SIZE]",
        "huge-10g",
        r"huge(?:-(\d+)([kmg]?))?",
        "200 with a body of SIZE zero bytes (10g), made as they are read",
        lambda m: _set(huge=int(m[1] or 10) * _SIZES[m[2] or ("" if m[1] else "g")]),
    ),
    _word(
        "latency-A",
        "latency-200ms",
        rf"latency-(?:(?P<kind>constant)-)?(?P<a>{_DURATION})(?P<b>)",
        "the first byte comes after A",
        _latency,
    ),
    _word(
        "latency-uniform-A-B",
        "latency-uniform-10ms-50ms",
        rf"latency-(?P<kind>uniform)-(?P<a>{_DURATION})-(?P<b>{_DURATION})",
        "… after A to B",
        _latency,
    ),
    _word(
        "latency-lognormal-A[-SIGMA]",
        "latency-lognormal-300ms-0.5",
        rf"latency-(?P<kind>lognormal)-(?P<a>{_DURATION})(?:-(?P<b>\d+(?:\.\d+)?))?",
        "… lognormal with median A and SIGMA (0.5)",
        _latency,
    ),
    _word(
        "first-byte-D",
        "first-byte-2s",
        rf"first-byte-({_DURATION})",
        "the head comes after D",
        lambda m: _set(first_byte=Latency("constant", seconds(m[1]))),
    ),
    _word(
        "first-token-D",
        "first-token-2s",
        rf"first-token-({_DURATION})",
        "head and prelude at once, the first content after D",
        lambda m: _set(first_token=Latency("constant", seconds(m[1]))),
    ),
    _word(
        "gap-D",
        "gap-50ms",
        rf"gap-({_DURATION})",
        "D between events",
        lambda m: _set(gap=Latency("constant", seconds(m[1]))),
    ),
    _word(
        "drip-N[-D]",
        "drip-1-100ms",
        rf"drip-(\d+)(?:-({_DURATION}))?",
        "N bytes of the body every D (50ms)",
        lambda m: _set(drip=Drip(max(int(m[1]), 1), seconds(m[2] or "50ms"))),
    ),
    _word(
        "early-hints",
        "early-hints",
        r"early-hints",
        "an interim 103 before the answer",
        lambda m: _set(early_hints=True),
    ),
    _word("trailers", "trailers", r"trailers", "a chunked answer with trailer fields", lambda m: _set(trailers=True)),
    _word("gzip", "gzip", r"gzip", "a gzip-encoded answer, flushed after every event", lambda m: _set(gzip=True)),
    _word(
        "flaky[-PERCENT][-FAULT]",
        "flaky-30-reset",
        r"flaky(?:-(\d{1,2}|100))?(?:-(.+))?",
        "FAULT (503) for that share (50) of attempts",
        _flaky,
    ),
    _word(
        "flap-UP-DOWN[-FAULT]",
        "flap-2s-2s",
        rf"flap-({_DURATION})-({_DURATION})(?:-(.+))?",
        "healthy for UP, then FAULT (503) for DOWN, and again, from the lab's start",
        _flap,
    ),
    _word(
        "fail-N[-FAULT]",
        "fail-2",
        r"fail-(\d+)(?:-(.+))?",
        "of each N + 1 attempts the first N have FAULT (503)",
        lambda m: _gated(FirstOf(int(m[1])), m[2]),
    ),
    _word("tools", "tools", r"tools", "calls every offered tool, in parallel", lambda m: _scenario(all_tools=True)),
    _word(
        "tool-NAME[,NAME]",
        "tool-get_weather",
        r"tool-(.+)",
        "calls these tools, in parallel",
        lambda m: _scenario(tools=tuple(m[1].split(","))),
    ),
    _word("no-tools", "no-tools", r"no-tools", "answers without calling a tool", lambda m: _scenario(no_tools=True)),
    _word(
        "rounds-N",
        "rounds-2",
        r"rounds-(\d+)",
        "calls tools for N rounds (1) before the final answer",
        lambda m: _scenario(rounds=int(m[1])),
    ),
    _word(
        "tokens-N", "tokens-200", r"tokens-(\d{1,6})", "a text of N words (12)", lambda m: _scenario(tokens=int(m[1]))
    ),
)


def part_of(text: str) -> Part:
    """The part that one word stands for. Raises FaultSyntaxError."""
    for word in WORDS:
        match = word.pattern.fullmatch(text)
        if match is not None:
            return word.part(match)
    raise FaultSyntaxError(f"unknown lab fault {text!r}; GET /_lab/grammar lists them")
