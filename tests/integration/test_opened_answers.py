"""How an answer ends that was opened before anybody had one: its agent is told all that it would have been told anyway,
as well as that can be told in a stream."""

import asyncio
import gzip
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import pytest
from harness import lab, proxy
from held import (
    COMMENT,
    HELD,
    KINDS,
    NO_RETRY,
    REST,
    ROLE,
    SSE,
    TERMINAL,
    at,
    comments,
    error_of,
    one,
    pair,
    slowly,
)
from leaving import Heard, chunk
from peers import QUICK, always, answer, chat, raw, serving, wire


@KINDS
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("cut-5", "TRUNCATED"), ("reset-5", "TRUNCATED"), ("malformed-5", "MALFORMED_EVENT"),
        ("stall-5", "TIMEOUT_STREAM_IDLE"),
    ],
)  # fmt: skip
async def test_a_fault_after_opening_is_told_as_an_event_and_with_an_unclean_end(
    tmp_path: Path, dialect: str, path: str, body: Any, fault: str, code: str
) -> None:
    rule = NO_RETRY + HELD + ("timeouts: {streamIdle: 300ms}\n" if fault == "stall-5" else "")
    async with lab() as upstreams:
        upstreams.script([], then=f"first-token-100ms+{fault}")
        async with proxy(one(f"{upstreams.url}/v1", rule, dialect), tmp_path) as running:
            got = await wire(running, body, path=path)
            assert (got.status, got.whole, comments(got) > 0) == (200, False, True)
            assert not any(end in got.body for end in TERMINAL)
            # Nothing of the broken answer has been let out.
            assert got.body.count(b"data: ") == 1
            assert error_of(got)["seawall"]["code"] == code
            call = await running.call()
            assert (call.status, call.outcome.value, call.fault, call.opened) == (200, "error", code, True)
            assert call.first_content_seconds is not None
            machine = running.upstream("a").breaker(body["model"], 0).snapshot(time.monotonic())
            assert machine.consecutive_failures == 1


@KINDS
@pytest.mark.parametrize(("second", "code"), [("invalid", "INVALID_REQUEST"), ("429", "RATE_LIMITED")])
async def test_an_upstreams_own_error_after_opening_is_told_in_its_own_words(
    tmp_path: Path, dialect: str, path: str, body: Any, second: str, code: str
) -> None:
    words = f"{second}; message=Not today, thank you."
    async with lab() as upstreams:
        upstreams.script(["first-token-150ms+cut-5"], then=words)
        rule = "retry: {attempts: 1, backoff: {base: 1ms, max: 1ms}}\n" + HELD
        async with proxy(one(f"{upstreams.url}/v1", rule, dialect), tmp_path) as running:
            got = await wire(running, body, path=path)
            assert (got.status, got.whole, comments(got) > 0) == (200, False, True)
            error = error_of(got)
            assert (error["error"]["message"], error["seawall"]["code"]) == ("Not today, thank you.", code)
            assert error["seawall"]["attempts"] == 2
            call = await running.call()
            assert (call.status, call.fault, call.outcome.value) == (200, code, "error")


