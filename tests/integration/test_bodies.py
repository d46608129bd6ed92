"""Bodies: how they are framed on each side, untouched whatever their coding, and large ones in constant memory."""

import asyncio
import gzip
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import brotli
import pytest
import zstandard
from harness import Running, lab, proxy, route, until, upstream
from peers import CHAT, Upstream, chat, raw, request_head, serving
from processes import Served, served
from recorder import Recorder, answers, heard, ok, say

HEAD = b"POST /api/x HTTP/1.1\r\nHost: a\r\nconnection: close\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MIB = 1024 * 1024


@asynccontextmanager
async def before(handle: Upstream, folder: Path, rule: str = "") -> AsyncIterator[Running]:
    async with serving(handle) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}/base", "Generic") + route("api", "/api", "a", rule)
        async with proxy(policy, folder) as running:
            yield running


async def test_a_request_keeps_its_framing_and_its_trailers(tmp_path: Path) -> None:
    recorder = Recorder()
    async with before(recorder, tmp_path) as running:
        port = running.service.port
        await say(port, HEAD + b"content-length: 5\r\n\r\nhello")
        await say(port, HEAD + b"content-length: 0\r\n\r\n")
        await say(port, HEAD + b"\r\n")
        await say(port, HEAD.replace(b"POST", b"GET") + b"content-length: 2\r\n\r\nhi")
        trailers = b"X-Sum: 9\r\nHost: evil\r\nAuthorization: evil\r\nConnection: x\r\n"
        await say(port, CHUNKED + b"2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\n" + trailers + b"\r\n")
        await say(port, CHUNKED + b"0\r\n\r\n")
    lengths = [r.all(b"content-length") for r in recorder.requests]
    assert lengths == [[b"5"], [b"0"], [], [b"2"], [], []]
    assert [bool(r.all(b"transfer-encoding")) for r in recorder.requests] == [False] * 4 + [True] * 2
    assert [r.body for r in recorder.requests] == [b"hello", b"", b"", b"hi", b"hello", b""]
    assert [r.trailers for r in recorder.requests][4:] == [[(b"X-Sum", b"9")], []]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 300_000, 5_000_000])
@pytest.mark.parametrize("chunked", [True, False])
async def test_bodies_of_every_size_go_there_and_back(tmp_path: Path, size: int, chunked: bool) -> None:
    data = os.urandom(size)
    answer = ok(data)
    if chunked:
        answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + in_chunks(data) + b"X-T: u\r\n\r\n"
    recorder = Recorder(answer)
    async with before(recorder, tmp_path) as running:
        sent = CHUNKED + in_chunks(data) + b"\r\n" if chunked else HEAD + b"content-length: %d\r\n\r\n" % size + data
        returned = await heard(running.service.port, sent, "POST")
        assert (recorder.last.body == data, returned.body == data) == (True, True)
        assert bool(returned.all(b"transfer-encoding")) is chunked
        assert returned.trailers == ([(b"X-T", b"u")] if chunked else [])
        assert (await running.call()).request_bytes == size


def in_chunks(data: bytes) -> bytes:
    parts = [data[i : i + 70_000] for i in range(0, len(data), 70_000)]
    return b"".join(b"%X\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n"


async def test_a_body_in_tiny_chunks_costs_little_more_than_its_bytes(tmp_path: Path) -> None:
    recorder = Recorder()
    async with before(recorder, tmp_path) as running:
        await say(running.service.port, CHUNKED, *[b"2\r\nab\r\n" * 5000] * 20, b"0\r\n\r\n")
        assert recorder.last.body == b"ab" * 100_000
        assert recorder.last.chunks < 100


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "gzip, br", "unknown"])
@pytest.mark.parametrize("dialect", ["OpenAI", "Generic"])
async def test_compressed_bodies_are_untouched_both_ways(tmp_path: Path, coding: str, dialect: str) -> None:
    plain = b'{"model": "gpt", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'
    packed = {
        "gzip": gzip.compress(plain), "br": brotli.compress(plain), "zstd": zstandard.compress(plain),
        "gzip, br": brotli.compress(gzip.compress(plain)),
    }.get(coding, b"\x00\xff" + plain)  # fmt: skip
    fields = (b"Content-Type: application/json", b"Content-Encoding: " + coding.encode())
    recorder = Recorder(ok(packed, *fields))
    async with serving(recorder) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}/v1", dialect) + route("api", "/v1", "a")
        async with proxy(policy, tmp_path) as running:
            # No Accept-Encoding: none is added.
            sent = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nconnection: close\r\n" + b"\r\n".join(fields)
            returned = await heard(
                running.service.port, sent + b"\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed, "POST"
            )
            assert (recorder.last.body, returned.body) == (packed, packed)
            assert (returned.status, returned.all(b"content-encoding")) == (200, [coding.encode()])
            assert not recorder.last.all(b"accept-encoding")


