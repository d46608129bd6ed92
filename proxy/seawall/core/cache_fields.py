"""Reads the header fields that caching goes by (RFC 9111, RFC 9110 §5.6.7 and §8.8, RFC 5861), from raw pairs.

Nothing here raises, and what cannot be read is taken at its most careful: an unreadable lifetime is none, an unreadable
date is past, and two values that contradict each other are no value (RFC 9111 §4.2.1).
"""

import calendar
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from seawall.types import Headers

LONGEST = 2**31
"""Seconds. A larger delta-seconds counts as this (RFC 9111 §1.2.2)."""

_DIRECTIVE = re.compile(rb'([^\s=,"]+)(\s*)(?:=(\s*)("(?:[^"\\]|\\.)*"|[^,]*))?[^,]*')
_CONTROLS = frozenset({b"age", b"cache-control", b"date", b"expires", b"vary"})
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')

# Not calendar's own names, which are those of the locale.
_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_DAY = r"(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY = r"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_CLOCK = r"(\d\d):(\d\d):(\d\d)"
_FIXDATE = re.compile(rf"(?a){_DAY}, (\d\d) ([a-z]{{3}}) (\d{{4}}) {_CLOCK} gmt")
_RFC850 = re.compile(rf"(?a){_LONG_DAY}, (\d\d)-([a-z]{{3}})-(\d\d) {_CLOCK} gmt")
_ASCTIME = re.compile(rf"(?a){_DAY} ([a-z]{{3}}) ( \d|\d\d) {_CLOCK} (\d{{4}})")


@dataclass(frozen=True, slots=True)
class Directives:
    """A Cache-Control, of a request or an answer. Seconds are whole and at most LONGEST; None: not there.

    no_cache_fields, private_fields: in lower case, of the qualified forms, which leave the flags alone. Unknown
    directives are left out, and so is `immutable` (RFC 8246): a fresh answer is never validated here unless the agent
    asks for that. max_stale is LONGEST where any staleness will do.
    """

    no_store: bool = False
    no_cache: bool = False
    no_cache_fields: frozenset[bytes] = frozenset()
    private: bool = False
    private_fields: frozenset[bytes] = frozenset()
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    max_stale: int | None = None
    min_fresh: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None


NONE = Directives()

_FLAGS = {
    b"no-store": "no_store",
    b"public": "public",
    b"must-revalidate": "must_revalidate",
    b"proxy-revalidate": "proxy_revalidate",
    b"must-understand": "must_understand",
    b"only-if-cached": "only_if_cached",
}
_NAMED = {b"no-cache": ("no_cache", "no_cache_fields"), b"private": ("private", "private_fields")}
# What an unreadable value, and one of two that differ, stand for: the most restrictive.
_SECONDS = {
    b"max-age": ("max_age", 0),
    b"s-maxage": ("s_maxage", 0),
    b"max-stale": ("max_stale", 0),
    b"min-fresh": ("min_fresh", LONGEST),
    b"stale-while-revalidate": ("stale_while_revalidate", 0),
    b"stale-if-error": ("stale_if_error", 0),
}


