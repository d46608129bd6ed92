"""Model calls in the cache: what may be kept is for policy and dialect to say, since HTTP has no word for it (RFC 9111
keeps the answer to a POST only where it says so itself, and providers' never do).

Answers are kept as long as the policy's ttl, not as their fields say: `no-cache` and `max-age=0` are there to keep
proxies from buffering streams. `no-store` is a wish and holds, on either side.
"""

import re

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
    no_answer,
    on_error,
)
from seawall.core.cache_fields import Directives
from seawall.faults import Code, Fault
from seawall.types import Headers
from seawall.wire import end_to_end

DETERMINISTIC_REFUSALS = frozenset({Code.INVALID_REQUEST, Code.NOT_FOUND, Code.CONTEXT_LENGTH})
"""What a provider would say again: the request itself is at fault."""

_REFUSED = frozenset({400, 404, 413, 422})
# Cloudflare sets these on every answer of the APIs behind it, and they say nothing of the answer: they tell bots from
# people, and hold a client to a machine. No cookie is ever kept; one by any other name keeps the answer out as well.
_NOBODYS = re.compile(rb"\s*(?:__cf_bm|__cflb|_cfuvid)=")
_NEVER = frozenset(
    {b"set-cookie", b"set-cookie2", b"age", b"retry-after", b"retry-after-ms", b"x-should-retry", b"proxy-status"}
)
# Of the moment, and not of the answer.
_MOMENTARY = re.compile(rb"(?:x-|anthropic-)?ratelimit(?:-|$)|x-seawall-|anthropic-(?:fast|priority)-")


def ask(headers: Headers, settings: CacheSettings, *, deterministic: bool) -> Directives | Bypass | OnlyIfCached:
    """A model call that its dialect does not rule out: what its Cache-Control asks for, or why it is none for the
    cache. deterministic: the same request gets the same answer (`temperature: 0`, embeddings)."""
    asked = fields.directives(headers, request=True)
    if asked.only_if_cached:
        return asked if deterministic or settings.nondeterministic else OnlyIfCached()
    if asked.no_store:
        return Bypass(Forward.BYPASS, Why.REQUEST)
    if not deterministic and not settings.nondeterministic:
        return Bypass(Forward.BYPASS, Why.NONDETERMINISTIC)
    return asked


def look_up(asked: Directives, stored: Stored | None, settings: CacheSettings, now: float) -> Decision:
    """What to do with a call, given what is kept for its key. A shorter ttl of a newer policy holds for what is kept
    already."""
    if stored is None:
        return no_answer(asked, Forward.URI_MISS)
    if asked is fields.NONE and (hit := _plainly(stored, settings, now)) is not None:
        return hit
    return decide(asked, _within(stored, settings), _windows(stored, settings), [], now)


def _plainly(stored: Stored, settings: CacheSettings, now: float) -> Hit | None:
    """What `decide` would come to in the one case that nearly all hits are: the agent has no wish of its own, and the
    answer is fresh beyond doubt. A tenth of its cost."""
    resident = now - stored.response_time
    longest = settings.negative_ttl if stored.status >= 400 else settings.ttl
    left = min(stored.fresh_seconds, longest) - resident
    if resident < 0 or left <= 0 or stored.response_time < stored.request_time:
        return None
    return Hit(now - stored.request_time, left)


def in_an_outage(asked: Directives, stored: Stored, settings: CacheSettings, now: float) -> Hit | None:
    """Whether a kept answer may be given now that no upstream has one. A kept refusal never is, once stale."""
    return on_error(asked, _within(stored, settings), _windows(stored, settings), now)


def _windows(stored: Stored, settings: CacheSettings) -> Windows:
    if stored.status >= 400:
        return Windows(0.0, 0.0)
    return Windows(settings.while_revalidate, settings.if_error)


def _within(stored: Stored, settings: CacheSettings) -> Stored:
    """Without its fields as well: how old it is, only its times say."""
    longest = settings.negative_ttl if stored.status >= 400 else settings.ttl
    fresh = min(stored.fresh_seconds, longest)
    return Stored(stored.status, [], fresh, stored.request_time, stored.response_time, stored.must_revalidate)


def keep(
    asked: Directives,
    status: int,
    headers: Headers,
    settings: CacheSettings,
    *,
    unfinished: str = "",
    calls_tools: bool = False,
    whole: bool = True,
    size: int = 0,
) -> Keep | Pass:
    """Whether a good answer (one that no fault was found with) is kept. unfinished: why its dialect says that it did
    not end normally, "" when it did. whole: all of it has come, of `size` bytes."""
    why = _never(asked, headers, settings, whole, size)
    if why is not None:
        return Pass(why)
    if status not in (200, 201):
        return Pass(Why.STATUS)
    if unfinished:
        return Pass(Why.UNFINISHED, unfinished)
    if calls_tools and not settings.tool_calls:
        return Pass(Why.TOOL_CALLS)
    return _kept(headers, settings.ttl, max(settings.while_revalidate, settings.if_error))


def keep_refusal(
    asked: Directives, fault: Fault, headers: Headers, settings: CacheSettings, *, whole: bool = True, size: int = 0
) -> Keep | Pass:
    """Whether an upstream's own refusal is kept: only one that would be repeated, and only where the policy says for
    how long (`cache.negativeTtl`)."""
    why = _never(asked, headers, settings, whole, size)
    if why is None and settings.shared:
        # What one key may not have another may.
        why = Why.PRIVATE
    if why is not None:
        return Pass(why)
    if fault.code not in DETERMINISTIC_REFUSALS or fault.status not in _REFUSED:
        return Pass(Why.STATUS)
    return _kept(headers, settings.negative_ttl, 0.0)


def _never(asked: Directives, headers: Headers, settings: CacheSettings, whole: bool, size: int) -> Why | None:
    if asked.no_store:
        return Why.REQUEST
    if fields.directives(headers).no_store:
        return Why.ANSWER
    if not all(_NOBODYS.match(cookie) for cookie in fields.values(headers, b"set-cookie")):
        return Why.COOKIE
    if not whole:
        return Why.INCOMPLETE
    return Why.TOO_LARGE if size > settings.max_entry else None


def _kept(headers: Headers, fresh: float, stale: float) -> Keep | Pass:
    if fresh + stale <= 0:
        return Pass(Why.NO_LIFETIME)
    kept = [field for field in end_to_end(headers, _NEVER) if not _MOMENTARY.match(field[0].lower())]
    return Keep(kept, fresh, stale)
