"""What is refused about a request head, beyond what llhttp itself refuses. Nothing here looks at paths or policies."""

from seawall.faults import Code, Fault, Refusal
from seawall.types import Headers


def examine(method: str, version: str, headers: Headers, upgrade: bool) -> bool:
    """Whether the agent waits for `100 Continue` (RFC 9110 §10.1.1). Raises Refusal for a head that must not pass.
    `upgrade`: llhttp takes the connection to be changing its protocol."""
    hosts = expects = websocket = framed = codings = 0
    for name, value in headers:
        size = len(name)
        if size == 4:
            hosts += name.lower() == b"host"
        elif size == 6:
            expects += name.lower() == b"expect" and value.strip().lower() == b"100-continue"
        elif size == 7:
            websocket += name.lower() == b"upgrade" and b"websocket" in value.lower()
        elif size == 17:
            framed += name.lower() == b"transfer-encoding"
            codings += name.lower() == b"transfer-encoding" and value.strip().lower() != b"chunked"
    if (websocket and upgrade) or method == "CONNECT":
        raise _refusal(Code.UPGRADE_REFUSED, "upgrades (WebSocket, CONNECT) are not supported on this port")
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
    return bool(expects) and version == "1.1"


def _refusal(code: Code, detail: str) -> Refusal:
    return Refusal(Fault(code, detail))
