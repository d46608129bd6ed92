"""The framing of server-sent events, against a plain reading of the WHATWG standard and under every cut."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.dialects.sse import KEPT, EventWatch, whole_events
from seawall.faults import Code


class Recorder(EventWatch):
    """Takes note of the events; those whose data begins with `!` count as malformed."""

    __slots__ = ("large", "seen")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bytes, bytes]] = []
        self.large: list[tuple[bytes, bytes]] = []

    def _event(self, name: bytes, data: bytes) -> bool:
        self.seen.append((name, data))
        return not data.startswith(b"!") or self._odd(name, data)

    def _oversized(self, name: bytes, head: bytes, tail: bytes) -> None:
        self.large.append((name, tail[-8:]))
        super()._oversized(name, head, tail)


def reference(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The standard's algorithm on a whole stream; an unfinished last event is dispatched, as `Watch.end` says."""
    events, name, data = [], b"", []
    for line in [*re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf")), b""]:
        if not line:
            if data:
                events.append((name, b"\n".join(data)))
            name, data = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return events


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[a:b] for a, b in itertools.pairwise(places)]


def run(stream: bytes, cuts: list[int]) -> tuple[Recorder, bytes]:
    watch = Recorder()
    released = b"".join(watch.feed(piece) for piece in pieces(stream, cuts))
    return watch, released + watch.end()


LINES = st.sampled_from(
    [b"data: {}", b"data:x", b"data", b"data:", b"data:  two", b"event: ping", b"event:e", b": comment", b"id: 1", b"",
     b"", b"retry: 5", b"other: x", b"\xef\xbb\xbfdata: bom"]
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=25).map(b"".join)
CUTS = st.lists(st.integers(0, 2000), max_size=12)


@given(STREAMS, CUTS, st.booleans())
@settings(deadline=None)
def test_events_are_the_standards_whatever_the_line_ends_and_cuts(stream: bytes, cuts: list[int], bom: bool) -> None:
    stream = b"\xef\xbb\xbf" + stream if bom else stream
    watch, released = run(stream, cuts)
    assert released == stream
    assert watch.seen == reference(stream)
    assert watch.fault is None


@given(st.binary(max_size=400), CUTS)
@settings(deadline=None)
def test_any_bytes_come_back_unchanged_unless_malformed(stream: bytes, cuts: list[int]) -> None:
    watch, released = run(stream, cuts)
    whole, _ = run(stream, [])
    assert watch.seen == whole.seen
    assert released == stream if watch.fault is None else stream.startswith(released)


def test_one_byte_at_a_time_gives_the_same_events() -> None:
    stream = b"event: a\r\ndata: 1\r\n\r\n: c\r\n\r\ndata: 2\rdata: 3\r\rdata: 4\n\n"
    watch, released = run(stream, list(range(len(stream))))
    assert released == stream
    assert watch.seen == [(b"a", b"1"), (b"", b"2\n3"), (b"", b"4")]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_an_event_leaves_with_its_last_byte_and_not_earlier(end: bytes) -> None:
    watch = Recorder()
    event = b"data: {}" + end
    assert watch.feed(event[:-1]) == (event[:-1] if end == b"\r\n\r\n" else b"")
    assert watch.feed(event[-1:]) == (event[-1:] if end == b"\r\n\r\n" else event)
    assert watch.seen == [(b"", b"{}")]


def test_whole_events_pass_as_the_very_same_object() -> None:
    watch = Recorder()
    watch.feed(b"data: {}\n\n")
    chunk = b"event: x\ndata: {}\n\ndata: 2\n\n"
    assert watch.feed(chunk) is chunk


def test_the_half_of_an_event_is_held_back() -> None:
    watch = Recorder()
    assert watch.feed(b"data: 1\n\ndata: 2") == b"data: 1\n\n"
    assert watch.feed(b"2\n") == b""
    assert watch.feed(b"\n") == b"data: 22\n\n"


