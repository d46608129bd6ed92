"""Reading from the upstream only as fast as the agent reads, in bounded memory: SEMANTICS §5, and answers that flow."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import lab, proxy, route, until, upstream
from peers import CHAT, QUICK, Upstream, agent, chat, raw, request_head, serving, wire

from seawall.server.exchange import Exchange
from seawall.server.listener import serve

MEGABYTE = 1024 * 1024
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * 8000)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


class Flood:
    """Writes as fast as it can; `sent` counts, `gone` says that the other side has closed."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self._head, self._piece = head, piece
        self.sent = 0
        self.gone = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(self._head)
        try:
            while True:
                writer.write(self._piece)
                await writer.drain()
                self.sent += len(self._piece)
        finally:
            self.gone = True


async def steady(read: Callable[[], int], seconds: float = 0.1) -> int:
    """The value, once it has not changed for a while."""
    before = -1
    async with asyncio.timeout(10):
        while before != (before := read()):
            await asyncio.sleep(seconds)
    return before


def one(port: int, rule: str, dialect: str = "OpenAI") -> str:
    return upstream("a", f"http://127.0.0.1:{port}", dialect) + route("models", "/v1", "a", rule)


@pytest.mark.parametrize("commit", ["FirstContent", "Headers"])
async def test_an_agent_that_stops_reading_pauses_the_upstream_and_is_dropped(tmp_path: Path, commit: str) -> None:
    flood = Flood(STREAM, EVENT)
    rule = f"timeouts: {{agentWrite: 700ms}}\nstreaming: {{commit: {commit}}}\n"
    async with (
        serving(flood) as port,
        proxy(one(port, rule), tmp_path) as running,
        raw(running, chat(stream=True), buffer=65536),
    ):
        paused = await steady(lambda: flood.sent)
        # What the kernel's socket buffers take, and a bounded queue of ours.
        assert 0 < paused < 16 * MEGABYTE
        assert (flood.gone, running.service.engine.streams) == (False, 1)
        await until(lambda: flood.gone)
        assert (await running.call()).fault == "AGENT_STALLED"
        ingress = running.service._ingress
        assert ingress is not None
        # Although the agent still has not read what it was sent.
        await until(lambda: ingress.connections == 0)
        assert running.upstream("a").breaker("gpt", 0).snapshot(time.monotonic()).calls == 0


async def test_an_agent_that_reads_slowly_but_reads_is_not_dropped(tmp_path: Path) -> None:
    # Its slowness is not the upstream's either.
    rule = "timeouts: {agentWrite: 1s}\nstreaming: {minProgress: {events: 5000, interval: 400ms}}\n"
    flood = Flood(STREAM, EVENT)
    async with (
        serving(flood) as port,
        proxy(one(port, rule), tmp_path) as running,
        raw(running, chat(stream=True), buffer=65536) as (reader, _),
    ):
        await steady(lambda: flood.sent)
        started, got = time.monotonic(), 0
        while (passed := time.monotonic() - started) < 2.5:
            # So slowly that what has been written takes longer than agentWrite.
            if got < 250_000 * passed:
                got += len(await reader.read(8192))
            else:
                await asyncio.sleep(0.01)
        assert (running.calls, flood.gone) == ([], False)


async def test_a_large_plain_answer_flows_in_bounded_memory_at_the_agents_pace(tmp_path: Path) -> None:
    async with lab() as upstreams:
        policy = upstream("a", upstreams.url, "Generic") + route("files", "/v1", "a", QUICK)
        async with proxy(policy, tmp_path) as running:
            async with raw(running, path="/v1/bytes/100000000", buffer=65536) as (reader, _):
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.3)
                assert upstreams.attempts()[0].end is None
                assert running.service._buffers.used <= 65536
                left = 100_000_000
                while left:
                    left -= len(await reader.read(1 << 20))
            call = await running.call()
            assert (call.fault, call.outcome.value) == ("", "primary")
            assert call.answer_bytes == 100_000_000


async def test_a_prelude_that_never_ends_is_let_go_at_64_kibibytes(tmp_path: Path) -> None:
    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(STREAM + b": ping\n\n" * 9000)
        await reader.read()

    async with (
        serving(chatter) as port,
        proxy(one(port, QUICK), tmp_path) as running,
        raw(running, chat(stream=True)) as (reader, _),
        asyncio.timeout(5),
    ):
        assert (await reader.readuntil(b": ping")).startswith(b"HTTP/1.1 200")


