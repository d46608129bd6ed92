"""Server-sent events, framed step by step as the WHATWG HTML standard says (section 9.2), for watching only.

What goes in comes out: bytes are never changed, only held back until an event is whole, and nothing that arrives here
makes it raise. What an event means is for the dialects, which subclass `EventWatch`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator

from seawall.dialects._json import is_strict, lenient
from seawall.faults import Code, Fault
from seawall.types import Usage

KEPT = 64 * 1024
"""An unfinished event is held back up to so many bytes; a larger one passes as it comes, known by its two ends."""

EDGE = 4096
"""Bytes kept of each end of such an event."""

COMMENT = b": keep-alive\n\n"
"""Dispatches no event. The standard (9.2.7) advises one "every 15 seconds or so" against impatient proxies."""

# The end of a line and an empty line after it. A "\n" may be the second half of "\r\n"; a "\r" before "\n" is no end.
_BLANK_LINE = re.compile(rb"(?:\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventWatch(ABC):
    """A `Watch` over server-sent events: framing, release of bytes, and what all dialects' watches share.

    A subclass says in `_event` what one event is; it is called once for each whole event that has data, however the
    bytes were cut.
    """

    __slots__ = (
        "_dead", "_head", "_held", "_passing", "_plain", "_searched", "_started", "_tail",
        "content", "fault", "model", "progress", "terminal", "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.content = False
        self.terminal = False
        self.fault: Fault | None = None
        self.usage: Usage | None = None
        self.model = ""
        self.progress = 0
        self._held = bytearray()  # of the unfinished event
        self._searched = 0  # so much of it holds no end of an event
        self._plain = False  # nothing held and nothing special: the fast path may be taken
        self._started = False  # the first event, which may have a byte order mark before it, is over
        self._dead = False  # a malformed event was seen
        self._passing = False  # within an event that is too large to be held
        self._head = b""
        self._tail = b""

    @abstractmethod
    def _event(self, name: bytes, data: bytes) -> bool:
        """Take one event, `name` from its `event` field; False when it is malformed, with `fault` set."""

    def _oversized(self, name: bytes, head: bytes, tail: bytes) -> None:
        """Take an event above KEPT bytes, of which only the first and last EDGE bytes are known."""
        self.content = True
        self.progress += 1

    @property
    def midway(self) -> bool:
        return self._passing

    @property
    def lead(self) -> bytes:
        return b""

    def feed(self, data: bytes) -> bytes:
        """See `Watch.feed`. Nearly all input is one whole event with plain line ends: that way is short."""
        if not self._plain or data[-2:] != b"\n\n" or b"\r" in data:
            return self._feed_crlf(data) if self._plain and data[-4:] == b"\r\n\r\n" else self._feed(data)
        size = len(data) - 2
        if size + 2 <= KEPT:
            line = data.find(b"\n")
            if line == size:
                if data[:6] == b"data: ":
                    return data if self._event(b"", data[6:size]) else self._die(b"")
            elif (
                data.find(b"\n", line + 1) == size and data[:7] == b"event: " and data[line + 1 : line + 7] == b"data: "
            ):
                return data if self._event(data[7:line], data[line + 7 : size]) else self._die(b"")
        return self._feed_events(data)

    def end(self) -> bytes:
        """See `Watch.end`. A last event that is cut off is not released."""
        rest = bytes(self._held)
        self._held.clear()
        if self._passing and self._tail.endswith((b"\n", b"\r")):
            self._take_oversized(self._head, self._tail)
        self._passing = False
        before = self.fault
        if not rest or self._take(rest) or self.terminal:
            return rest
        self.fault = before or Fault(Code.TRUNCATED, "the last event is cut off")
        return self._die(b"")

    def _odd(self, name: bytes, data: bytes) -> bool:
        """Judge an event that does not decode. JSON of an unknown form passes, and JSON that only lenient decoders read
        is taken like any other. The rest is malformed, unless the provider has told of an error of its own: what it
        says behind that is no answer any more, and passes as it came, and so is what follows a terminal event."""
        if is_strict(data):
            return True
        strict = lenient(data)
        if strict is not None:
            return self._event(name, strict)
        if self.fault is None and not self.terminal:
            self.fault = Fault(Code.MALFORMED_EVENT, "an event's data is not JSON")
            return False
        return True

    def _die(self, released: bytes) -> bytes:
        self._dead = True
        self._plain = False
        self._held.clear()
        return released

    def _feed_crlf(self, data: bytes) -> bytes:
        """Likewise one whole event, of a server that ends lines with "\\r\\n", as Google's do."""
        size = len(data) - 4
        if data.find(b"\r") == size and data.find(b"\n") == size + 1 and data[:6] == b"data: " and size + 4 <= KEPT:
            return data if self._event(b"", data[6:size]) else self._die(b"")
        return self._feed(data)

    def _feed(self, data: bytes) -> bytes:
        """The long way: any line end, any cut."""
        if self._dead:
            return b""
        passed = b""
        if self._passing:
            cut = self._pass(data)
            passed, data = data[:cut], data[cut:]
        held = self._held
        held += data
        start, search = 0, self._searched
        while (end := _event_end(held, start, search)) >= 0:
            if not self._take(bytes(held[start:end])):
                return self._die(passed + held[:start])
            start = search = end
        passed += held[:start]
        del held[:start]
        self._searched = max(len(held) - 1, 0)
        if len(held) > KEPT:
            passed += held
            self._passing = True
            self._head, self._tail = bytes(held[:EDGE]), bytes(held[-EDGE:])
            held.clear()
            self._searched = 0
        self._plain = self._started and not held and not self._passing
        return passed

    def _pass(self, data: bytes) -> int:
        """Look for the end of the oversized event; returns how many bytes of `data` belong to it."""
        # The last byte may be the first half of what ends it.
        match = _BLANK_LINE.search(self._tail[-1:] + data)
        cut = len(data) if match is None else match.end() - 1
        self._tail = (self._tail + data[:cut])[-EDGE:]
        if match is not None:
            self._passing = False
            self._take_oversized(self._head, self._tail)
        return cut

    def _feed_events(self, data: bytes) -> bytes:
        """Several whole events, with plain line ends."""
        start, size = 0, len(data)
        while start < size:
            if data[start] == 10:
                start += 1
                continue
            end = data.find(b"\n\n", start) + 2
            if not self._take(data[start:end]):
                return self._die(data[:start])
            start = end
        return data

    def _take(self, block: bytes) -> bool:
        """One event block, with whatever line ends, the first one maybe with a byte order mark."""
        if not self._started:
            self._started = True
            block = block.removeprefix(_BOM)
        if len(block) > KEPT:
            self._take_oversized(block[:EDGE], block[-EDGE:])
            return True
        name, data = _fields(block)
        return data is None or self._event(name, data)

    def _take_oversized(self, head: bytes, tail: bytes) -> None:
        self._started = True
        name, data = _fields(head.removeprefix(_BOM))
        if data is not None:
            self._oversized(name, head, tail)


