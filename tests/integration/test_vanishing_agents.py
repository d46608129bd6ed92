"""An agent that vanishes, at every stage of its call: the upstream's connection closes at once, place, permit and bytes
are back, and the upstream is not blamed."""

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import Running, lab, proxy, route, until, upstream
from leftovers import sockets
from peers import CHAT, QUICK, blackhole, request_head, serving

from seawall.lab import Lab

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
BODY = b'{"model": "gpt", "stream": true, "messages": []}'
POST = b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (CHAT.encode(), len(BODY))
WHOLE = POST + BODY
UPLOAD = b"POST %b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" % CHAT.encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass
class Heard:
    """An upstream's view: when a request came, and when its connection ended."""

    answer: bytes = b""
    flood: bytes = b""
    read: bool = True
    came: int = 0
    left: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.read:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as a write transport
            self.came += 1
            await asyncio.sleep(10)
        await (request_head(reader) if self.read else reader.readuntil(b"\r\n\r\n"))
        self.came += 1
        try:
            writer.write(self.answer)
            while self.flood:
                writer.write(self.flood)
                await writer.drain()
            await reader.read()
        finally:
            self.left += 1


async def leave(how: str, *data: bytes, port: int, when: Callable[[], object]) -> None:
    """Send, wait for a moment in the call's life, and go."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    for piece in data:
        await loop.sock_sendall(sock, piece)
    await until(when)
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()


def nothing_held(running: Running) -> bool:
    service, a = running.service, running.upstream("a")
    places, now = a.limiter.snapshot(), time.monotonic()
    breakers = [a.transport, *a.breakers.values()]
    return (
        (service.engine.calls, service.engine.streams, service._buffers.used) == (0, 0, 0)
        and (places.active, places.pending) == (0, 0)
        and service._pool.connections == 0
        and all(b.snapshot(now).permits_out == 0 for b in breakers)
    )


def unblamed(running: Running) -> bool:
    """No sample was taken of the upstream's answers."""
    return all(b.snapshot(time.monotonic()).calls == 0 for b in running.upstream("a").breakers.values())


