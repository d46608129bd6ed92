"""Cache keys: SHA-256 over everything that decides what an answer may be, and over whom it belongs to (SEMANTICS §6).

Each part goes in with its length before it, so that no two lists of parts look the same. Tenants never share: whose
answer it is comes from an HMAC of what the call is paid with, so that a store's keys tell nobody's credentials, and
cannot be computed by whoever lacks the secret. Keys are for comparing; they must never be shown to agents.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from urllib.parse import unquote_plus

from seawall.core import cache_fields as fields
from seawall.core.cache import CacheSettings, Scope
from seawall.types import Headers

SCHEMA = 1
"""Of keys and of what is kept under them. A change of either makes another number, and old entries are never found."""

# Fields by which clients of whatever API show who they are: what is not a credential here costs hits, and no more.
_CREDENTIAL = re.compile(
    rb"(?:^|[-_])(?:auth|authorization|authentication|cookie|credentials?|password|secret|signature|jwt|assertion"
    rb"|cert|certificate|email|identity|principal|subject|(?:api|access|auth|session)?(?:key|token)"
    rb"|(?:user|account|tenant|session|org|organi[sz]ation)(?:id|name)?|(?:client|consumer|customer)[-_]?(?:id|name))"
    rb"(?:$|[-_])"
)
_NO_CREDENTIAL = frozenset({b"idempotency-key", b"sec-websocket-key", b"user-agent"})


@dataclass(frozen=True, slots=True)
class Target:
    """What one candidate of the rule would be asked. group: its priority, from 0."""

    group: int
    upstream: str
    """Its key: namespace and name."""
    dialect: str
    place: str
    """Scheme, authority and base path."""
    model: str
    """The upstream's own name for it; "" where the request names none."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What of a question is the same for all calls that ask a rule for one model. credential_parameters: names, in
    lower case, by which its dialect knows keys in queries: they are no part of the question."""

    route: str
    rule: str
    dialect: str
    targets: tuple[Target, ...]
    credential_parameters: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Question:
    """What one call asks. path: below the route's prefix; query: without its `?`, as it came; body: canonical, without
    what changes no answer; fields: header fields that change one, in the form of `field`; without: names, in lower
    case, of the query's parameters that change none."""

    method: str
    path: str
    query: str
    body: bytes
    fields: tuple[tuple[bytes, bytes], ...] = ()
    without: frozenset[str] = frozenset()


class Keys:
    """The keys of one rule and model: what they have in common is hashed once."""

    __slots__ = ("_begun", "_rule")

    def __init__(self, rule: Rule, settings: CacheSettings) -> None:
        self._rule = rule
        self._begun = hashlib.sha256()
        _put(self._begun, _common(rule, settings))

    def key(self, tenant: bytes, question: Question) -> bytes:
        """32 bytes. HEAD is asked for with the key of GET, which answers it as well."""
        digest = self._begun.copy()
        method = "GET" if question.method == "HEAD" else question.method
        without = self._rule.credential_parameters | question.without
        query = sorted_query(question.query, without) if question.query else ""
        parts = [tenant, *map(_bytes, (method, question.path, query)), b"%d" % len(question.fields)]
        for field in question.fields:
            parts += field
        _put(digest, [*parts, question.body])
        return digest.digest()


def _common(rule: Rule, settings: CacheSettings) -> Iterable[bytes]:
    yield b"seawall-cache-%d" % SCHEMA
    # Of the policy what says which answers may be found; how long they are good is said when they are.
    yield b"%d%d" % (settings.nondeterministic, settings.tool_calls)
    yield from map(_bytes, (rule.route, rule.rule, rule.dialect))
    yield b"%d" % len(rule.targets)
    for target in sorted(rule.targets, key=lambda t: (t.group, t.upstream, t.model)):
        yield b"%d" % target.group
        yield from map(_bytes, (target.upstream, target.dialect, target.place, target.model))


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


