"""Each fault of the grammar, as it looks on the wire."""

import asyncio
import gzip
import json
import re
import time
from collections.abc import Callable

import pytest

from seawall.lab import Lab
from seawall.lab.words import WORDS

from .conftest import Send, Wire


def dechunked(body: bytes) -> tuple[bytes, bool]:
    """The content of a chunked body, and whether its last chunk came."""
    content = b""
    while match := re.match(rb"([0-9a-f]+)\r\n", body):
        size = int(match[1], 16)
        if size == 0:
            return content, True
        content += body[match.end() : match.end() + size]
        body = body[match.end() + size + 2 :]
    return content, False


def events(wire: Wire) -> tuple[list[str], bool]:
    """The payloads of a stream's events, and whether it ended properly."""
    content, whole = dechunked(wire.body)
    payloads = [line.removeprefix("data: ") for line in content.decode().splitlines() if line.startswith("data: ")]
    return payloads, whole


def fields(wire: Wire) -> dict[str, str]:
    lines = wire.head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


async def test_a_healthy_stream_ends_with_its_terminal_and_last_chunk(send: Send) -> None:
    payloads, whole = events(await send(stream=True))
    assert whole
    assert payloads[-1] == "[DONE]"
    assert len(payloads) == 1 + 12 + 1 + 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529])
async def test_a_status_answers_with_an_openai_error(send: Send, status: int) -> None:
    wire = await send(str(status))
    assert wire.head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(wire.body)["error"]["message"]
    assert "retry-after" not in fields(wire)


async def test_a_status_with_retry_after_and_parameters(send: Send) -> None:
    wire = await send("429-retry-after-2; retry-after-ms=1500; code=slow_down; message=wait; please")
    assert fields(wire)["retry-after"] == "2"
    assert fields(wire)["retry-after-ms"] == "1500"
    assert json.loads(wire.body)["error"] | {"type": ""} == {
        "message": "wait; please",
        "type": "",
        "param": None,
        "code": "slow_down",
    }


async def test_a_status_with_its_own_body(send: Send) -> None:
    assert (await send('502; body=<html>{"a": 1}; bad gateway</html>')).body == b'<html>{"a": 1}; bad gateway</html>'


@pytest.mark.parametrize("status", ["204", "304"])
async def test_answers_without_a_body(send: Send, status: str) -> None:
    wire = await send(status)
    assert wire.body == b""
    assert "content-length" not in fields(wire)
    assert "transfer-encoding" not in fields(wire)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("rate-limit-1", 429, "rate_limit_exceeded"),
        ("quota", 429, "insufficient_quota"),
        ("overloaded", 503, "server_is_overloaded"),
        ("context", 400, "context_length_exceeded"),
        ("filter", 400, "content_filter"),
        ("auth", 401, "invalid_api_key"),
        ("not-found", 404, "model_not_found"),
    ],
)
async def test_troubles_have_openai_shapes(send: Send, fault: str, status: int, code: str) -> None:
    wire = await send(fault)
    assert wire.head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(wire.body)["error"]["code"] == code


async def test_a_rate_limit_exhausts_the_rate_limit_fields(send: Send) -> None:
    wire = await send("rate-limit-1")
    assert fields(wire)["retry-after"] == "1"
    assert fields(wire)["x-ratelimit-remaining-requests"] == "0"
    assert fields(await send())["x-ratelimit-remaining-requests"] == "9999"


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("rate-limit", 429, "rate_limit_error"),
        ("quota", 400, "invalid_request_error"),
        ("402", 402, "billing_error"),
        ("overloaded", 529, "overloaded_error"),
        ("server", 500, "api_error"),
        ("auth", 401, "authentication_error"),
    ],
)
async def test_troubles_have_anthropic_shapes(send: Send, fault: str, status: int, kind: str) -> None:
    wire = await send(fault, path="/v1/messages")
    assert wire.head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(wire.body)["error"]["type"] == kind


async def test_200_with_an_error_body(send: Send) -> None:
    wire = await send("error-body-overloaded")
    assert wire.head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(wire.body)["error"]["code"] == "server_is_overloaded"


async def test_reset_before_the_head(send: Send) -> None:
    assert (await send("reset")) == Wire(b"", "reset", ())


async def test_reset_after_the_head(send: Send) -> None:
    wire = await send("reset-0", stream=True)
    assert wire.head.startswith(b"HTTP/1.1 200 ")
    assert (wire.body, wire.end) == (b"", "reset")


async def test_reset_after_events_lets_them_arrive_first(send: Send) -> None:
    wire = await send("reset-3", stream=True)
    payloads, whole = events(wire)
    assert (len(payloads), whole, wire.end) == (3, False, "reset")