STAGES: dict[str, tuple[Heard, tuple[bytes, ...], str]] = {
    # upstream, what the agent sends, what it waits for: the upstream's hearing of it, or a number of calls
    "in its head": (Heard(), (WHOLE[:30],), "connected"),
    "in its body": (Heard(), (POST, BODY[:9]), "connected"),
    "in an upload": (Heard(), (UPLOAD, chunk(b"x" * 60_000)), "connected"),
    "in an upload that streams": (Heard(), (UPLOAD, *[chunk(b"x" * 60_000)] * 100), "heard"),
    "before the answer's head": (Heard(), (WHOLE,), "heard"),
    "in the answer's head": (Heard(b"HTTP/1.1 200 OK\r\nx: y\r\n"), (WHOLE,), "heard"),
    "after the head": (Heard(STREAM), (WHOLE,), "heard"),
    "in the prelude": (Heard(STREAM + chunk(ROLE)), (WHOLE,), "heard"),
    "in the stream": (Heard(STREAM + chunk(ROLE) + chunk(TOKEN)), (WHOLE,), "streaming"),
    "in a stream it does not read": (Heard(STREAM + chunk(TOKEN), chunk(TOKEN * 999)), (WHOLE,), "streaming"),
    "in a plain answer": (Heard(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"), (WHOLE,), "heard"),
    "with a request behind": (Heard(), (WHOLE, WHOLE), "heard"),
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stage", STAGES)
async def test_an_agent_that_vanishes(tmp_path: Path, stage: str, how: str) -> None:
    made, data, moment = STAGES[stage]
    heard = Heard(made.answer, made.flood)
    async with serving(heard) as port:
        # A second upstream, so that preludes are held.
        policy = upstream("a", f"http://127.0.0.1:{port}") + upstream("b", f"http://127.0.0.1:{port}")
        async with proxy(policy + route("chat", "/v1", "a b"), tmp_path) as running:
            before, tasks = sockets(), len(asyncio.all_tasks())
            ingress, engine = running.service._ingress, running.service.engine
            assert ingress is not None
            moments: dict[str, Callable[[], object]] = {
                "connected": lambda: ingress.connections == 1,
                "heard": lambda: heard.came,
                "streaming": lambda: engine.streams,
            }
            await leave(how, *data, port=running.service.port, when=moments[moment])
            started = time.monotonic()
            await until(lambda: heard.left == heard.came and ingress.connections == 0 and nothing_held(running))
            await until(lambda: sockets() == before and len(asyncio.all_tasks()) == tasks)
            assert time.monotonic() - started < 1.0
            assert unblamed(running)
            assert heard.came == (moment != "connected")
            # A call has its one line from its head on.
            assert [call.fault for call in running.calls] == ["AGENT_GONE"] * (stage != "in its head")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_agent_that_vanishes_in_the_queue(tmp_path: Path, how: str) -> None:
    heard = Heard()
    async with serving(heard) as port:
        extra = "concurrency: {maxParallelRequests: 1, maxPendingRequests: 9, queueTimeout: 30s}"
        policy = upstream("a", f"http://127.0.0.1:{port}", extra=extra) + route("chat", "/v1", "a")
        async with proxy(policy, tmp_path) as running:
            limiter = running.upstream("a").limiter
            go = asyncio.Event()
            first = asyncio.create_task(leave(how, WHOLE, port=running.service.port, when=go.is_set))
            await until(lambda: heard.came)
            await leave(how, WHOLE, port=running.service.port, when=lambda: limiter.snapshot().pending)
            await until(lambda: limiter.snapshot().pending == 0)
            assert (heard.came, limiter.snapshot().active) == (1, 1)
            go.set()
            await first
            await until(lambda: nothing_held(running))
            assert unblamed(running)


async def test_an_agent_that_vanishes_while_a_connection_is_made(tmp_path: Path) -> None:
    with blackhole() as port:
        policy = upstream("a", f"http://127.0.0.1:{port}") + route("chat", "/v1", "a")
        async with proxy(policy, tmp_path) as running:
            before = sockets()
            await leave("close", WHOLE, port=running.service.port, when=lambda: running.service.engine.calls)
            await until(lambda: nothing_held(running) and sockets() == before, 1.0)
            assert running.upstream("a").transport.snapshot(time.monotonic()).calls == 0


async def test_an_agent_that_vanishes_while_a_retry_waits(tmp_path: Path) -> None:
    heard = Heard(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n")
    rule = "retry: {attempts: 5, backoff: {base: 20s, max: 20s}}\n"
    async with serving(heard) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}") + route("chat", "/v1", "a", rule)
        async with proxy(policy, tmp_path) as running:
            await leave("close", WHOLE, port=running.service.port, when=lambda: running.attempts)
            await until(lambda: running.service.engine.calls == 0, 1.0)
            assert running.service._buffers.used == 0
            assert running.upstream("a").limiter.snapshot().active == 0
            assert (heard.came, (await running.call()).fault) == (1, "AGENT_GONE")


async def test_an_agent_that_vanishes_while_its_upload_waits_for_the_upstream(tmp_path: Path) -> None:
    heard = Heard(read=False)
    async with serving(heard) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}") + route("chat", "/v1", "a", "timeouts: {request: 600ms}\n")
        async with proxy(policy, tmp_path) as running:
            loop, sock = asyncio.get_running_loop(), socket.socket()
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", running.service.port))
            sending = asyncio.create_task(loop.sock_sendall(sock, UPLOAD + chunk(b"x" * 60_000) * 1000))
            await until(lambda: heard.came)
            await asyncio.sleep(0.1)
            sending.cancel()
            sock.close()
            # Nothing is read of it meanwhile: the ingress's sweep would tell, but here the call's limit is sooner.
            await until(lambda: nothing_held(running), 2.0)
            ingress = running.service._ingress
            assert ingress is not None
            await until(lambda: ingress.connections == 0)


FAULTS = [
    "ok", "ok", "latency-9ms", "500", "503", "429-retry-after-1", "rate-limit-1", "reset", "close", "silent", "garbage",
    "bad-header", "cut-3", "unclean-3", "stall-2", "malformed-3", "bad-chunk-2", "truncated", "reset-2", "no-terminal",
    "error-prelude-overloaded", "error-4", "first-token-20ms", "gap-3ms", "drip-200-1ms", "gzip", "trailers",
    "early-hints", "error-body", "huge-1m",
]  # fmt: skip


async def one(running: Running, choose: random.Random) -> None:
    """A call with some fault, whose agent leaves at some moment, or not."""
    fields = "x-lab-fault: " + choose.choice(FAULTS) + "\r\n"
    version = choose.choice(("1.1", "1.0"))
    body = b'{"model": "gpt", "stream": %b, "messages": [{"role": "user", "content": "hi"}]}'
    body %= choose.choice((b"true", b"true", b"false"))
    line = choose.choice((f"POST {CHAT}", f"POST {CHAT}", f"POST {CHAT}", "POST /files/echo", "HEAD /v1/models"))
    head = f"{line} HTTP/{version}\r\nhost: a\r\nconnection: close\r\n{fields}content-length: {len(body)}\r\n\r\n"
    data = head.encode() + body
    patience = choose.choice((5.0, 5.0, 5.0, 0.0, 0.003, 0.02))
    if choose.random() < 0.1:
        data = data[: choose.randrange(len(data))]
        patience = 0.02
    reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port, limit=65536)
    try:
        writer.write(data)
        async with asyncio.timeout(patience):
            while await reader.read(65536):
                if choose.random() < 0.05:
                    break
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort() if choose.random() < 0.5 else writer.close()


async def churn(running: Running, calls: int, seed: int, parallel: int = 30) -> None:
    choose, left = random.Random(seed), list(range(calls))

    async def worker() -> None:
        while left:
            left.pop()
            await one(running, choose)

    await asyncio.gather(*[worker() for _ in range(parallel)])


async def settled(running: Running) -> None:
    ingress = running.service._ingress
    assert ingress is not None
    await until(lambda: ingress.connections == 0 and running.service.engine.calls == 0, 10.0)


async def test_a_thousand_calls_with_any_fault_and_any_leaving_leave_nothing(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(everything(upstreams), tmp_path) as running:
        pool = running.service._pool
        await churn(running, 100, seed=1)
        await settled(running)
        await until(lambda: upstreams.connections == pool.connections)
        # Both ends of what the pool keeps are in this process.
        before, tasks = sockets() - 2 * pool.connections, len(asyncio.all_tasks())
        running.events.clear()
        await churn(running, 1000, seed=2)
        await settled(running)
        await until(lambda: upstreams.connections == pool.connections)
        await until(lambda: sockets() - 2 * pool.connections == before and len(asyncio.all_tasks()) == tasks)
        assert running.service._buffers.used == 0
        for name in ("a", "b", "c"):
            places = running.upstream(name).limiter.snapshot()
            assert (places.active, places.pending) == (0, 0)
        faults = Counter(call.fault for call in running.calls)
        assert faults["INTERNAL"] == 0
        # A little of everything did happen.
        assert min(faults[""], faults["AGENT_GONE"], faults["TRUNCATED"], len(faults)) > 5, faults


def everything(upstreams: Lab) -> str:
    extra = "circuitBreaker: {consecutiveFailures: 0, errorRate: {percent: 0}}\nconcurrency: {maxParallelRequests: 20}"
    quick = QUICK + "timeouts: {firstByte: 300ms, firstContent: 300ms, streamIdle: 300ms, request: 2s}\n"
    return (
        upstream("a", f"{upstreams.url}/u/a/v1", extra=extra)
        + upstream("b", f"{upstreams.url}/u/b/v1", extra=extra)
        + upstream("c", f"{upstreams.url}/u/c", "Generic", extra)
        + route("chat", "/v1", "a b", quick)
        + route("files", "/files", "c", quick)
    )
