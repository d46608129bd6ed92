"""Where the frames of one direction begin and end, and how it says goodbye (RFC 6455 §5.2, §5.5.1). No I/O.

What two peers make of extensions, opcodes and payloads is their own business: nothing is ever judged here.
"""

import os
import struct

GOING_AWAY = 1001
"""The close code (§7.4.1) for a server that shuts down, or that waits no longer."""

_CLOSE = 0x8
_LONGEST_HEAD = 14


class Frames:
    """Follows one direction.

    closed: a Close frame has begun; nothing of meaning follows it. code: why, as far as it is here; 0 where it does not
    say. whole: the direction stands between two messages.
    """

    __slots__ = ("_fragments", "_head", "_key", "_left", "_said", "closed")

    def __init__(self) -> None:
        self._head = b""  # of a frame whose head is not here whole
        self._left = 0  # of the frame's payload
        self._key = b""
        self._said = b""  # the beginning of a Close frame's payload, as it came
        self._fragments = False  # of a message, with more to come
        self.closed = False

    @property
    def between(self) -> bool:
        """The direction stands between two frames, where a control frame may be put (§5.4)."""
        return not self._left and not self._head

    @property
    def whole(self) -> bool:
        return self.between and not self._fragments

    @property
    def code(self) -> int:
        if len(self._said) < 2:
            return 0
        first, second = (byte ^ key for byte, key in zip(self._said, self._key or b"\0\0", strict=False))
        return first << 8 | second

    def feed(self, data: bytes) -> None:
        """Take the direction's next bytes."""
        if self._left > len(data) and not self.closed:
            # In the middle of a large frame.
            self._left -= len(data)
            return
        if self._head:
            data, self._head = self._head + data, b""
        at, size = 0, len(data)
        while at < size:
            if not self._left:
                length = self._begin(data[at : at + _LONGEST_HEAD])
                if not length:
                    self._head = data[at:]
                    return
                at += length
            step = min(self._left, size - at)
            if self.closed and len(self._said) < 2:
                self._said += data[at : at + min(step, 2 - len(self._said))]
            self._left -= step
            at += step

    def _begin(self, head: bytes) -> int:
        """Read a frame's head; returns its length, or 0 while it is not here whole."""
        if len(head) < 2:
            return 0
        size, length = head[1] & 0x7F, 2
        if size >= 126:
            length = 4 if size == 126 else 10
        masked = bool(head[1] & 0x80)
        whole = length + (4 if masked else 0)
        if len(head) < whole:
            return 0
        self._left = size if length == 2 else int.from_bytes(head[2:length], "big")
        opcode = head[0] & 0x0F
        if opcode == _CLOSE and not self.closed:
            self.closed, self._key = True, head[length:whole]
        elif opcode < _CLOSE:
            self._fragments = not head[0] & 0x80
        return whole


def close_frame(code: int, reason: str, *, masked: bool) -> bytes:
    """A Close frame. masked: it goes to a server (§5.3). reason: at most 123 bytes in UTF-8."""
    payload = struct.pack(">H", code) + reason.encode()
    head = bytes((0x80 | _CLOSE, len(payload) | (0x80 if masked else 0)))
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
