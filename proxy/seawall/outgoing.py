"""The agent's request as one upstream gets it: path joined, Host and credential set, the model's name spliced.

Every attempt starts from the original request (SEMANTICS §8); all bytes that policy does not name stay as they came.
"""

from urllib.parse import unquote, unquote_plus

from seawall.call import Call
from seawall.faults import Code, Fault
from seawall.runtime import Candidate, Target
from seawall.tracing import FIELDS, is_signed
from seawall.types import HINTS, Body, Headers, Safety, header, origin_form
from seawall.upstream.credential import Unsigned
from seawall.upstream.pool import Request
from seawall.wire import UPGRADE, end_to_end

# Answered here (Expect), or meant for us.
_DROP = frozenset({b"expect", *HINTS})
_FRAMING = frozenset({b"content-length"})


def request_for(
    call: Call, candidate: Candidate, *, again: bool = False, traced: Headers | None = None
) -> Request | Fault:
    """Build the request for one attempt. again: this upstream may have had it already. traced: fields that tell it
    its place in a trace; none leaves the agent's."""
    there = candidate.target
    target, data = call.rest, call.body.data
    if again and call.facts.again:
        target += ("&" if "?" in target else "?") + call.facts.again
    drop = _DROP
    model = candidate.model_for(call.facts.model)
    spliced = None
    if model != call.facts.model:
        spliced = there.dialect.with_model(target, data, model) if call.body.whole else None
        if spliced is None:
            return Fault(Code.NO_CANDIDATE, f"the request has no place for the model {model}")
        target, data = spliced
        drop = drop | _FRAMING
    credential = there.credential
    if credential is not None:
        if _climbs(target):
            return Fault(Code.BAD_REQUEST, "dot segments could lead an injected credential out of the route")
        drop = drop | credential.replaces
        target = _without(target, there.dialect.credential_parameters())
    if traced and (credential is not None or not is_signed(call.head.headers)):
        headers = end_to_end(call.head.headers, drop | FIELDS) + traced
    else:
        headers = end_to_end(call.head.headers, drop)
    if not there.keep_host:
        if there.dialect.forwarded:
            headers += _forwarded(call, headers)
        _set_host(headers, there.host)
    if call.upgrade is not None:
        if credential is not None:
            headers = _without_keys(headers, there.dialect.credential_protocols)
        headers += UPGRADE
    target = join(there.base_path, target, there.dialect.version_prefix if call.bare else "")
    if credential is not None:
        whole = call.body.whole or spliced is not None
        if credential.covers_body and not whole:
            return _unsignable(call)
        fields = credential.fields(Unsigned(call.head.method, target, headers, data if whole else None))
        if fields is None:
            return Fault(Code.CREDENTIAL_UNREADABLE, credential.error)
        headers += fields
    if spliced is not None and not call.chunked:
        headers.append((b"content-length", b"%d" % len(data)))
    body: bytes | Body = call.body
    if spliced is not None:
        call.body.send_whole()
        body = data
    elif call.body.kept:
        body = call.body.send_whole()
    return Request(
        call.head.method,
        target,
        headers,
        body,
        chunked=call.chunked,
        # What flows through cannot be sent again either, should the connection just be closing.
        fresh=call.facts.safety is Safety.UNSAFE or not call.body.kept,
        trailers=lambda: call.body.trailers,
        upgrade=call.upgrade is not None,
    )


def _unsignable(call: Call) -> Fault:
    if call.body.spent:
        return Fault(Code.QUEUE_FULL, "the buffers are full, and the body must be held to be signed", hint=1.0)
    return Fault(Code.BODY_TOO_LARGE, "the body is too large to be signed")


def credential_mark(call: Call, target: Target) -> int:
    """Tells apart the credentials of different agents behind one upstream, for cooldowns: a number of this process
    that does not reveal the credential. 0 where seawall injects its own."""
    if target.credential is not None:
        return 0
    fields, parameters = target.dialect.credential_fields(), target.dialect.credential_parameters()
    given: list[bytes | str] = [value for name, value in call.head.headers if name.lower() in fields]
    if parameters:
        given += [part for part in _parameters(call.head.target) if _name(part) in parameters]
    return hash(tuple(given))


def join(base: str, rest: str, version_prefix: str) -> str:
    """The matched prefix's rest behind the base URL's path. A bare path brings the version prefix along, which the
    base URL may already end with: then it stands once."""
    if version_prefix and base.endswith(version_prefix) and rest.startswith(version_prefix + "/"):
        rest = rest[len(version_prefix) :]
    target = base + rest
    return target if target.startswith("/") else "/" + target


def _parameters(target: str) -> list[str]:
    """The query's, each as it stands: `key=…`."""
    return target.partition("?")[2].split("&")


def _name(parameter: str) -> str:
    return unquote_plus(parameter.partition("=")[0])


def _without(target: str, names: frozenset[str]) -> str:
    """The target without these parameters of its query; all others stay byte for byte."""
    if not names or "?" not in target:
        return target
    kept = [part for part in _parameters(target) if _name(part) not in names]
    path = target.partition("?")[0]
    return f"{path}?{'&'.join(kept)}" if kept else path


def _forwarded(call: Call, headers: Headers) -> Headers:
    """Where agents reach this route, for an upstream that makes URLs of it: what the agent called, unless a proxy
    before us has said so already."""
    known = {name.lower() for name, _ in headers}
    host, target = header(headers, b"host"), origin_form(call.head.target)
    fields: Headers = [(b"x-forwarded-proto", b"http")]
    if host is not None:
        fields.append((b"x-forwarded-host", host))
    prefix = target[: len(target) - len(call.rest)] if target.endswith(call.rest) else ""
    if prefix.strip("/"):
        fields.append((b"x-forwarded-prefix", prefix.encode("latin-1")))
    return [field for field in fields if field[0] not in known]


def _without_keys(headers: Headers, prefixes: tuple[bytes, ...]) -> Headers:
    """The fields without the subprotocols in which browsers, which can set no field, send a key."""
    kept: Headers = []
    for name, value in headers:
        if prefixes and len(name) == 22 and name.lower() == b"sec-websocket-protocol":
            value = b", ".join(p for p in map(bytes.strip, value.split(b",")) if not p.startswith(prefixes))
            if not value:
                continue
        kept.append((name, value))
    return kept


def _climbs(target: str) -> bool:
    """As any server might read it: encoded or not, with backslashes, with parameters behind a segment."""
    path = unquote(unquote(target.partition("?")[0])).replace("\\", "/")
    return any(segment.partition(";")[0] == ".." for segment in path.split("/"))


def _set_host(headers: Headers, host: bytes) -> None:
    for position, (name, _) in enumerate(headers):
        if len(name) == 4 and name.lower() == b"host":
            headers[position] = (name, host)
            return
    headers.insert(0, (b"host", host))