def slowly(kind: bytes, pieces: int, seconds: float = 0.05) -> Upstream:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % kind)
        for _ in range(pieces):
            writer.write(b"4\r\nabcd\r\n")
            await asyncio.sleep(seconds)
        writer.write(b"0\r\n\r\n")
        await reader.read()

    return handle


async def test_speech_is_passed_on_as_it_comes(tmp_path: Path) -> None:
    async with serving(slowly(b"audio/mpeg", 4, 0.2)) as port, proxy(one(port, QUICK), tmp_path) as running:
        request = {"model": "tts", "input": "hi", "voice": "alloy"}
        async with raw(running, request, path="/v1/audio/speech") as (reader, _):
            await reader.readuntil(b"abcd")
            assert (running.service.engine.calls, running.calls) == (1, [])
            await reader.readuntil(b"0\r\n\r\n")
            assert (await running.call()).fault == ""


@pytest.mark.parametrize("limit", ["{backendRequest: 200ms}", "{request: 200ms}"])
async def test_a_set_limit_holds_for_an_answer_that_flows(tmp_path: Path, limit: str) -> None:
    async with (
        serving(slowly(b"application/octet-stream", 100)) as port,
        proxy(one(port, f"timeouts: {limit}\n", "Generic"), tmp_path) as running,
    ):
        got = await wire(running, path="/v1/export")
        assert (got.status, got.whole) == (200, False)
        call = await running.call()
        assert call.fault == ("TIMEOUT_ATTEMPT" if "backend" in limit else "TIMEOUT_REQUEST")
        assert call.seconds < 0.5


async def test_a_default_limit_does_not_cut_an_answer_that_flows(tmp_path: Path) -> None:
    async with (
        serving(slowly(b"application/octet-stream", 6)) as port,
        proxy(one(port, QUICK, "Generic"), tmp_path) as running,
    ):
        got = await wire(running, path="/v1/export")
        assert (got.body, got.whole) == (b"abcd" * 6, True)


async def test_a_stream_in_an_unknown_coding_flows_and_is_timed(tmp_path: Path) -> None:
    coded = slowly(b"text/event-stream\r\ncontent-encoding: x-own", 8)
    async with serving(coded) as port:
        for limit, whole in (("120ms", True), ("20ms", False)):
            rule = f"timeouts: {{streamIdle: {limit}}}\n"
            async with proxy(one(port, rule), tmp_path) as running:
                got = await wire(running, chat(stream=True))
                assert (got.whole, got.body == b"abcd" * 8) == (whole, whole)


async def test_an_agent_that_does_not_read_the_end_of_its_answer_is_cut_in_time(tmp_path: Path) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [(b"content-length", b"9000000")])
        exchange.write(bytes(9_000_000))
        exchange.end()

    server = await serve(handler, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    await until(lambda: any(line.transport.is_closing() for line in server._lines))
    (line,) = server._lines
    now = time.monotonic()
    line.sweep(now)
    line.sweep(now + 29)
    assert not server.closing
    assert server.connections == 1
    line.sweep(now + 31)
    await until(lambda: server.connections == 0)
    writer.transport.abort()
    await server.close()


async def test_hundreds_of_cancelled_calls_leave_nothing(tmp_path: Path) -> None:
    """At any stage: before the head, in the prelude, in the middle of the stream."""
    faults = ["silent", "first-token-2s", "gap-20ms", "stall-3", "first-byte-2s"]
    async with lab() as upstreams:
        upstreams.script(list(faults), repeat=True)
        policy = upstream("a", f"{upstreams.url}/v1") + route("models", "/v1", "a", QUICK)
        async with proxy(policy, tmp_path) as running, agent(running) as client:

            async def impatient(number: int) -> None:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05 + number % 7 / 30):
                        await client.post(CHAT, json=chat(stream=True))

            for _ in range(8):
                await asyncio.gather(*(impatient(number) for number in range(50)))
            await until(lambda: running.service.engine.calls == 0)
            await until(lambda: upstreams.connections == 0)
            assert running.service._buffers.used == 0
            assert len(running.calls) > 100
            assert {call.fault for call in running.calls} == {"AGENT_GONE"}