async def test_invalid_json_is_forwarded(tmp_path: Path) -> None:
    recorder = Recorder()
    async with serving(recorder) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}/v1", "OpenAI") + route("api", "/v1", "a")
        async with proxy(policy, tmp_path) as running:
            for number, body in enumerate(
                [b"", b"{", b"\xff\xfe", b"[1]", b'"x"', b"null", b"[" * 100_000, b'{"model": 7}']
            ):
                line = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
                returned = await heard(
                    running.service.port, line + b"content-length: %d\r\n\r\n" % len(body) + body, "POST"
                )
                assert returned.status == 200
                assert (len(recorder.requests), recorder.last.body) == (number + 1, body)


async def test_expect_is_answered_here_and_only_when_the_body_is_wanted(tmp_path: Path) -> None:
    recorder = Recorder()
    expecting = HEAD + b"Expect: 100-continue\r\n"
    async with before(recorder, tmp_path, 'limits: {maxBody: "10"}\n') as running:
        port = running.service.port
        taken = await say(port, expecting + b"content-length: 5\r\n\r\n", b"hello", pause=0.05)
        assert taken.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
        assert not recorder.last.all(b"expect")
        for line, status in ((expecting, 413), (expecting.replace(b"/api", b"/nowhere"), 404)):
            refused = await heard(port, line + b"content-length: 50\r\n\r\n", "POST")
            assert (refused.status, refused.interims, refused.all(b"connection")) == (status, [], [b"close"])


@pytest.mark.parametrize("size", [11, 100_000, 9_000_000])
@pytest.mark.parametrize("counted", [True, False])
async def test_a_body_above_the_limit_is_413_by_its_length_or_by_counting(
    tmp_path: Path, size: int, counted: bool
) -> None:
    recorder = Recorder()
    async with before(recorder, tmp_path, f'limits: {{maxBody: "{10 if size < MIB else 8 * MIB}"}}\n') as running:
        sent = CHUNKED + in_chunks(b"x" * size) + b"\r\n" if counted else HEAD + b"content-length: %d\r\n\r\n" % size
        refused = await heard(running.service.port, sent, "POST")
        assert refused.status == 413
        assert b"BODY_TOO_LARGE" in refused.body
        assert recorder.requests == []
        assert running.calls[0].fault == "BODY_TOO_LARGE"
        # The next one is served.
        assert (await heard(running.service.port, HEAD + b"content-length: 1\r\n\r\nx", "POST")).status == 200


@pytest.mark.parametrize(
    ("size", "ending"),
    [(100_000, "close"), (100_000, "reset"), (30_000_000, "close"), (30_000_000, "reset"), (30_000_000, "keep")],
)
async def test_an_early_answer_reaches_the_agent_while_it_sends(tmp_path: Path, size: int, ending: str) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ok(b"too big", status=b"413 No"))
        await writer.drain()
        if ending == "keep":
            await asyncio.sleep(5)
        if ending == "reset":
            await asyncio.sleep(0.02)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            writer.transport.abort()

    async with before(early, tmp_path) as running:
        sent = CHUNKED + in_chunks(b"x" * size) + b"\r\n"
        pieces = [sent[i : i + 200_000] for i in range(0, len(sent), 200_000)]
        returned = answers(await say(running.service.port, *pieces), ["POST"])[0]
        assert (returned.status, returned.body) == (413, b"too big")
        await until(lambda: running.service._pool.connections == 0)