async def test_close_before_the_head(send: Send) -> None:
    wire = await send("close")
    assert (wire.data, wire.end) == (b"", "eof")


async def test_silence(send: Send) -> None:
    wire = await send("silent", wait=0.2)
    assert (wire.data, wire.end) == (b"", "timeout")


async def test_garbage(send: Send) -> None:
    wire = await send("garbage")
    assert wire.data
    assert not wire.data.startswith(b"HTTP/")


async def test_endless_headers(send: Send) -> None:
    wire = await send("endless-headers", limit=2_000_000, wait=5.0)
    assert len(wire.data) >= 2_000_000
    assert b"\r\n\r\n" not in wire.data


async def test_a_control_character_in_a_header(send: Send) -> None:
    wire = await send("bad-header")
    assert b"x-lab-bad: before\x01after\x7f\r\n" in wire.head
    assert json.loads(wire.body)["object"] == "chat.completion"


async def test_a_cut_stream_ends_properly_without_its_terminal(send: Send) -> None:
    wire = await send("cut-5", stream=True)
    payloads, whole = events(wire)
    assert (len(payloads), whole, wire.end) == (5, True, "eof")
    assert "[DONE]" not in payloads


async def test_a_cut_plain_answer_is_half_a_document_with_a_last_chunk(send: Send) -> None:
    content, whole = dechunked((await send("cut")).body)
    assert whole
    with pytest.raises(ValueError, match=r"."):
        json.loads(content)


async def test_an_unclean_cut_has_no_last_chunk(send: Send) -> None:
    wire = await send("unclean-5", stream=True)
    payloads, whole = events(wire)
    assert (len(payloads), whole, wire.end) == (5, False, "eof")


async def test_a_stall_sends_n_events_and_then_nothing(send: Send) -> None:
    wire = await send("stall-2", stream=True, wait=0.3)
    payloads, whole = events(wire)
    assert (len(payloads), whole, wire.end) == (2, False, "timeout")


async def test_a_malformed_event_is_followed_by_the_rest(send: Send) -> None:
    payloads, whole = events(await send("malformed-4", stream=True))
    assert whole
    assert payloads[-1] == "[DONE]"
    for number, payload in enumerate(payloads[:-1]):
        if number == 4:
            with pytest.raises(ValueError, match=r"."):
                json.loads(payload)
        else:
            json.loads(payload)


async def test_a_malformed_plain_answer_is_not_json(send: Send) -> None:
    wire = await send("malformed")
    assert int(fields(wire)["content-length"]) == len(wire.body)
    with pytest.raises(ValueError, match=r"."):
        json.loads(wire.body)


async def test_bad_chunking(send: Send) -> None:
    wire = await send("bad-chunk-3", stream=True)
    payloads, whole = events(wire)
    assert (len(payloads), whole) == (3, False)
    assert b"\r\nzz; not a size\r\n" in wire.body


@pytest.mark.parametrize("stream", [False, True])
async def test_a_truncated_body_is_shorter_than_announced(send: Send, stream: bool) -> None:
    wire = await send("truncated", stream=stream)
    assert wire.end == "eof"
    assert 0 < len(wire.body) < int(fields(wire)["content-length"])


async def test_a_missing_terminal_leaves_all_content(send: Send) -> None:
    payloads, whole = events(await send("no-terminal", stream=True))
    assert whole
    assert len(payloads) == 13
    assert all(json.loads(payload)["choices"][0]["finish_reason"] is None for payload in payloads)


async def test_an_error_event_before_content(send: Send) -> None:
    payloads, whole = events(await send("error-prelude-overloaded", stream=True))
    assert (len(payloads), whole) == (2, True)
    assert json.loads(payloads[1])["error"]["code"] == "server_is_overloaded"


