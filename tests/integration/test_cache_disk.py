"""Answers on disk, over sockets: they outlive the process, however that ends, with the secret of their keys."""

import asyncio
import signal
import stat
from pathlib import Path
from typing import Any

import httpx
from harness import lab, proxy, route, until, upstream
from peers import CHAT, agent, chat
from processes import Served, served

from seawall.lab import Lab
from seawall.store.places import Places

RULE = "cache: {mode: Enabled, ttl: 1h, store: Disk}\nretry: {attempts: 0}\n"
KEYED = {"authorization": "Bearer one"}


def policy(lab: Lab) -> str:
    return upstream("a", f"{lab.url}/u/a/v1") + route("chat", "/v1", "a", RULE)


async def say(client: httpx.AsyncClient, number: int = 0, **fields: str) -> httpx.Response:
    body: dict[str, Any] = chat(temperature=0, seed=number)
    return await client.post(CHAT, json=body, headers={**KEYED, **{n.replace("_", "-"): v for n, v in fields.items()}})


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


async def test_answers_survive_a_restart_with_the_secret_of_their_keys(tmp_path: Path) -> None:
    folder = tmp_path / "kept" / "here"
    where = Places(folder=folder, identity="pod")
    async with lab() as upstreams:
        async with proxy(policy(upstreams), tmp_path, cache=where) as running, agent(running) as client:
            first = await say(client)
        # Nobody else may compute keys, or read what agents asked.
        assert mode(folder / "tenants.key") == 0o600
        secret = (folder / "tenants.key").read_bytes()
        assert len(secret) == 32
        async with proxy(policy(upstreams), tmp_path, cache=where) as running, agent(running) as client:
            again = await say(client)
            assert again.headers["x-seawall-outcome"] == "cache"
            assert again.headers["cache-status"].startswith("seawall; hit; ttl=")
            assert (again.content, again.headers["content-type"]) == (first.content, first.headers["content-type"])
            assert len(upstreams.attempts()) == 1
            # Tenants are told apart as before.
            other = await client.post(CHAT, json=chat(temperature=0, seed=0), headers={"authorization": "Bearer two"})
            assert other.headers["x-seawall-outcome"] == "primary"
        assert (folder / "tenants.key").read_bytes() == secret
        assert list(folder.glob("tenants.key*")) == [folder / "tenants.key"]


async def test_another_secret_or_another_pod_finds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    async with lab() as upstreams:
        for number in range(2):
            where = Places(folder=folder, identity="pod")
            async with proxy(policy(upstreams), tmp_path, cache=where) as running, agent(running) as client:
                assert (await say(client)).headers["x-seawall-outcome"] == "primary"
            (folder / "tenants.key").unlink()
            assert len(upstreams.attempts()) == number + 1
        where = Places(folder=folder, identity="one")
        for identity in ("one", "two"):
            where = Places(folder=folder, identity=identity)
            async with proxy(policy(upstreams), tmp_path, cache=where) as running, agent(running) as client:
                assert (await say(client)).headers["x-seawall-outcome"] == "primary"


async def test_kill_9_in_the_middle_of_writes_loses_no_answer_that_was_written(tmp_path: Path) -> None:
    """A real process, killed twice; what had been answered a moment before is there when it starts again."""
    folder, file = tmp_path / "kept", tmp_path / "policy.yaml"
    words = ("--cache-folder", str(folder), "--cache-identity", "pod")
    loop = asyncio.get_running_loop()
    written: dict[int, bytes] = {}
    numbers = iter(range(10**6))

    async def asks(client: httpx.AsyncClient, answered: dict[int, tuple[float, bytes]]) -> None:
        while True:
            number = next(numbers)
            answer = await say(client, number)
            answered[number] = loop.time(), answer.content

    async def load_and_kill(at: Served) -> None:
        answered = dict[int, tuple[float, bytes]]()
        async with httpx.AsyncClient(base_url=at.url, timeout=10, trust_env=False) as client:
            agents = [asyncio.create_task(asks(client, answered)) for _ in range(3)]
            await until(lambda: len(answered) > 20, 20)
            await asyncio.sleep(0.4)
            killed = loop.time()
            at.tell(signal.SIGKILL)
            assert await at.code() == -signal.SIGKILL
            ended = await asyncio.gather(*agents, return_exceptions=True)
            assert all(isinstance(error, httpx.TransportError) for error in ended)
        # Those that the kill cannot have met on their way to the disk.
        sure = {number: body for number, (when, body) in answered.items() if when < killed - 0.3}
        assert 10 < len(sure) < len(answered)
        written.update(sure)

    async def check(at: Served) -> None:
        async with httpx.AsyncClient(base_url=at.url, timeout=10, trust_env=False) as client:
            for number, body in written.items():
                found = await say(client, number, cache_control="only-if-cached")
                assert (found.status_code, found.content) == (200, body), number
            # What comes next is kept as before.
            number = next(numbers)
            assert (await say(client, number)).headers["x-seawall-outcome"] == "primary"
            assert (await say(client, number)).headers["x-seawall-outcome"] == "cache"

    async with lab() as upstreams:
        file.write_text(policy(upstreams))
        for _ in range(2):
            async with served(file, tmp_path, *words) as at:
                await check(at)
                await load_and_kill(at)
        async with served(file, tmp_path, *words) as at:
            await check(at)
            at.tell(signal.SIGTERM)
            assert await at.code() == 0
    assert not list(folder.glob("*.bad"))
