"""Requests that are not valid, or not unambiguous: a clear error, nothing for the upstream that was not understood
here, and nothing lost for anybody else."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop
from ambiguous import BAD_CHUNKS, BAD_FRAMING, BAD_START
from harness import Running, lab, proxy, route, until, upstream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leftovers import sockets
from peers import CHAT, chat, raw, serving
from recorder import Recorder, answers, heard, ok, say

POST = b"POST /api/x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /api/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /api/last HTTP/1.1\r\nHost: a\r\nconnection: close\r\n\r\n"


@asynccontextmanager
async def between(folder: Path, rule: str = "") -> AsyncIterator[tuple[Running, Recorder]]:
    recorder = Recorder(ok(b"{}"))
    async with serving(recorder) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}", "Generic") + route("api", "/api", "a", rule)
        async with proxy(policy, folder) as running:
            yield running, recorder


@pytest.mark.parametrize("rest", BAD_FRAMING)
async def test_no_ambiguous_framing_lets_a_second_request_through(tmp_path: Path, rest: bytes) -> None:
    async with between(tmp_path) as (running, recorder):
        for pause in (0.0, 0.01):
            data = await say(
                running.service.port, LAST.replace(b"connection: close\r\n", b"") + POST, rest, SMUGGLED, pause=pause
            )
            first, refused = answers(data, ["GET", "POST"])
            assert (first.status, refused.status, refused.all(b"connection")) == (200, 400, [b"close"])
            assert json.loads(refused.body)["error"]["message"]
        assert [r.line for r in recorder.requests] == [b"GET /last HTTP/1.1"] * 2
        assert b"smuggled" not in recorder.raw


@pytest.mark.parametrize("rest", BAD_CHUNKS)
@pytest.mark.parametrize("streamed", [True, False])
async def test_bad_chunking_is_refused_whether_or_not_the_upstream_has_some_of_it(
    tmp_path: Path, rest: bytes, streamed: bool
) -> None:
    # Without a replay buffer, the upstream hears of the request before its body is whole.
    async with between(tmp_path, 'limits: {replayBuffer: "0"}\n' if streamed else "") as (running, recorder):
        start = CHUNKED + (b"3\r\nabc\r\n" if streamed else b"")
        data = await say(running.service.port, start, rest + SMUGGLED, pause=0.03)
        assert answers(data, ["POST"])[0].status == 400
        assert [(call.route, call.fault, call.status) for call in running.calls] == [("api", "BAD_REQUEST", 400)]
        assert recorder.requests == []
        assert b"smuggled" not in recorder.raw
        await until(lambda: running.service._pool.connections == recorder.open == 0)


@pytest.mark.parametrize("data", BAD_START)
async def test_what_is_no_http_1_request_is_refused(tmp_path: Path, data: bytes) -> None:
    async with between(tmp_path) as (running, recorder):
        refused = answers(await say(running.service.port, data), ["GET"])[0]
        assert refused.status == 400
        assert recorder.connections == 0
        call = await running.call()
        assert call.fault in ("BAD_REQUEST", "UPGRADE_REFUSED")
        assert (call.status, call.attempts, call.answer_bytes) == (refused.status, 0, len(refused.body))
        assert refused.all(b"x-seawall-request-id") == [call.call_id.encode()]
        assert len(running.calls) == 1


async def test_what_looks_like_a_request_inside_a_body_stays_a_body(tmp_path: Path) -> None:
    async with between(tmp_path) as (running, recorder):
        body = b"0\r\n\r\n" + SMUGGLED
        sized = POST + b"content-length: %d\r\n\r\n" % len(body) + body
        chunk = b"%x;x=y\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        found = answers(await say(running.service.port, sized + CHUNKED + chunk + LAST), ["POST", "POST", "GET"])
        assert [m.status for m in found] == [200, 200, 200]
        assert [r.body for r in recorder.requests] == [body, body, b""]


async def test_chunk_extensions_go_no_further(tmp_path: Path) -> None:
    async with between(tmp_path) as (running, recorder):
        chunk = b'2;a=b;c="d"\r\nhi\r\n0;e\r\n\r\n'
        await say(running.service.port, CHUNKED + chunk + LAST)
        assert recorder.requests[0].body == b"hi"
        assert b"a=b" not in recorder.raw


@pytest.mark.parametrize(
    ("start", "more", "times"),
    [(b"GET /api/", b"x" * 60_000, 6), (POST + b"x: ", b"y" * 60_000, 6), (POST, b"x: y\r\n" * 300, 10)],
)
async def test_a_head_that_is_too_large_is_431(tmp_path: Path, start: bytes, more: bytes, times: int) -> None:
    async with between(tmp_path) as (running, recorder):
        refused = answers(await say(running.service.port, start, *[more] * times), ["GET"])[0]
        assert refused.status == 431
        assert b"HEAD_TOO_LARGE" in refused.body
        assert [(call.fault, call.status, call.method) for call in running.calls] == [
            ("HEAD_TOO_LARGE", 431, start[: start.index(b" ")].decode())
        ]
        assert recorder.connections == 0


async def test_an_error_for_an_unknown_route_is_in_the_dialect_of_its_path(tmp_path: Path) -> None:
    async with between(tmp_path) as (running, _):
        for path, fields in (("/v1/chat/completions", b""), ("/v1/messages", b"anthropic-version: 1\r\n")):
            line = f"POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n".encode() + fields
            refused = await heard(running.service.port, line + b"content-length: 2\r\n\r\n{}", "POST")
            assert refused.status == 404
            error = json.loads(refused.body)
            assert "known routes: /api" in error["error"]["message"]
            assert (error.get("type") == "error") is bool(fields)
            assert error["seawall"]["code"] == "NO_ROUTE"


async def test_bad_connections_disturb_no_other_and_leave_nothing(tmp_path: Path) -> None:
    async with lab() as upstreams:
        policy = upstream("a", f"{upstreams.url}/v1") + route("chat", "/v1", "a")
        async with proxy(policy, tmp_path) as running:
            async with raw(running, chat("lab-gap-10ms", stream=True), path=CHAT) as (reader, _):
                await reader.readuntil(b"\n\n")
                before, tasks = sockets(), len(asyncio.all_tasks())
                bad = [POST + rest for rest in BAD_FRAMING] + [CHUNKED + rest for rest in BAD_CHUNKS] + BAD_START
                await asyncio.gather(*[say(running.service.port, data) for data in bad])
                assert (await reader.readuntil(b"data: [DONE]\n\n")).endswith(b"data: [DONE]\n\n")
                await until(lambda: sockets() <= before and len(asyncio.all_tasks()) <= tasks)
            faults = [call.fault for call in running.calls]
            assert (faults.count(""), faults.count("INTERNAL"), len(faults)) == (1, 0, 1 + len(bad))


TOKENS = [
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b";", b":", b",", b"0", b"\xff", b"0\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x\r\n", b"Connection: Host\r\n",
    b"Connection: Content-Length, Transfer-Encoding\r\n", b"Connection: close\r\n", b"Host: b\r\n", SMUGGLED,
    b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"fffffffffffffff\r\n", b" HTTP/1.1",
]  # fmt: skip
REQUESTS = [
    POST + b"Content-Length: 5\r\n\r\nhello",
    CHUNKED + b"3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n",
    POST + b"Content-Length: %d\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED),
    LAST.replace(b"connection: close\r\n", b""),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.sampled_from([0, 0, 1, 2, 10]))
        data = data[:at] + draw(st.sampled_from(TOKENS) | st.binary(max_size=2)) + data[at + cut :]
    return data


@contextmanager
def looped(folder: Path) -> Iterator[tuple[asyncio.Runner, Running, Recorder]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        try:
            yield runner, *runner.run(_entered(stack, folder))
        finally:
            runner.run(stack.aclose())


async def _entered(stack: AsyncExitStack, folder: Path) -> tuple[Running, Recorder]:
    return await stack.enter_async_context(between(folder, "retry: {attempts: 0}\n"))


async def exchanged(running: Running, recorder: Recorder, pieces: list[bytes]) -> bytes:
    """What comes back to an agent that closes its side when nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
    data = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        while True:
            async with asyncio.timeout(0.03):
                part = await reader.read(65536)
            if not part:
                break
            data += part
    except (TimeoutError, ConnectionError, RuntimeError):
        pass
    finally:
        writer.transport.abort()
    service = running.service
    assert service._ingress is not None
    ingress = service._ingress
    await until(lambda: (ingress.connections, service.engine.calls) == (0, 0))
    # The upstream has heard all that it will.
    await until(lambda: recorder.open == service._pool.connections)
    return data


def test_whatever_is_sent_the_upstream_gets_only_what_the_proxy_understood(tmp_path: Path) -> None:
    with looped(tmp_path) as (runner, running, recorder):

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(mutated(), st.lists(st.integers(0, 800), max_size=4))
        def check(data: bytes, cuts: list[int]) -> None:
            running.events.clear()
            recorder.requests.clear()
            marks = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
            heard = runner.run(exchanged(running, recorder, [data[a:b] for a, b in pairwise(marks)]))
            assert recorder.errors == []
            understood = [call.path.removeprefix("/api") or "/" for call in running.calls if call.attempts]
            got = [r.line.split(b" ")[1].decode().partition("?")[0] for r in recorder.requests]
            # An agent that breaks off may have been understood before the upstream heard all of it.
            assert got == understood[: len(got)]
            assert len(got) >= sum(call.status == 200 for call in running.calls)
            assert b"HTTP/1.1 500" not in heard

        check()
