"""Frames of one direction, however their bytes are cut: where one ends, and which says goodbye."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import CloseCode, Frame, Opcode

from seawall.websocket.frames import Frames, close_frame

SIZES = st.sampled_from([0, 1, 2, 125, 126, 127, 65535, 65536, 70000])
KINDS = st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG])


def written(opcode: int, size: int, *, masked: bool = False, fin: bool = True, data: bytes | None = None) -> bytes:
    """As an independent implementation writes it."""
    if opcode >= Opcode.CLOSE:
        size = min(size, 125)
    payload = b"\x88" * size if data is None else data
    return Frame(Opcode(opcode), payload, fin).serialize(mask=masked)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({min(place, len(data)) for place in at} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


@given(
    st.lists(st.tuples(KINDS, SIZES), max_size=6), st.booleans(), st.lists(st.integers(0, 200_000), max_size=20),
    st.booleans(),
)  # fmt: skip
def test_ends_of_frames_are_found_however_they_are_cut(
    sent: list[tuple[int, int]], masked: bool, at: list[int], byte_by_byte: bool
) -> None:
    frames = Frames()
    whole = [written(opcode, size, masked=masked) for opcode, size in sent]
    data = b"".join(whole)
    ends = {sum(map(len, whole[:number])) for number in range(len(whole) + 1)}
    passed = 0
    for piece in cut(data, [*at, *(range(40) if byte_by_byte else ())]):
        frames.feed(piece)
        passed += len(piece)
        assert frames.between == (passed in ends)
    assert frames.between and frames.whole and not frames.closed


def test_a_message_in_fragments_is_whole_at_its_last_one() -> None:
    frames = Frames()
    for opcode, fin, whole in [
        (Opcode.TEXT, False, False),
        (Opcode.PING, True, False),
        (Opcode.CONT, False, False),
        (Opcode.CONT, True, True),
    ]:
        frames.feed(written(opcode, 3, fin=fin))
        assert frames.between and frames.whole is whole


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("data", "code"), [(struct.pack(">H", 1011) + b"why", 1011), (b"\x03\xe8", 1000), (b"", 0)])
def test_a_goodbye_and_its_code(masked: bool, size: int, data: bytes, code: int) -> None:
    frames = Frames()
    stream = written(Opcode.TEXT, 5) + written(Opcode.CLOSE, 0, masked=masked, data=data)
    for at in range(0, len(stream), size):
        assert not frames.closed or at > len(written(Opcode.TEXT, 5))
        frames.feed(stream[at : at + size])
    assert frames.closed and frames.whole and frames.code == code


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_any_bytes_are_followed_without_an_error(pieces: list[bytes]) -> None:
    frames = Frames()
    for piece in pieces:
        frames.feed(piece)
    assert frames.code >= 0 and frames.whole in (True, False)


@pytest.mark.parametrize("masked", [False, True])
def test_seawalls_own_goodbye_is_read_by_others(masked: bool) -> None:
    said = close_frame(CloseCode.GOING_AWAY, "seawall: DRAINING", masked=masked)
    mine = Frames()
    mine.feed(said)
    assert mine.closed and mine.code == 1001
    assert bool(said[1] & 0x80) is masked
    if not masked:
        assert said == written(Opcode.CLOSE, 0, data=struct.pack(">H", 1001) + b"seawall: DRAINING")
