"""What is refused about a request head, beyond what llhttp itself refuses. Nothing here looks at paths or policies."""

from typing import NamedTuple

from seawall.faults import Code, Fault, Refusal
from seawall.types import Headers


class Wishes(NamedTuple):
    """expects: the agent waits for `100 Continue` (RFC 9110 §10.1.1). websocket: it asks for one (RFC 6455 §4.1)."""

    expects: bool
    websocket: bool


def examine(method: str, version: str, headers: Headers, upgrade: bool) -> Wishes:
    """What a head asks for beside its request. Raises Refusal for one that must not pass. `upgrade`: llhttp takes the
    connection to be changing its protocol."""
    hosts = expects = named = framed = codings = sized = upgrades = 0
    websocket = False
    for name, value in headers:
        size = len(name)
        if size == 4:
            hosts += name.lower() == b"host"
        elif size == 6:
            expects += name.lower() == b"expect" and value.strip().lower() == b"100-continue"
        elif size == 7:
            if name.lower() == b"upgrade":
                upgrades += 1
                named += b"websocket" in value.lower()
                websocket = value.strip().lower() == b"websocket"
        elif size == 14:
            sized += name.lower() == b"content-length" and value.strip() != b"0"
        elif size == 17:
            framed += name.lower() == b"transfer-encoding"
            codings += name.lower() == b"transfer-encoding" and value.strip().lower() != b"chunked"
    if method == "CONNECT":
        raise _refusal(Code.UPGRADE_REFUSED, "CONNECT is not supported on this port")
    if upgrade and named and not (websocket and upgrades == 1 and method == "GET" and version == "1.1"):
        # Whatever else is asked for is ignored (RFC 9110 §7.8); where a WebSocket is among it, that would not do.
        raise _refusal(Code.UPGRADE_REFUSED, "a WebSocket begins with GET, HTTP/1.1 and Upgrade: websocket alone")
    if upgrade and named and (sized or framed):
        raise _refusal(Code.BAD_REQUEST, "a WebSocket's request has no body")
    if version not in ("1.1", "1.0"):
        raise _refusal(Code.BAD_REQUEST, f"HTTP/{version} is not spoken here; use HTTP/1.1")
    if codings:
        # What we cannot decode we must not pass on under another name (RFC 9112 §6.1).
        raise _refusal(Code.BAD_REQUEST, "a Transfer-Encoding other than chunked is not supported")
    if framed and version == "1.0":
        # Its framing is faulty, whatever it means by that (RFC 9112 §6.1).
        raise _refusal(Code.BAD_REQUEST, "HTTP/1.0 knows no Transfer-Encoding")
    if hosts != 1 and not (version == "1.0" and hosts == 0):
        raise _refusal(Code.BAD_REQUEST, f"an HTTP/1.1 request needs exactly one Host field, this one has {hosts}")
    return Wishes(bool(expects) and version == "1.1", upgrade and websocket)


def _refusal(code: Code, detail: str) -> Refusal:
    return Refusal(Fault(code, detail))
