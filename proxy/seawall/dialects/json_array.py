"""One JSON array that arrives piecewise, taken apart into its elements, for watching only.

As with server-sent events, what goes in comes out: bytes are never changed, only held back until an element is whole,
and nothing that arrives here makes it raise. What an element means is for the dialects, which subclass `ArrayWatch`.
"""

import re

import msgspec

from seawall.dialects._json import is_strict
from seawall.dialects.sse import EDGE, KEPT, EventWatch
from seawall.faults import Code, Fault

_SPACE = b" \t\r\n"
# Outside of a text: a whole one, the beginning of one, or what changes the depth. Within: what may end it.
_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
_QUOTE = re.compile(rb'["\\]')
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


class ArrayWatch(EventWatch):
    """A `Watch` over the objects in a JSON array. It shares with `EventWatch` what is known of an answer, and how large
    or odd elements are taken; only the framing is another.

    A bare object in the array's place is taken as its only element: so servers tell of an error. Terminal is an element
    that says so, and the array's end behind it: before that, no client has whole JSON.
    """

    __slots__ = ("_closed", "_depth", "_due", "_elements", "_ended", "_escaped", "_from", "_opened", "_text")

    def __init__(self) -> None:
        super().__init__()
        self._opened = False  # "[" has come
        self._due = False  # "[" or "," has come, and so an element must
        self._closed = False  # "]" has come
        self._elements = 0  # released
        self._depth = 0  # of braces and brackets within the present element; 0: between elements
        self._text = False  # within a text
        self._escaped = False  # the next byte belongs to a backslash before it
        self._from = 0  # where in what is held the element begins
        self._ended = False  # the elements so far tell that nothing more is to come

    @property
    def midway(self) -> bool:
        return self._passing or self._closed

    @property
    def lead(self) -> bytes:
        return b"," if self._elements else b"["

    def feed(self, data: bytes) -> bytes:
        """See `Watch.feed`. Servers send whole elements, each behind its bracket or comma: that way is short."""
        if self._dead:
            return b""
        if not self._held and not self._depth and len(data) <= KEPT:
            element = self._alone(data)
            if element is not None:
                self._opened = True
                return data if self._take_element(element) else self._die(b"")
            elements = self._several(data)
            if elements:
                return self._take_several(data, elements)
        return self._scan(data)

    def end(self) -> bytes:
        """See `Watch.end`. A last element that is cut off is not released."""
        rest = bytes(self._held)
        self._held.clear()
        self._passing = False
        if not self._depth and not rest.strip(_SPACE):
            return rest
        self.fault = self.fault or Fault(Code.TRUNCATED, "the last element is cut off")
        return self._die(b"")

    # -- elements --------------------------------------------------------------------------------------------------

    def _alone(self, data: bytes) -> bytes | None:
        """The one element that `data` is, with what separates it from those before; None when it is anything else."""
        if self._closed:
            return None
        element = data.strip(_SPACE)
        if element[:1] != (b"," if self._elements else b"["):
            return None
        element = element[1:].lstrip(_SPACE)
        whole = element[:1] == b"{" and element[-1:] == b"}" and is_strict(element)
        return element if whole else None

    def _several(self, data: bytes) -> list[bytes]:
        """The elements that `data` is, as a busy process reads them; none when it is anything else."""
        elements = data.strip(_SPACE)
        if self._closed or elements[:1] != (b"," if self._elements else b"["):
            return []
        try:
            found = [bytes(element) for element in _ELEMENTS.decode(b"[%b]" % elements[1:])]
        except (ValueError, RecursionError):
            return []
        return found if all(element[:1] == b"{" for element in found) else []

    def _take_several(self, data: bytes, elements: list[bytes]) -> bytes:
        self._opened, end = True, 0
        for element in elements:
            if not self._take_element(element):
                return self._die(data[:end])
            end = data.index(element, end) + len(element)
        return data

    def _take_element(self, element: bytes) -> bool:
        """False when it is malformed."""
        self._elements += 1
        self.terminal = self._ended
        good = True
        if len(element) > KEPT:
            self._oversized(b"", element[:EDGE], element[-EDGE:])
        else:
            good = self._event(b"", element)
        self._heard()
        return good

    def _heard(self) -> None:
        """An element was taken. What it says of the end holds once the array has ended, too."""
        self._due = False
        self._ended, self.terminal = self.terminal, False
        if not self._opened:
            self._close()

    def _close(self) -> None:
        self._closed = True
        self.terminal = self._ended

    # -- the long way ----------------------------------------------------------------------------------------------

    def _scan(self, data: bytes) -> bytes:
        """Any cut, any spaces. What was held before has been looked through."""
        held = self._held
        at, done = len(held), 0
        held += data
        while at < len(held):
            if self._depth:
                at = self._element_end(at)
                if at < 0:
                    break
                if not self._take_held(at):
                    return self._die(bytes(held[:done]))
                done = at
            else:
                loose = self._between(held[at : at + 1], at)
                if loose is None:
                    self.fault = self.fault or Fault(Code.MALFORMED_EVENT, "an element of the array is not JSON")
                    return self._die(bytes(held[:done]))
                # Spaces and the end wait for nothing, unless a separator is held before them.
                done += loose and done == at
                at += 1
        return self._release(done)

    def _take_held(self, end: int) -> bool:
        if not self._passing:
            return self._take_element(bytes(self._held[self._from : end]))
        self._passing = False
        self._elements += 1
        self.terminal = self._ended
        self._oversized(b"", self._head, (self._tail + self._held[:end])[-EDGE:])
        self._heard()
        return True

    def _between(self, byte: bytearray, at: int) -> bool | None:
        """Take a byte that stands between elements: whether it can be released at once. None when it cannot stand
        there."""
        if byte in _SPACE:
            return True
        if self._closed:
            # What follows a whole answer, or the server's own word for why there is none, passes as it came.
            return True if self.terminal or self.fault is not None else None
        bare = not self._opened and not self._elements
        if byte == b"{" and (self._due or bare):
            self._depth, self._from = 1, at
        elif byte == b"[" and bare:
            self._opened = self._due = True
        elif byte == b"," and self._elements and not self._due:
            self._due = True
        elif byte == b"]" and self._elements and not self._due:
            self._close()
            return True
        else:
            return None
        return False

    def _element_end(self, at: int) -> int:
        """Where the element that has begun ends; -1 when that has not come. `at`: so far it has been looked through."""
        held = self._held
        if self._escaped:
            self._escaped = False
            at += 1
        while at < len(held):
            match = (_QUOTE if self._text else _MARK).search(held, at)
            if match is None:
                return -1
            mark, at = match[0], match.end()
            if mark == b"\\":
                self._escaped = at == len(held)
                at += 1
            elif mark[:1] == b'"':
                # Unless it is whole.
                self._text ^= len(mark) == 1
            elif mark in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    return at
        return -1

    def _release(self, done: int) -> bytes:
        held = self._held
        if self._passing:
            self._tail = (self._tail + held)[-EDGE:]
            done = len(held)
        elif self._depth and len(held) - done > KEPT:
            self._passing = True
            self._head, self._tail = bytes(held[self._from : self._from + EDGE]), bytes(held[-EDGE:])
            done = len(held)
        released = bytes(held[:done])
        del held[:done]
        self._from = max(0, self._from - done)
        return released
