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
from urllib.parse import unquote_plus

from seawall.core import cache_fields as fields
from seawall.core.cache import CacheSettings, Scope
from seawall.types import Headers

SCHEMA = 1
"""Of keys and of what is kept under them. A change of either makes another number, and old entries are never found."""

# Fields by which clients of whatever API show who they are: what is not a credential here costs hits, and no more.
_CREDENTIAL = re.compile(
    rb"(?:^|[-_])(?:auth|authorization|authentication|cookie|credentials?|key|apikey|password|secret|session|signature"
    rb"|token|jwt|assertion|user|account|tenant)(?:$|[-_])"
)
_NO_CREDENTIAL = frozenset({b"idempotency-key", b"sec-websocket-key", b"user-agent"})
# Of queries, without which the rest is the same question: Gemini's `key`, and what signs URLs elsewhere.
_CREDENTIAL_PARAMETERS = frozenset({"key", "api_key", "apikey", "access_token", "token", "sig", "signature"})


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
class Question:
    """What is asked. path: below the route's prefix; query: without its `?`, as it came; body: canonical, without what
    changes no answer; fields: header fields that change one, in the form of `field`."""

    route: str
    rule: str
    dialect: str
    targets: tuple[Target, ...]
    method: str
    path: str
    query: str
    body: bytes
    fields: tuple[tuple[bytes, bytes], ...] = ()


def key(tenant: bytes, question: Question, settings: CacheSettings) -> bytes:
    """32 bytes. HEAD is asked for with the key of GET, which answers it as well."""
    digest = hashlib.sha256()
    for part in _parts(tenant, question, settings):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def _parts(tenant: bytes, question: Question, settings: CacheSettings) -> Iterable[bytes]:
    yield b"seawall-cache-%d" % SCHEMA
    yield tenant
    # Of the policy what says which answers may be found; how long they are good is said when they are.
    yield b"%d%d" % (settings.nondeterministic, settings.tool_calls)
    method = "GET" if question.method == "HEAD" else question.method
    for text in (question.route, question.rule, question.dialect, method, question.path):
        yield text.encode("utf-8", "surrogateescape")
    yield b"%d" % len(question.targets)
    for target in sorted(question.targets, key=lambda t: (t.group, t.upstream, t.model)):
        yield b"%d" % target.group
        for text in (target.upstream, target.dialect, target.place, target.model):
            yield text.encode()
    yield sorted_query(question.query).encode("utf-8", "surrogateescape")
    yield b"%d" % len(question.fields)
    for name, value in question.fields:
        yield name
        yield value
    yield question.body


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


def _is_credential(name: bytes) -> bool:
    return name not in _NO_CREDENTIAL and _CREDENTIAL.search(name) is not None


def sorted_query(query: str) -> str:
    """Parameters by name, those of one name in their order; without those that are credentials, which `tenant` has."""
    parts = [part for part in query.split("&") if part and not _is_credential_parameter(part)]
    return "&".join(sorted(parts, key=lambda part: part.partition("=")[0]))


def _is_credential_parameter(part: str) -> bool:
    return unquote_plus(part.partition("=")[0]).lower() in _CREDENTIAL_PARAMETERS


def tenant(
    secret: bytes,
    settings: CacheSettings,
    *,
    namespace: str,
    identity: str,
    passed: tuple[Headers, str] | None,
    named: frozenset[bytes] = frozenset(),
) -> bytes:
    """Whose answers a call may see and leave. 32 bytes.

    secret: random per process, or shared by the replicas that share a store. namespace: the route's, which is all that
    counts with `scope: Namespace`. identity: of the caller where one was verified, else of this pod. passed: the
    agent's fields and query, where any candidate passes its credential on; None where keys are injected everywhere,
    so that it makes no difference who asks. named: the fields that the rule's dialects know as credentials.
    """
    digest = hmac.new(secret, b"seawall-tenant", hashlib.sha256)
    parts: list[bytes] = [settings.scope.value.encode()]
    if settings.scope is Scope.NAMESPACE:
        parts.append(namespace.encode())
    else:
        parts.append(identity.encode())
        if passed is not None:
            parts += _credentials(*passed, named)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def _credentials(headers: Headers, query: str, named: frozenset[bytes]) -> Iterable[bytes]:
    found: list[tuple[bytes, bytes]] = []
    for field, value in headers:
        name = field.lower()
        if name in named or _is_credential(name):
            found.append((name, value.strip()))
    for part in query.split("&"):
        if part and _is_credential_parameter(part):
            found.append((b"?", part.encode("utf-8", "surrogateescape")))
    # Lines of one name keep their order, in which they would be read.
    for name, value in sorted(found, key=lambda field: field[0]):
        yield name
        yield value


def field(headers: Headers, name: bytes) -> tuple[bytes, bytes] | None:
    """A header field that changes answers, such as a version or a list of betas, so that its like compares equal: a
    set of words, whatever lines, blanks and order they came in. None: not there."""
    words = {word.strip() for value in fields.values(headers, name) for word in value.split(b",")} - {b""}
    return (name, b",".join(sorted(words))) if words else None
