"""Upstreams that answer with nonsense, without end, or not at all: a clear error in bounded memory, an answer that is
never taken for whole when it is not, nothing left behind, and no other call disturbed."""

import asyncio
import json
import socket
import tracemalloc
from contextlib import AsyncExitStack
from pathlib import Path

import h11
import pytest
from harness import Running, lab, proxy, route, until, upstream
from leftovers import gone, sockets
from peers import CHAT, QUICK, Upstream, always, chat, raw, request_head, serving, wire
from recorder import answers, ok, say

GET = b"GET /api/x HTTP/1.1\r\nHost: a\r\nconnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
ONCE = "retry: {attempts: 0}\n"


def policy(port: int, rule: str = ONCE, dialect: str = "Generic") -> str:
    return upstream("a", f"http://127.0.0.1:{port}", dialect) + route("api", "/api", "a", rule)


def endless(start: bytes, more: bytes) -> Upstream:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(start)
        while True:
            writer.write(more)
            await writer.drain()

    return handle


async def eager(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await reader.read()
    await reader.read()


async def half_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_head(reader)
    writer.write_eof()
    await reader.read()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request_head(reader)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


BROKEN: dict[str, tuple[Upstream, str]] = {
    "garbage": (always(b"garbage\x00\xff\r\n\r\n", hang=True), "PROTOCOL_ERROR"),
    "tls alert": (always(b"\x15\x03\x01\x00\x02\x02\x46", hang=True), "PROTOCOL_ERROR"),
    "two lengths": (always(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab", hang=True), "PROTOCOL_ERROR"),
    "length and chunks": (always(CHUNKED[:-2] + b"content-length: 5\r\n\r\n0\r\n\r\n", hang=True), "PROTOCOL_ERROR"),
    "hidden chunks": (always(OK + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n", hang=True), "PROTOCOL_ERROR"),
    "other coding": (always(OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", hang=True), "PROTOCOL_ERROR"),
    "upgrade": (always(b"HTTP/1.1 101 Go\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", hang=True), "PROTOCOL_ERROR"),
    "bare 101": (always(b"HTTP/1.1 101 Go\r\n\r\n", hang=True), "PROTOCOL_ERROR"),
    "no status": (always(b"HTTP/1.1 000 Zero\r\n\r\n", hang=True), "PROTOCOL_ERROR"),
    "endless reason": (endless(b"HTTP/1.1 200 ", b"x" * 9999), "PROTOCOL_ERROR"),
    "endless field": (endless(OK + b"x: ", b"y" * 9999), "PROTOCOL_ERROR"),
    "endless fields": (endless(OK, b"x: y\r\n" * 999), "PROTOCOL_ERROR"),
    "endless interims": (endless(b"", b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 99), "PROTOCOL_ERROR"),
    "speaks first": (eager, "PROTOCOL_ERROR"),
    "closes": (always(), "CONNECTION_LOST"),
    "half-closes": (half_closed, "CONNECTION_LOST"),
    "resets": (reset, "CONNECTION_LOST"),
    "closes in the head": (always(OK + b"content-length: 5\r\n"), "CONNECTION_LOST"),
    "silence": (always(hang=True), "TIMEOUT_FIRST_BYTE"),
    "silence in the head": (always(OK + b"x: y\r\n", hang=True), "TIMEOUT_FIRST_BYTE"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_upstream_without_a_valid_answer_is_a_clear_error(tmp_path: Path, name: str) -> None:
    handle, code = BROKEN[name]
    rule = ONCE + "timeouts: {firstByte: 150ms}\n"
    async with serving(handle) as port, proxy(policy(port, rule), tmp_path) as running:
        await say(running.service.port, GET.replace(b"/api", b"/none"))
        before, tasks = sockets(), len(asyncio.all_tasks())
        answer = answers(await say(running.service.port, GET))[0]
        assert answer.status == (504 if code.startswith("TIMEOUT") else 502)
        error = json.loads(answer.body)["seawall"]
        codes = {code} | ({"CONNECTION_LOST"} if name == "speaks first" else set())
        assert error["code"] in codes
        assert (error["upstream"], error["attempts"]) == ("a", 1)
        await gone(port)
        await until(lambda: sockets() <= before + 1 and len(asyncio.all_tasks()) <= tasks + 1)
        assert idle(running)


def idle(running: Running) -> bool:
    places = running.upstream("a").limiter.snapshot()
    return (running.service.engine.calls, running.service._buffers.used, places.active, places.pending) == (0, 0, 0, 0)


CUT = {
    "short": always(OK + b"content-length: 5\r\n\r\nhell"),
    "no last chunk": always(CHUNKED + b"5\r\nhello\r\n"),
    "bad size": always(CHUNKED + b"5\r\nhello\r\nXYZ\r\n", hang=True),
    "bad end": always(CHUNKED + b"5\r\nhelloX\r\n", hang=True),
    "endless size": endless(CHUNKED + b"5\r\nhello\r\n", b"0" * 9999),
    "endless extension": endless(CHUNKED + b"5\r\nhello\r\n5;", b"x" * 9999),
    "endless trailers": endless(CHUNKED + b"5\r\nhello\r\n0\r\n", b"x: y\r\n" * 999),
}


@pytest.mark.parametrize("name", CUT)
async def test_an_answer_that_breaks_off_is_visibly_cut(tmp_path: Path, name: str) -> None:
    async with serving(CUT[name]) as port, proxy(policy(port, QUICK), tmp_path) as running:
        data = await say(running.service.port, GET)
        assert data.startswith(b"HTTP/1.1 200 ")
        with pytest.raises(h11.RemoteProtocolError, match="peer closed"):
            answers(data)
        assert (await running.call()).fault == "TRUNCATED"
        # What is short and known to be so is tried again first.
        assert len(running.attempts) == (3 if name == "short" else 1)
        await gone(port)
        assert idle(running)


async def test_what_an_agent_sees_of_a_cut_answer_to_http_1_0_is_a_reset(tmp_path: Path) -> None:
    cut = always(CHUNKED + b"5\r\nhello\r\n")
    async with serving(cut) as port, proxy(policy(port), tmp_path) as running:
        heard = await wire(running, path="/api/x", version="1.0")
        assert heard.end == "reset"


async def test_unasked_bytes_behind_an_answer_reach_nobody(tmp_path: Path) -> None:
    poison = ok(b"poison")
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await request_head(reader)
            writer.write(ok(b"good") + poison[: 7 * connections])

    async with serving(handle) as port, proxy(policy(port), tmp_path) as running:
        for number in range(1, 9):
            assert answers(await say(running.service.port, GET))[0].body == b"good"
            assert connections == number


async def test_a_huge_answer_that_its_agent_leaves_costs_nothing_more(tmp_path: Path) -> None:
    async with lab() as upstreams:
        text = upstream("a", upstreams.url, "Generic") + route("api", "/api", "a")
        async with proxy(text, tmp_path) as running:
            tracemalloc.start()
            async with raw(running, path="/api/v1/models", headers="x-lab-fault: huge-10g\r\n") as (reader, _):
                size = 0
                while size < 50_000_000:
                    size += len(await reader.read(1 << 20))
                most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert most < 8_000_000
            await until(lambda: upstreams.attempts()[0].gone)
            await until(lambda: idle(running))
            assert (await running.call()).fault == "AGENT_GONE"


async def test_an_upstream_that_reads_nothing_holds_neither_memory_nor_the_call_for_ever(tmp_path: Path) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as a write transport
        await asyncio.sleep(10)

    rule = ONCE + "timeouts: {request: 300ms}\n"
    async with serving(deaf) as port, proxy(policy(port, rule), tmp_path) as running:
        before = sockets()
        for size in (1_000_000, 40_000_000):
            head = b"POST /api/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size
            pieces = [b"x" * 100_000] * (size // 100_000)
            asked = asyncio.create_task(say(running.service.port, head, *pieces))
            answer = answers(await asked, ["POST"])[0]
            assert (answer.status, json.loads(answer.body)["seawall"]["code"]) == (504, "TIMEOUT_REQUEST")
            await gone(port)
            await until(lambda: idle(running))
        await until(lambda: sockets() <= before + 2)


async def test_bad_upstreams_disturb_no_other_call(tmp_path: Path) -> None:
    async with lab() as upstreams, AsyncExitStack() as stack:
        text = upstream("good", f"{upstreams.url}/v1") + route("chat", "/v1", "good")
        for number, (handle, _) in enumerate(BROKEN.values()):
            port = await stack.enter_async_context(serving(handle))
            text += upstream(f"bad{number}", f"http://127.0.0.1:{port}", "Generic")
            text += route(f"bad{number}", f"/bad{number}", f"bad{number}", ONCE + "timeouts: {firstByte: 200ms}\n")
        async with proxy(text, tmp_path) as running:
            async with raw(running, chat("lab-gap-10ms", stream=True), path=CHAT) as (reader, _):
                await reader.readuntil(b"\n\n")
                gets = [GET.replace(b"/api", b"/bad%d" % n) for n in range(len(BROKEN))]
                heard = await asyncio.gather(*[say(running.service.port, get) for get in gets])
                assert {answers(data)[0].status for data in heard} == {502, 504}
                assert (await reader.readuntil(b"data: [DONE]\n\n")).endswith(b"data: [DONE]\n\n")
            await until(lambda: len(running.calls) == len(BROKEN) + 1)
            assert [c.fault for c in running.calls if c.route.endswith("chat")] == [""]
