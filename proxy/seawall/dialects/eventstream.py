"""AWS's event streams (`application/vnd.amazon.eventstream`), framed step by step as their encoding is documented and
botocore reads them, for watching only.

What goes in comes out: bytes are never changed, only held back until a message is whole and its checksums are right,
and nothing that arrives here makes it raise. What an event means is for the dialects, which subclass `FrameWatch`.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable
from zlib import crc32

from seawall.faults import Code, Fault
from seawall.types import Usage

CONTENT_TYPE = b"application/vnd.amazon.eventstream"

KEPT = 64 * 1024
"""An unfinished message is held back up to so many bytes; a larger one passes as it comes, known by its head."""

LONGEST = 24 * 1024 * 1024
"""Bytes of a message; botocore takes no more. What announces more is no message."""

# Lengths of the message and of its headers, and their checksum; then headers, payload, and a checksum over all.
_PRELUDE = struct.Struct("!III")
_CHECKSUM = struct.Struct("!I")
_LEAST = _PRELUDE.size + _CHECKSUM.size

# Bytes of a header's value by its type; texts and byte strings bring their length along.
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _TEXT = 6, 7

# Header blocks of one stream that are remembered: it has a handful of kinds of events.
_KINDS = 32


def encode(headers: Iterable[tuple[str, str]], payload: bytes) -> bytes:
    """One message, whose headers are texts."""
    block = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", _TEXT, len(value.encode())) + value.encode()
        for name, value in headers
    )
    lengths = struct.pack("!II", _LEAST + len(block) + len(payload), len(block))
    message = lengths + _CHECKSUM.pack(crc32(lengths)) + block + payload
    return message + _CHECKSUM.pack(crc32(message))


def texts_of(block: bytes) -> dict[str, str] | None:
    """A message's headers that are texts; None where the block is none."""
    found: dict[str, str] = {}
    at, end = 0, len(block)
    try:
        while at < end:
            name = block[at + 1 : at + 1 + block[at]].decode()
            at += 1 + block[at]
            kind = block[at]
            at += 1
            if kind not in (_BYTES, _TEXT):
                at += _SIZES[kind]
                continue
            size = int.from_bytes(block[at : at + 2])
            value = block[at + 2 : at + 2 + size]
            at += 2 + size
            if kind == _TEXT:
                found[name] = value.decode()
    except (IndexError, KeyError, UnicodeDecodeError):
        return None
    return found if at == end else None


