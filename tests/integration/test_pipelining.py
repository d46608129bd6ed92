"""Agents that ask on and on but do not read: bounded memory, an end in time, and nobody else pays."""

import asyncio
import time
from pathlib import Path

import pytest
from harness import Running, lab, proxy, route, until, upstream
from peers import agent, answer, raw, request_head, serving

KIB = 1024
LARGE = b'{"text": "' + b"x" * 60_000 + b'"}'


async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await request_head(reader)
        writer.write(answer(LARGE))


async def unsent(running: Running, seconds: float) -> int:
    """The most that waited in this process for agents to read it, in that time."""
    most, ingress = 0, running.service._ingress
    assert ingress is not None
    until_then = time.monotonic() + seconds
    while time.monotonic() < until_then:
        most = max(most, sum(line.transport.get_write_buffer_size() for line in ingress._lines))
        await asyncio.sleep(0.01)
    return most


@pytest.mark.parametrize("requests", [60, 1500])
async def test_an_agent_that_pipelines_and_never_reads_is_dropped_after_agent_write(
    tmp_path: Path, requests: int
) -> None:
    async with serving(large) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}", "Generic")
        policy += route("files", "/files", "a", "timeouts: {agentWrite: 700ms}\n")
        async with (
            proxy(policy, tmp_path) as running,
            raw(running, path="/files/x", buffer=4096) as (_, writer),
            agent(running) as other,
        ):
            ingress = running.service._ingress
            assert ingress is not None
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as a write transport
            writer.write(b"GET /files/x HTTP/1.1\r\nhost: a\r\n\r\n" * requests)
            assert await unsent(running, 0.4) < 512 * KIB
            assert len(running.calls) < 30
            # Meanwhile others are served as ever.
            started = time.monotonic()
            assert (await other.get("/files/x")).content == LARGE
            assert time.monotonic() - started < 0.2
            await until(lambda: any(call.fault == "AGENT_STALLED" for call in running.calls), 2.0)
            await until(lambda: ingress.connections == 1, 1.0)
            assert 0.5 < next(call.seconds for call in running.calls if call.fault) < 1.5
            assert running.upstream("a").limiter.snapshot().active == 0
            assert running.upstream("a").health.snapshot(time.monotonic()).error_rate == 0


async def test_errors_of_our_own_pile_up_no_more_than_answers_do(tmp_path: Path) -> None:
    async with serving(large) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}", "Generic") + route("files", "/files", "a")
        async with proxy(policy, tmp_path) as running, raw(running, path="/no", buffer=4096) as (_, writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as a write transport

            # Never more at a time than may wait behind each other, so that it is not their number that ends it.
            for asked in range(60, 12_000, 60):
                writer.write(b"GET /no HTTP/1.1\r\nhost: a\r\n\r\n" * 60)
                try:
                    await until(lambda: len(running.calls) >= asked, 0.3)  # noqa: B023
                except TimeoutError:
                    break
            assert 60 < len(running.calls) < asked
            assert await unsent(running, 0.1) < 512 * KIB
            assert len(running.calls) < asked


async def test_requests_that_wait_behind_another_have_their_line_when_their_agent_leaves(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["silent"])
        policy = upstream("a", f"{upstreams.url}/v1") + route("api", "/v1", "a")
        async with proxy(policy, tmp_path) as running:
            _, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
            writer.write(b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n" * 3)
            await until(lambda: upstreams.attempts())
            writer.close()
            await until(lambda: len(running.calls) == 3)
            assert [(call.fault, call.status) for call in running.calls] == [("AGENT_GONE", 0)] * 3
            assert len({call.call_id for call in running.calls}) == 3
