"""The framing of a JSON array that arrives piecewise: its elements, whatever the cuts, and nothing added or lost."""

import itertools
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.dialects.json_array import ArrayWatch
from seawall.dialects.sse import KEPT
from seawall.faults import Code


class Recorder(ArrayWatch):
    """Takes note of the elements; one with `end` tells of the end."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.large: list[tuple[bytes, bytes]] = []

    def _event(self, name: bytes, data: bytes) -> bool:
        try:
            element = json.loads(data)
        except ValueError:
            return self._odd(name, data)
        self.seen.append(element)
        self.terminal = self.terminal or "end" in element
        return True

    def _oversized(self, name: bytes, head: bytes, tail: bytes) -> None:
        self.large.append((head[:8], tail[-8:]))
        super()._oversized(name, head, tail)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[a:b] for a, b in itertools.pairwise(places)]


def run(stream: bytes, cuts: list[int]) -> tuple[Recorder, bytes]:
    watch = Recorder()
    released = b"".join(watch.feed(piece) for piece in pieces(stream, cuts))
    return watch, released + watch.end()


VALUES = st.recursive(
    st.none() | st.integers() | st.text('"\\{}[],: é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\{', max_size=3), inner, max_size=3),
    max_leaves=8,
)
ELEMENTS = st.lists(st.dictionaries(st.text("abc", max_size=3), VALUES, max_size=3), min_size=1, max_size=5)
CUTS = st.lists(st.integers(0, 3000), max_size=12)
SPACES = st.sampled_from(["", " ", "\n", "\r\n", "\t \r\n"])


def written(elements: list[Any], space: str, indent: int | None) -> bytes:
    texts = [json.dumps(element, indent=indent, ensure_ascii=False) for element in elements]
    return f"{space}[{space}{f'{space},{space}'.join(texts)}{space}]{space}".encode()


@given(ELEMENTS, SPACES, st.sampled_from([None, 2]), CUTS)
@settings(deadline=None)
def test_elements_are_jsons_whatever_the_spaces_and_cuts(
    elements: list[Any], space: str, indent: int | None, cuts: list[int]
) -> None:
    stream = written([*elements, {"end": 1}], space, indent)
    watch, released = run(stream, cuts)
    assert released == stream
    assert watch.seen == [*elements, {"end": 1}]
    assert (watch.fault, watch.terminal) == (None, True)


@given(ELEMENTS, SPACES, st.integers(0, 3000), CUTS)
@settings(deadline=None)
def test_what_is_released_of_a_cut_array_can_be_gone_on_with(
    elements: list[Any], space: str, keep: int, cuts: list[int]
) -> None:
    """Behind whole elements `lead` and one more of ours make an array again; before its end none is whole."""
    stream = written([*elements, {"end": 1}], space, None)
    stream = stream[: keep % (stream.rindex(b"]") + 1)]
    watch, released = run(stream, cuts)
    assert stream.startswith(released) and not watch.terminal
    assert (watch.fault is None) or watch.fault.code is Code.TRUNCATED
    assert json.loads(released + watch.lead + b'{"ours": 1}]') == [*watch.seen, {"ours": 1}]


def test_an_element_is_released_when_it_is_whole_and_not_before() -> None:
    watch = Recorder()
    assert watch.feed(b"[") == b""
    assert watch.feed(b'{"a": "}') == b""
    assert watch.feed(b'"}\n') == b'[{"a": "}"}\n'
    assert watch.feed(b",\r\n") == b""
    assert watch.feed(b'{"b": 1}') == b',\r\n{"b": 1}'
    assert watch.feed(b"]\n") == b"]\n"
    assert watch.seen == [{"a": "}"}, {"b": 1}]
    assert watch.midway and not watch.terminal, "nobody has told of the end"


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_a_bare_object_is_an_only_element(step: int) -> None:
    stream = b' {"error": {"code": 503}}\n'
    watch = Recorder()
    assert b"".join(watch.feed(stream[at : at + step]) for at in range(0, len(stream), step)) + watch.end() == stream
    assert watch.seen == [{"error": {"code": 503}}]


@pytest.mark.parametrize(
    "odd", [b"5", b'"x"', b"[]", b"]", b",", b"[", b"<html>", b'{"a": oops}', b'{"a": 1}}', b'{"a": 1} {"b": 2}']
)
@pytest.mark.parametrize("step", [1, 1000])
def test_what_is_no_array_of_objects_is_malformed_and_not_released(odd: bytes, step: int) -> None:
    first = b'[{"a": 1}\n'
    stream = first + b"," + odd + b',{"end": 1}]'
    watch = Recorder()
    released = b"".join(watch.feed(stream[at : at + step]) for at in range(0, len(stream), step))
    assert watch.fault is not None and watch.fault.code is Code.MALFORMED_EVENT
    whole = b',{"a": 1}' if odd.startswith(b'{"a": 1}') else b""
    assert released.rstrip() == (first + whole).rstrip()
    assert watch.feed(b',{"end": 1}]') == b"" == watch.end()


def test_an_empty_array_says_nothing_and_is_not_whole() -> None:
    watch = Recorder()
    assert watch.feed(b"[]") == b""
    assert watch.fault is not None and not watch.terminal


@pytest.mark.parametrize("step", [1000, 20_000, 10 * KEPT])
def test_a_large_element_passes_as_it_comes_in_bounded_memory(step: int) -> None:
    large = b'{"image": "' + b'\\"{[' * (KEPT * 8) + b'", "end": 1}'
    stream = b'[{"a": 1},' + large + b',{"b": 1}]'
    watch = Recorder()
    tracemalloc.start()
    try:
        released = [watch.feed(stream[at : at + step]) for at in range(0, len(stream), step)]
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert b"".join(released) == stream
    assert watch.seen == [{"a": 1}, {"b": 1}]
    assert watch.large == [(b'{"image"', b'"end": 1}'[-8:])]
    assert held < len(stream) + 4 * KEPT
    assert watch.fault is None


def test_within_a_large_element_nothing_can_be_appended() -> None:
    watch = Recorder()
    watch.feed(b'[{"image": "' + b"x" * (2 * KEPT))
    assert watch.midway
    assert watch.end() == b""
    assert watch.fault is not None and watch.fault.code is Code.TRUNCATED