async def test_an_answer_cut_short_is_never_whole_and_one_too_long_is_cut(tmp_path: Path) -> None:
    for bad in (b"content-length: 5\r\n\r\nhell", b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"):

        async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bad: bytes = bad) -> None:
            await request_head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n" + bad)

        async with before(short, tmp_path, "retry: {attempts: 0}\nstreaming: {commit: Headers}\n") as running:
            data = await say(running.service.port, HEAD + b"content-length: 1\r\n\r\nx")
            assert data.startswith(b"HTTP/1.1 200 ")
            assert not data.endswith((b"hello", b"0\r\n\r\n"))
    recorder = Recorder(ok(b"hello") + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
    async with before(recorder, tmp_path) as running:
        for _ in range(5):
            assert (await heard(running.service.port, HEAD + b"content-length: 1\r\n\r\nx", "POST")).body == b"hello"


def resident(pid: int) -> int:
    """Bytes of memory, at their highest since the start."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@asynccontextmanager
async def process(folder: Path, base_url: str) -> AsyncIterator[Served]:
    policy = folder / "policy.yaml"
    policy.write_text(upstream("a", base_url, "Generic") + route("api", "/api", "a"))
    async with served(policy, folder) as running:
        yield running


async def test_a_gigabyte_is_answered_in_constant_memory(tmp_path: Path) -> None:
    async with lab() as upstreams, process(tmp_path, upstreams.url) as running:
        start = resident(running.process.pid)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=MIB)
        writer.write(b"GET /api/v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-lab-fault: huge-1g\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        size = 0
        async with asyncio.timeout(30):
            while data := await reader.read(MIB):
                size += len(data)
        writer.close()
        assert size >= 1_000_000_000
        assert resident(running.process.pid) - start < 20 * MIB


@pytest.mark.parametrize("chunked", [True, False])
async def test_100_megabytes_are_uploaded_in_constant_memory(tmp_path: Path, chunked: bool) -> None:
    read = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal read
        await reader.readuntil(b"\r\n\r\n")
        while read < 100 * MIB:
            data = await reader.read(MIB)
            if not data:
                return
            read += len(data)
            if read < 20 * MIB:
                # Slow at first, so that all buffers on the way fill up.
                await asyncio.sleep(0.01)
        writer.write(ok(b"done"))

    async with serving(counting) as port, process(tmp_path, f"http://127.0.0.1:{port}") as running:
        start = resident(running.process.pid)
        kind = b"content-type: multipart/form-data; boundary=x\r\n"
        framing = b"transfer-encoding: chunked\r\n" if chunked else b"content-length: %d\r\n" % (100 * MIB)
        piece = b"--x\r\ncontent-disposition: form-data; name=f; filename=f\r\n\r\n".ljust(MIB, b"y")
        if chunked:
            piece = b"%x\r\n%b\r\n" % (MIB, piece)
        head = HEAD + kind + framing + b"\r\n"
        data = await say(running.port, head, *[piece] * 100, b"0\r\n\r\n" if chunked else b"", seconds=30)
        assert answers(data, ["POST"])[0].body == b"done"
        assert resident(running.process.pid) - start < 20 * MIB


async def test_events_leave_as_they_arrive(tmp_path: Path) -> None:
    arrived: list[float] = []

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for n in range(20):
            event = b'data: {"choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n' % n
            arrived.append(time.perf_counter())
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(0.01)
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    async with serving(events) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}/v1") + route("chat", "/v1", "a")
        async with proxy(policy, tmp_path) as running, raw(running, chat(stream=True), path=CHAT) as (reader, _):
            late = []
            for n in range(20):
                await reader.readuntil(b"\n\n")
                late.append(time.perf_counter() - arrived[n])
            # In one process with both peers; the median tells of buffering, the extremes of this machine.
            assert sorted(late)[10] < 0.005
