"""Bounded decoded copies of compressed answers, for watching and classifying: the bytes that an agent gets are the ones
that came, unless its answer was opened before they did (keep_alive.py). A coding that nobody here knows is simply not
looked into.
"""

import io
import zlib
from typing import TYPE_CHECKING, Protocol

from seawall.types import Headers, header

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

# What one step may inflate to; a bomb is then no longer watched.
_MOST = 4 * 1024 * 1024


class Decoder(Protocol):
    def feed(self, data: bytes) -> bytes | None:
        """The decoded bytes; None when the coding is broken or inflates beyond bounds."""


class _Zlib:
    """gzip, of any number of members, and deflate (the latter with or without zlib's header, as in the field)."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._inflate = zlib.decompressobj(bits)
        self._first = b""
        """Of a deflate answer, until its two bytes tell whether they are zlib's header."""

    def feed(self, data: bytes) -> bytes | None:
        out = b""
        if self._bits == zlib.MAX_WBITS and len(self._first) < 2:
            data = self._first + data
            self._first = data[:2]
            if len(data) < 2:
                return out
        while data:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(self._bits)
            try:
                out += self._inflate.decompress(data, _MOST - len(out) + 1)
            except zlib.error:
                if self._bits != zlib.MAX_WBITS:
                    return None
                self._bits = -zlib.MAX_WBITS
                self._inflate = zlib.decompressobj(self._bits)
                continue
            if self._inflate.unconsumed_tail or len(out) > _MOST:
                return None
            data = self._inflate.unused_data
        return out


class _Brotli:
    def __init__(self) -> None:
        import brotli

        self._error: type[Exception] = brotli.error
        self._inflate = brotli.Decompressor()

    def feed(self, data: bytes) -> bytes | None:
        try:
            out: bytes = self._inflate.process(data, output_buffer_limit=_MOST)
        except self._error:
            return None
        return out if self._inflate.can_accept_more_data() else None


class _Bounded(io.BytesIO):
    """Takes decoded pieces, of at most 128 KiB each, up to the bound."""

    def write(self, piece: "Buffer", /) -> int:
        if self.tell() + memoryview(piece).nbytes > _MOST:
            raise OverflowError
        return super().write(piece)


class _Zstandard:
    def __init__(self) -> None:
        import zstandard

        self._error: type[Exception] = zstandard.ZstdError
        self._out = _Bounded()
        self._inflate = zstandard.ZstdDecompressor().stream_writer(self._out, closefd=False)

    def feed(self, data: bytes) -> bytes | None:
        self._out.seek(0)
        self._out.truncate()
        try:
            self._inflate.write(data)
        except (self._error, OverflowError):
            return None
        return self._out.getvalue()


class Opaque:
    """Of a coding that nobody here knows."""

    def feed(self, data: bytes) -> bytes | None:
        return None


def decoder_for(headers: Headers) -> Decoder | None:
    """A decoder for an answer's Content-Encoding; None when it has none."""
    coding = header(headers, b"content-encoding")
    if coding is None:
        return None
    match coding.strip().lower():
        case b"" | b"identity":
            return None
        case b"gzip" | b"x-gzip":
            return _Zlib(16 + zlib.MAX_WBITS)
        case b"deflate":
            return _Zlib(zlib.MAX_WBITS)
        case b"br":
            return _Brotli()
        case b"zstd":
            return _Zstandard()
        case _:
            return Opaque()
