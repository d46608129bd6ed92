"""When an upstream asks to be tried again, read from its answer's header fields (SEMANTICS §2).

The first usable word counts: retry-after-ms, retry-after, then the reset of a rate-limit dimension that is exhausted.
A value that is negative, not finite, not a number or longer than a day is treated as absent. Nothing here ever raises.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from seawall.types import Headers

LONGEST = 86_400.0
"""Seconds; what asks for more than a day is broken, or means a quota rather than a rate."""

_NUMBER = re.compile(r"(?a)\d{1,15}(?:\.\d{1,12})?")
_DURATION = re.compile(r"(?a)(?:\d{1,12}(?:\.\d{1,12})?(?:ns|us|µs|ms|h|m|s|d))+")
_PART = re.compile(r"(?a)(\d+(?:\.\d+)?)(ns|us|µs|ms|h|m|s|d)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
# A reset above this is a time of day in seconds (2001 and later), or in milliseconds, rather than a wait.
_EPOCH, _EPOCH_MS = 1e9, 1e12
_LONGEST_NAME, _LONGEST_VALUE = 64, 256

# What remains of a dimension and when it is reset: `x-ratelimit-remaining-tokens` (OpenAI, Azure, Groq),
# `x-ratelimit-remaining-req-minute`, `ratelimitbysize-remaining` (Mistral), `x-ratelimit-remaining` (OpenRouter),
# `ratelimit-remaining` (draft-ietf-httpapi-ratelimit-headers up to 06), `anthropic-ratelimit-input-tokens-remaining`.
_FIELD = re.compile(r"((?:x-|anthropic-)?ratelimit(?:bysize)?-(?:[a-z-]+-)?)(remaining|reset)((?:-[a-z-]+)?)")
# Members of the RateLimit field: `"default";r=0;t=30` of the draft from 08 on, `remaining=0, reset=30` of earlier ones.
_LATER = re.compile(r"(?a);\s*r\s*=\s*0+\s*(?:;|$)")
_LATER_RESET = re.compile(r"(?a);\s*t\s*=\s*(\d{1,15})\s*(?:;|$)")
_EARLIER = re.compile(r"(?a)(?:^|,)\s*remaining\s*=\s*0+\s*(?:[,;]|$)")
_EARLIER_RESET = re.compile(r"(?a)(?:^|,)\s*reset\s*=\s*(\d{1,15})\s*(?:[,;]|$)")


def retry_hint(headers: Headers, wall: float) -> float | None:
    """Seconds (0 to a day) after which the upstream asks to be tried again; None when it says nothing usable.

    wall: the time of day in seconds since 1970, against which dates are read. Of several exhausted dimensions the
    latest reset counts, because all of them must have room.
    """
    fields: dict[str, str] = {}
    for name, value in headers:
        if len(name) <= _LONGEST_NAME and len(value) <= _LONGEST_VALUE:
            key = name.decode("latin-1").lower()
            if "ratelimit" in key or key.startswith("retry-after"):
                fields.setdefault(key, value.decode("utf-8", "replace").strip())
    if not fields:
        return None
    for found in (
        _usable(_number(fields.get("retry-after-ms")), 1e-3),
        _usable(_retry_after(fields.get("retry-after"), wall)),
        _usable(_rate_limit(fields.get("ratelimit"))),
    ):
        if found is not None:
            return found
    return _exhausted(fields, wall)


def duration(text: str) -> float | None:
    """Seconds of a duration such as `34.07s` or `6m0s`, of at most a day; None where it is none."""
    return _usable(_seconds(text)) if len(text) <= _LONGEST_VALUE else None


def _usable(seconds: float | None, unit: float = 1.0) -> float | None:
    return seconds * unit if seconds is not None and 0 <= seconds * unit <= LONGEST else None


def _number(text: str | None) -> float | None:
    return float(text) if text and _NUMBER.fullmatch(text) else None


def _seconds(text: str) -> float | None:
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(value) * _UNITS[unit] for value, unit in _PART.findall(text))


def _retry_after(text: str | None, wall: float) -> float | None:
    """RFC 9110, 10.2.3: seconds or a date. A date that is past says nothing (clocks differ)."""
    if not text:
        return None
    number = _number(text)
    if number is not None:
        return number
    try:
        return _seconds_until(parsedate_to_datetime(text), wall)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _seconds_until(moment: datetime, wall: float) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - wall


def _rate_limit(text: str | None) -> float | None:
    """The RateLimit field: seconds to the latest reset of its exhausted members."""
    if not text:
        return None
    if _EARLIER.search(text):
        reset = _EARLIER_RESET.search(text)
        return _number(reset[1]) if reset else None
    resets = [_LATER_RESET.search(member) for member in text.split(",") if _LATER.search(member)]
    return max((float(reset[1]) for reset in resets if reset), default=None)


def _exhausted(fields: dict[str, str], wall: float) -> float | None:
    """Seconds to the latest reset of the dimensions of which nothing remains."""
    exhausted: list[tuple[str, str]] = []
    resets: dict[tuple[str, str], str] = {}
    for name, value in fields.items():
        match = _FIELD.fullmatch(name)
        if match:
            dimension = (match[1], match[3])
            if match[2] == "reset":
                resets[dimension] = value
            elif _number(value) == 0:
                exhausted.append(dimension)
    waits = [_usable(_reset(resets.get(dimension), wall)) for dimension in exhausted]
    return max((wait for wait in waits if wait is not None), default=None)


def _reset(text: str | None, wall: float) -> float | None:
    """Seconds, a time of day in (milli)seconds, a duration such as `6m0s` or `20ms`, or an RFC 3339 time."""
    if not text:
        return None
    number = _number(text)
    if number is not None:
        if number < _EPOCH:
            return number
        return number / (1000 if number >= _EPOCH_MS else 1) - wall
    lasting = _seconds(text)
    if lasting is not None:
        return lasting
    try:
        return _seconds_until(datetime.fromisoformat(text), wall)
    except (ValueError, OverflowError):
        return None