class FrameWatch(ABC):
    """A `Watch` over an event stream: framing, checksums, release of bytes, and what all dialects' watches share.

    A subclass says what one event is; it is called once for each whole message, however the bytes were cut.
    """

    __slots__ = (
        "_dead", "_held", "_kinds", "_left", "_lost", "_sum", "_tail",
        "content", "fault", "model", "progress", "terminal", "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.content = False
        self.terminal = False
        self.fault: Fault | None = None
        self.usage: Usage | None = None
        self.model = ""
        self.progress = 0
        self._held = bytearray()  # of the unfinished message
        self._left = 0  # bytes still to come of a message that is too large to be held
        self._sum = 0  # its checksum so far, without the four bytes that may be its last
        self._tail = b""
        self._dead = False  # what is no message was seen: nothing more is released
        self._lost = False  # likewise, but behind the end of the answer: all passes as it comes
        self._kinds: dict[bytes, dict[str, str]] = {}  # headers of messages by their bytes, which repeat

    @abstractmethod
    def _event(self, kind: str, payload: bytes) -> bool:
        """Take one event, `kind` from its `:event-type`; False when its payload is malformed."""

    @abstractmethod
    def _exception(self, name: str, payload: bytes, words: str) -> None:
        """Take what the provider says of its own failure. words: of an error that its service does not know."""

    def _oversized(self, kind: str) -> None:
        """Take an event of more than KEPT bytes, of which only the kind is known."""
        self.content = True
        self.progress += 1

    @property
    def midway(self) -> bool:
        return self._left > 0

    @property
    def lead(self) -> bytes:
        return b""

    def feed(self, data: bytes) -> bytes:
        """See `Watch.feed`. Nearly all input is one whole message: that way is short."""
        if self._dead or self._lost:
            return data if self._lost else b""
        size = len(data)
        if not self._held and not self._left and _LEAST <= size <= KEPT and int.from_bytes(data[:4]) == size:
            if _length(data) == size and self._take(data):
                return data
            return data if self._lose("a message's checksum is wrong, or it is not what it says") else b""
        self._held += data
        return self._feed()

    def end(self) -> bytes:
        """See `Watch.end`. A last message that is cut off is not released."""
        rest = bytes(self._held)
        self._held.clear()
        cut, self._left = bool(rest or self._left), 0
        if cut and not self.terminal:
            self.fault = self.fault or Fault(Code.TRUNCATED, "the last message is cut off")
            self._dead = True
            return b""
        return rest

    def _feed(self) -> bytes:
        """The long way: any cut."""
        held, start = self._held, 0
        while not (self._dead or self._lost):
            there = len(held) - start
            if self._left:
                if not there:
                    break
                piece = bytes(held[start : start + self._left])
                start += len(piece)
                self._pass(piece)
                continue
            if there < _PRELUDE.size:
                break
            size = _length(held[start : start + _PRELUDE.size])
            if not size:
                self._lose("no message begins where one must")
            elif size <= KEPT:
                if there < size:
                    break
                if self._take(bytes(held[start : start + size])):
                    start += size
                else:
                    self._lose("a message's checksum is wrong, or it is not what it says")
            elif there > KEPT:
                self._begin(bytes(held[start : start + KEPT]), size)
            else:
                break
        if self._lost:
            start = len(held)
        released = bytes(held[:start])
        del held[:start]
        if self._dead:
            held.clear()
        return released

    def _begin(self, head: bytes, size: int) -> None:
        """A message of which more has come than is held."""
        self._left, self._sum, self._tail = size, 0, b""
        headers = self._headers(head[_PRELUDE.size : _PRELUDE.size + int.from_bytes(head[4:8])]) or {}
        self._oversized(headers.get(":event-type", ""))

    def _pass(self, piece: bytes) -> None:
        self._left -= len(piece)
        seen = self._tail + piece
        self._sum, self._tail = crc32(seen[:-4], self._sum), seen[-4:]
        if not self._left and self._tail != _CHECKSUM.pack(self._sum):
            self._lose("a message's checksum is wrong")

    def _take(self, message: bytes) -> bool:
        """One whole message, whose prelude is right; False where it is malformed."""
        end = len(message) - _CHECKSUM.size
        if crc32(memoryview(message)[:end]) != int.from_bytes(message[end:]):
            return False
        begin = _PRELUDE.size + int.from_bytes(message[4:8])
        headers = self._headers(message[_PRELUDE.size : begin])
        if headers is None:
            return False
        payload = message[begin:end]
        match headers.get(":message-type"):
            case "event":
                return self._event(headers.get(":event-type", ""), payload)
            case "exception":
                self._exception(headers.get(":exception-type", ""), payload, "")
            case "error":
                self._exception(headers.get(":error-code", ""), b"", headers.get(":error-message", ""))
        return True

    def _headers(self, block: bytes) -> dict[str, str] | None:
        known = self._kinds.get(block)
        if known is None:
            known = texts_of(block)
            if known is not None and len(self._kinds) < _KINDS and len(block) <= 512:
                self._kinds[block] = known
        return known

    def _lose(self, why: str) -> bool:
        """What comes is no message. Behind the provider's own end, or its own word for its failure, it passes as it
        came: it is no answer any more. Returns whether it passes."""
        if self.fault is None and not self.terminal:
            self.fault = Fault(Code.MALFORMED_EVENT, why)
            self._dead = True
        else:
            self._lost = True
        return self._lost


def _length(prelude: bytes | bytearray) -> int:
    """Bytes of the message that so begins; 0 where none does."""
    size, headers, checksum = _PRELUDE.unpack_from(prelude)
    if crc32(prelude[:8]) != checksum or not _LEAST + headers <= size <= LONGEST:
        return 0
    return int(size)
