"""Bounded decoded copies of compressed answers, for watching and classifying only: the bytes that an agent gets are
the ones that came. A coding that nobody here knows is simply not looked into.
"""

import zlib
from typing import Protocol

from seawall.types import Headers, header

# What one step may inflate to; a bomb is then no longer watched.
_MOST = 4 * 1024 * 1024


class Decoder(Protocol):
    def feed(self, data: bytes) -> bytes | None:
        """The decoded bytes; None when the coding is broken or inflates beyond bounds."""


class _Zlib:
    """gzip and deflate (the latter with or without zlib's header, as in the field)."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._inflate = zlib.decompressobj(bits)

    def feed(self, data: bytes) -> bytes | None:
        try:
            out = self._inflate.decompress(data, _MOST)
        except zlib.error:
            if self._bits != zlib.MAX_WBITS:
                return None
            self._bits = -zlib.MAX_WBITS
            self._inflate = zlib.decompressobj(self._bits)
            return self.feed(data)
        return None if self._inflate.unconsumed_tail else out


class _Brotli:
    def __init__(self) -> None:
        import brotli

        self._error: type[Exception] = brotli.error
        self._inflate = brotli.Decompressor()

    def feed(self, data: bytes) -> bytes | None:
        try:
            out: bytes = self._inflate.process(data)
        except self._error:
            return None
        return out if len(out) <= _MOST else None


class _Zstandard:
    def __init__(self) -> None:
        import zstandard

        self._error: type[Exception] = zstandard.ZstdError
        self._inflate = zstandard.ZstdDecompressor().decompressobj()

    def feed(self, data: bytes) -> bytes | None:
        try:
            out = self._inflate.decompress(data)
        except self._error:
            return None
        return out if len(out) <= _MOST else None


class _Opaque:
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
            return _Opaque()
