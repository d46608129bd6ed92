"""The cache as an operator sees it: what it has done, and what is purged by hand."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import Running, lab, proxy, route, until, upstream
from peers import agent, chat
from ports import free_port

from seawall.cli import main
from seawall.store.places import Places
from seawall.types import AnswerKept

RULE = "cache: {mode: Enabled, ttl: 1h}\nretry: {attempts: 0}\n"


@dataclass(frozen=True)
class Place:
    """Two routes, each with an upstream of its own."""

    running: Running
    client: httpx.AsyncClient

    async def say(self, route: str = "one", model: str = "gpt", **fields: Any) -> httpx.Response:
        return await self.client.post(f"/{route}/v1/chat/completions", json=chat(model, temperature=0, **fields))

    async def kept(self, route: str = "one", model: str = "gpt") -> bool:
        answer = await self.client.post(
            f"/{route}/v1/chat/completions",
            json=chat(model, temperature=0),
            headers={"cache-control": "only-if-cached"},
        )
        return answer.status_code == 200

    async def admin(self, *words: str) -> int:
        """The command line's exit code."""
        return await asyncio.to_thread(main, ["admin", *words, "--socket", str(self.running.socket)])

    async def ask(self, method: str, target: str) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(uds=str(self.running.socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://seawall") as client:
            return await client.request(method, target)


@asynccontextmanager
async def place(folder: Path, one: str = RULE, two: str = RULE, where: Places | None = None) -> AsyncIterator[Place]:
    async with lab() as upstreams:
        policy = upstream("east", f"{upstreams.url}/u/east/v1") + upstream("west", f"{upstreams.url}/u/west/v1")
        policy += route("one", "/one/v1", "east", one) + route("two", "/two/v1", "west", two)
        async with proxy(policy, folder, cache=where) as running, agent(running) as client:
            yield Place(running, client)


async def test_what_the_cache_has_done_is_shown_per_route_and_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with place(tmp_path) as at:
        for _ in range(3):
            await at.say()
        await at.say("two")
        await at.client.post("/two/v1/chat/completions", json=chat())
        await at.running.call(5)
        assert await at.admin("cache") == 0
        shown = json.loads(capsys.readouterr().out)
        assert (await at.ask("GET", "/cache")).json() == shown
        # On the open port as well: it changes nothing.
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{at.running.admin_url}/cache")).json() == shown
        one, two = shown["routes"]["one"], shown["routes"]["two"]
        assert (one["hit"], one["miss"], one["bypass"], one["hit_ratio"]) == (2, 1, 0, 2 / 3)
        assert (two["hit"], two["miss"], two["bypass"], two["hit_ratio"]) == (0, 1, 1, 0)
        assert one["kept"] == two["kept"] == 1 and one["kept_bytes"] > 100 and one["not_kept"] == {}
        usage = next(call.usage for call in at.running.calls if call.usage)
        assert one["saved_tokens"]["input"] == 2 * usage.input > 0
        assert one["saved_tokens"]["output"] == 2 * usage.output > 0
        assert not any(two["saved_tokens"].values())
        memory = shown["stores"]["Memory"]
        assert memory["entries"] == 2 and memory["limit"] == 2**25 and memory["last_error"] == ""
        assert 0 < memory["bytes"] < 10_000


async def test_a_proxy_without_a_cache_has_none_to_show(tmp_path: Path) -> None:
    async with place(tmp_path, "", "") as at:
        await at.say()
        assert (await at.ask("GET", "/cache")).json() == {"routes": {}, "stores": {}}
        assert (await at.ask("POST", "/actions/purge")).json() == {"action": "purge", "purged": {}}
        async with httpx.AsyncClient() as client:
            assert "seawall_cache" not in (await client.get(f"{at.running.admin_url}/metrics")).text


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["one"], {("two", "gpt"), ("two", "o3")}),
        (["--upstream", "west"], {("one", "gpt"), ("one", "o3")}),
        (["--model", "o3"], {("one", "gpt"), ("two", "gpt")}),
        (["one", "--model", "o3"], {("one", "gpt"), ("two", "gpt"), ("two", "o3")}),
        (["one", "--upstream", "west"], {("one", "gpt"), ("one", "o3"), ("two", "gpt"), ("two", "o3")}),
        (["three"], {("one", "gpt"), ("one", "o3"), ("two", "gpt"), ("two", "o3")}),
        ([], set()),
    ],
    ids=["route", "upstream", "model", "route and model", "nothing in common", "unknown route", "all"],
)
async def test_answers_are_purged_by_route_upstream_and_model(
    tmp_path: Path, words: list[str], left: set[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    everything = [(route, model) for route in ("one", "two") for model in ("gpt", "o3")]
    async with place(tmp_path) as at:
        for route_name, model in everything:
            await at.say(route_name, model)
        assert await at.admin("purge", *words) == 0
        assert json.loads(capsys.readouterr().out) == {"action": "purge", "purged": {"Memory": 4 - len(left)}}
        assert {one for one in everything if await at.kept(*one)} == left


async def test_one_answer_is_purged_by_the_beginning_of_its_key_as_the_log_tells_it(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        await at.say()
        await at.say(model="o3")
        keys = [str((await at.running.call(number)).cache_key) for number in (1, 2)]
        assert len(set(keys)) == 2 and {len(key) for key in keys} == {16}
        assert await at.admin("purge", "--key", keys[0]) == 0
        assert not await at.kept()
        assert await at.kept(model="o3")


@pytest.mark.parametrize("query", ["?rout=one", "?keys=00", "?route=one&modle=o3"])
async def test_a_misspelt_parameter_purges_nothing(tmp_path: Path, query: str) -> None:
    async with place(tmp_path) as at:
        await at.say()
        answer = await at.ask("POST", f"/actions/purge{query}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")
        assert "known: route, upstream, model, key" in answer.json()["error"]["message"]
        assert await at.kept()


async def test_a_key_that_is_none_purges_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with place(tmp_path) as at:
        await at.say()
        for key in ("xy", "abc"):
            assert await at.admin("purge", "--key", key) == 1
            assert capsys.readouterr().err == "seawall: key is the beginning of a key, in hexadecimal digits\n"
        # These are of `purge` alone.
        assert await at.admin("cache", "--key", "00") == 2
        assert await at.admin("purge", "one", "--upstream", "east", "--key", "00") == 0
        assert await at.kept()


async def test_purging_is_for_the_unix_socket_only(tmp_path: Path) -> None:
    async with place(tmp_path) as at, httpx.AsyncClient() as client:
        await at.say()
        answer = await client.post(f"{at.running.admin_url}/actions/purge")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "SOCKET_ONLY")
        assert await at.kept()


async def test_a_store_that_cannot_be_reached_is_told_and_the_others_are_purged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    where = Places(redis=f"redis://:hunter2@127.0.0.1:{free_port()}", key_file=key)
    redis = RULE.replace("ttl: 1h", "ttl: 1h, store: Redis")
    async with place(tmp_path, redis, RULE, where) as at:
        assert (await at.say("one")).status_code == 200
        await at.say("two")
        await until(lambda: len([e for e in at.running.events if isinstance(e, AnswerKept)]) == 2)
        assert await at.kept("two")
        answer = await at.ask("POST", "/actions/purge")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "STORE_UNAVAILABLE")
        assert f"redis://127.0.0.1:{where.redis.rpartition(':')[2]}/0" in answer.json()["error"]["message"]
        assert await at.admin("purge") == 1
        told = capsys.readouterr()
        assert told.out == "" and "hunter2" not in told.err + answer.text
        assert not await at.kept("two")


async def test_what_is_on_disk_is_shown_and_purged_before_anybody_has_asked_for_it(tmp_path: Path) -> None:
    where = Places(folder=tmp_path / "kept", identity="pod")
    disk = RULE.replace("ttl: 1h", "ttl: 1h, store: Disk")
    async with place(tmp_path, disk, "", where) as at:
        await at.say()
        assert await at.kept()
    async with place(tmp_path, disk, "", where) as at:
        assert list((await at.ask("GET", "/cache")).json()["stores"]) == ["Disk"]
        assert (await at.ask("POST", "/actions/purge")).json()["purged"] == {"Disk": 1}