def _put(digest: _Digest, parts: Iterable[bytes]) -> None:
    digest.update(b"".join([b"%d:%b" % (len(part), part) for part in parts]))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def variant_key(primary: bytes, names: tuple[bytes, ...], headers: Headers) -> bytes:
    """The key of one of several answers to a question (RFC 9111 §4.1): `names` as `Keep.vary` has them, with their
    values in this request. Without any it is the primary key, under which the names are kept as well."""
    if not names:
        return primary
    digest = hashlib.sha256(primary)
    for name, value in varied(primary, names, headers):
        digest.update(b"%d:%b=" % (len(name), name) + (b"-" if value is None else b"%d:%b" % (len(value), value)))
    return digest.digest()


def varied(primary: bytes, names: Iterable[bytes], headers: Headers) -> tuple[tuple[bytes, bytes | None], ...]:
    """What a request has for the fields on which an answer depends, to be kept with it; another request gets the same
    answer if it gives the same here. Credentials are hashed: stores hold none."""
    return tuple((name, _unreadable(primary, name, fields.normalised(headers, name))) for name in names)


def _unreadable(primary: bytes, name: bytes, value: bytes | None) -> bytes | None:
    if value is None or not _is_credential(name):
        return value
    return hmac.digest(primary, value, "sha256")


@lru_cache(maxsize=1024)
def _is_credential(name: bytes) -> bool:
    return name not in _NO_CREDENTIAL and _CREDENTIAL.search(name) is not None


def sorted_query(query: str, without: frozenset[str]) -> str:
    """Parameters by name, those of one name in their order."""
    parts = [part for part in query.split("&") if part and _parameter(part) not in without]
    return "&".join(sorted(parts, key=lambda part: part.partition("=")[0]))


def _parameter(part: str) -> str:
    return unquote_plus(part.partition("=")[0]).lower()


class Tenants:
    """Whose answers the calls of one rule may see and leave.

    secret: random per process, or shared by the replicas that share a store. namespace: the route's, which is all that
    counts with `scope: Namespace`. identity: of this pod. named: the fields that the rule's dialects know as
    credentials; replaced: fields that no upstream of the rule ever gets, as keys of seawall's own take their place.
    parameters: names, in lower case, of the agent's keys in queries, where an upstream gets them.
    """

    __slots__ = ("_begun", "_named", "_parameters", "_replaced", "_wide")

    def __init__(
        self,
        secret: bytes,
        settings: CacheSettings,
        *,
        namespace: str,
        identity: str,
        named: frozenset[bytes] = frozenset(),
        replaced: frozenset[bytes] = frozenset(),
        parameters: frozenset[str] = frozenset(),
    ) -> None:
        self._named = named
        self._replaced = replaced
        self._parameters = parameters
        self._wide = settings.scope is Scope.NAMESPACE
        self._begun = hmac.new(secret, b"seawall-tenant", hashlib.sha256)
        _put(self._begun, [settings.scope.value.encode(), (namespace if self._wide else identity).encode()])

    def tenant(self, headers: Headers, query: str, *, caller: str = "") -> bytes:
        """32 bytes. caller: an identity that was verified; "" where none was. Where seawall's own keys take the place
        of the agents', it makes no difference who asks, unless agents show that in some other way."""
        digest = self._begun.copy()
        if not self._wide:
            _put(digest, [caller.encode(), *self._credentials(headers, query)])
        return digest.digest()

    def _credentials(self, headers: Headers, query: str) -> Iterable[bytes]:
        found: list[tuple[bytes, bytes]] = []
        for field, value in headers:
            name = field.lower()
            if (name in self._named or _is_credential(name)) and name not in self._replaced:
                found.append((name, value.strip()))
        for part in query.split("&") if query and self._parameters else ():
            if _parameter(part) in self._parameters:
                found.append((b"?", _bytes(part)))
        # Lines of one name keep their order, in which they would be read.
        for name, value in sorted(found, key=lambda field: field[0]):
            yield name
            yield value


def field(headers: Headers, name: bytes) -> tuple[bytes, bytes] | None:
    """A header field that changes answers, such as a version or a list of betas, so that its like compares equal: a
    set of words, whatever lines, blanks and order they came in. None: not there."""
    words = {word.strip() for value in fields.values(headers, name) for word in value.split(b",")} - {b""}
    return (name, b",".join(sorted(words))) if words else None
