"""The cache beside everything else that a call may meet: other ways to an answer, reloads, agents that come and go,
stores that do not answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from across import across, only
from flying import CACHE, DONE, LAST, PLAIN, REST, SSE, STOP, STREAM, SURE, USAGE, stage, token
from harness import lab, proxy, route, until, upstream
from leaving import chunk
from peers import CHAT, agent, chat, wire

from seawall.policy import evaluate, load_text
from seawall.server.agent import AgentHandler
from seawall.store.places import Places
from seawall.types import AnswerKept

KEYED = {"authorization": "Bearer one"}


def asker(client: httpx.AsyncClient, path: str = CHAT) -> Callable[..., Awaitable[httpx.Response]]:
    async def ask(body: object = SURE, **fields: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return await client.post(path, json=body, headers={**KEYED, **named})

    return ask


async def test_whoever_shows_a_credential_in_another_way_is_somebody_else(tmp_path: Path) -> None:
    one, two = "authorization: Bearer one\r\n", "Authorization: Bearer two\r\n"
    ways = [
        "", one, two, one + two, two + one, "x-api-key: Bearer one\r\n", one + "x-api-key: Bearer two\r\n",
        "authorization:\r\n", "cookie: a=b\r\n", "cookie: a=b\r\ncookie: c=d\r\n", "x-forwarded-user: a\r\n",
    ]  # fmt: skip
    async with stage(tmp_path) as at:
        for number, way in enumerate(ways, 1):
            at.teller.say(PLAIN, to=number)
            assert (await wire(at.running, SURE, headers=way + "connection: close\r\n")).status == 200
        assert at.asked == len(ways)
        again = await wire(at.running, SURE, headers="AUTHORIZATION:  Bearer one\r\nconnection: close\r\n")
        assert again.field(b"x-seawall-outcome") == b"cache"


async def test_whoever_stays_gets_all_of_it_however_many_come_and_go(tmp_path: Path) -> None:
    body = b"".join(token(str(number)) for number in range(10)) + STOP + DONE
    async with stage(tmp_path) as at:

        async def leaves(body: object, seconds: float) -> None:
            async with at.reading(body):
                await asyncio.sleep(seconds)

        for seed in range(8):
            asked, first = chat(temperature=0, stream=True, seed=seed), at.asked + 1
            async with at.reading(asked):
                await at.asks(first)
                staying = [at.get(asked) for _ in range(3)]
                await at.followed(*staying)
                leaving = [asyncio.ensure_future(leaves(asked, 0.004 * number)) for number in range(6)]
                at.teller.say(SSE, chunk(token("0")), to=first)
            for number in range(1, 10):
                at.teller.say(chunk(token(str(number))), to=first)
                await asyncio.sleep(0.002)
            at.teller.say(*REST, to=first)
            await asyncio.gather(*leaving)
            assert {answer.body for answer in await asyncio.gather(*staying)} == {body}
            assert at.asked == first


async def test_another_try_is_made_for_those_who_stay_when_the_one_that_asked_has_left(tmp_path: Path) -> None:
    rule = "cache: {mode: Enabled, ttl: 1m}\nretry: {attempts: 1, backoff: {base: 1ms, max: 1ms}}\n"
    async with stage(tmp_path, rule) as at:
        async with at.reading(SURE):
            await at.asks(1)
            follower = at.get(SURE)
            await at.followed(follower)
        await at.ended(1)
        at.teller.hang_up()
        at.teller.say(PLAIN, to=2)
        assert (await follower).status == 200


async def test_what_a_renewal_cost_is_told_where_no_call_tells_of_it(tmp_path: Path) -> None:
    rule = "cache: {mode: Enabled, ttl: 50ms, staleWhileRevalidate: 1h}\n"
    async with stage(tmp_path, rule) as at:
        for number in (1, 2):
            at.teller.say(SSE, chunk(token()), chunk(STOP), chunk(USAGE), chunk(DONE), LAST, to=number)
        await at.get(STREAM)
        await asyncio.sleep(0.1)
        await at.get(STREAM)
        await until(lambda: len([e for e in at.running.events if isinstance(e, AnswerKept)]) == 2)
        kept = [e.usage for e in at.running.events if isinstance(e, AnswerKept)]
        calls = await at.ended(2)
        assert [call.usage is not None for call in calls] == [True, False]
        assert kept == [None, calls[0].usage]
        async with httpx.AsyncClient(trust_env=False) as client:
            metrics = (await client.get(f"{at.running.admin_url}/metrics")).text
        assert 'kind="input",model="gpt",route="chat",upstream="a"} 14.0' in metrics


async def test_a_race_is_run_once_for_all_who_ask(tmp_path: Path) -> None:
    rule = "cache: {mode: Enabled, ttl: 1m}\nhedging: {maxAttempts: 2, hedgingDelay: 0s}\n"
    async with lab() as upstreams:
        policy = upstream("a", f"{upstreams.url}/u/a/v1") + upstream("b", f"{upstreams.url}/u/b/v1")
        async with proxy(policy + route("chat", "/v1", "a|b", rule), tmp_path) as running, agent(running) as client:
            upstreams.script(["latency-100ms"], repeat=True)
            answers = await asyncio.gather(*(asker(client)() for _ in range(20)))
            assert len({answer.content for answer in answers}) == 1
            assert len(upstreams.attempts()) == 2
            await until(lambda: len(running.calls) == 20)
            assert sum(call.usage is not None for call in running.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_translated_answers_are_shared_and_kept(tmp_path: Path, stream: bool) -> None:
    async with across(tmp_path, only, CACHE) as at, agent(at.running) as client:
        at.lab.script(["gap-10ms"], repeat=True)
        ask, body = asker(client, "/openai/v1/chat/completions"), chat(temperature=0, stream=stream)
        answers = await asyncio.gather(*(ask(body) for _ in range(5)))
        answers.append(await ask(body))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert answers[-1].headers["cache-status"].startswith("seawall; hit")
        assert len(at.lab.attempts()) == 1


async def test_a_reload_leaves_neither_answers_of_the_old_policy_nor_what_it_remembered(tmp_path: Path) -> None:
    async with lab() as upstreams:

        def policy(name: str, rule: str = CACHE) -> str:
            return upstream("a", f"{upstreams.url}/u/{name}/v1") + route("chat", "/v1", "a", rule)

        async with proxy(policy("x"), tmp_path) as running, agent(running) as client:
            ask, service = asker(client), running.service

            def load(text: str) -> None:
                loaded = evaluate(load_text(text, "policy.yaml")).policy
                assert loaded is not None
                service.prepare(loaded)
                service.apply(loaded)

            outcomes = []
            for name in ("x", "y", "x"):
                load(policy(name))
                outcomes += [(await ask()).headers["x-seawall-outcome"] for _ in range(2)]
            assert outcomes == ["primary", "cache"] * 2 + ["cache"] * 2
            load(policy("x", ""))
            assert "cache-status" not in (await ask()).headers
            assert service.engine.cached is not None
            assert not service.engine.cached._askers


async def test_what_is_remembered_of_requests_is_bounded_whatever_agents_send(tmp_path: Path) -> None:
    async with lab() as upstreams:
        policy = upstream("a", f"{upstreams.url}/v1") + route("chat", "/v1", "a", CACHE)
        async with proxy(policy, tmp_path) as running, agent(running) as client:
            await asker(client)()
            await asker(client, f"{CHAT}?{'a' * 50_000}")()
            for number in range(3):
                await asker(client)(cache_control=f'private="a{number}{"b" * 50_000}"')
            assert len(upstreams.attempts()) == 2
            assert running.service._ingress is not None
            handler = running.service._ingress.handler
            assert isinstance(handler, AgentHandler)
            assert {found.rest for found in handler._chosen.values()} == {CHAT.removeprefix("/v1")}
            assert running.service.engine.cached is not None
            (asks,) = running.service.engine.cached._askers.values()
            assert all(len(repr(seen)) < 1000 for seen in asks._seen.values())


async def test_a_store_that_hangs_holds_up_a_few_calls_for_its_timeout_and_then_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab() as upstreams:
        policy = upstream("a", f"{upstreams.url}/v1")
        policy += route("chat", "/v1", "a", "cache: {mode: Enabled, ttl: 1h, store: Disk, timeout: 100ms}\n")
        async with proxy(policy, tmp_path, cache=Places(folder=tmp_path / "c")) as running, agent(running) as client:
            store = running.service._stores.of("Disk")

            async def hang(*_: object) -> None:
                await asyncio.sleep(3600)

            for name in ("get", "put"):
                monkeypatch.setattr(store._store, name, hang)
            slow = []
            for number in range(12):
                began = time.monotonic()
                answer = await asker(client)(chat(temperature=0, seed=number))
                assert answer.headers["x-seawall-outcome"] == "primary"
                slow.append(time.monotonic() - began >= 0.1)
            assert slow.count(True) <= 6
            assert store.stats().slow
