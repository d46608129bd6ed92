"""Gemini: what its streams say, as events and as one array."""

import json
from typing import Any

import pytest
from chunks import array, candidate, event, sse

from seawall.faults import Code
from seawall.types import Usage

CONTENT = [{"text": "x"}, {"text": "x", "thought": True}, {"functionCall": {"name": "f", "args": {}}},
           {"inlineData": {"mimeType": "image/png", "data": "xx"}}, {"executableCode": {"code": "x"}},
           {"codeExecutionResult": {}}, {"toolCall": {}}]  # fmt: skip


@pytest.mark.parametrize("part", CONTENT)
def test_what_is_content(part: dict[str, Any]) -> None:
    chunk = {"candidates": [candidate(None, part)], "modelVersion": "g-1"}
    for watch, data in ((sse(), event(chunk)), (array(), b"[" + json.dumps(chunk).encode())):
        assert watch.feed(data) == data
        assert (watch.content, watch.progress, watch.model, watch.terminal) == (True, 1, "g-1", False)


@pytest.mark.parametrize(
    "part", [{"text": ""}, {"thoughtSignature": "abc"}, {"text": "", "thoughtSignature": "abc"}, {}]
)
def test_what_is_not(part: dict[str, Any]) -> None:
    watch = sse()
    watch.feed(event({"candidates": [candidate(None, part)]}) + event({"usageMetadata": {"promptTokenCount": 1}}))
    assert (watch.content, watch.progress, watch.terminal) == (False, 0, False)


def test_a_stream_is_whole_when_every_candidate_has_finished() -> None:
    watch = sse(2)
    watch.feed(event({"candidates": [candidate("STOP", {"text": "a"})]}))
    assert not watch.terminal
    watch.feed(event({"candidates": [candidate("MAX_TOKENS", {"text": "b"}, index=1)]}))
    assert watch.terminal
    unasked = sse()
    unasked.feed(event({"candidates": [candidate(None, {"text": "b"}, index=1), candidate("STOP")]}))
    assert not unasked.terminal


def test_a_finish_that_was_none_is_taken_back() -> None:
    watch = sse()
    watch.feed(event({"candidates": [candidate("STOP", {"text": "a"})]}))
    watch.feed(event({"candidates": [candidate(None, {"text": "b"})]}))
    assert not watch.terminal
    watch.feed(event({"candidates": [candidate("STOP", {"text": "c"})]}))
    assert watch.terminal


def test_an_array_is_whole_when_it_has_ended_as_well() -> None:
    watch = array()
    watch.feed(b"[" + json.dumps({"candidates": [candidate("STOP", {"text": "a"})]}).encode() + b"\n")
    assert watch.content and not watch.terminal
    watch.feed(b"]")
    assert watch.terminal and watch.end() == b""


def test_the_last_usage_counts() -> None:
    watch = sse()
    watch.feed(event({"usageMetadata": {"promptTokenCount": 3}}))
    assert watch.usage == Usage(3)
    watch.feed(event({"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 7}}) + event({"candidates": []}))
    assert watch.usage == Usage(3, 7)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_an_image_too_large_to_be_held_still_tells_of_the_end(line_end: bytes) -> None:
    chunk = {
        "candidates": [candidate("STOP", {"inlineData": {"mimeType": "image/png", "data": "A" * 200_000}})],
        "usageMetadata": {
            "promptTokenCount": 3,
            "candidatesTokenCount": 1290,
            "promptTokensDetails": [{"tokenCount": 3}],
        },
    }
    data = json.dumps(chunk).encode()
    for watch, stream in ((sse(), b"data: " + data + 2 * line_end), (array(), b"[" + data + line_end + b"]")):
        pieces = [stream[at : at + 30_000] for at in range(0, len(stream), 30_000)]
        assert b"".join([*map(watch.feed, pieces), watch.end()]) == stream
        assert (watch.content, watch.terminal, watch.usage) == (True, True, Usage(3, 1290))


@pytest.mark.parametrize("data", [b"oops", b'{"candidates": [', b"{}{}", b"<html>"])
def test_data_that_is_not_json_is_malformed_and_not_released(data: bytes) -> None:
    good = event({"candidates": [candidate(None, {"text": "a"})]})
    watch = sse()
    assert watch.feed(good + b"data: " + data + b"\r\n\r\n" + good) == good
    assert watch.fault is not None and watch.fault.code is Code.MALFORMED_EVENT


def test_json_of_an_unknown_form_passes() -> None:
    watch = sse()
    stream = event({"candidates": "odd"}) + event([1]) + event({"candidates": [{"content": {"parts": {}}}]})
    assert watch.feed(stream) == stream
    assert watch.fault is None and not watch.content
