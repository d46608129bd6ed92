"""RFC 9111 for GET and HEAD: what may be kept, and whether it answers a request; validation is in cache_validation.py.

One tenant's cache is a private one: `private` answers are kept, `s-maxage` says nothing, and Authorization forbids
nothing (RFC 9111 §3.5); with `scope: Namespace` it is a shared one, and all three count. Never kept: partial content,
cookies, answers that vary on everything. No Warning fields are written (RFC 9111 §5.5).

Why not hishel, the library that fits best (2.0.0, typed, kept up, its rules apart from its I/O): it reads the clock
where it computes ages, so that clock jumps and replays could be neither handled nor tested; it knows neither the time
of the request nor `max-age`, `max-stale`, `min-fresh`, `only-if-cached`, `stale-if-error`, `must-understand` or the
agent's own conditions; its fields are text by name, where ours are the bytes as they came; and its rules can not be
imported without its SQLite and Redis stores. What it has, this has in fewer lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from seawall.core import cache_fields as fields
from seawall.core.cache import (
    Bypass,
    CacheSettings,
    Decision,
    Forward,
    Hit,
    Keep,
    OnlyIfCached,
    Pass,
    Stored,
    Why,
    Windows,
    decide,
    initial_age,
    no_answer,
    on_error,
)
from seawall.core.cache_fields import Directives
from seawall.types import Headers
from seawall.wire import end_to_end

HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that may be kept without a lifetime of their own (RFC 9110 §15.1). Not 206: parts are never kept."""

UNDERSTOOD = HEURISTIC | {302, 307}
"""Statuses that are kept at all. The RFC would allow a 503 with a lifetime as well; an outage is not to be kept."""

KEPT_TO_VALIDATE = 86_400.0
"""Seconds that a stale answer with a validator is worth keeping: a 304 makes it fresh again."""

LONGEST_GUESS = 86_400.0
"""Seconds; no guess at a lifetime is longer."""

