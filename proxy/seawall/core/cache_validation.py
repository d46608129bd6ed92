"""What an answer says of a kept one (RFC 9111 §3.2, §4.3.3 to §4.4): it holds, it is replaced, or nothing.

Only the kept answer's own conditions are ever sent: where the agent has conditions too, they wait until it is clear
what holds now. The RFC would allow both lists in one request; then a 304 without a tag could be about either.
"""

from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from seawall.core import cache_fields as fields
from seawall.core.cache import CacheSettings, Hit, Keep, Stored, without
from seawall.core.cache_http import UNDERSTOOD, Answer, Asked, in_an_outage, keep
from seawall.types import Headers
from seawall.wire import end_to_end

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

# Of the body that is kept (RFC 9111 §3.2), which a 304 and the answer to a HEAD do not bring.
_OF_THE_BODY = frozenset({b"content-length", b"content-encoding", b"content-type", b"content-range"})
_COOKIES = frozenset({b"set-cookie", b"set-cookie2"})


@dataclass(frozen=True, slots=True)
class Updated:
    """The kept answer holds: give it with these fields, and keep it so. keep: None where it may be given this once."""

    headers: Headers
    keep: Keep | None


@dataclass(frozen=True, slots=True)
class Replaced:
    """The answer is a new one: give it, keep it if it may be, and drop the old."""


@dataclass(frozen=True, slots=True)
class Unrelated:
    """A refusal of this call (401, 429, …): give it, and leave the kept answer as it is."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A 304 about something else than was asked about: drop the kept answer, and ask again without conditions."""


@dataclass(frozen=True, slots=True)
class Failed:
    """No validation. hit: the kept answer may be given instead, else the failure goes to the agent."""

    hit: Hit | None


Validation = Updated | Replaced | Unrelated | Mismatch | Failed


def validated(method: str, asked: Asked, stored: Stored, answer: Answer, settings: CacheSettings) -> Validation:
    """What the answer to a request with the conditions of `stored` means; method: GET or HEAD."""
    if answer.status >= 500:
        return Failed(in_an_outage(asked, stored, settings, answer.response_time))
    if answer.status == 304:
        return _updated(asked, stored, answer, settings) if _about(stored.headers, answer.headers) else Mismatch()
    if method == "HEAD" and answer.status == 200:
        return headed(asked, stored, answer, settings) or Replaced()
    return Replaced() if answer.status < 400 or answer.status in UNDERSTOOD else Unrelated()


def _about(kept: Headers, told: Headers) -> bool:
    """Whether a 304 is about what is kept: the same strong tag, else the same weak validators. One that names none can
    only be about the one answer whose conditions were sent, though it should have named them (RFC 9110 §15.4.5)."""
    ours, theirs = fields.entity_tag(kept), fields.entity_tag(told)
    if theirs is not None and not theirs.startswith(b"W/"):
        return ours == theirs
    if theirs is not None:
        return ours is not None and fields.opaque(ours) == fields.opaque(theirs)
    changed = fields.values(told, b"last-modified")
    return not changed or changed == fields.values(kept, b"last-modified")


def headed(asked: Asked, stored: Stored, answer: Answer, settings: CacheSettings) -> Updated | None:
    """What the 200 to a HEAD says of a kept GET (RFC 9111 §4.3.5): its fields, newer; None: it is to be dropped."""
    for name in (b"etag", b"last-modified", b"content-length"):
        told = fields.values(answer.headers, name)
        if told and told != fields.values(stored.headers, name):
            return None
    return _updated(asked, stored, answer, settings)


def _updated(asked: Asked, stored: Stored, answer: Answer, settings: CacheSettings) -> Updated:
    """RFC 9111 §3.2: each field of the new answer replaces all of its name, but for those of the body."""
    news = end_to_end(answer.headers, _OF_THE_BODY | _COOKIES)
    names = frozenset(name.lower() for name, _ in news)
    # Age and Date belong to one message: where the new one has none, the answer is as young as it can be.
    headers = without(stored.headers, names | {b"age", b"date"}) + news
    now = Answer(stored.status, headers, answer.request_time, answer.response_time)
    kept = keep("GET", asked.headers, now, settings)
    return Updated(headers, kept if isinstance(kept, Keep) else None)


def invalidated(method: str, target: str, status: int, headers: Headers, origins: frozenset[str]) -> tuple[str, ...]:
    """The targets (paths with queries) whose kept answers an unsafe request has made void (RFC 9111 §4.4): its own, and
    what its answer's Location and Content-Location name. origins: `scheme://authority` of the upstream, and of us as
    the agent knows us; what is elsewhere is left alone."""
    if method in SAFE or not 200 <= status < 400:
        return ()
    found = {target: None}
    for name in (b"location", b"content-location"):
        for value in fields.values(headers, name)[:1]:
            try:
                at = urlsplit(urljoin(target, value.decode("latin-1").strip()))
            except ValueError:
                continue
            origin = f"{at.scheme}://{at.netloc}".lower() if at.scheme or at.netloc else ""
            if not origin or origin in origins:
                found[(at.path or "/") + (f"?{at.query}" if at.query else "")] = None
    return tuple(found)
