"""Fields by which agents ask seawall itself for something, over sockets."""

import asyncio
import time
from pathlib import Path

import httpx
from harness import lab, proxy, route, until, upstream
from stage import LENIENT

from seawall.lab import Lab

HINTS = {"x-seawall-priority": "high", "x-seawall-timeout": "1", "x-seawall-cache-ttl": "60"}
TAKEN = "clientHints: [Priority, Timeout, CacheTTL]"


def policy(upstreams: Lab, rule: str, extra: str = LENIENT) -> str:
    return upstream("a", f"{upstreams.url}/u/a", "ClickHouse", extra) + route("c", "/c", "a", rule)


async def test_a_timeout_ends_the_call_whatever_the_policy_allows(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(policy(upstreams, TAKEN), tmp_path) as running:
        upstreams.script([], then="silent")
        async with httpx.AsyncClient(base_url=running.url, timeout=20) as client:
            started = time.perf_counter()
            answer = await client.post("/c/", content="SELECT 1", headers=HINTS)
            assert answer.status_code == 504 and "TIMEOUT_REQUEST" in answer.text
            assert 0.9 < time.perf_counter() - started < 3


async def test_no_upstream_sees_them_and_a_route_must_take_them(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(policy(upstreams, "retry: {attempts: 0}"), tmp_path) as running:
        upstreams.script([], then="latency-1200ms")
        async with httpx.AsyncClient(base_url=running.url, timeout=20) as client:
            answer = await client.post("/c/", content="SELECT 1", headers=HINTS)
        assert answer.status_code == 200, "nobody asked the route to take its timeout"
        [seen] = upstreams.attempts()
        assert not [name for name in seen.header_names if name.lower().startswith("x-seawall")]


async def test_in_a_queue_the_higher_priority_goes_first_and_the_lowest_makes_room(tmp_path: Path) -> None:
    extra = LENIENT + "    concurrency: {maxParallelRequests: 1, maxPendingRequests: 2}\n"
    async with lab() as upstreams, proxy(policy(upstreams, TAKEN, extra), tmp_path) as running:
        upstreams.script(["latency-300ms"], then="ok")
        async with httpx.AsyncClient(base_url=running.url, timeout=20) as client:

            async def ask(priority: str, number: int) -> httpx.Response:
                query = {"query": f"SELECT {number}"}
                return await client.post("/c/", params=query, headers={"x-seawall-priority": priority})

            limiter = running.upstream("a").limiter
            tasks = [asyncio.create_task(ask("normal", 1))]
            await until(lambda: limiter.snapshot().active == 1)
            for number, priority in enumerate(("low", "normal"), 2):
                tasks.append(asyncio.create_task(ask(priority, number)))
                await until(lambda: limiter.snapshot().pending == len(tasks) - 1)
            tasks.append(asyncio.create_task(ask("critical", 4)))
            answers = await asyncio.gather(*tasks)
        assert [answer.status_code for answer in answers] == [200, 503, 200, 200]
        assert "higher priority" in answers[1].text
        ends = {call.call_id: n for n, call in enumerate(running.calls)}
        normal, critical = (answer.headers["x-seawall-request-id"] for answer in answers[2:])
        assert ends[critical] < ends[normal]


async def test_a_lifetime_that_the_agent_asks_for_holds_for_its_answer(tmp_path: Path) -> None:
    rule = TAKEN + "\ncache: {mode: Enabled, ttl: 0s}"
    async with lab() as upstreams, proxy(policy(upstreams, rule), tmp_path) as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=20) as client:
            kept = {"x-seawall-cache-ttl": "60"}
            answers = [await client.post("/c/", content="SELECT 1", headers=kept) for _ in range(2)]
            fresh = await client.post("/c/", content="SELECT 1")
        assert [answer.text for answer in (*answers, fresh)] == ["1\n"] * 3
        assert len(upstreams.attempts()) == 2
        assert answers[1].headers["x-seawall-outcome"] == "cache"