async def test_an_error_event_after_content_in_each_dialect(send: Send) -> None:
    responses = {"model": "gpt", "stream": True, "input": "hi"}
    payloads, _ = events(await send("error-6-rate-limit", path="/v1/responses", body=responses))
    assert json.loads(payloads[-1])["type"] == "error"
    assert json.loads(payloads[-1])["code"] == "rate_limit_exceeded"
    payloads, _ = events(await send("failed-6", path="/v1/responses", body=responses))
    assert json.loads(payloads[-1])["type"] == "response.failed"
    assert json.loads(payloads[-1])["response"]["status"] == "failed"
    messages = {"model": "c", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    payloads, _ = events(await send("error-6-overloaded", path="/v1/messages", body=messages))
    assert json.loads(payloads[-1])["error"]["type"] == "overloaded_error"


async def test_an_error_event_on_a_plain_answer_is_its_body(send: Send) -> None:
    assert json.loads((await send("error-3-quota")).body)["error"]["code"] == "insufficient_quota"


async def test_a_huge_body_is_made_as_it_is_read(send: Send) -> None:
    wire = await send("huge-10g", limit=4_000_000, wait=5.0)
    assert fields(wire)["content-length"] == "10000000000"
    assert set(wire.body) == {0}
    assert len((await send("huge-3k")).body) == 3000


@pytest.mark.parametrize(
    "fault", ["latency-150ms", "latency-uniform-150ms-160ms", "latency-lognormal-150ms-0", "first-byte-150ms"]
)
async def test_a_slow_first_byte_delays_the_head(send: Send, fault: str) -> None:
    wire = await send(fault, wait=5.0)
    assert wire.chunks_at[0] > 0.14
    assert json.loads(wire.body)["object"] == "chat.completion"


async def test_a_slow_first_token_sends_head_and_prelude_at_once(send: Send) -> None:
    wire = await send("first-token-200ms", stream=True)
    assert wire.chunks_at[0] < 0.15
    assert wire.chunks_at[-1] >= 0.19
    assert events(wire)[1]


async def test_gaps_spread_the_events(send: Send) -> None:
    wire = await send("gap-10ms", stream=True)
    assert len(events(wire)[0]) == 15
    assert len(wire.chunks_at) >= 10
    assert wire.chunks_at[-1] >= 0.13


async def test_a_drip_sends_a_few_bytes_at_a_time(send: Send) -> None:
    wire = await send("drip-40-10ms")
    assert len(wire.chunks_at) >= 10
    assert json.loads(wire.body)["object"] == "chat.completion"


async def test_an_interim_answer_comes_first(send: Send) -> None:
    wire = await send("early-hints+latency-100ms")
    assert wire.data.startswith(b"HTTP/1.1 103 ")
    assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in wire.data


@pytest.mark.parametrize("stream", [False, True])
async def test_trailers_follow_the_last_chunk(send: Send, stream: bool) -> None:
    wire = await send("trailers", stream=stream)
    assert fields(wire)["trailer"] == "x-lab-trailer"
    assert wire.body.endswith(b"\r\n0\r\nx-lab-trailer: end\r\n\r\n")


async def test_gzip_answers(send: Send) -> None:
    plain = await send("gzip")
    assert fields(plain)["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(plain.body))["object"] == "chat.completion"
    stream = await send("gzip", stream=True)
    content, whole = dechunked(stream.body)
    assert whole
    assert gzip.decompress(content).endswith(b"data: [DONE]\n\n")


async def test_a_flaky_model_fails_its_share_and_recovers(send: Send) -> None:
    statuses = [(await send("flaky-50")).data[9:12] for _ in range(30)]
    assert set(statuses) == {b"200", b"503"}


async def test_fail_n_counts_per_key(send: Send) -> None:
    async def statuses(key: str) -> list[bytes]:
        return [(await send("fail-2-429", headers=f"x-lab-key: {key}\r\n")).data[9:12] for _ in range(4)]

    assert await statuses("a") == [b"429", b"429", b"200", b"429"]
    assert await statuses("b") == [b"429", b"429", b"200", b"429"]


async def test_steps_in_the_header_are_taken_one_per_attempt(send: Send) -> None:
    got = [(await send("503|429|ok", headers="x-lab-key: k\r\n")).data[9:12] for _ in range(4)]
    assert got == [b"503", b"429", b"200", b"200"]


async def test_flapping_follows_the_clock(send: Send) -> None:
    states = set[bytes]()
    until = time.monotonic() + 3.0
    while len(states) < 2 and time.monotonic() < until:
        states.add((await send("flap-100ms-100ms-500")).data[9:12])
    assert states == {b"200", b"500"}


async def test_a_fault_in_the_model_name(send: Send) -> None:
    body = {"model": "lab-cut-3@a", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    wire = await send(body=body, headers="", fault="ok")
    assert events(wire)[0][-1] == "[DONE]"  # the header wins
    by_name = {"model": "lab-503", "messages": [{"role": "user", "content": "hi"}]}
    assert (await send(body=by_name, fault="ok")).head.startswith(b"HTTP/1.1 200 ")


async def test_an_unknown_fault_is_told(send: Send) -> None:
    wire = await send("no-such-thing")
    assert wire.head.startswith(b"HTTP/1.1 404 ")
    assert "no-such-thing" in json.loads(wire.body)["error"]["message"]


@pytest.mark.parametrize("word", [word.example for word in WORDS])
@pytest.mark.parametrize("stream", [False, True])
async def test_no_fault_leaves_a_socket_open(lab: Lab, send: Send, word: str, stream: bool) -> None:
    await send(word, stream=stream, wait=0.1, limit=300_000)
    await _until(lambda: lab.connections == 0)
    (attempt,) = lab.attempts()
    assert attempt.end is not None
    assert attempt.fault == word


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not become so within 3 s")
