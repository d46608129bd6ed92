"""Model calls in the cache, over sockets: what is given again, to whom, and what the agent is told (SEMANTICS §6)."""

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
from peers import CHAT, agent, chat

from seawall.lab import Lab
from seawall.types import AnswerKept

TTL = "cache: {mode: Enabled, ttl: 1m}\nretry: {attempts: 0}\n"
STALE = "cache: {mode: Enabled, ttl: 50ms, staleIfError: 1h}\nretry: {attempts: 0}\nfallback: [{type: StaleCache}]\n"
KEYED: dict[str, str] = {"authorization": "Bearer one"}
SURE: dict[str, Any] = chat(temperature=0)


@dataclass(frozen=True)
class Place:
    lab: Lab
    running: Running
    client: httpx.AsyncClient

    @property
    def asked(self) -> int:
        """Requests that reached the upstream."""
        return len(self.lab.attempts())

    async def say(self, body: dict[str, Any] | None = None, **fields: str) -> httpx.Response:
        """Header fields as keywords: `cache_control`."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return await self.client.post(CHAT, json=body or SURE, headers={**KEYED, **named})


@asynccontextmanager
async def place(folder: Path, rule: str = TTL, extra: str = "") -> AsyncIterator[Place]:
    async with lab() as upstreams:
        policy = upstream("a", f"{upstreams.url}/u/a/v1", "OpenAI", extra) + route("chat", "/v1", "a", rule)
        async with proxy(policy, folder) as running, agent(running) as client:
            yield Place(upstreams, running, client)


def told(answer: httpx.Response) -> tuple[str, str]:
    return answer.headers["x-seawall-outcome"], answer.headers["cache-status"]


async def test_a_fresh_answer_is_given_again_byte_for_byte(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        first, second = await at.say(), await at.say()
        assert at.asked == 1
        assert (first.status_code, first.content) == (second.status_code, second.content)
        assert told(first)[0] == "primary"
        assert told(first)[1].startswith("seawall; fwd=uri-miss")
        assert told(second)[0] == "cache"
        assert told(second)[1].startswith("seawall; hit; ttl=")
        assert second.headers["age"] == "0"
        assert second.headers["x-seawall-attempts"] == "0"
        assert second.headers["x-seawall-usage"] == "cached"
        assert second.headers["x-seawall-request-id"] != first.headers["x-seawall-request-id"]
        calls = [await at.running.call(number) for number in (1, 2)]
        assert [(call.cache, call.outcome.value, call.attempts) for call in calls] == [
            ("miss", "primary", 1),
            ("hit", "cache", 0),
        ]
        # Nobody is billed twice.
        assert calls[1].usage is None
        assert calls[1].saved == calls[0].usage is not None


async def test_a_rule_without_a_cache_says_nothing_of_one(tmp_path: Path) -> None:
    async with place(tmp_path, "retry: {attempts: 0}\n") as at:
        first, second = await at.say(), await at.say()
        assert at.asked == 2
        assert "cache-status" not in first.headers
        assert "age" not in second.headers


@pytest.mark.parametrize(
    "body",
    [chat(), chat(temperature=0.5), chat(temperature=0, store=True)],
    ids=["no temperature", "some temperature", "stored there"],
)
async def test_what_is_not_deterministic_or_has_effects_is_asked_anew(tmp_path: Path, body: dict[str, Any]) -> None:
    async with place(tmp_path) as at:
        for _ in range(2):
            answer = await at.say(body)
            assert told(answer) == ("primary", "seawall; fwd=bypass")
        assert at.asked == 2


async def test_tenants_never_share(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        await at.say()
        answer = await at.say(authorization="Bearer two")
        assert told(answer)[0] == "primary"
        assert at.asked == 2


async def test_tenants_never_share_while_coalescing(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        at.lab.script(["latency-200ms"], repeat=True)
        keys = [f"Bearer {number % 3}" for number in range(12)]
        answers = await asyncio.gather(*(at.say(authorization=key) for key in keys))
        assert at.asked == 3
        assert {answer.status_code for answer in answers} == {200}
        ids = {key: {a.json()["id"] for a, k in zip(answers, keys, strict=True) if k == key} for key in keys}
        assert len(set().union(*ids.values())) == 3
        assert all(len(one) == 1 for one in ids.values())


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hundred_identical_calls_at_once_are_one_upstream_call(tmp_path: Path, stream: bool) -> None:
    async with place(tmp_path) as at:
        at.lab.script(["latency-1500ms"], repeat=True)
        body = chat(temperature=0, stream=stream)
        answers = await asyncio.gather(*(at.say(body) for _ in range(100)))
        assert at.asked == 1
        assert len({answer.content for answer in answers}) == 1
        assert sorted(answer.headers["x-seawall-outcome"] for answer in answers) == ["cache"] * 99 + ["primary"]
        assert len({answer.headers["x-seawall-request-id"] for answer in answers}) == 100
        await until(lambda: len(at.running.calls) == 100)
        assert sum(call.usage is not None for call in at.running.calls) <= 1
        assert sum(call.attempts for call in at.running.calls) == 1
        joined = [answer for answer in answers if answer.headers["x-seawall-outcome"] == "cache"]
        assert {answer.headers["cache-status"] for answer in joined} == {"seawall; fwd=uri-miss; collapsed"}


async def test_a_streaming_follower_starts_from_the_first_event(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        at.lab.script(["gap-30ms"], repeat=True)
        body = chat(temperature=0, stream=True)
        async with at.client.stream("POST", CHAT, json=body, headers=KEYED) as leader:
            lines = aiter(leader.aiter_raw())
            begun = await anext(lines)
            follower = asyncio.ensure_future(at.say(body))
            rest = [piece async for piece in lines]
        assert (await follower).content == b"".join([begun, *rest])
        assert at.asked == 1


async def test_when_the_leader_goes_its_followers_finish(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        at.lab.script(["latency-300ms"], repeat=True)
        leader = asyncio.ensure_future(at.say())
        await until(lambda: at.asked == 1)
        followers = [asyncio.ensure_future(at.say()) for _ in range(3)]
        await asyncio.sleep(0.05)
        leader.cancel()
        answers = await asyncio.gather(*followers)
        assert at.asked == 1
        assert [answer.status_code for answer in answers] == [200] * 3
        await until(lambda: len(at.running.calls) == 4)
        gone = [call for call in at.running.calls if call.fault == "AGENT_GONE"]
        assert len(gone) == 1
        # The work is billed to whoever took it over.
        assert [call.usage is not None for call in at.running.calls if call.outcome.value == "primary"] == [True]


async def test_the_last_reader_that_leaves_ends_the_work(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        at.lab.script(["stall-2"], repeat=True)
        body = chat(temperature=0, stream=True)
        calls = [asyncio.ensure_future(at.say(body)) for _ in range(3)]
        await until(lambda: at.asked == 1)
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        await until(lambda: at.lab.attempts()[0].gone)


async def test_a_failure_is_not_broadcast(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        at.lab.script(["latency-100ms+500", "latency-100ms"])
        answers = await asyncio.gather(*(at.say() for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200] * 4 + [500]
        assert at.asked == 2


async def test_an_outage_does_not_make_calls_wait_for_one_another(tmp_path: Path) -> None:
    async with place(tmp_path, extra="circuitBreaker: {consecutiveFailures: 0, errorRate: {percent: 0}}") as at:
        at.lab.script(["latency-100ms+500"], repeat=True)
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers = await asyncio.gather(*(at.say() for _ in range(20)))
        assert {answer.status_code for answer in answers} == {500}
        # Twenty one after another would have taken two seconds.
        assert loop.time() - began < 1.5


async def test_a_follower_keeps_its_own_deadline(tmp_path: Path) -> None:
    async with place(tmp_path, TTL + "timeouts: {request: 2s}\n") as at:
        at.lab.script(["latency-30s", "ok"])
        leader = asyncio.ensure_future(at.say())
        await asyncio.sleep(1)
        # Its leader gives up while it has a second left.
        assert (await at.say()).status_code == 200
        assert (await leader).status_code == 504
        assert at.asked == 2


async def test_a_follower_does_not_wait_beyond_its_deadline(tmp_path: Path) -> None:
    rule = TTL + "timeouts: {request: 300ms}\n"
    async with place(tmp_path, rule) as at:
        at.lab.script(["latency-30s"], repeat=True)
        answers = await asyncio.gather(at.say(), at.say(), at.say())
        assert [answer.status_code for answer in answers] == [504] * 3


@pytest.mark.parametrize(
    "trouble", ["cut-3", "unclean-3", "malformed-3", "no-terminal", "error-3-overloaded", "filter"]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_poisoned_truncated_or_filtered_is_never_stored(
    tmp_path: Path, trouble: str, stream: bool
) -> None:
    async with place(tmp_path) as at:
        at.lab.script([trouble])
        body = chat(temperature=0, stream=stream)
        try:
            await at.say(body)
        except httpx.RemoteProtocolError:
            pass
        again = await at.say(body)
        assert told(again)[0] == "primary"
        assert at.asked == 2
        assert (await at.say(body)).content == again.content
        assert at.asked == 2


async def test_streams_are_replayed_as_streams_and_joined_to_plain_answers(tmp_path: Path) -> None:
    counted = chat(temperature=0, stream=True, stream_options={"include_usage": True})
    async with place(tmp_path) as at:
        stream = await at.say(counted)
        again = await at.say(counted)
        plain = await at.say()
        assert at.asked == 1
        assert again.content == stream.content
        assert again.headers["content-type"] == stream.headers["content-type"]
        assert plain.headers["content-type"] == "application/json"
        events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: {")]
        words = "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
        assert plain.json()["choices"][0]["message"]["content"] == words
        assert plain.json()["usage"] == events[-1]["usage"]


async def test_plain_answers_are_replayed_as_streams(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        plain = await at.say()
        stream = await at.say(chat(temperature=0, stream=True))
        assert at.asked == 1
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in stream.headers
        events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: {")]
        words = "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
        assert words == plain.json()["choices"][0]["message"]["content"]


async def test_the_agents_own_cache_control_is_honoured(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        nothing = await at.say(cache_control="only-if-cached")
        assert (nothing.status_code, nothing.json()["error"]["code"]) == (504, "NOT_CACHED")
        await at.say(cache_control="no-store")
        await at.say()
        assert at.asked == 2
        assert told(await at.say(cache_control="only-if-cached"))[0] == "cache"
        assert told(await at.say(cache_control="no-cache")) == ("primary", "seawall; fwd=request")
        assert at.asked == 3
        await asyncio.sleep(1.1)
        assert told(await at.say(cache_control="max-age=0"))[0] == "primary"
        assert at.asked == 4


async def test_a_stale_answer_is_given_in_an_outage_and_says_so(tmp_path: Path) -> None:
    async with place(tmp_path, STALE) as at:
        first = await at.say()
        await asyncio.sleep(0.1)
        for trouble in ("503", "529", "reset", "overloaded", "429"):
            at.lab.script([trouble], repeat=True)
            answer = await at.say()
            assert answer.content == first.content, trouble
            assert told(answer)[0] == "stale"
            assert told(answer)[1].startswith("seawall; fwd=stale")
            assert answer.headers["x-seawall-service-level"] == "degraded"
            assert answer.headers["age"].isdigit()
        at.lab.script(["400"])
        assert (await at.say()).status_code == 400
        assert {call.cache for call in at.running.calls[1:-1]} == {"stale"}


async def test_an_open_breaker_is_an_outage(tmp_path: Path) -> None:
    breaker = "circuitBreaker: {consecutiveFailures: 2}"
    async with place(tmp_path, STALE, breaker) as at:
        first = await at.say()
        await asyncio.sleep(0.1)
        at.lab.script(["500"], repeat=True)
        answers = [await at.say() for _ in range(6)]
        assert {told(answer)[0] for answer in answers} == {"stale"}
        assert {answer.content for answer in answers} == {first.content}


async def test_what_is_renewed_in_the_background_is_given_stale_meanwhile(tmp_path: Path) -> None:
    rule = "cache: {mode: Enabled, ttl: 100ms, staleWhileRevalidate: 1m}\n"
    async with place(tmp_path, rule) as at:
        first = await at.say()
        await asyncio.sleep(0.15)
        second = await at.say()
        assert second.content == first.content
        assert told(second)[0] == "cache"
        assert "ttl=-" in told(second)[1]
        await until(lambda: len([e for e in at.running.events if isinstance(e, AnswerKept)]) == 2)
        third = await at.say()
        assert third.json()["id"] != first.json()["id"]
        assert at.asked == 2
        assert len(at.running.calls) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_refusals_that_would_be_repeated_are_kept_where_the_policy_says_so(tmp_path: Path, stream: bool) -> None:
    rule = "cache: {mode: Enabled, ttl: 1m, negativeTtl: 1m}\nretry: {attempts: 0}\n"
    async with place(tmp_path, rule) as at:
        at.lab.script(["invalid"])
        body = chat(temperature=0, stream=stream)
        first, second = await at.say(body), await at.say(body)
        assert (first.status_code, second.status_code, at.asked) == (400, 400, 1)
        assert first.content == second.content


async def test_answers_that_are_too_large_flow_and_are_not_kept(tmp_path: Path) -> None:
    async with place(tmp_path, 'cache: {mode: Enabled, ttl: 1m, maxEntry: "200"}') as at:
        body = chat(temperature=0, stream=True)
        first = await at.say(body)
        await at.say(body)
        assert at.asked == 2
        assert first.text.rstrip().endswith("[DONE]")
        whys = [e.why for e in at.running.events if isinstance(e, AnswerKept)]
        assert whys == ["too large", "too large"]


async def test_an_answer_in_a_coding_is_given_to_agents_that_take_another(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        at.lab.script(["gzip"], repeat=True)
        packed = await at.say(accept_encoding="gzip")
        plain = await at.say(accept_encoding="identity")
        assert at.asked == 1
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert plain.json() == packed.json()
