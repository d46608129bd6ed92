"""Streamed answers, whole and broken, before and after the commit: SEMANTICS §5."""

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from harness import lab, proxy, route, until, upstream
from peers import QUICK, Upstream, always, answer, chat, raw, request_head, serving, wire

TALK = [{"role": "user", "content": "hi"}]
# dialect, path, request
DIALECTS = [
    ("OpenAI", "/v1/chat/completions", {"model": "gpt", "stream": True, "messages": TALK}),
    ("OpenAI", "/v1/responses", {"model": "gpt", "stream": True, "input": "hi"}),
    ("Anthropic", "/v1/messages", {"model": "claude", "stream": True, "max_tokens": 50, "messages": TALK}),
]
TERMINAL = (b"[DONE]", b'"finish_reason":"stop"', b"response.completed", b"message_stop")
KINDS = pytest.mark.parametrize(("dialect", "path", "body"), DIALECTS, ids=["chat", "responses", "anthropic"])
NO_RETRY = "retry: {attempts: 0}\n"


def one(url: str, rule: str = NO_RETRY, dialect: str = "OpenAI", extra: str = "") -> str:
    return upstream("a", url, dialect, extra) + route("models", "/v1", "a", rule)


def pair(first: str, second: str, rule: str, dialect: str = "OpenAI") -> str:
    return upstream("a", first, dialect) + upstream("b", second, dialect) + route("models", "/v1", "a b", rule)


def last_event(body: bytes) -> dict[str, Any]:
    assert body.endswith(b"\n\n")
    data = body.rpartition(b"data: ")[2]
    event: dict[str, Any] = json.loads(data)
    return event


@KINDS
@pytest.mark.parametrize("fault", ["cut-prelude", "reset-prelude", "malformed-prelude", "error-prelude", "bad-chunk-0"])
async def test_a_stream_that_breaks_before_its_content_is_tried_again_unseen(
    tmp_path: Path, dialect: str, path: str, body: Any, fault: str
) -> None:
    async with lab() as upstreams:
        upstreams.script([fault])
        async with proxy(one(f"{upstreams.url}/v1", QUICK, dialect), tmp_path) as running:
            got = await wire(running, body, path=path)
            again = await wire(running, body, path=path)
            assert (got.status, got.whole, got.field(b"x-seawall-outcome")) == (200, True, b"retry")
            assert len(got.body) == len(again.body)
            assert any(end in got.body for end in TERMINAL)
            assert len(upstreams.attempts()) == 3


@KINDS
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("cut-5", "TRUNCATED"),
        ("no-terminal", "TRUNCATED"),
        ("unclean-5", "TRUNCATED"),
        ("reset-5", "TRUNCATED"),
        ("bad-chunk-5", "TRUNCATED"),
        ("malformed-5+gap-5ms", "MALFORMED_EVENT"),
        ("stall-5", "TIMEOUT_STREAM_IDLE"),
        ("gap-50ms", "STREAM_TOO_SLOW"),
    ],
)
async def test_a_stream_that_breaks_after_its_content_ends_with_an_error_and_uncleanly(
    tmp_path: Path, dialect: str, path: str, body: Any, fault: str, code: str
) -> None:
    limits = "timeouts: {streamIdle: 100ms}\nstreaming: {minProgress: {events: 10, interval: 120ms}}\n"
    async with lab() as upstreams:
        upstreams.script([], then=fault)
        async with proxy(one(f"{upstreams.url}/v1", QUICK + limits, dialect), tmp_path) as running:
            got = await wire(running, body, path=path)
            assert got.status == 200
            assert not got.whole
            assert not any(end in got.body for end in TERMINAL)
            error = last_event(got.body)
            assert (error["seawall"]["code"], error["error"]["message"][:8]) == (code, "seawall:")
            call = await running.call()
            # Nothing is repeated once the agent has seen some of it.
            assert (call.fault, call.outcome.value, call.attempts) == (code, "error", 1)
            machine = running.upstream("a").breaker(body["model"], 0).snapshot(time.monotonic())
            assert machine.consecutive_failures == 1


@KINDS
@pytest.mark.parametrize(("trouble", "bad"), [("overloaded", 1), ("invalid", 0)])
async def test_an_upstreams_own_error_event_passes_and_counts_by_its_code(
    tmp_path: Path, dialect: str, path: str, body: Any, trouble: str, bad: int
) -> None:
    async with lab() as upstreams:
        upstreams.script([], then=f"error-5-{trouble}")
        async with proxy(one(f"{upstreams.url}/v1", QUICK, dialect), tmp_path) as running:
            got = await wire(running, body, path=path)
            assert (got.whole, b"error" in got.body, b'"seawall"' in got.body) == (True, True, False)
            assert (await running.call()).fault == ("OVERLOADED" if bad else "INVALID_REQUEST")
            machine = running.upstream("a").breaker(body["model"], 0).snapshot(time.monotonic())
            assert machine.consecutive_failures == bad


