"""One call as a question to the cache: its key, its form, what its agent says of kept answers, and the rules that it
goes by: RFC 9111's where answers speak for themselves, the policy's for model calls (SEMANTICS §6).

It decides by core/cache*.py, and looks nothing up.
"""

import dataclasses
from hashlib import sha256
from itertools import chain

import msgspec
from msgspec.structs import replace

from seawall.call import Call
from seawall.core import cache_fields as fields
from seawall.core import cache_http, cache_model, cache_validation
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
    without,
)
from seawall.core.cache_fields import Directives
from seawall.core.cache_validation import Validation
from seawall.dialects.base import Finish, Form, Material
from seawall.faults import Fault
from seawall.question import Questions
from seawall.store.entry import Entry
from seawall.types import Head, Headers

_CONDITIONS = frozenset({b"if-none-match", b"if-modified-since"})


class Asking(msgspec.Struct, frozen=True, eq=False):
    """A call that may be answered from the cache. form: in which its agent wants the answer. http: None where RFC 9111
    has no say."""

    call: Call
    key: bytes
    form: Form
    settings: CacheSettings
    directives: Directives
    http: cache_http.Asked | None

    def look_up(self, entry: Entry | None, now: float, *, others: bool = False) -> Decision:
        """What to do, given what is kept; others: there are answers, but to requests that differ in what they vary
        on. now: wall clock."""
        stored = None if entry is None else stored_of(entry)
        if self.http is None:
            return cache_model.look_up(self.directives, stored, self.settings, now)
        return cache_http.look_up(self.http, stored, self.settings, now, others=others)

    def in_an_outage(self, entry: Entry, now: float) -> Hit | None:
        """Whether it may be given now that no upstream has an answer."""
        if self.http is None:
            return cache_model.in_an_outage(self.directives, stored_of(entry), self.settings, now)
        return cache_http.in_an_outage(self.http, stored_of(entry), self.settings, now)

    def not_modified(self, entry: Entry) -> bool:
        """Whether the agent has it already."""
        return self.http is not None and cache_http.not_modified(self.http, stored_of(entry))

    def keep(
        self, answer: cache_http.Answer, fault: Fault | None, finish: Finish, *, whole: bool = True, size: int = 0
    ) -> Keep | Pass:
        """Whether an upstream's answer is kept. fault: what it means, where it is an error."""
        if self.http is not None:
            return cache_http.keep(
                self.call.head.method, self.http.headers, answer, self.settings, whole=whole, size=size
            )
        if fault is not None:
            return cache_model.keep_refusal(
                self.directives, fault, answer.headers, self.settings, whole=whole, size=size
            )
        return cache_model.keep(
            self.directives,
            answer.status,
            answer.headers,
            self.settings,
            unfinished=finish.unfinished,
            calls_tools=finish.calls_tools,
            whole=whole,
            size=size,
        )

    def validated(self, entry: Entry, answer: cache_http.Answer) -> Validation:
        """What the answer to a request with the conditions of `entry` means. For those that RFC 9111 has a say in."""
        assert self.http is not None
        return cache_validation.validated(self.call.head.method, self.http, stored_of(entry), answer, self.settings)

    def headers_with(self, conditions: Headers) -> Headers:
        """The request's fields with these conditions in the place of its own."""
        return without(self.call.head.headers, _CONDITIONS) + conditions

    @property
    def shown_key(self) -> str:
        """What of its key people see."""
        return self.key[:8].hex()

    def unconditional(self) -> "Asking":
        """The same question, as one asks it on nobody's behalf: for the whole answer, whatever one has."""
        if self.http is None:
            return self
        call = self.call
        method = "GET" if call.head.method == "HEAD" else call.head.method
        head = dataclasses.replace(call.head, method=method, headers=self.headers_with([]))
        return replace(self, call=replace(call, head=head), http=cache_http.Asked(self.directives, head.headers))

    @property
    def conditional(self) -> bool:
        """Whether the agent asks on conditions of its own."""
        return self.http is not None and any(name.lower() in _CONDITIONS for name, _ in self.call.head.headers)


# So many requests are remembered, each by a hash.
_MOST_SEEN = 4096


class _Seen(msgspec.Struct, frozen=True):
    """What a request is, without anything of its own bytes."""

    key: bytes
    form: Form
    directives: Directives
    by_http: bool


class Asker:
    """Sees what calls of one rule are to the cache. Agents that ask again tend to send the same bytes, and to see that
    costs a tenth of reading them."""

    def __init__(self, questions: Questions) -> None:
        self.questions = questions
        self._seen: dict[bytes, _Seen | Bypass | OnlyIfCached] = {}

    def ask(self, call: Call) -> Asking | Bypass | OnlyIfCached:
        """See what a call is."""
        if not call.body.kept:
            return Bypass(Forward.BYPASS, Why.TOO_LARGE)
        mark = call.mark or request_mark(call.head, call.body.data)
        seen = self._seen.get(mark)
        if seen is None:
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            seen = _read(call, self.questions)
            # Lists of fields are as long as their agents like, and mean nothing in a request.
            if not isinstance(seen, _Seen) or not (seen.directives.no_cache_fields or seen.directives.private_fields):
                self._seen[mark] = seen
        if not isinstance(seen, _Seen):
            return seen
        http = cache_http.Asked(seen.directives, call.head.headers) if seen.by_http else None
        settings = call.hints.cached(self.questions.settings)
        return Asking(call, seen.key, seen.form, settings, seen.directives, http)


def request_mark(head: Head, body: bytes) -> bytes:
    """A hash of everything that an agent has sent. Neither a target nor a field holds a line's end, and their number
    comes first: where the body begins is certain."""
    first = f"{len(head.headers)}\n{head.method}\n{head.target}".encode("utf-8", "surrogateescape")
    return sha256(b"\n".join((first, *chain.from_iterable(head.headers), body))).digest()


def _read(call: Call, questions: Questions) -> _Seen | Bypass | OnlyIfCached:
    settings, head, dialect = call.hints.cached(questions.settings), call.head, call.plan.dialect
    material = dialect.cache_material(call.facts, call.body.data)
    if not isinstance(material, Material):
        if fields.directives(head.headers, request=True).only_if_cached:
            return OnlyIfCached()
        return Bypass(Forward.METHOD if material.by_http else Forward.BYPASS, Why.METHOD)
    if material.by_http:
        read = cache_http.ask(head.method, head.headers, body=bool(call.body.data))
        asked = read.directives if isinstance(read, cache_http.Asked) else read
    else:
        asked = cache_model.ask(head.headers, settings, deterministic=material.deterministic)
    if not isinstance(asked, Directives):
        return asked
    return _Seen(questions.key(head, call.facts, call.rest, material), material.form, asked, material.by_http)


def stored_of(entry: Entry) -> Stored:
    """What decisions need to know of an entry."""
    return Stored(
        entry.status,
        entry.headers,
        entry.fresh_seconds,
        entry.requested_at,
        entry.responded_at,
        entry.must_revalidate,
    )
