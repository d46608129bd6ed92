"""Messages over a WebSocket (RFC 6455), as the lab sends and reads them: no extensions, one frame for each it sends."""

import asyncio
import base64
import hashlib
import struct
from dataclasses import dataclass

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LONGEST = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Message:
    opcode: int
    data: bytes


def accept(key: bytes) -> bytes:
    """The value of Sec-WebSocket-Accept (§4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def frame(opcode: int, data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, size)) + data
    if size < 65536:
        return struct.pack(">BBH", 0x80 | opcode, 126, size) + data
    return struct.pack(">BBQ", 0x80 | opcode, 127, size) + data


async def read(reader: asyncio.StreamReader) -> Message:
    """The next message, or control frame. Raises IncompleteReadError at the end, ValueError for what is too large."""
    whole, kind = b"", 0
    while True:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        if size + len(whole) > _LONGEST:
            raise ValueError("a message of more than 16 MiB")
        key = await reader.readexactly(4) if second & 0x80 else b"\0\0\0\0"
        data = _unmasked(await reader.readexactly(size), key)
        opcode = first & 0x0F
        if opcode >= CLOSE:
            return Message(opcode, data)
        kind = opcode or kind
        whole += data
        if first & 0x80:
            return Message(kind, whole)


def _unmasked(data: bytes, key: bytes) -> bytes:
    if not any(key) or not data:
        return data
    mask = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(data), "big")