def values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Every value of a field, in order. `name` must be in lower case."""
    return [value for key, value in headers if len(key) == len(name) and key.lower() == name]


def directives(headers: Iterable[tuple[bytes, bytes]], *, request: bool = False) -> Directives:
    """All Cache-Control lines together. request: `Pragma: no-cache` counts where there is none (RFC 9111 §5.4)."""
    headers = list(headers)
    lines = values(headers, b"cache-control")
    if not lines:
        if request and any(b"no-cache" in value.lower() for value in values(headers, b"pragma")):
            return Directives(no_cache=True)
        return NONE
    found: dict[str, Any] = {}
    for line in lines:
        for match in _DIRECTIVE.finditer(line):
            before, after, raw = match[2], match[3], match[4]
            # No blanks belong around the sign; what stands behind it then is no value.
            readable = raw is not None and not before and not after
            _take(found, match[1].lower(), _unquoted(raw) if raw is not None else None, readable)
    return Directives(**found)


def _take(found: dict[str, object], name: bytes, value: bytes | None, readable: bool) -> None:
    if name in _FLAGS:
        found[_FLAGS[name]] = True
    elif name in _NAMED:
        flag, fields = _NAMED[name]
        names = frozenset(part.strip().lower() for part in (value or b"").split(b",")) - {b""}
        if not names or not names.isdisjoint(_CONTROLS) or not all(map(_TOKEN.fullmatch, names)):
            # All of it, also where it is about the fields without which its age could not be told.
            found[flag] = True
        else:
            known = found.get(fields, frozenset())
            assert isinstance(known, frozenset)
            found[fields] = known | names
    elif name in _SECONDS:
        key, careful = _SECONDS[name]
        seconds = delta_seconds(value) if readable and value is not None else None
        if name == b"max-stale" and value is None:
            seconds = LONGEST
        seconds = careful if seconds is None else seconds
        found[key] = careful if found.get(key, seconds) != seconds else seconds


def _unquoted(raw: bytes) -> bytes:
    if len(raw) >= 2 and raw[:1] == b'"' and raw[-1:] == b'"':
        return _PAIR.sub(rb"\1", raw[1:-1])
    return raw.rstrip()


def delta_seconds(text: bytes) -> int | None:
    """RFC 9111 §1.2.2; None for what is none."""
    if not text.isdigit():
        return None
    return LONGEST if len(text.lstrip(b"0")) > 10 else min(int(text), LONGEST)


def age(headers: Headers) -> int:
    """The Age of an answer as it came, in seconds: of several the first, and 0 for what is none (RFC 9111 §5.1)."""
    found = values(headers, b"age")
    return (delta_seconds(found[0].partition(b",")[0].strip()) or 0) if found else 0


def date(headers: Headers, name: bytes, wall: float) -> float | None:
    """A field that holds one date, in seconds since 1970; None where it is absent, repeated or none."""
    found = values(headers, name)
    return http_date(found[0], wall) if len(found) == 1 else None


def http_date(value: bytes, wall: float) -> float | None:
    """Seconds since 1970 of a date in one of HTTP's three forms (RFC 9110 §5.6.7); None for anything else, such as a
    zone other than GMT. Case does not matter (RFC 9111 §4.2). wall: now, which decides what century two digits mean."""
    text = value.decode("latin-1").strip().lower()
    if match := _FIXDATE.fullmatch(text):
        day, month, year, *clock = match.groups()
    elif match := _RFC850.fullmatch(text):
        day, month, year, *clock = match.groups()
        year = str(_full_year(int(year), wall))
    elif match := _ASCTIME.fullmatch(text):
        month, day, *clock, year = match.groups()
    else:
        return None
    return _timestamp(int(year), _MONTHS.get(month, 0), int(day), *map(int, clock))


def _full_year(two_digits: int, wall: float) -> int:
    """One that seems to be more than 50 years ahead is of the past."""
    this_year = 1970 + int(wall // 31_556_952)
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year


def _timestamp(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float | None:
    # 60: a leap second.
    if not (1 <= month <= 12 and year >= 1 and hour < 24 and minute < 60 and second <= 60):
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return float(calendar.timegm((year, month, day, hour, minute, second)))


def entity_tag(headers: Headers) -> bytes | None:
    """The one valid ETag of an answer, weak or strong; None where there is none, or more than one."""
    found = values(headers, b"etag")
    return found[0] if len(found) == 1 and _TAG.fullmatch(found[0]) else None


def entity_tags(lines: list[bytes]) -> list[bytes]:
    """The tags that an If-None-Match lists; `*` stands for itself."""
    joined = b",".join(lines)
    return [b"*"] if joined.strip() == b"*" else _TAG.findall(joined)


def opaque(tag: bytes) -> bytes:
    """For the weak comparison of RFC 9110 §8.8.3.2."""
    return tag.removeprefix(b"W/")


def vary(headers: Headers) -> tuple[bytes, ...] | None:
    """The request fields on which an answer depends: lower case, sorted, each once. None: on more than fields (`*`)."""
    names = {name.strip().lower() for value in values(headers, b"vary") for name in value.split(b",")} - {b""}
    return None if b"*" in names else tuple(sorted(names))


def normalised(headers: Headers, name: bytes) -> bytes | None:
    """A request field's value, for comparing it with that of another request (RFC 9111 §4.1): lines joined, blanks
    around commas dropped. None: not there, which equals only its like."""
    found = values(headers, name)
    if not found:
        return None
    joined = b",".join(found)
    # Within quotes a comma and its blanks may mean something.
    parts = [joined.strip()] if b'"' in joined else [part.strip() for part in joined.split(b",")]
    if name == b"accept-encoding":
        # Neither case nor order matters: weights decide.
        parts = sorted(part.lower().replace(b" ", b"") for part in parts)
    return b",".join(part for part in parts if part)
