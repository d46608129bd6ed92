"""10,000 random requests, answers, policies and clocks against a small model of RFC 9111, written from its text alone.

The model never parses: it is given the directives as they were chosen, and their meaning. It shares no code with what
it judges.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from seawall.core import cache_http as http
from seawall.core.cache import (
    Bypass,
    CacheSettings,
    Hit,
    Keep,
    OnlyIfCached,
    Revalidate,
    Scope,
    Stale,
    Stored,
)

ROUNDS = 10_000
DAY = 86_400
TOP = 2**31

# What stands for a directive's number, and what a careful reader takes it for: (text, value or None for unreadable).
NUMBERS: tuple[tuple[str, int | None], ...] = (
    ("0", 0), ("1", 1), ("10", 10), ('"10"', 10), ("60", 60), ("0600", 600), ("3600", 3600), ("99999999999", TOP),
    ("-1", None), ("1.5", None), ("x", None), ("", None), ('"5', None),
)  # fmt: skip
STATUSES = (
    200,
    200,
    200,
    200,
    200,
    200,
    200,
    200,
    203,
    204,
    206,
    301,
    302,
    304,
    307,
    308,
    400,
    401,
    404,
    405,
    410,
    429,
    500,
    501,
    503,
)


@dataclass
class Said:
    """Directives as they were chosen: flags, and all values of each number."""

    flags: set[str] = field(default_factory=set)
    numbers: dict[str, list[int | None]] = field(default_factory=dict)
    line: list[str] = field(default_factory=list)

    def number(self, name: str, careful: int) -> int | None:
        """The RFC: an unreadable one, or two that differ, count as the most restrictive."""
        values = self.numbers.get(name)
        if values is None:
            return None
        values = [careful if value is None else value for value in values]
        return values[0] if len(set(values)) == 1 else careful


@dataclass
class Case:
    method: str
    before: Said
    """Of the GET whose answer may be kept."""
    asked: Said
    """Of the request that comes after it."""
    authorization: bool
    status: int
    answered: Said
    date: int | None
    expires: tuple[int | None, ...]
    age: int
    modified: int | None
    tag: bool
    cookie: bool
    vary_all: bool
    sent: int
    came: int
    now: int
    settings: CacheSettings


def choose(rng: random.Random, flags: tuple[str, ...], numbers: tuple[str, ...]) -> Said:
    said = Said()
    for name in rng.sample(flags, rng.choice((0, 0, 0, 1, 1, 2))):
        said.flags.add(name)
        said.line.append(name if rng.random() < 0.8 else name.upper())
    for name in rng.sample(numbers, rng.choice((0, 1, 1, 2))):
        for text, value in rng.choices(
            NUMBERS, weights=[4, 3, 6, 2, 8, 4, 6, 2, 1, 1, 1, 1, 1], k=rng.choice((1, 1, 1, 1, 2))
        ):
            said.line.append(f"{name}={text}")
            said.numbers.setdefault(name, []).append(value)
    if rng.random() < 0.1:
        said.line.append(rng.choice(('community="UCI, no-store"', "immutable", "foo=bar", "no-transform")))
    rng.shuffle(said.line)
    return said


def invent(rng: random.Random) -> Case:
    sent = 1_764_000_000 + rng.randrange(DAY)
    # The clock may be set while the answer is on its way, and while it is kept.
    came = sent + rng.choice((0, 0, 1, 5, 30, 5000, -3, -4000))
    now = came + rng.choice(
        (0, 1, 5, 9, 10, 11, 50, 60, 61, 599, 600, 700, 3599, 3601, DAY, 40 * DAY, -5, -10, -11, -4000)
    )
    made = came - rng.choice((0, 0, 0, 3, 100, 7000))
    asked = choose(
        rng,
        ("no-cache", "no-store", "only-if-cached"),
        ("max-age", "min-fresh", "max-stale", "stale-if-error"),
    )
    if rng.random() < 0.05 and "max-stale" not in asked.numbers:
        asked.line.append("max-stale")
        asked.numbers["max-stale"] = [TOP]
    answered = choose(
        rng,
        ("no-cache", "no-store", "private", "public", "must-revalidate", "proxy-revalidate", "must-understand"),
        ("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"),
    )
    lives: tuple[int | None, ...] = rng.choice(
        ((), (), (), (made + 600,), (made - 5,), (None,), (made + 60, made + 60), (made + 60, made + 61))
    )
    return Case(
        method=rng.choice(("GET", "GET", "GET", "HEAD")),
        before=choose(rng, ("no-store", "no-cache"), ("max-age", "max-stale")) if rng.random() < 0.2 else Said(),
        asked=asked,
        authorization=rng.random() < 0.3,
        status=rng.choice(STATUSES),
        answered=answered,
        date=rng.choice((made, made, made, None)),
        expires=lives,
        age=rng.choice((0, 0, 0, 7, 400)),
        modified=rng.choice((None, None, made - 1000, made - 40 * DAY, made + 50)),
        tag=rng.random() < 0.4,
        cookie=rng.random() < 0.05,
        vary_all=rng.random() < 0.05,
        sent=sent,
        came=came,
        now=now,
        settings=CacheSettings(
            ttl=rng.choice((0, 0, 30)),
            while_revalidate=rng.choice((0, 0, 20, 1000)),
            if_error=rng.choice((0, 0, 50, DAY)),
            negative_ttl=rng.choice((0, 0, 8)),
            heuristic=rng.random() < 0.3,
            scope=rng.choice((Scope.TENANT, Scope.TENANT, Scope.NAMESPACE)),
        ),
    )


# --- the model ------------------------------------------------------------------------------------------------------


def model_lifetime(case: Case) -> float:
    """RFC 9111 §4.2.1, §4.2.2."""
    said, settings = case.answered, case.settings
    shared = settings.scope is Scope.NAMESPACE
    if shared and said.number("s-maxage", 0) is not None:
        return said.number("s-maxage", 0) or 0
    if said.number("max-age", 0) is not None:
        return said.number("max-age", 0) or 0
    made = case.came if case.date is None else case.date
    if case.expires:
        end = case.expires[0]
        return 0 if end is None or len(set(case.expires)) > 1 else max(0, end - made)
    if case.status not in (200, 203, 204, 301, 308, 404, 405, 410, 501) and "public" not in said.flags:
        return 0
    if case.status in (404, 405, 410) and settings.negative_ttl:
        return settings.negative_ttl
    if settings.ttl and case.status < 400:
        return settings.ttl
    if settings.heuristic and case.modified is not None:
        return min(DAY, max(0, made - case.modified) / 10)
    return 0


def model_initial_age(case: Case) -> float:
    """RFC 9111 §4.2.3, down to corrected_initial_age; a clock that went back makes no delay."""
    apparent = 0 if case.date is None else max(0, case.came - case.date)
    return max(apparent, case.age + max(0, case.came - case.sent))


def model_keeps(case: Case) -> bool:
    """RFC 9111 §3, and what this cache keeps out beyond it."""
    said, shared = case.answered, case.settings.scope is Scope.NAMESPACE
    if "no-store" in case.before.flags or case.cookie or case.vary_all:
        return False
    known = (200, 203, 204, 301, 302, 307, 308, 404, 405, 410, 501)
    if case.status not in known:
        return False
    if "no-store" in said.flags and "must-understand" not in said.flags:
        return False
    s_maxage = "s-maxage" in said.numbers
    if shared and "private" in said.flags:
        return False
    if shared and case.authorization and not (said.flags & {"public", "must-revalidate"} or s_maxage):
        return False
    explicit = bool(case.expires) or "max-age" in said.numbers or "public" in said.flags
    explicit = explicit or ("private" in said.flags and not shared) or (shared and s_maxage)
    if not explicit and case.status in (302, 307):
        return False
    if case.tag or case.modified is not None:
        return True
    if "no-cache" in said.flags:
        return False
    left = model_lifetime(case) - model_initial_age(case)
    return left + (0 if model_strict(case) else max(model_window(case, False), model_window(case, True))) > 0


def model_strict(case: Case) -> bool:
    said, shared = case.answered, case.settings.scope is Scope.NAMESPACE
    return "must-revalidate" in said.flags or (
        shared and ("proxy-revalidate" in said.flags or "s-maxage" in said.numbers)
    )


def model_window(case: Case, error: bool) -> float:
    """RFC 5861, else the policy."""
    own = case.answered.number("stale-if-error" if error else "stale-while-revalidate", 0)
    return own if own is not None else case.settings.if_error if error else case.settings.while_revalidate


def model_verdict(case: Case) -> tuple[str, float, float, bool]:
    """What RFC 9111 §4, §4.2.4, §5.2.1 say to do: (what, age, ttl, usable if no upstream answers)."""
    asked, said = case.asked, case.answered
    only = "only-if-cached" in asked.flags
    resident = case.now - case.came
    if "no-store" in asked.flags and not only:
        return "bypass", 0, 0, False
    forwarded = "504" if only else "revalidate"
    if resident < -10:
        return forwarded, 0, 0, False
    age = model_initial_age(case) + max(0, resident)
    ttl = model_lifetime(case) - age
    if "no-cache" in asked.flags or "no-cache" in said.flags:
        return forwarded, age, ttl, False
    max_age, min_fresh = asked.number("max-age", 0), asked.number("min-fresh", TOP)
    acceptable = (max_age is None or age <= max_age) and (min_fresh is None or ttl >= min_fresh)
    if acceptable and ttl > 0:
        return "hit", age, ttl, True
    may_be_stale = not model_strict(case)
    max_stale = asked.number("max-stale", 0)
    if acceptable and may_be_stale and max_stale is not None and -ttl <= max_stale:
        return "hit", age, ttl, True
    if acceptable and may_be_stale and not only and -ttl < model_window(case, False):
        return "stale", age, ttl, True
    wanted = asked.number("stale-if-error", 0)
    if wanted is not None:
        usable = -ttl < wanted and (acceptable or wanted > 0)
    else:
        usable = acceptable and -ttl < model_window(case, True)
    return forwarded, age, ttl, usable and may_be_stale and not only


# --- against the code -----------------------------------------------------------------------------------------------


def http_date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


def control(said: Said) -> list[tuple[bytes, bytes]]:
    """In one line or two; an open quote would swallow what stands behind it on its line, and is put last."""
    parts = sorted(said.line, key=lambda part: part.count('"') % 2)
    cut = len(parts) // 2
    return [(b"Cache-Control", ", ".join(some).encode()) for some in (parts[:cut], parts[cut:]) if some]


def request_of(case: Case, said: Said) -> list[tuple[bytes, bytes]]:
    return control(said) + ([(b"Authorization", b"Bearer x")] if case.authorization else [])


def answer_of(case: Case) -> list[tuple[bytes, bytes]]:
    found = control(case.answered)
    if case.date is not None:
        found.append((b"Date", http_date(case.date)))
    found += [(b"Expires", b"0" if end is None else http_date(end)) for end in case.expires]
    if case.age:
        found.append((b"Age", b"%d" % case.age))
    if case.modified is not None:
        found.append((b"Last-Modified", http_date(case.modified)))
    if case.tag:
        found.append((b"ETag", b'"a"'))
    if case.cookie:
        found.append((b"Set-Cookie", b"a=b"))
    found.append((b"Vary", b"*" if case.vary_all else b"accept"))
    return found


def kept(case: Case) -> Keep | None:
    answer = http.Answer(case.status, answer_of(case), case.sent, case.came)
    found = http.keep("GET", request_of(case, case.before), answer, case.settings)
    return found if isinstance(found, Keep) else None


def verdict(case: Case, keep: Keep) -> tuple[str, float, float, bool]:
    asked = http.ask(case.method, request_of(case, case.asked))
    if isinstance(asked, Bypass):
        return "bypass", 0, 0, False
    assert isinstance(asked, http.Asked)
    stored = Stored(case.status, keep.headers, keep.fresh_seconds, case.sent, case.came, keep.must_revalidate)
    decision: Any = http.look_up(asked, stored, case.settings, case.now)
    usable = http.in_an_outage(asked, stored, case.settings, case.now) is not None
    match decision:
        case Hit(age=age, ttl=ttl):
            return "hit", age, ttl, usable
        case Stale(hit=hit):
            return "stale", hit.age, hit.ttl, usable
        case Revalidate(on_error=on_error):
            assert (on_error is not None) == usable
            return "revalidate", on_error.age if on_error else 0, on_error.ttl if on_error else 0, usable
    assert decision == OnlyIfCached()
    return "504", 0, 0, usable


def test_ten_thousand_random_calls_are_decided_as_the_rfc_says() -> None:
    rng = random.Random(9111)
    seen: Counter[str] = Counter()
    for number in range(ROUNDS):
        case = invent(rng)
        keep = kept(case)
        assert (keep is not None) == model_keeps(case), (number, case)
        seen["kept" if keep is not None else "not kept"] += 1
        if keep is None:
            continue
        what, age, ttl, usable = verdict(case, keep)
        expected = model_verdict(case)
        assert (what, usable) == (expected[0], expected[3]), (number, case, expected)
        if what in ("hit", "stale") or usable:
            assert abs(age - expected[1]) < 1e-6, (number, case)
            assert abs(ttl - expected[2]) < 1e-6, (number, case)
        seen[what] += 1
        seen["usable in an outage" if usable else "not usable"] += 1
    # Every way was taken often.
    ways = ("kept", "not kept", "hit", "stale", "revalidate", "504", "bypass", "usable in an outage", "not usable")
    assert all(seen[what] >= 100 for what in ways), seen