# Conditions that a cache must not evaluate (RFC 9111 §4.3.2); those who send them want the origin's word.
_ORIGINS_OWN = (b"if-match", b"if-unmodified-since", b"if-range")
_NEVER = frozenset({b"set-cookie", b"set-cookie2", b"proxy-authentication-info"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A GET or HEAD request, as far as caching goes by it."""

    directives: Directives
    headers: Headers


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's head. request_time, response_time: wall clock, when it was asked for and when its head came."""

    status: int
    headers: Headers
    request_time: float
    response_time: float


def ask(method: str, headers: Headers, *, body: bool = False) -> Asked | Bypass | OnlyIfCached:
    """A request for the cache, or why it is none for it. Keys are those of GET, whichever of both it is."""
    asked = fields.directives(headers, request=True)
    why = _not_ours(method, headers, body)
    if why is None and asked.no_store and not asked.only_if_cached:
        why = Why.REQUEST
    if why is None:
        return Asked(asked, headers)
    if asked.only_if_cached:
        return OnlyIfCached()
    return Bypass(Forward.METHOD if why is Why.METHOD else Forward.BYPASS, why)


def _not_ours(method: str, headers: Headers, body: bool) -> Why | None:
    if method not in ("GET", "HEAD"):
        return Why.METHOD
    if body:
        return Why.BODY
    names = {name.lower() for name, _ in headers}
    if b"range" in names:
        return Why.RANGE
    return Why.CONDITION if not names.isdisjoint(_ORIGINS_OWN) else None


def most_recent(stored: Sequence[Stored]) -> Stored | None:
    """Of several that match, by their Date (RFC 9111 §4); None of none."""

    def made(one: Stored) -> float:
        date = fields.date(one.headers, b"date", one.response_time)
        return one.response_time if date is None else date

    return max(stored, key=made, default=None)


def look_up(
    asked: Asked, stored: Stored | None, settings: CacheSettings, now: float, *, others: bool = False
) -> Decision:
    """What to do. stored: of this request's variant; others: there are only those of other variants."""
    if stored is None:
        return no_answer(asked.directives, Forward.VARY_MISS if others else Forward.URI_MISS)
    windows = _windows(fields.directives(stored.headers), settings)
    same = not_modified(asked, stored)
    return decide(asked.directives, stored, windows, validators(stored.headers), now, not_modified=same)


def in_an_outage(asked: Asked, stored: Stored, settings: CacheSettings, now: float) -> Hit | None:
    """Whether a kept answer may be given now that no upstream has one."""
    same = not_modified(asked, stored)
    windows = _windows(fields.directives(stored.headers), settings)
    return on_error(asked.directives, stored, windows, now, not_modified=same)


def _windows(said: Directives, settings: CacheSettings) -> Windows:
    """What the answer says of itself comes before the policy, a contract beside the protocol (RFC 9111 §4.2.4)."""
    return Windows(
        settings.while_revalidate if said.stale_while_revalidate is None else said.stale_while_revalidate,
        settings.if_error if said.stale_if_error is None else said.stale_if_error,
        valid=not said.no_cache,
    )


def validators(headers: Headers) -> Headers:
    """The conditions under which an answer need not be sent again (RFC 9111 §4.3.1)."""
    conditions: Headers = []
    if (tag := fields.entity_tag(headers)) is not None:
        conditions.append((b"If-None-Match", tag))
    modified = fields.values(headers, b"last-modified")
    if len(modified) == 1:
        conditions.append((b"If-Modified-Since", modified[0]))
    return conditions


def not_modified(asked: Asked, stored: Stored) -> bool:
    """Whether the agent has the kept answer already (RFC 9111 §4.3.2)."""
    if stored.status != 200:
        return False
    tags = fields.values(asked.headers, b"if-none-match")
    if tags:
        listed = fields.entity_tags(tags)
        tag = fields.entity_tag(stored.headers)
        return listed == [b"*"] or (tag is not None and fields.opaque(tag) in map(fields.opaque, listed))
    since = fields.date(asked.headers, b"if-modified-since", stored.response_time)
    if since is None:
        return False
    # Without a Last-Modified its Date says when it was made, or at the latest when it came.
    for name in (b"last-modified", b"date"):
        if (changed := fields.date(stored.headers, name, stored.response_time)) is not None:
            return changed <= since
    return stored.response_time <= since


def keep(
    method: str, asked: Headers, answer: Answer, settings: CacheSettings, *, whole: bool = True, size: int = 0
) -> Keep | Pass:
    """Whether an answer is kept (RFC 9111 §3), and for how long. whole: all of it has come, of `size` bytes."""
    said = fields.directives(answer.headers)
    why = _never(method, asked, answer, said, settings.shared)
    if why is None and not whole:
        why = Why.INCOMPLETE
    if why is None and size > settings.max_entry:
        why = Why.TOO_LARGE
    vary = fields.vary(answer.headers)
    if why is not None or vary is None:
        return Pass(why or Why.VARY)
    fresh = lifetime(answer, said, settings)
    fresh -= initial_age(answer.headers, answer.request_time, answer.response_time)
    strict = said.must_revalidate or (settings.shared and (said.proxy_revalidate or said.s_maxage is not None))
    windows = _windows(said, settings)
    stale = 0.0 if strict else max(windows.while_revalidate, windows.if_error)
    if validators(answer.headers):
        stale = max(stale, KEPT_TO_VALIDATE - min(0.0, fresh))
    elif not windows.valid or fresh + stale <= 0:
        return Pass(Why.NO_LIFETIME)
    return Keep(_kept(answer.headers, said, settings.shared), fresh, stale, strict, vary)


def _never(method: str, asked: Headers, answer: Answer, said: Directives, shared: bool) -> Why | None:
    if method != "GET":
        return Why.METHOD
    if answer.status not in UNDERSTOOD:
        return Why.STATUS
    if fields.directives(asked, request=True).no_store:
        return Why.REQUEST
    # Whoever understands a status may overlook the no-store that is for those who do not (RFC 9111 §5.2.2.3).
    if said.no_store and not said.must_understand:
        return Why.ANSWER
    if fields.values(answer.headers, b"set-cookie"):
        return Why.COOKIE
    if shared and said.private:
        return Why.PRIVATE
    allowed = said.public or said.must_revalidate or said.s_maxage is not None
    if shared and fields.values(asked, b"authorization") and not allowed:
        return Why.AUTHORIZED
    return None if answer.status in HEURISTIC or _explicit(answer, said, shared) else Why.NO_LIFETIME


def _explicit(answer: Answer, said: Directives, shared: bool) -> bool:
    """Whether an answer itself says that it may be kept, whatever its status."""
    if said.public or said.max_age is not None or fields.values(answer.headers, b"expires"):
        return True
    return said.s_maxage is not None if shared else said.private


def lifetime(answer: Answer, said: Directives, settings: CacheSettings) -> float:
    """Seconds for which an answer is fresh, from when it was made (RFC 9111 §4.2.1); 0 where nothing says so.

    Its own word comes first. A policy's ttl is a lifetime for answers without one (RFC 9111 §4.2.2 leaves it to the
    cache), and the usual guess, a tenth of the time since the last change, is made only where the policy asks for it:
    an API's answer may well change in the minute after a quiet year.
    """
    if settings.shared and said.s_maxage is not None:
        return said.s_maxage
    if said.max_age is not None:
        return said.max_age
    date = fields.date(answer.headers, b"date", answer.response_time)
    made = answer.response_time if date is None else date
    if expires := fields.values(answer.headers, b"expires"):
        until = fields.http_date(expires[0], answer.response_time) if len(set(expires)) == 1 else None
        return 0.0 if until is None else max(0.0, until - made)
    if answer.status not in HEURISTIC and not said.public:
        return 0.0
    if settings.negative_ttl and answer.status in (404, 405, 410, 414):
        return settings.negative_ttl
    if settings.ttl and answer.status < 400:
        return settings.ttl
    changed = fields.date(answer.headers, b"last-modified", answer.response_time)
    if not settings.heuristic or changed is None:
        return 0.0
    return min(LONGEST_GUESS, max(0.0, made - changed) / 10)


def _kept(headers: Headers, said: Directives, shared: bool) -> Headers:
    """RFC 9111 §3.1, and §5.2.2.4: fields that only a validation may bring are not kept."""
    private = said.private_fields if shared else frozenset()
    return end_to_end(headers, _NEVER | said.no_cache_fields | private)
