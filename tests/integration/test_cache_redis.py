"""Answers in a redis that replicas share, over sockets, with a redis-server of the test's own: what it does to calls
when it is killed, silent or shared."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from harness import Running, lab, proxy, route, until, upstream
from peers import CHAT, agent, chat, serving
from redis_server import between, needs_redis, redis_server

from seawall.lab import Lab
from seawall.store.guarded import GuardedStats
from seawall.store.places import Places

RULE = "cache: {mode: Enabled, ttl: 1h, store: Redis}\nretry: {attempts: 0}\n"


def places(folder: Path, url: str, secret: bytes = b"k" * 32) -> Places:
    folder.mkdir(exist_ok=True)
    file = folder / "tenants"
    file.write_bytes(secret)
    # One name for all replicas: the pods of one deployment.
    return Places(redis=url, key_file=file, identity="pods")


@asynccontextmanager
async def replica(
    lab: Lab, folder: Path, where: Places, rule: str = RULE
) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    policy = upstream("a", f"{lab.url}/u/a/v1") + route("chat", "/v1", "a", rule)
    async with proxy(policy, folder, cache=where) as running, agent(running) as client:
        yield running, client


def stats(running: Running) -> GuardedStats:
    return running.service._stores.stats()["Redis"]


def found(running: Running) -> int:
    """How often redis itself had an answer: neither another call's flight, nor what waits to be written."""
    return running.service._metrics.cache._operations["Redis", "get", "hit"]


async def say(client: httpx.AsyncClient, number: int = 0) -> httpx.Response:
    body: dict[str, Any] = chat(temperature=0, seed=number)
    return await client.post(CHAT, json=body)


@needs_redis
async def test_redis_is_killed_and_comes_back_under_load_without_one_failed_call(tmp_path: Path) -> None:
    """Eight agents ask, half of their questions again and again."""
    answers: list[tuple[int, str, float]] = []
    stopping = asyncio.Event()
    new = itertools.count(1000)
    loop = asyncio.get_running_loop()

    async def asks(client: httpx.AsyncClient) -> None:
        for number in itertools.count():
            if stopping.is_set():
                return
            began = loop.time()
            answer = await say(client, number % 5 if number % 2 else next(new))
            answers.append((answer.status_code, answer.headers["x-seawall-outcome"], loop.time() - began))
            await asyncio.sleep(0.005)

    async with redis_server() as server, lab() as upstreams:
        async with replica(upstreams, tmp_path, places(tmp_path, server.url)) as (running, client):
            agents = [asyncio.create_task(asks(client)) for _ in range(8)]
            await until(lambda: found(running) > 50, 30)
            for _ in range(2):
                await server.stop()
                begun = len(answers)
                await until(lambda: len(answers) > begun + 100, 30)  # noqa: B023 - waited for at once
                assert stats(running).down > 0
                await server.start()
                # Empty, as it kept nothing on disk: new answers are kept, and found.
                begun = found(running)
                await until(lambda: found(running) > begun + 50, 30)  # noqa: B023
            stopping.set()
            await asyncio.gather(*agents)
        assert {status for status, _, _ in answers} == {200}
        assert {outcome for _, outcome, _ in answers} == {"primary", "cache"}
        took = sorted(seconds for _, _, seconds in answers)
        # A call waits for the store twice at most, 50 ms each; the rest is the machine's.
        assert took[len(took) * 99 // 100] < 1


@needs_redis
async def test_a_redis_that_hangs_costs_a_call_its_timeout_and_no_more(tmp_path: Path) -> None:
    async with redis_server() as server, between(server) as held, lab() as upstreams:
        where = places(tmp_path, f"redis://127.0.0.1:{held.port}")
        async with replica(upstreams, tmp_path, where) as (running, client):
            first = await say(client)
            await until(lambda: stats(running).queued == 0)
            assert (await say(client)).content == first.content
            held.hold()
            loop = asyncio.get_running_loop()
            began = loop.time()
            answer = await say(client)
            assert (answer.status_code, answer.headers["x-seawall-outcome"]) == (200, "primary")
            assert 0.05 <= loop.time() - began < 1
            for number in range(20):
                assert (await say(client, number)).status_code == 200
            assert stats(running).resting and stats(running).slow > 0
            held.go_on()

            async def is_found() -> bool:
                answer = await say(client)
                return answer.headers["x-seawall-outcome"] == "cache"

            async with asyncio.timeout(10):
                while not await is_found():
                    await asyncio.sleep(0.1)


async def test_a_place_that_accepts_and_never_answers_fails_no_call(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as port, lab() as upstreams:
        rule = RULE.replace("store: Redis", "store: Redis, timeout: 20ms")
        async with replica(upstreams, tmp_path, places(tmp_path, f"redis://127.0.0.1:{port}"), rule) as (
            running,
            client,
        ):
            answers = await asyncio.gather(*(say(client, number) for number in range(30)))
            assert {answer.status_code for answer in answers} == {200}
            assert stats(running).slow > 0
            # Left alone for a while: calls do not pay for it each time.
            await until(lambda: stats(running).resting)
            skipped = stats(running).skipped
            assert (await say(client, 99)).status_code == 200
            assert stats(running).skipped > skipped


@needs_redis
async def test_replicas_with_one_secret_share_answers_and_others_do_not(tmp_path: Path) -> None:
    async with redis_server() as server, lab() as upstreams:
        one, two = places(tmp_path / "one", server.url), places(tmp_path / "two", server.url)
        other = places(tmp_path / "other", server.url, b"o" * 32)
        async with (
            replica(upstreams, tmp_path / "one", one) as (first, at_first),
            replica(upstreams, tmp_path / "two", two) as (_, at_second),
            replica(upstreams, tmp_path / "other", other) as (_, at_other),
        ):
            answer = await say(at_first)
            await until(lambda: stats(first).queued == 0)
            shared = await say(at_second)
            assert shared.headers["x-seawall-outcome"] == "cache"
            assert shared.content == answer.content
            assert len(upstreams.attempts()) == 1
            strange = await say(at_other)
            assert strange.headers["x-seawall-outcome"] == "primary"
            assert len(upstreams.attempts()) == 2
            # Agents with credentials of their own are kept apart across replicas as well.
            keyed = await at_second.post(CHAT, json=chat(temperature=0, seed=0), headers={"authorization": "Bearer x"})
            assert keyed.headers["x-seawall-outcome"] == "primary"