def test_nothing_is_released_from_a_malformed_event_on() -> None:
    watch = Recorder()
    assert watch.feed(b"data: 1\n\ndata: !x\n\ndata: 2\n\n") == b"data: 1\n\n"
    assert watch.fault is not None
    assert watch.fault.code is Code.MALFORMED_EVENT
    assert watch.feed(b"data: 3\n\n") == b""
    assert watch.end() == b""
    assert len(watch.seen) == 2


def test_a_last_event_that_is_cut_off_is_a_truncation() -> None:
    watch = Recorder()
    assert watch.feed(b"data: 1\n\ndata: !{") == b"data: 1\n\n"
    assert watch.end() == b""
    assert watch.fault is not None
    assert watch.fault.code is Code.TRUNCATED


def test_a_last_event_without_its_empty_line_still_counts() -> None:
    watch = Recorder()
    assert watch.feed(b"data: 1\n\ndata: 2\n") == b"data: 1\n\n"
    assert watch.end() == b"data: 2\n"
    assert watch.seen[-1] == (b"", b"2")


@pytest.mark.parametrize("step", [1 << 20, 16384, 1000, 331])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_oversized_event_passes_and_the_next_is_watched_again(step: int, end: bytes) -> None:
    large = b"event: big" + end + b"data: " + b"x" * (KEPT + 500) + b"-the-end" + end + end
    stream = b"data: 1" + end + end + large + b"data: 2" + end + end
    watch = Recorder()
    held = 0
    released = b""
    for at in range(0, len(stream), step):
        released += watch.feed(stream[at : at + step])
        held = max(held, min(at + step, len(stream)) - len(released))
    assert released + watch.end() == stream
    assert watch.seen == [(b"", b"1"), (b"", b"2")]
    assert [(name, b"end" in tail) for name, tail in watch.large] == [(b"big", True)]
    assert watch.content
    assert held <= KEPT + step


@pytest.mark.parametrize("size", [KEPT - 1, KEPT, KEPT + 1])
def test_the_bound_is_the_same_on_the_short_way_and_on_the_long_one(size: int) -> None:
    event = b"data: " + b"x" * (size - 8) + b"\n\n"
    short, long = Recorder(), Recorder()
    assert short.feed(b"data: 1\n\n") + short.feed(event) == b"data: 1\n\n" + event
    assert long.feed(b"data: 1\n\n" + event[:9]) + long.feed(event[9:]) == b"data: 1\n\n" + event
    assert len(short.large) == (size > KEPT)
    assert (short.seen, short.large) == (long.seen, long.large)


@given(st.integers(0, 5000), st.lists(st.integers(0, 200_000), max_size=8))
@settings(deadline=None, max_examples=30)
def test_oversized_events_do_not_depend_on_the_cuts(extra: int, cuts: list[int]) -> None:
    stream = b"data: 1\n\ndata: " + b"y" * (KEPT - 2500 + extra) + b"\n\ndata: 2\n\n"
    watch, released = run(stream, cuts)
    whole, _ = run(stream, [])
    assert released == stream
    assert (watch.seen, watch.large) == (whole.seen, whole.large)


def test_an_oversized_event_that_is_cut_off_is_not_taken_for_one() -> None:
    watch = Recorder()
    stream = b"data: " + b"x" * (KEPT + 1)
    assert watch.feed(stream) + watch.end() == stream
    assert watch.large == []


@given(st.lists(st.sampled_from([b"data: a", b"event: e", b"data:b", b": c", b"", b"id: 1", b"data"]), max_size=9))
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_of_a_stream_that_is_here_whole_are_those_of_the_standard(end: bytes, lines: list[bytes]) -> None:
    stream = b"".join(line + end for line in lines)
    for data in (stream, b"\xef\xbb\xbf" + stream, stream.removesuffix(end)):
        assert list(whole_events(data)) == reference(data)
