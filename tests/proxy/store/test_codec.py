"""Entries as bytes: whole and right, or not at all."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import entry, noise

from seawall.store import codec
from seawall.store.base import Corrupt
from seawall.store.codec import decode, encode, labels_of
from seawall.store.entry import SCHEMA, Entry
from seawall.types import Usage

KEY = b"k" * 32
_bytes = st.binary(max_size=40)
_times = st.floats(0, 4e9)
_entries = st.builds(
    Entry,
    status=st.integers(100, 599),
    headers=st.lists(st.tuples(_bytes, _bytes), max_size=5),
    pieces=st.lists(st.binary(max_size=2000), max_size=8).map(tuple),
    stream=st.booleans(),
    requested_at=_times,
    responded_at=_times,
    fresh_seconds=_times,
    keep_seconds=_times,
    must_revalidate=st.booleans(),
    vary=st.lists(st.tuples(_bytes, st.none() | _bytes), max_size=3).map(tuple),
    route=st.text(max_size=20),
    upstream=st.text(max_size=20),
    model=st.text(max_size=2000),
    dialect=st.text(max_size=20),
    usage=st.none() | st.builds(Usage, *[st.integers(0, 2**40)] * 4),
    more=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
)


def encoded(one: Entry, key: bytes = KEY) -> bytes:
    data = encode(key, one)
    assert data is not None
    return data


@given(_entries, st.binary(max_size=64))
def test_what_is_read_is_what_was_put_event_for_event(one: Entry, key: bytes) -> None:
    assert decode(key, encoded(one, key)) == one


@given(_entries)
def test_labels_are_read_from_the_first_bytes_alone(one: Entry) -> None:
    data = encoded(one)
    found = labels_of(data[: codec.LABELS_WITHIN])
    if isinstance(found, int):
        assert found > codec.LABELS_WITHIN
        found = labels_of(data[:found])
    assert found == (one.route, one.upstream, one.model)


@pytest.mark.parametrize("body", [b"short", noise(400), b"many words " * 100], ids=["plain", "noise", "packed"])
def test_one_flipped_bit_anywhere_is_no_entry(body: bytes) -> None:
    data = encoded(entry(body))
    for at in range(len(data)):
        for bit in (1, 0x80):
            flipped = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            if at == 2:
                # The version: another one is a miss.
                assert decode(KEY, flipped) is None
                continue
            with pytest.raises(Corrupt):
                decode(KEY, flipped)


def test_any_part_of_an_entry_is_no_entry() -> None:
    data = encoded(entry(b"many words " * 100))
    for end in range(len(data)):
        with pytest.raises(Corrupt):
            decode(KEY, data[:end])
    with pytest.raises(Corrupt):
        decode(KEY, data + b"\0")


def test_another_keys_entry_is_never_taken() -> None:
    data = encoded(entry(b"of tenant a"), b"tenant a")
    with pytest.raises(Corrupt):
        decode(b"tenant b", data)


def test_bytes_do_not_change_sides_between_key_and_labels() -> None:
    data = encoded(entry(), b"ab")
    with pytest.raises(Corrupt):
        decode(b"a", data)


def test_another_schema_is_a_miss_not_an_error() -> None:
    data = encoded(entry())
    assert decode(KEY, data[:2] + bytes([SCHEMA + 1]) + data[3:]) is None


@given(st.binary(max_size=200))
def test_rubbish_is_corrupt_or_of_another_schema(data: bytes) -> None:
    for read in (lambda: decode(KEY, data), lambda: decode(KEY, b"SW" + bytes([SCHEMA]) + data)):
        try:
            assert read() is None
        except Corrupt:
            pass


def _forged(form: int, body: bytes) -> bytes:
    """As somebody with access to a shared store could write it."""
    labels = msgspec.msgpack.encode(("", "", ""))
    head = codec._HEAD.pack(b"SW", SCHEMA, form, codec._digest(KEY, form, labels, body), len(labels))
    return head + labels + body


@pytest.mark.parametrize(
    "data",
    [
        _forged(0, b"\xc1"),
        _forged(0, msgspec.msgpack.encode([200])),
        _forged(1, b"no frame"),
        # A frame that announces 2**60 bytes.
        _forged(1, b"\x28\xb5\x2f\xfd\xe0" + (2**60).to_bytes(8, "little") + b"\x01\x00\x00"),
    ],
    ids=["no msgpack", "no entry", "no frame", "bomb"],
)
def test_a_forged_entry_is_corrupt_and_takes_no_memory(data: bytes) -> None:
    with pytest.raises(Corrupt):
        decode(KEY, data)


def test_a_stream_of_events_takes_a_tenth_of_its_size_at_most() -> None:
    words = [b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"%d"}}]}\n\n' % random.Random(7).getrandbits(20)]
    one = entry(*(words * 200), stream=True)
    assert len(encoded(one)) < one.size / 10


def test_an_entry_beyond_all_bounds_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_LARGEST", 1000)
    assert encode(KEY, entry(noise(1001))) is None


def test_size_counts_body_and_fields() -> None:
    fields: Any = [(b"a", b"bc")]
    assert entry(b"123", b"45", headers=fields).size == 8