def whole_events(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of each event of a stream that is here whole; a last one without its empty line included."""
    for block in _blocks(data.removeprefix(_BOM)):
        name, found = _fields(block)
        if found is not None:
            yield name, found


def _blocks(data: bytes) -> Iterator[bytes]:
    if b"\r" not in data:
        for block in data.split(b"\n\n"):
            yield block + b"\n\n"
        return
    held, start = bytearray(data), 0
    while start < len(held):
        end = _event_end(held, start, start)
        yield data[start : end if end >= 0 else len(held)]
        start = end if end >= 0 else len(held)


def _event_end(held: bytearray, start: int, search: int) -> int:
    """Where the event block at `start` ends, or -1. An empty line without an event before it is a block of its own:
    so the "\\n" of a "\\r\\n" that was cut apart is never held back."""
    first = held[start : start + 2]
    if first[:1] == b"\n":
        return start + 1
    if first[:1] == b"\r":
        return start + (2 if first == b"\r\n" else 1)
    match = _BLANK_LINE.search(held, search)
    return match.end() if match is not None else -1


def _fields(block: bytes) -> tuple[bytes, bytes | None]:
    """Name and data of an event block; data is None where the standard dispatches no event."""
    if block[:6] == b"data: " and b"\r" not in block and block.find(b"\n") == len(block) - 2:
        return b"", block[6:-2]
    name = b""
    data: list[bytes] = []
    for line in _LINE_END.split(block) if b"\r" in block else block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value[1:] if value[:1] == b" " else value)
        elif field == b"event":
            name = value[1:] if value[:1] == b" " else value
    if len(data) == 1:
        return name, data[0]
    return name, b"\n".join(data) if data else None
