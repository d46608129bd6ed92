"""Decoded copies: exact for what is honest, bounded for what is not."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from seawall.decode import decoder_for


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


CODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"Deflate": raw_deflate,
    b"br": brotli.compress,
    b"zstd": zstandard.compress,
}


@pytest.mark.parametrize("coding", CODINGS)
@given(data=st.binary(min_size=1, max_size=300), cut=st.integers(1, 40))
def test_any_split_of_a_coded_answer_decodes_to_the_same(coding: bytes, data: bytes, cut: int) -> None:
    coded = CODINGS[coding](data)
    decoder = decoder_for([(b"Content-Encoding", coding)])
    assert decoder is not None
    pieces = [decoder.feed(coded[i : i + cut]) for i in range(0, len(coded), cut)]
    assert b"".join(piece or b"" for piece in pieces) == data


def test_gzip_members_follow_each_other() -> None:
    decoder = decoder_for([(b"content-encoding", b"gzip")])
    assert decoder is not None
    assert decoder.feed(gzip.compress(b"one, ") + gzip.compress(b"two")) == b"one, two"
    assert decoder.feed(gzip.compress(b", three")) == b", three"


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_is_given_up_within_bounded_memory(coding: bytes) -> None:
    bomb = CODINGS[coding](bytes(64 * 1024 * 1024))
    decoder = decoder_for([(b"content-encoding", coding)])
    assert decoder is not None
    tracemalloc.start()
    try:
        assert decoder.feed(bomb) is None
        assert tracemalloc.get_traced_memory()[1] < 24 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", [*CODINGS, b"compress"])
def test_what_is_not_that_coding_is_not_looked_into(coding: bytes) -> None:
    decoder = decoder_for([(b"content-encoding", coding)])
    assert decoder is not None
    assert decoder.feed(b"\xff\xfe this is no coded answer at all" * 10) is None


def test_an_answer_without_a_coding_needs_no_decoder() -> None:
    assert decoder_for([(b"content-type", b"text/plain")]) is None
    assert decoder_for([(b"content-encoding", b"identity")]) is None
