"""Writes what an answer says of the cache: Age (RFC 9111 §5.1) and Cache-Status (RFC 9211).

**What "marked as cached" means.** The body of a kept answer stays as it was recorded, its usage too: those are the
provider's words about the call that was billed, and an agent that reads how long its context has grown needs them.
That this call cost nothing is said beside it, in `Cache-Status: seawall; hit` and `x-seawall-usage: cached`, which
`usage_fields` writes; and in our own accounts, where `billed` is what is added up. An entry's key is never told: it
would let agents compare what others ask.
"""

import math

from seawall.core.cache import Forward, Hit
from seawall.core.cache_fields import LONGEST
from seawall.types import Headers, Usage

NAME = b"seawall"
CACHED_USAGE = (b"x-seawall-usage", b"cached")


def age_field(age: float) -> tuple[bytes, bytes]:
    """Whole seconds, rounded down."""
    return b"Age", b"%d" % min(max(0, math.floor(age)), LONGEST)


def hit_status(hit: Hit, *, collapsed: bool = False, detail: str = "") -> tuple[bytes, bytes]:
    """An answer that came from the cache, stale or not, without asking an upstream. ttl: below 0 it is stale."""
    if not (collapsed or detail) and -LONGEST < hit.ttl < LONGEST:
        return b"Cache-Status", b"seawall; hit; ttl=%d" % math.floor(hit.ttl)
    return _status([b"hit", *_extra(hit.ttl, collapsed, detail)])


def forward_status(
    why: Forward,
    *,
    status: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    ttl: float | None = None,
    detail: str = "",
) -> tuple[bytes, bytes]:
    """An upstream was asked. status: that of its answer, where it is not the one that is given: 304, or a failure that
    a stale answer stands in for. collapsed: another call for the same asked it, and this one waited for that."""
    parts = [b"fwd=" + why.value.encode()]
    if status is not None:
        parts.append(b"fwd-status=%d" % status)
    if stored:
        parts.append(b"stored")
    return _status(parts + _extra(ttl, collapsed, detail))


def _extra(ttl: float | None, collapsed: bool, detail: str) -> list[bytes]:
    parts: list[bytes] = []
    if ttl is not None:
        parts.append(b"ttl=%d" % max(-LONGEST, min(math.floor(ttl), LONGEST)))
    if collapsed:
        parts.append(b"collapsed")
    if detail:
        parts.append(b'detail="%b"' % _quoted(detail))
    return parts


def _quoted(text: str) -> bytes:
    """The inside of a structured field's string (RFC 8941 §3.3.3): printable ASCII."""
    shown = "".join(c if " " <= c <= "~" else "?" for c in text)
    return shown.replace("\\", "\\\\").replace('"', '\\"').encode("ascii")


def _status(parts: list[bytes]) -> tuple[bytes, bytes]:
    return b"Cache-Status", b"; ".join([NAME, *parts])


def usage_fields(usage: Usage | None) -> Headers:
    """The mark of an answer whose usage was billed before, or is billed to the call that it waited for."""
    return [CACHED_USAGE] if usage is not None else []


def billed(usage: Usage | None, *, cached: bool) -> Usage | None:
    """What a call's usage adds to a bill: nothing, where its answer was kept or another call's."""
    return None if cached else usage
