"""An agent that vanishes, at every stage of its call: the upstream's connection closes at once, place, permit and bytes
are back, and the upstream is not blamed."""

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from harness import Running, lab, proxy, route, until, upstream
from leaving import BODY, POST, ROLE, STREAM, TOKEN, UPLOAD, WHOLE, Heard, chunk, leave, nothing_held, unblamed
from leftovers import sockets
from peers import CHAT, QUICK, answer, blackhole, serving

from seawall.core.breaker import State, Ticket, Verdict
from seawall.lab import Lab

CLOSE = "connection: close\r\n"
JSON = b'{"choices": [], "pad": "' + b"x" * 6_000_000 + b'"}'
FILE = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 999999999\r\n\r\n"

STAGES: dict[str, tuple[Heard, tuple[bytes, ...], str]] = {
    # upstream, what the agent sends, what it waits for: the upstream's hearing of it, or a state of the proxy
    "before its head": (Heard(), (), "connected"),
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
    "in a stream that backs up": (Heard(STREAM + chunk(TOKEN), chunk(TOKEN * 999)), (WHOLE,), "congested"),
    "in a file that backs up": (Heard(FILE, b"x" * 65536), (WHOLE,), "congested"),
    "in a whole answer that backs up": (Heard(answer(JSON, extra=CLOSE), closing=True), (WHOLE,), "congested"),
    "in an error": (Heard(b"HTTP/1.1 500 Oh\r\ncontent-length: 9\r\n\r\noh"), (WHOLE,), "heard"),
    "in a plain answer": (Heard(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"), (WHOLE,), "heard"),
    "with a request behind": (Heard(), (WHOLE, WHOLE), "heard"),
}


HEADLESS = ("before its head", "in its head")


def moments(running: Running, heard: Heard) -> dict[str, Callable[[], object]]:
    ingress, engine = running.service._ingress, running.service.engine
    assert ingress is not None
    return {
        "connected": lambda: ingress.connections == 1,
        "heard": lambda: heard.came,
        "streaming": lambda: engine.streams,
        "congested": lambda: any(line.congested for line in ingress._lines),
    }


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stage", STAGES)
async def test_an_agent_that_vanishes(tmp_path: Path, stage: str, how: str) -> None:
    made, data, moment = STAGES[stage]
    heard = replace(made)
    async with serving(heard) as port:
        # A second upstream, so that preludes are held.
        policy = upstream("a", f"http://127.0.0.1:{port}") + upstream("b", f"http://127.0.0.1:{port}")
        async with proxy(policy + route("chat", "/v1", "a b"), tmp_path) as running:
            before, tasks = sockets(), len(asyncio.all_tasks())
            ingress = running.service._ingress
            assert ingress is not None
            await leave(how, *data, port=running.service.port, when=moments(running, heard)[moment])
            started = time.monotonic()
            await until(lambda: heard.left == heard.came and ingress.connections == 0 and nothing_held(running))
            await until(lambda: sockets() == before and len(asyncio.all_tasks()) == tasks)
            assert time.monotonic() - started < 1.0
            assert unblamed(running)
            assert heard.came == (moment != "connected")
            # A call has its one line from its head on.
            behind = stage == "with a request behind"
            assert [call.fault for call in running.calls] == ["AGENT_GONE"] * ((stage not in HEADLESS) + behind)


def half_open(running: Running, *models: str) -> None:
    """Failures of a minute ago: the opening that they led to is over, and the next call is a probe."""
    now, rng = time.monotonic() - 60, random.Random(0)
    for model in models:
        breaker = running.upstream("a").breaker(model, now)
        for _ in range(5):
            ticket = breaker.admit(now, rng)
            assert isinstance(ticket, Ticket)
            breaker.settle(ticket, Verdict.BAD, now, rng)
        assert breaker.state(now) is State.OPEN


@pytest.mark.parametrize("stage", [stage for stage, (_, _, moment) in STAGES.items() if moment != "connected"])
async def test_a_probe_whose_agent_vanishes_gives_its_permit_back_once_and_decides_nothing(
    tmp_path: Path, stage: str
) -> None:
    made, data, moment = STAGES[stage]
    heard = replace(made)
    async with serving(heard) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}") + upstream("b", f"http://127.0.0.1:{port}")
        async with proxy(policy + route("chat", "/v1", "a b"), tmp_path) as running:
            half_open(running, "gpt", "")
            await leave("close", *data, port=running.service.port, when=moments(running, heard)[moment])
            await until(lambda: nothing_held(running))
            assert [m.after for m in running.moves] == ["half_open"]
            now = time.monotonic()
            breaker = running.upstream("a").breaker("" if data[0] is UPLOAD else "gpt", now)
            assert (breaker.state(now), breaker.snapshot(now).permits_out) == (State.HALF_OPEN, 0)
            # The next one may probe, and only one.
            admitted = [breaker.admit(now, random.Random(0)) for _ in range(3)]
            assert [isinstance(one, Ticket) for one in admitted] == [True, False, False]
            assert isinstance(admitted[0], Ticket)
            breaker.settle(admitted[0], Verdict.VOID, now, random.Random(0))


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


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_agent_that_vanishes_while_a_retry_waits(tmp_path: Path, how: str) -> None:
    heard = Heard(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    rule = "retry: {attempts: 5, backoff: {base: 20s, max: 20s}}\n"
    async with serving(heard) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}") + route("chat", "/v1", "a", rule)
        async with proxy(policy, tmp_path) as running:
            before, tasks = sockets(), len(asyncio.all_tasks())
            await leave(how, WHOLE, port=running.service.port, when=lambda: running.attempts)
            await until(lambda: nothing_held(running), 1.0)
            await until(lambda: sockets() == before and len(asyncio.all_tasks()) == tasks)
            assert unblamed(running)
            assert (heard.came, (await running.call()).fault) == (1, "AGENT_GONE")


async def test_an_agent_that_vanishes_at_the_second_upstream(tmp_path: Path) -> None:
    """What the first one did is settled by then, and the second one's silence is nobody's."""
    broken, silent = Heard(b"HTTP/1.1 503 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"), Heard()
    async with serving(broken) as first, serving(silent) as second:
        policy = upstream("a", f"http://127.0.0.1:{first}") + upstream("b", f"http://127.0.0.1:{second}")
        async with proxy(policy + route("chat", "/v1", "a b"), tmp_path) as running:
            half_open(running, "gpt")
            await leave("close", WHOLE, port=running.service.port, when=lambda: silent.came)
            await until(lambda: silent.left and nothing_held(running), 1.0)
            assert [(m.upstream, m.after) for m in running.moves] == [("a", "half_open"), ("a", "open")]
            assert running.upstream("b").breaker("gpt", 0).snapshot(time.monotonic()).calls == 0
            assert [a.result for a in running.attempts] == ["OVERLOADED"]
            assert [call.fault for call in running.calls] == ["AGENT_GONE"]


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
