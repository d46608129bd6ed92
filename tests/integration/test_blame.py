"""Whom a lateness is put down to: what the agent or our own queue took says nothing about the upstream."""

import asyncio
import time
from pathlib import Path

import pytest
from harness import Running, proxy, route, until, upstream
from peers import Recorder, Upstream, answer, chat, request_head, serving, wire

PIECE = b"x" * 5000


def uploads(port: int, timeouts: str) -> str:
    """A route on which a body is not kept but flows."""
    rule = f"timeouts: {timeouts}\nlimits: {{replayBuffer: 1Ki}}\nretry: {{attempts: 0}}\n"
    return upstream("a", f"http://127.0.0.1:{port}", "Generic") + route("files", "/files", "a", rule)


async def upload(running: Running, pieces: int, pause: float) -> int:
    """The status of an upload that the agent makes bit by bit."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
    try:
        head = b"PUT /files/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (pieces * len(PIECE)))
        for _ in range(pieces):
            writer.write(PIECE)
            await asyncio.sleep(pause)
        return int((await reader.readuntil(b"\r\n"))[9:12])
    finally:
        writer.close()


def samples(running: Running, model: str = "") -> tuple[int, int]:
    """(calls of the breaker's window, calls of the health report)."""
    a, now = running.upstream("a"), time.monotonic()
    return a.breaker(model, now).snapshot(now).calls, a.health.snapshot(now).calls


@pytest.mark.parametrize("limit", ["firstByte", "backendRequest", "request"])
async def test_a_limit_that_passes_while_the_agent_uploads_is_not_the_upstreams_failure(
    tmp_path: Path, limit: str
) -> None:
    async with serving(Recorder()) as port, proxy(uploads(port, f"{{{limit}: 150ms}}"), tmp_path) as running:
        assert await upload(running, 4, 0.1) == 504
        assert (await running.call()).fault.startswith("TIMEOUT_")
        assert samples(running) == (0, 0)
        # Nothing is held against it.
        assert await upload(running, 1, 0.0) == 200
        await running.call(2)
        assert samples(running) == (1, 1)


async def test_an_upload_that_took_most_of_the_limit_is_not_the_upstreams_failure(tmp_path: Path) -> None:
    async with (
        serving(slow(0.15)) as port,
        proxy(uploads(port, "{backendRequest: 400ms}"), tmp_path) as running,
    ):
        assert await upload(running, 6, 0.055) == 504
        await running.call()
        assert samples(running) == (0, 0)


async def test_the_time_of_an_upload_makes_no_upstream_slow(tmp_path: Path) -> None:
    slow_call = "circuitBreaker: {slowCall: {duration: 100ms}}\n"
    async with serving(Recorder()) as port:
        policy = uploads(port, "{request: 10s}").replace("dialect: Generic\n", f"dialect: Generic\n  {slow_call}")
        async with proxy(policy, tmp_path) as running:
            assert await upload(running, 3, 0.1) == 200
            await running.call()
            # Nor does an agent that gives up in the middle of one.
            _, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
            writer.write(b"PUT /files/x HTTP/1.1\r\nhost: a\r\ncontent-length: 30000\r\n\r\n" + PIECE)
            await asyncio.sleep(0.3)
            writer.close()
            await running.call(2)
            a, now = running.upstream("a"), time.monotonic()
            assert (a.breaker("", now).snapshot(now).slow_rate, samples(running)) == (0, (1, 1))
            assert (a.health.snapshot(now).p95 or 1) < 0.1


async def test_a_limit_that_passes_while_the_upstream_does_not_read_is_its_failure(tmp_path: Path) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as a write transport
        await asyncio.sleep(5)

    async with serving(deaf) as port, proxy(uploads(port, "{firstByte: 300ms}"), tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
        writer.write(b"PUT /files/x HTTP/1.1\r\nhost: a\r\ncontent-length: 30000000\r\n\r\n" + bytes(30_000_000))
        assert (await reader.readuntil(b"\r\n"))[9:12] == b"504"
        writer.transport.abort()
        await running.call()
        assert samples(running) == (1, 1)


def slow(seconds: float) -> Upstream:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_head(reader)
            await asyncio.sleep(seconds)
            writer.write(answer(b'{"choices": []}'))

    return handle


async def test_a_call_whose_time_went_by_in_our_queue_is_not_the_upstreams_failure(tmp_path: Path) -> None:
    rule = "timeouts: {request: 500ms}\nretry: {attempts: 0}\n"
    async with serving(slow(0.3)) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}/v1", extra="concurrency: {maxParallelRequests: 1}")
        async with proxy(policy + route("chat", "/v1", "a", rule), tmp_path) as running:
            first = asyncio.create_task(wire(running, chat()))
            await until(lambda: running.upstream("a").limiter.snapshot().active)
            # It gets its place after 300 ms, and 200 ms are not enough for a whole answer.
            second = await wire(running, chat())
            assert ((await first).status, second.status) == (200, 504)
            assert (await running.call(2)).fault == "TIMEOUT_REQUEST"
            assert samples(running, "gpt") == (1, 1)


async def test_a_call_whose_time_the_upstream_took_is_its_failure(tmp_path: Path) -> None:
    rule = "timeouts: {request: 150ms}\nretry: {attempts: 0}\n"
    async with serving(slow(5)) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}/v1") + route("chat", "/v1", "a", rule)
        async with proxy(policy, tmp_path) as running:
            assert (await wire(running, chat())).status == 504
            await running.call()
            assert samples(running, "gpt") == (1, 1)


CHAT_BODY = b'{"model": "gpt", "messages": []}'


async def test_a_deadline_that_our_own_queue_used_up_opens_no_breaker(tmp_path: Path) -> None:
    once = "circuitBreaker: {consecutiveFailures: 1}\nconcurrency: {maxParallelRequests: 1, queueTimeout: 10s}\n"
    rule = "timeouts: {request: 300ms}\nretry: {attempts: 0}\n"
    async with serving(slow(0.2)) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}/v1", extra=once) + route("chat", "/v1", "a", rule)
        async with proxy(policy, tmp_path) as running:
            for _ in range(3):
                got = await asyncio.gather(*[wire(running, chat()) for _ in range(4)])
                assert {one.status for one in got} <= {200, 503, 504}
            now = time.monotonic()
            assert running.upstream("a").transport.snapshot(now).calls <= 3
            assert not running.moves


async def test_a_deadline_that_a_slow_upload_used_up_asks_nobody_and_opens_no_breaker(tmp_path: Path) -> None:
    once = "circuitBreaker: {consecutiveFailures: 1}\n"
    recorder = Recorder()
    async with serving(recorder) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}/v1", extra=once)
        policy += route("chat", "/v1", "a", "timeouts: {request: 100ms}\n")
        async with proxy(policy, tmp_path) as running:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 32\r\n\r\n" + CHAT_BODY[:5])
            # What does not arrive in time is answered, and no longer waited for.
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 1.0))[9:12] == b"504"
            writer.close()
            call = await running.call()
            assert (call.fault, call.attempts) == ("TIMEOUT_REQUEST", 0)
            assert not recorder.heads
            assert not running.moves