async def test_a_plain_answer_after_opening_is_told_as_an_error_and_blames_nobody(tmp_path: Path) -> None:
    plain = answer(b'{"id":"c","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}')
    async with serving(slowly(SSE + chunk(ROLE), b"", b"")) as first, serving(always(plain)) as second:
        rule = NO_RETRY + "streaming: {commit: Complete, keepAlive: 60ms}\n"
        async with proxy(pair(at(first), at(second), rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, error_of(got)["seawall"]["code"]) == (False, "PROTOCOL_ERROR")
            call = await running.call()
            assert (call.outcome.value, call.upstream) == ("error", "b")
            assert running.upstream("b").breaker("gpt", 0).snapshot(time.monotonic()).calls == 0


@KINDS
@pytest.mark.parametrize("status", [200, 503])
async def test_a_fallback_after_opening_is_a_stream_or_an_event(
    tmp_path: Path, dialect: str, path: str, body: Any, status: int
) -> None:
    rule = NO_RETRY + HELD + f"fallback: [{{type: StaticResponse, status: {status}, text: 'Later, {{model}}.'}}]\n"
    async with lab() as upstreams:
        upstreams.script([], then="first-token-100ms+cut-5")
        async with proxy(one(f"{upstreams.url}/v1", rule, dialect), tmp_path) as running:
            got = await wire(running, body, path=path)
            assert (got.status, got.whole, comments(got) > 0) == (200, status == 200, True)
            assert f"Later, {body['model']}.".encode() in got.body
            if status == 200:
                assert any(end in got.body for end in TERMINAL)
                assert got.trailers[b"x-seawall-outcome"] == b"static"
            else:
                assert error_of(got)["seawall"]["code"] == "TRUNCATED"
            call = await running.call()
            assert (call.status, call.outcome.value, call.service_level.value) == (200, "static", "offline")


CODINGS = [("gzip", gzip.compress), ("br", brotli.compress)]


def packed(coding: str, body: bytes) -> bytes:
    return SSE.replace(b"\r\n\r\n", f"\r\ncontent-encoding: {coding}\r\n\r\n".encode()) + chunk(body) + b"0\r\n\r\n"


@pytest.mark.parametrize("commit", ["Complete", "FirstContent"])
@pytest.mark.parametrize(("coding", "pack"), CODINGS, ids=[c[0] for c in CODINGS])
async def test_a_compressed_answer_after_opening_is_unpacked(
    tmp_path: Path, coding: str, pack: Callable[[bytes], bytes], commit: str
) -> None:
    rule = NO_RETRY + f"streaming: {{commit: {commit}, keepAlive: 60ms}}\n"
    broken = packed(coding, pack(ROLE + REST[:60]))
    async with (
        serving(slowly(SSE + chunk(ROLE), b"")) as first,
        serving(always(packed(coding, pack(ROLE + REST)))) as second,
        serving(always(broken)) as cut,
    ):
        async with proxy(pair(at(first), at(second), rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, comments(got) > 0, got.field(b"content-encoding")) == (True, True, None)
            assert got.body.replace(COMMENT, b"") == ROLE + REST
            assert got.trailers[b"x-seawall-upstream"] == b"b"
        async with proxy(pair(at(first), at(cut), rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, error_of(got)["seawall"]["code"]) == (False, "TRUNCATED")


async def test_a_compressed_stream_is_opened_and_unpacked_as_it_comes(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["first-token-200ms+gap-5ms+gzip", "first-token-200ms+gap-5ms+gzip+cut-7"])
        rule = NO_RETRY + "streaming: {keepAlive: 60ms}\nhedging: {hedgingDelay: 30s}\n"
        policy = pair(f"{upstreams.url}/v1", f"{upstreams.url}/v1", rule)
        async with proxy(policy, tmp_path) as running:
            got = await wire(running, chat(stream=True), headers="accept-encoding: gzip\r\nconnection: close\r\n")
            assert (got.whole, comments(got) > 0, got.body.endswith(b"data: [DONE]\n\n")) == (True, True, True)
            got = await wire(running, chat(stream=True), headers="accept-encoding: gzip\r\nconnection: close\r\n")
            assert (got.whole, error_of(got)["seawall"]["code"]) == (False, "TRUNCATED")
            assert got.body.count(b'"content"') > 1


async def test_a_compressed_stream_whose_pieces_end_within_events_is_unpacked_from_its_first_byte(
    tmp_path: Path,
) -> None:
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)

    def piece(data: bytes) -> bytes:
        return chunk(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))

    head = SSE.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
    half = len(REST) - 8  # the content, and the beginning of what follows
    pieces = [head + piece(ROLE), piece(REST[:half]), piece(REST[half:]) + b"0\r\n\r\n"]
    rule = NO_RETRY + "streaming: {keepAlive: 60ms}\n"
    async with (
        serving(slowly(*pieces, seconds=0.15)) as port,
        proxy(pair(at(port), at(port), rule), tmp_path) as running,
    ):
        got = await wire(running, chat(stream=True))
        assert (got.whole, comments(got) > 0) == (True, True)
        assert got.body.replace(COMMENT, b"") == ROLE + REST


async def test_a_stream_in_a_coding_that_nobody_knows_is_never_opened(tmp_path: Path) -> None:
    head = SSE.replace(b"\r\n\r\n", b"\r\ncontent-encoding: x-own\r\n\r\n")
    async with (
        serving(slowly(head, chunk(b"\x00\x01") + b"0\r\n\r\n")) as port,
        proxy(one(at(port), NO_RETRY + HELD), tmp_path) as running,
    ):
        got = await wire(running, chat(stream=True))
        assert (got.whole, got.body, got.field(b"content-encoding")) == (True, b"\x00\x01", b"x-own")


async def test_an_http_1_0_agent_is_kept_waiting_and_a_break_is_a_reset(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["first-token-150ms", "first-token-150ms+cut-5"])
        async with proxy(one(f"{upstreams.url}/v1", NO_RETRY + HELD), tmp_path) as running:
            whole = await wire(running, chat(stream=True), version="1.0")
            assert (whole.end, comments(whole) > 0, whole.body.endswith(b"[DONE]\n\n")) == ("eof", True, True)
            assert (whole.field(b"transfer-encoding"), whole.field(b"trailer")) == (None, None)
            assert (await wire(running, chat(stream=True), version="1.0")).end == "reset"


async def test_a_drain_tells_an_opened_stream_that_it_ends(tmp_path: Path) -> None:
    async with serving(Heard(SSE + chunk(ROLE))) as port, proxy(one(at(port), QUICK + HELD), tmp_path) as running:
        async with raw(running, chat(stream=True)) as (reader, _):
            await reader.readuntil(COMMENT)
            closing = asyncio.create_task(running.service.close(0.1))
            rest = await reader.read()
            while part := await reader.read():
                rest += part
            await closing
        assert b'"code":"DRAINING"' in rest
        assert not rest.endswith(b"0\r\n\r\n")
        call = await running.call()
        assert (call.fault, call.status) == ("DRAINING", 200)
