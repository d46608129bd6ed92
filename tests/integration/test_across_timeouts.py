"""Limits of time act on translated attempts as on native ones, blame the breaker alike, and a slow agent slows the
provider."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from across import OTHER, SAME, across, in_order, only, routes, upstreams
from harness import proxy, until
from peers import agent, blackhole, raw, request_head, serving
from stage import ONE_TRY

ASK: list[Any] = [{"role": "user", "content": "hi"}]
PATHS = {"OpenAI": "/openai/v1/chat/completions", "Anthropic": "/anthropic/v1/messages"}
BOTH = pytest.mark.parametrize("dialect", ["OpenAI", "Anthropic"])


def asked(stream: bool = False) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 99, "messages": ASK, "stream": stream}


LATE = [
    ("silent", False, "{firstByte: 80ms}", "TIMEOUT_FIRST_BYTE"),
    ("silent", True, "{firstByte: 80ms}", "TIMEOUT_FIRST_BYTE"),
    ("silent", True, "{firstContent: 80ms}", "TIMEOUT_FIRST_CONTENT"),
    ("first-token-2s", True, "{firstContent: 80ms}", "TIMEOUT_FIRST_CONTENT"),
    ("stall-prelude", True, "{firstContent: 80ms}", "TIMEOUT_FIRST_CONTENT"),
    ("stall-prelude", True, "{streamIdle: 80ms}", "TIMEOUT_STREAM_IDLE"),
    ("stall-4", True, "{streamIdle: 80ms}", "TIMEOUT_STREAM_IDLE"),
    ("silent", False, "{backendRequest: 80ms}", "TIMEOUT_ATTEMPT"),
    ("stall-3", False, "{backendRequest: 80ms}", "TIMEOUT_ATTEMPT"),
    ("gap-30ms", True, "{backendRequest: 120ms}", "TIMEOUT_ATTEMPT"),
    ("drip-1-50ms", False, "{backendRequest: 80ms}", "TIMEOUT_ATTEMPT"),
    ("silent", False, "{request: 100ms}", "TIMEOUT_REQUEST"),
    ("gap-30ms", True, "{request: 120ms}", "TIMEOUT_REQUEST"),
    ("stall-4", True, "{request: 100ms}", "TIMEOUT_REQUEST"),
]


@BOTH
@pytest.mark.parametrize(("fault", "stream", "timeouts", "code"), LATE)
async def test_a_translated_attempt_is_timed_and_blamed_as_a_native_one(
    tmp_path: Path, dialect: str, fault: str, stream: bool, timeouts: str, code: str
) -> None:
    found = []
    for name in (SAME[dialect], OTHER[dialect]):
        rule = f"{ONE_TRY}\ntimeouts: {timeouts}\n"
        async with across(tmp_path, in_order(name), rule) as at, agent(at.running) as http:
            at.lab.script([], then=fault)
            try:
                status = (await http.post(PATHS[dialect], json=asked(stream))).status_code
            except httpx.HTTPError:
                status = 0  # after the commit, the connection ends uncleanly
            call = await at.running.call()
            now = at.running.service._clock.now()
            blamed = at.running.upstream(name).breaker("m", now).snapshot(now).consecutive_failures
            await until(lambda: [attempt for attempt in at.lab.attempts() if attempt.end is not None])
            found.append((call.fault, status, call.status, blamed, at.running.attempts[0].result, call.attempts))
    assert found[0] == found[1]
    assert found[1][0] == code and found[1][3] == 1


@BOTH
async def test_a_connection_that_hangs_is_given_up_in_time(tmp_path: Path, dialect: str) -> None:
    rule = f"{ONE_TRY}\ntimeouts: {{connect: 60ms}}\n"
    with blackhole() as port:
        text = upstreams(tmp_path, f"http://127.0.0.1:{port}") + routes(only, rule)
        async with proxy(text, tmp_path) as running, agent(running) as http:
            answer = await http.post(PATHS[dialect], json=asked())
            assert (answer.status_code, answer.json()["seawall"]["code"]) == (504, "CONNECT_TIMEOUT")
            transport = running.upstream(OTHER[dialect]).transport.snapshot(running.service._clock.now())
            assert transport.consecutive_failures == 1


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    b"event: content_block_start\n"
    b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
)
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def said(text: bytes) -> bytes:
    delta = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}' % text
    return b"event: content_block_delta\ndata: " + delta + b"\n\n"


END = (
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"output_tokens":9}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)


async def test_pings_keep_a_silent_stream_alive_but_are_no_content(tmp_path: Path) -> None:
    async def pinging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await request_head(reader)
        writer.write(STREAM + START)
        if b"/late/" not in head:
            writer.write(said(b"a"))
        for _ in range(12):
            writer.write(PING)
            await asyncio.sleep(0.03)
        writer.write(said(b"b") + END)

    async with serving(pinging) as port:
        for limit, late, code in (
            ("streamIdle: 150ms", False, ""),
            ("streamIdle: 150ms", True, ""),
            ("streamIdle: 150ms, firstContent: 200ms", True, "TIMEOUT_FIRST_CONTENT"),
        ):
            rule = f"{ONE_TRY}\ntimeouts: {{{limit}}}\n"
            text = upstreams(tmp_path, f"http://127.0.0.1:{port}" + ("/late" if late else ""))
            async with proxy(text + routes(in_order("a"), rule), tmp_path) as running:
                path = PATHS["OpenAI"]
                async with raw(running, asked(stream=True), path=path, headers="connection: close\r\n") as (reader, _):
                    answer = await reader.read(-1)
                assert (await running.call()).fault == code
                assert (b"[DONE]" in answer) == (not code)


class Flood:
    """A provider that writes as fast as it can; `sent` counts bytes."""

    def __init__(self) -> None:
        self.sent = 0
        self.gone = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(STREAM + START)
        piece = said(b"x" * 500)
        try:
            while True:
                writer.write(piece)
                await writer.drain()
                self.sent += len(piece)
        finally:
            self.gone = True


async def test_an_agent_that_stops_reading_pauses_the_provider_and_is_dropped(tmp_path: Path) -> None:
    flood = Flood()
    rule = f"{ONE_TRY}\ntimeouts: {{agentWrite: 700ms}}\n"
    async with serving(flood) as port:
        text = upstreams(tmp_path, f"http://127.0.0.1:{port}") + routes(in_order("a"), rule)
        async with (
            proxy(text, tmp_path) as running,
            raw(running, asked(stream=True), path=PATHS["OpenAI"], buffer=65536),
        ):
            before = -1
            while before != (before := flood.sent) or not before:
                await asyncio.sleep(0.1)
            # What the kernel's socket buffers take, and bounded queues of ours.
            assert 0 < before < 16 * 1024 * 1024
            assert (flood.gone, running.service.engine.streams) == (False, 1)
            await until(lambda: flood.gone)
            assert (await running.call()).fault == "AGENT_STALLED"
            snapshot = running.upstream("a").breaker("m", 0).snapshot(time.monotonic())
            assert snapshot.calls == 0


@BOTH
@pytest.mark.parametrize("fault", ["silent", "first-token-5s", "gap-20ms", "stall-6", "first-byte-5s"])
async def test_an_agent_that_leaves_at_any_stage_takes_the_provider_along(
    tmp_path: Path, dialect: str, fault: str
) -> None:
    async with across(tmp_path, extra="circuitBreaker: {consecutiveFailures: 1}\n") as at:
        at.lab.script([], then=fault)
        for stream in (True, False):
            for seen in (False, True):
                async with raw(at.running, asked(stream), path=PATHS[dialect]) as (reader, writer):
                    count = len(at.running.calls)
                    await until(lambda count=count: len(at.lab.attempts()) > count)  # type: ignore[misc]
                    if seen and stream and fault in ("gap-20ms", "stall-6"):
                        await reader.readuntil(b"\r\n\r\n")
                        await reader.read(1)
                    writer.transport.abort()
                    call = await at.running.call(count + 1)
                # One that was quicker than its agent left has ended well.
                assert call.fault == "AGENT_GONE" or (fault == "gap-20ms" and not stream and call.fault == ""), call
        await until(lambda: all(attempt.end is not None for attempt in at.lab.attempts()))
        assert at.running.moves == []
        breakers = at.running.upstream(OTHER[dialect]).breakers.values()
        assert all(b.snapshot(time.monotonic()).consecutive_failures == 0 for b in breakers)
