"""How many calls an upstream gets at a time, who waits for a place, and what a refusal says: SEMANTICS §7."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from harness import Running, lab, proxy, route, until, upstream
from peers import CHAT, QUICK, agent, chat, raw, wire

from seawall.core.limit import LimiterSnapshot
from seawall.lab import Lab
from seawall.policy import evaluate, load_text


def limited(upstreams: Lab, limits: str, rule: str = QUICK, *, second: bool = False) -> str:
    policy = upstream("a", f"{upstreams.url}/u/a/v1", extra=f"concurrency: {{{limits}}}\n")
    if second:
        policy += upstream("b", f"{upstreams.url}/u/b/v1")
    return policy + route("models", "/v1", "a b" if second else "a", rule)


def places(running: Running) -> LimiterSnapshot:
    return running.upstream("a").limiter.snapshot()


def at_once(upstreams: Lab) -> int:
    """The most requests that the lab had under way at one time."""
    marks = [(a.received, 1) for a in upstreams.attempts()] + [(a.end or 0.0, -1) for a in upstreams.attempts()]
    now = most = 0
    for _, step in sorted(marks):
        now += step
        most = max(most, now)
    return most


async def test_no_more_than_so_many_requests_are_under_way(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script([], then="latency-10ms")
        policy = limited(upstreams, "maxParallelRequests: 3")
        async with proxy(policy, tmp_path) as running, agent(running) as client:
            answers = await asyncio.gather(*(client.post(CHAT, json=chat()) for _ in range(30)))
            assert {a.status_code for a in answers} == {200}
            assert at_once(upstreams) == 3
            await until(lambda: places(running).active == 0)


async def test_who_waits_gets_a_place_in_the_order_of_arrival(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script([], then="latency-10ms")
        policy = limited(upstreams, "maxParallelRequests: 1")
        async with proxy(policy, tmp_path) as running, agent(running) as client:
            calls = []
            for number in range(8):
                calls.append(asyncio.create_task(client.post(CHAT, json=chat(f"m{number}"))))
                await until(lambda: places(running).pending + len(upstreams.attempts()) > number)  # noqa: B023
            await asyncio.gather(*calls)
            assert [a.model for a in upstreams.attempts()] == [f"m{number}" for number in range(8)]


async def test_a_stream_keeps_its_place_to_its_end(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["gap-15ms"])
        async with proxy(limited(upstreams, "maxParallelRequests: 1"), tmp_path) as running:
            async with raw(running, chat(stream=True)) as (reader, _):
                await reader.readuntil(b"data: ")
                second = asyncio.create_task(wire(running, chat()))
                await reader.readuntil(b"[DONE]")
                assert len(upstreams.attempts()) == 1 or upstreams.attempts()[0].end is not None
                assert (await second).status == 200
            assert at_once(upstreams) == 1


async def test_waiting_too_long_is_refused_with_a_time_to_come_back(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["silent"])
        policy = limited(upstreams, "maxParallelRequests: 1, queueTimeout: 50ms")
        async with proxy(policy, tmp_path) as running, raw(running, chat()):
            await until(upstreams.attempts)
            refused = await wire(running, chat())
            told = json.loads(refused.body)
            assert (refused.status, told["seawall"]["code"], told["error"]["type"]) == (
                503,
                "QUEUE_TIMEOUT",
                "server_error",
            )
            assert int(refused.field(b"retry-after") or 0) >= 1
            # Nothing was sent, so the SDK may well retry, and no breaker has heard of it.
            assert (refused.field(b"x-should-retry"), len(upstreams.attempts())) == (None, 1)
            assert running.upstream("a").breaker("gpt", 0).snapshot(time.monotonic()).calls == 0
            assert (places(running).active, places(running).pending) == (1, 0)


async def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["silent"])
        policy = limited(upstreams, "maxParallelRequests: 1, maxPendingRequests: 1, queueTimeout: 5s")
        async with proxy(policy, tmp_path) as running, raw(running, chat()), raw(running, chat()):
            await until(lambda: places(running).pending == 1 and upstreams.attempts())
            refused = await wire(running, chat())
            assert (refused.status, json.loads(refused.body)["seawall"]["code"]) == (503, "QUEUE_FULL")
            assert int(refused.field(b"retry-after") or 0) >= 1
            assert refused.field(b"proxy-status") == b"seawall; error=connection_limit_reached"
            assert (await running.call()).seconds < 0.5


@pytest.mark.parametrize("limits", ["maxPendingRequests: 0", "queueTimeout: 30ms"])
async def test_a_call_that_finds_no_place_goes_to_the_next_upstream(tmp_path: Path, limits: str) -> None:
    async with lab() as upstreams:
        upstreams.script(["silent"], upstream="a")
        policy = limited(upstreams, f"maxParallelRequests: 1, {limits}", second=True)
        async with proxy(policy, tmp_path) as running, raw(running, chat()):
            await until(upstreams.attempts)
            got = await wire(running, chat())
            assert (got.status, got.field(b"x-seawall-upstream")) == (200, b"b")
            assert got.field(b"x-seawall-attempts") == b"1"


async def test_the_deadline_ends_the_waiting(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["silent"], repeat=True)
        policy = limited(upstreams, "maxParallelRequests: 1", "timeouts: {request: 80ms}\n")
        async with proxy(policy, tmp_path) as running:
            first = asyncio.create_task(wire(running, chat()))
            await until(upstreams.attempts)
            second = await wire(running, chat())
            assert second.status in (503, 504)
            assert (await first).status == 504
            assert max(call.seconds for call in running.calls) < 0.3


async def test_an_agent_that_leaves_the_queue_makes_room(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["latency-150ms"])
        policy = limited(upstreams, "maxParallelRequests: 1, maxPendingRequests: 1")
        async with proxy(policy, tmp_path) as running:
            first = asyncio.create_task(wire(running, chat()))
            await until(upstreams.attempts)
            async with raw(running, chat()):
                await until(lambda: places(running).pending == 1)
            await until(lambda: places(running).pending == 0)
            third = await wire(running, chat())
            assert ((await first).status, third.status, len(upstreams.attempts())) == (200, 200, 2)


async def test_a_retry_gives_its_place_back_while_it_waits(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["503; retry-after-ms=300"])
        policy = limited(upstreams, "maxParallelRequests: 1")
        async with proxy(policy, tmp_path) as running:
            first = asyncio.create_task(wire(running, chat("slow")))
            await until(lambda: running.attempts)
            assert places(running).active == 0
            assert (await wire(running, chat())).status == 200
            assert not first.done()
            assert (await first).field(b"x-seawall-outcome") == b"retry"


async def test_a_raised_limit_lets_those_in_who_wait(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["silent"])
        async with proxy(limited(upstreams, "maxParallelRequests: 1"), tmp_path) as running, raw(running, chat()):
            await until(upstreams.attempts)
            second = asyncio.create_task(wire(running, chat()))
            await until(lambda: places(running).pending == 1)
            loaded = evaluate(load_text(limited(upstreams, "maxParallelRequests: 2"), "policy.yaml"))
            assert loaded.policy is not None
            running.service.apply(loaded.policy)
            assert (await second).status == 200