@pytest.mark.parametrize("fault", ["cut-5", "no-terminal", "malformed-5", "reset-5", "error-5", "stall-5"])
async def test_commit_complete_never_shows_a_broken_stream(tmp_path: Path, fault: str) -> None:
    rule = QUICK + "streaming: {commit: Complete}\ntimeouts: {streamIdle: 60ms}\n"
    async with lab() as upstreams:
        upstreams.script([fault])
        async with proxy(one(f"{upstreams.url}/v1", rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, got.field(b"x-seawall-attempts"), b"error" in got.body) == (True, b"2", False)
            assert got.body.count(b'"role"') == got.body.count(b"[DONE]") == 1


async def test_commit_complete_lets_go_above_what_may_be_held(tmp_path: Path) -> None:
    rule = QUICK + "streaming: {commit: Complete, maxHold: 4Ki}\n"
    async with lab() as upstreams:
        upstreams.script(["tokens-200+gap-2ms"])
        async with (
            proxy(one(f"{upstreams.url}/v1", rule), tmp_path) as running,
            raw(running, chat(stream=True)) as (reader, _),
        ):
            await reader.readuntil(b"data: ")
            assert upstreams.attempts()[0].end is None
            assert running.service._buffers.used < 200  # the request's body
            await reader.readuntil(b"0\r\n\r\n")


async def test_commit_headers_releases_at_once_and_never_repeats(tmp_path: Path) -> None:
    rule = QUICK + "streaming: {commit: Headers}\n"
    async with lab() as upstreams:
        upstreams.script(["first-token-150ms", "cut-prelude"])
        async with proxy(one(f"{upstreams.url}/v1", rule), tmp_path) as running:
            async with raw(running, chat(stream=True)) as (reader, _):
                await reader.readuntil(b"assistant")
                assert upstreams.attempts()[0].end is None
                await reader.readuntil(b"[DONE]")
            got = await wire(running, chat(stream=True))
            assert (got.whole, last_event(got.body)["seawall"]["code"]) == (False, "TRUNCATED")
            assert len(upstreams.attempts()) == 2


async def test_a_first_content_that_is_late_after_the_commit_is_told(tmp_path: Path) -> None:
    rule = NO_RETRY + "timeouts: {firstContent: 80ms}\n"
    async with lab() as upstreams:
        upstreams.script([], then="first-token-5s")
        async with proxy(one(f"{upstreams.url}/v1", rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert last_event(got.body)["seawall"]["code"] == "TIMEOUT_FIRST_CONTENT"


def pinging(number: int, seconds: float) -> Upstream:
    """Headers, so many comments, then a short whole stream."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for _ in range(number):
            writer.write(b": ping\n\n")
            await asyncio.sleep(seconds)
        writer.write(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\ndata: [DONE]\n\n')

    return handle


@pytest.mark.parametrize(("limit", "answered"), [("streamIdle: 80ms", b"a"), ("firstContent: 80ms", b"b")])
async def test_pings_keep_a_stream_alive_but_are_no_content(tmp_path: Path, limit: str, answered: bytes) -> None:
    async with lab() as upstreams, serving(pinging(10, 0.02)) as port:
        policy = pair(f"http://127.0.0.1:{port}", f"{upstreams.url}/v1", f"timeouts: {{{limit}}}\n{QUICK}")
        async with proxy(policy, tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.field(b"x-seawall-upstream"), got.whole) == (answered, True)


def zstd(data: bytes) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(data) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


EVENTS = b"".join(
    b'data: {"choices":[{"index":0,"delta":%s}]}\n\n' % delta
    for delta in (b'{"role":"assistant"}', b'{"content":"one"}', b'{"content":"two"}')
)
CODINGS = [("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstd)]


def compressed(coding: str, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: %s\r\n" % coding.encode()
    return head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize(("coding", "pack"), CODINGS, ids=[c[0] for c in CODINGS])
async def test_a_compressed_stream_is_watched_and_its_bytes_stay(
    tmp_path: Path, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    whole, cut, early = (pack(data) for data in (EVENTS + b"data: [DONE]\n\n", EVENTS, EVENTS[:60]))
    async with (
        serving(always(compressed(coding, whole))) as good,
        serving(always(compressed(coding, cut))) as late,
        serving(always(compressed(coding, early))) as bad,
    ):
        url = "http://127.0.0.1:{}".format
        async with proxy(pair(url(bad), url(good), NO_RETRY), tmp_path) as running:
            got = await wire(running, chat(stream=True), headers="accept-encoding: x\r\nconnection: close\r\n")
            assert (got.body, got.whole, got.field(b"x-seawall-upstream")) == (whole, True, b"b")
            assert got.field(b"content-encoding") == coding.encode()
            assert running.attempts[0].result == "TRUNCATED"
        async with proxy(pair(url(late), url(good), NO_RETRY), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            # Nothing can be added to it, so only the missing end tells.
            assert (got.body, got.whole, got.field(b"x-seawall-upstream")) == (cut, False, b"a")
            assert (await running.call()).fault == "TRUNCATED"


async def test_a_compressed_stream_of_a_dialect_without_terminal_events_ends_well(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script([], then="gzip")
        async with proxy(one(f"{upstreams.url}/v1", QUICK, "Generic"), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, (await running.call()).fault) == (True, "")
            assert gzip.decompress(got.body).endswith(b"[DONE]\n\n")


async def test_an_http_1_0_agent_gets_its_stream_and_a_reset_when_it_breaks(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["ok", "cut-5"])
        async with proxy(one(f"{upstreams.url}/v1"), tmp_path) as running:
            whole = await wire(running, chat(stream=True), version="1.0")
            assert (whole.end, whole.body.endswith(b"[DONE]\n\n")) == ("eof", True)
            assert whole.field(b"transfer-encoding") is None
            broken = await wire(running, chat(stream=True), version="1.0")
            # Only a close would tell its end; it must not look like one.
            assert broken.end == "reset"


@KINDS
async def test_an_agent_that_goes_away_ends_the_stream_upstream_and_counts_against_nobody(
    tmp_path: Path, dialect: str, path: str, body: Any
) -> None:
    async with lab() as upstreams:
        upstreams.script([], then="gap-100ms")
        async with proxy(one(f"{upstreams.url}/v1", QUICK, dialect), tmp_path) as running:
            async with raw(running, body, path=path) as (reader, _):
                await reader.readuntil(b"data: ")
            await until(lambda: upstreams.attempts()[0].gone)
            assert (await running.call()).fault == "AGENT_GONE"
            assert running.upstream("a").breaker(body["model"], 0).snapshot(time.monotonic()).calls == 0
            await until(lambda: upstreams.connections == 0)


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CONTENT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'


@pytest.mark.parametrize(
    ("rest", "own_events"),
    [
        (b'data: {"error":{"message":"gone","type":"server_error","code":500}}\n\n', 0),
        (b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 100_000, 0),
        (b'data: {"choices":[{"index":0,"delta":{"content":"half an event', 1),
    ],
)
async def test_an_error_event_of_ours_is_added_only_where_it_is_read_and_the_first(
    tmp_path: Path, rest: bytes, own_events: int
) -> None:
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (CONTENT, rest)]
    async with (
        serving(always(SSE_HEAD, *chunks)) as port,
        proxy(one(f"http://127.0.0.1:{port}"), tmp_path) as running,
    ):
        got = await wire(running, chat(stream=True))
        assert CONTENT in got.data
        assert (b'"seawall"' in got.data) == bool(own_events)
        assert not got.data.endswith(b"0\r\n\r\n")


@KINDS
async def test_a_cut_stream_that_had_announced_its_length_is_not_taken_for_whole(
    tmp_path: Path, dialect: str, path: str, body: Any
) -> None:
    async with lab() as upstreams, proxy(one(f"{upstreams.url}/v1", NO_RETRY, dialect), tmp_path) as running:
        events = (await wire(running, body, path=path)).body
    cut = events[: events.rindex(b"\n\n", 0, len(events) // 2) + 2]
    async with (
        serving(always(answer(cut, "text/event-stream"))) as port,
        proxy(one(f"http://127.0.0.1:{port}/v1", NO_RETRY, dialect), tmp_path) as running,
    ):
        got = await wire(running, body, path=path)
        assert (got.status, got.whole, (await running.call()).fault) == (200, False, "TRUNCATED")
        assert last_event(got.body)["seawall"]["attempts"] == 1


@pytest.mark.parametrize("stray", [b"data:\n\n", b"data: bye\n\n", b'data: {"half', b"data: {]\n\n"])
@pytest.mark.parametrize("commit", ["FirstContent", "Complete"])
async def test_what_follows_a_terminal_event_makes_no_answer_a_failed_one(
    tmp_path: Path, commit: str, stray: bytes
) -> None:
    content = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
    whole = content + b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n' + stray
    async with serving(always(answer(whole, "text/event-stream"))) as port:
        rule = QUICK + f"streaming: {{commit: {commit}}}\n"
        async with proxy(one(f"http://127.0.0.1:{port}/v1", rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            call = await running.call()
            assert (got.status, got.whole, got.body) == (200, True, whole)
            assert (call.fault, call.attempts) == ("", 1)
