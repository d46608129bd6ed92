"""HTTP/1.1 on the wire, as far as both sides share it: which fields stay on one hop, how a body is framed.

Pure functions over raw header pairs; nothing here reads or writes a socket.
"""

from collections.abc import Iterable

from seawall.types import Headers

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"te", b"upgrade", b"trailer"}
    | {b"proxy-authorization", b"proxy-authenticate", b"http2-settings"}
)
"""RFC 9110 §7.6.1, and the ones that RFC 2616 named; `Connection` may name more."""

UPGRADE: Headers = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
"""The fields of one hop by which a WebSocket is asked for, and granted (RFC 6455 §4)."""

# RFC 9110 §6.5.1: what frames, routes or authenticates a message must not be changed behind it.
_NEVER_TRAILERS = HOP_BY_HOP | {b"content-length", b"host", b"authorization"}

# A chunk is copied into one write up to this size; above it, the pieces are handed over as they are.
_COPY_LIMIT = 16 * 1024


def end_to_end(headers: Iterable[tuple[bytes, bytes]], drop: frozenset[bytes] = frozenset()) -> Headers:
    """The fields that may travel on, in order and case: without the hop-by-hop ones, those that `Connection` names,
    and those in `drop` (lower case)."""
    kept: Headers = []
    named: set[bytes] = set()
    for field in headers:
        name = field[0].lower()
        if name == b"connection":
            named.update(token.strip().lower() for token in field[1].split(b","))
        elif name not in HOP_BY_HOP and name not in drop:
            kept.append(field)
    named -= {b"", b"close", b"keep-alive"}
    if named:
        # A client must not be able to strip what we rely on by naming it (RFC 9110 §7.6.1's own warning).
        named -= {b"host", b"content-length", b"content-type"}
        kept = [field for field in kept if field[0].lower() not in named]
    return kept


def without_ours(headers: Headers) -> Headers:
    """Interim answers and trailers of an upstream, without the fields that only seawall may set."""
    return [field for field in headers if not field[0].lower().startswith(b"x-seawall-")]


def chunk(data: bytes) -> list[bytes]:
    """One chunk of the chunked coding, as pieces to write in order."""
    if len(data) <= _COPY_LIMIT:
        return [b"%x\r\n%b\r\n" % (len(data), data)]
    return [b"%x\r\n" % len(data), data, b"\r\n"]


def last_chunk(trailers: Headers) -> bytes:
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n" + field_lines(f for f in trailers if f[0].lower() not in _NEVER_TRAILERS) + b"\r\n"


def field_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in headers])


def has_no_body(method: str, status: int) -> bool:
    """Answers that end with their head, whatever their fields say (RFC 9112 §6.3)."""
    return method == "HEAD" or status in (204, 304) or 100 <= status < 200


def content_length(headers: Headers) -> int | None:
    """The length that the fields announce. llhttp has already refused what is not one plain number."""
    for name, value in headers:
        if len(name) == 14 and name.lower() == b"content-length":
            return int(value)
    return None
