"""AWS event streams, whatever the cuts and whatever is broken in them; botocore's own reader is the judge."""

import random
import struct
from collections.abc import Iterable
from itertools import pairwise
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.dialects.eventstream import KEPT, FrameWatch, encode, texts_of
from seawall.faults import Code

texts = st.text(max_size=30)
names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)


class Noted(FrameWatch):
    """Notes what it is shown; `end` is terminal."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, bytes]] = []

    def _event(self, kind: str, payload: bytes) -> bool:
        self.seen.append((kind, payload))
        self.terminal |= kind == "end"
        return payload != b"odd"

    def _exception(self, name: str, payload: bytes, words: str) -> None:
        self.seen.append((f"!{name}", payload or words.encode()))


def event(kind: str, payload: bytes) -> bytes:
    return encode([(":event-type", kind), (":message-type", "event")], payload)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(at)]


def fed(watch: FrameWatch, parts: Iterable[bytes]) -> bytes:
    return b"".join([*map(watch.feed, parts), watch.end()])


@given(st.lists(st.tuples(names, texts), max_size=5), st.binary(max_size=500))
def test_a_message_reads_as_botocore_reads_it(headers: list[tuple[str, str]], payload: bytes) -> None:
    given_ = dict(headers)
    buffer = EventStreamBuffer()
    buffer.add_data(encode(given_.items(), payload))
    [message] = list(buffer)
    assert (message.headers, message.payload) == (given_, payload)


def test_headers_of_every_type_are_passed_over() -> None:
    block = b"\x01a\x00\x01b\x01\x01c\x02\x07\x01d\x03\x00\x07\x01e\x04\x00\x00\x00\x07\x01f\x05" + bytes(8)
    block += b"\x01g\x06\x00\x02hi\x01h\x08" + bytes(8) + b"\x01i\x09" + bytes(16) + b"\x01t\x07\x00\x02hi"
    assert texts_of(block) == {"t": "hi"}
    for cut in range(1, len(block)):
        assert texts_of(block[:cut]) in (None, {})
    assert texts_of(b"\x01a\x0a") is None


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.lists(st.integers(0, 5000), max_size=12))
def test_any_cut_gives_the_same_events_and_bytes(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(event("e", payload + b".") for payload in payloads)
    watch = Noted()
    assert fed(watch, pieces(stream, cuts)) == stream
    assert watch.seen == [("e", payload + b".") for payload in payloads]
    assert watch.fault is None


@given(st.integers(0, 10_000))
def test_only_whole_messages_are_released(cut: int) -> None:
    messages = [event("e", bytes(size)) for size in (5, 0, 100)]
    stream = b"".join(messages)
    cut %= len(stream)
    watch = Noted()
    released = watch.feed(stream[:cut])
    ends = [sum(map(len, messages[:count])) for count in range(4)]
    assert len(released) == max(end for end in ends if end <= cut)
    assert watch.end() == b""
    assert (watch.fault is None) is (cut in ends)
    assert watch.fault is None or watch.fault.code is Code.TRUNCATED


@settings(max_examples=300)
@given(
    st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4),
    st.integers(0, 10**6),
    st.integers(0, 7),
    st.lists(st.integers(0, 5000), max_size=6),
)
def test_a_flipped_bit_is_never_released_as_a_message(
    payloads: list[bytes], where: int, bit: int, cuts: list[int]
) -> None:
    messages = [event("e", payload) for payload in payloads]
    stream = bytearray(b"".join(messages))
    where %= len(stream)
    stream[where] ^= 1 << bit
    watch = Noted()
    released = fed(watch, pieces(bytes(stream), cuts))
    before = 0
    for message in messages:
        if where < before + len(message):
            break
        before += len(message)
    assert released == bytes(stream[:before])
    assert watch.fault is not None and watch.fault.code in (Code.MALFORMED_EVENT, Code.TRUNCATED)
    with pytest.raises(ParserError):
        _read(bytes(stream))


def _read(stream: bytes) -> None:
    """As botocore reads it, and raises for what it does not take, half a message included."""
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    read = sum(message.prelude.total_length for message in buffer)
    if read != len(stream):
        raise ParserError


@given(st.binary(max_size=2000), st.lists(st.integers(0, 5000), max_size=6))
def test_nothing_that_arrives_raises(data: bytes, cuts: list[int]) -> None:
    watch = Noted()
    released = fed(watch, pieces(data, cuts))
    assert data.startswith(released)
    assert watch.terminal or watch.fault is not None or not data


@pytest.mark.parametrize("size", [KEPT + 1, 300_000])
@pytest.mark.parametrize("step", [1000, 64 * 1024, 1 << 24])
def test_a_large_message_passes_as_it_comes(size: int, step: int) -> None:
    large = event("large", random.Random(1).randbytes(size))
    stream = event("a", b"1") + large + event("end", b"2")
    watch = Noted()
    released, seen = b"", 0
    for at in range(0, len(stream), step):
        released += watch.feed(stream[at : at + step])
        seen = at + step
        assert seen - len(released) <= KEPT + step
    assert released + watch.end() == stream
    assert watch.seen == [("a", b"1"), ("end", b"2")]
    assert (watch.content, watch.terminal, watch.fault, watch.midway) == (True, True, None, False)


def test_a_large_message_with_a_wrong_checksum_is_a_fault_and_nothing_follows_it() -> None:
    large = bytearray(event("large", bytes(100_000)))
    large[90_000] ^= 1
    watch = Noted()
    released = fed(watch, [bytes(large), event("end", b"")])
    assert released == large
    assert watch.fault is not None and watch.fault.code is Code.MALFORMED_EVENT
    assert not watch.terminal


def test_a_large_message_that_is_cut_off_is_midway() -> None:
    watch = Noted()
    watch.feed(event("large", bytes(100_000))[:90_000])
    assert watch.midway
    watch.end()
    assert watch.fault is not None and watch.fault.code is Code.TRUNCATED


def test_what_announces_more_than_any_message_is_none() -> None:
    lengths = struct.pack("!II", 1 << 30, 10)
    watch = Noted()
    assert watch.feed(lengths + struct.pack("!I", crc32(lengths)) + bytes(100)) == b""
    assert watch.fault is not None and watch.fault.code is Code.MALFORMED_EVENT


def test_a_payload_that_its_dialect_finds_malformed_is_not_released() -> None:
    watch = Noted()
    good = event("e", b"fine")
    assert watch.feed(good + event("e", b"odd") + good) == good
    assert watch.fault is not None and watch.fault.code is Code.MALFORMED_EVENT
    assert watch.feed(good) == b""


def test_what_follows_the_end_passes_as_it_came() -> None:
    end, garbage = event("end", b""), b"no message, whatever else it is"
    watch = Noted()
    assert fed(watch, [end, garbage[:5], garbage[5:]]) == end + garbage
    assert (watch.terminal, watch.fault) == (True, None)


@given(st.lists(st.integers(0, 5000), max_size=6))
def test_exceptions_and_errors_are_shown_by_their_names(cuts: list[int]) -> None:
    exception = encode([(":message-type", "exception"), (":exception-type", "throttlingException")], b"{}")
    error = encode([(":message-type", "error"), (":error-code", "Odd"), (":error-message", "why")], b"")
    watch = Noted()
    assert fed(watch, pieces(exception + error, cuts)) == exception + error
    assert watch.seen == [("!throttlingException", b"{}"), ("!Odd", b"why")]
