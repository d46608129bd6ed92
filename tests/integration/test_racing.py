"""Races before real upstreams over sockets: the first content wins, losers close at once and count against nobody, and
what must not be doubled is not."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from harness import Running, lab, proxy, route, until, upstream
from leftovers import sockets
from peers import CHAT, agent, chat, raw

from seawall.lab import Lab
from seawall.types import Raced

# What one call meets does not decide about the next, and first attempts alone pay for no retries.
LENIENT = """\
circuitBreaker: {consecutiveFailures: 0, errorRate: {percent: 0}}
retryConstraint: {budget: {percent: 100}, minRetryRate: {count: 100000, interval: 1s}}
"""
AT_ONCE = "hedging: {hedgingDelay: 0s}\nretry: {attempts: 0}\n"


def hedged(delay: str, attempts: int = 2, retries: int = 0) -> str:
    return f"hedging: {{maxAttempts: {attempts}, hedgingDelay: {delay}}}\nretry: {{attempts: {retries}}}\n"


@asynccontextmanager
async def raced(
    folder: Path, rule: str, backends: str = "a|b", extra: str = LENIENT
) -> AsyncIterator[tuple[Running, Lab, httpx.AsyncClient]]:
    """A proxy before a lab that plays the upstreams a, b and c. Which of a group comes first is drawn by lot."""
    async with lab() as upstreams:
        policy = "".join(upstream(name, f"{upstreams.url}/u/{name}/v1", extra=extra) for name in "abc")
        async with proxy(policy + route("chat", "/v1", backends, rule), folder) as running, agent(running) as http:
            yield running, upstreams, http


def races(running: Running) -> list[Raced]:
    return [event for event in running.events if isinstance(event, Raced)]


async def settled(running: Running, upstreams: Lab) -> None:
    """Every call and every attempt has come to its end, here and there."""
    engine = running.service.engine
    await until(lambda: engine.calls == 0 and not engine._racing.losers)
    await until(lambda: all(attempt.end is not None for attempt in upstreams.attempts()))


@pytest.mark.parametrize("stream", [True, False])
async def test_the_winner_is_who_has_content_first_not_who_has_a_head_first(tmp_path: Path, stream: bool) -> None:
    async with raced(tmp_path, AT_ONCE) as (running, upstreams, http):
        upstreams.script(["first-token-3s" if stream else "latency-3s"], upstream="a", repeat=True)
        for _ in range(4):
            answer = await http.post(CHAT, json=chat(stream=stream))
            assert answer.headers["x-seawall-upstream"] == "b"
            assert answer.status_code == 200
            assert "data: [DONE]" in answer.text if stream else answer.json()["choices"]
        await settled(running, upstreams)
        results = Counter((attempt.upstream, attempt.result) for attempt in running.attempts)
        assert results == {("a", "cancelled"): 4, ("b", "ok"): 4}
        # The loser's connection was closed, not left to finish.
        assert all(attempt.gone for attempt in upstreams.attempts(upstream="a"))
        assert [(race.winner, race.starts, race.hedges) for race in races(running)] == [("b", 2, 1)] * 4


async def test_a_stream_of_the_winner_is_whole_and_of_one_answer_only(tmp_path: Path) -> None:
    async with raced(tmp_path, AT_ONCE) as (running, _upstreams, http):
        for _ in range(20):
            answer = await http.post(CHAT, json=chat("lab-tokens-30", stream=True))
            ids = {line.split('"id":"')[1].split('"')[0] for line in answer.text.split("\n\n") if '"id":"' in line}
            assert len(ids) == 1
            assert answer.text.count("data: [DONE]") == 1
        assert {call.attempts for call in running.calls} == {2}


async def test_a_call_that_is_answered_in_time_starts_no_hedge(tmp_path: Path) -> None:
    async with raced(tmp_path, hedged("5s")) as (running, upstreams, http):
        for _ in range(10):
            answer = await http.post(CHAT, json=chat(stream=True))
            assert answer.headers["x-seawall-outcome"] == "primary"
        assert len(upstreams.attempts()) == 10
        assert races(running) == []
        # The group's order is drawn by lot, so that each gets its share.
        assert len({attempt.upstream for attempt in running.attempts}) == 2


async def test_a_hedge_starts_after_the_delay_at_another_upstream(tmp_path: Path) -> None:
    async with raced(tmp_path, hedged("100ms"), "a|b") as (running, upstreams, http):
        upstreams.script(["first-token-3s"], upstream="a", repeat=True)
        while not races(running):
            answer = await http.post(CHAT, json=chat(stream=True))
        assert answer.headers["x-seawall-outcome"] == "hedge"
        assert answer.headers["x-seawall-upstream"] == "b"
        assert answer.headers["x-seawall-attempts"] == "2"
        await settled(running, upstreams)
        first, second = upstreams.attempts()[-2:]
        assert 0.09 < second.received - first.received < 0.5


async def test_a_failure_starts_the_next_at_once(tmp_path: Path) -> None:
    async with raced(tmp_path, hedged("5s")) as (running, upstreams, http):
        upstreams.script(["500"], upstream="a", repeat=True)
        outcomes = Counter[str]()
        for _ in range(12):
            answer = await http.post(CHAT, json=chat(stream=True))
            assert answer.status_code == 200
            outcomes[answer.headers["x-seawall-outcome"]] += 1
        assert set(outcomes) == {"primary", "failover"}
        assert all(call.seconds < 1 for call in running.calls)


async def test_when_all_have_failed_the_call_goes_on_to_retries_and_further_groups(tmp_path: Path) -> None:
    async with raced(tmp_path, hedged("5s"), "a|b c") as (running, upstreams, http):
        upstreams.script(["500"], upstream="a", repeat=True)
        upstreams.script(["500"], upstream="b", repeat=True)
        answer = await http.post(CHAT, json=chat())
        assert answer.headers["x-seawall-outcome"] == "failover"
        assert answer.headers["x-seawall-upstream"] == "c"
        assert sorted(attempt.upstream for attempt in running.attempts) == ["a", "b", "c"]


async def test_an_upstreams_own_error_reaches_the_agent_when_nobody_answers_better(tmp_path: Path) -> None:
    async with raced(tmp_path, AT_ONCE) as (running, upstreams, http):
        for name in "ab":
            upstreams.script(["500"], upstream=name, repeat=True)
        answer = await http.post(CHAT, json=chat())
        assert (answer.status_code, answer.headers["x-seawall-outcome"]) == (500, "error")
        assert "seawall" not in answer.json()
        await settled(running, upstreams)
        assert running.service._buffers.used == 0


async def test_a_bad_request_stops_further_starts(tmp_path: Path) -> None:
    async with raced(tmp_path, hedged("300ms", attempts=3), "a|b|c") as (_running, upstreams, http):
        for name in "abc":
            upstreams.script(["400"], upstream=name, repeat=True)
        answer = await http.post(CHAT, json=chat())
        assert answer.status_code == 400
        assert len(upstreams.attempts()) == 1


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x-stainless-retry-count": "1"}, {}),
        ({"idempotency-key": "k"}, {"background": True}),
        ({}, {"background": True}),
        ({}, {"previous_response_id": "resp_1"}),
    ],
)
async def test_what_may_not_be_doubled_is_not_raced(
    tmp_path: Path, headers: dict[str, str], body: dict[str, object]
) -> None:
    async with raced(tmp_path, AT_ONCE) as (running, upstreams, http):
        answer = await http.post("/v1/responses", json={"model": "gpt", "input": "hi", **body}, headers=headers)
        assert answer.status_code == 200
        raced_too = await http.post("/v1/responses", json={"model": "gpt", "input": "hi"})
        assert raced_too.status_code == 200
        await settled(running, upstreams)
        assert [call.attempts for call in running.calls] == [1, 2]


async def test_a_body_that_can_be_sent_only_once_is_not_raced(tmp_path: Path) -> None:
    async with raced(tmp_path, AT_ONCE + "limits: {replayBuffer: 1Ki}\n") as (running, upstreams, http):
        for size, attempts in ((10, 2), (5000, 1)):
            answer = await http.post(CHAT, json=chat(stream=True, user="x" * size))
            assert answer.text.endswith("data: [DONE]\n\n")
            await settled(running, upstreams)
            assert running.calls[-1].attempts == attempts
        sent = upstreams.attempts()[-1]
        assert sent.bytes_in > 5000


async def test_when_the_buffers_are_full_a_race_is_still_won_by_content(tmp_path: Path) -> None:
    async with raced(tmp_path, AT_ONCE) as (running, upstreams, http):
        upstreams.script(["first-token-2s"], upstream="a", repeat=True)
        upstreams.script(["first-token-100ms"], upstream="b", repeat=True)
        buffers = running.service._buffers
        for _ in range(4):
            # The request is kept; nothing is left for the answers.
            asking = asyncio.create_task(http.post(CHAT, json=chat(stream=True)))
            await until(lambda: running.service.engine.calls == 1)
            left = buffers.limit - buffers.used
            assert buffers.take(left)
            answer = await asking
            buffers.give(left)
            assert answer.headers["x-seawall-upstream"] == "b"
            await settled(running, upstreams)


async def test_an_upstream_that_rests_or_is_open_is_not_raced(tmp_path: Path) -> None:
    once = "circuitBreaker: {consecutiveFailures: 1}\n" + LENIENT.split("\n")[1] + "\n"
    async with raced(tmp_path, hedged("50ms", retries=0), extra=once) as (running, upstreams, http):
        upstreams.script(["429-retry-after-60"], upstream="a", repeat=True)
        upstreams.script(["latency-200ms"], upstream="b", repeat=True)
        while not upstreams.attempts(upstream="a"):
            await http.post(CHAT, json=chat())
        running.events.clear()
        for _ in range(3):
            await http.post(CHAT, json=chat())
        assert {attempt.upstream for attempt in running.attempts} == {"b"}


async def test_a_sole_upstream_is_hedged_with_itself_and_sampled_once(tmp_path: Path) -> None:
    async with raced(tmp_path, hedged("50ms"), "a") as (running, upstreams, http):
        upstreams.script(["first-token-3s", "ok"], upstream="a")
        answer = await http.post(CHAT, json=chat(stream=True))
        assert answer.headers["x-seawall-outcome"] == "hedge"
        await settled(running, upstreams)
        assert Counter(attempt.result for attempt in running.attempts) == {"ok": 1, "cancelled": 1}
        breaker = running.upstream("a").breakers["gpt"]
        assert breaker.snapshot(asyncio.get_running_loop().time()).calls == 1


async def test_hedges_are_a_twentieth_of_the_calls_at_most(tmp_path: Path) -> None:
    async with raced(tmp_path, hedged("5ms")) as (running, upstreams, http):
        for name in "ab":
            upstreams.script(["latency-20ms"], upstream=name, repeat=True)
        await asyncio.gather(*[http.post(CHAT, json=chat()) for _ in range(200)])
        await settled(running, upstreams)
        hedges = sum(race.hedges for race in races(running))
        # A twentieth of 200, and one that each upstream may have to begin with.
        assert 5 <= hedges <= 12
        assert sum(call.attempts for call in running.calls) == 200 + hedges


async def test_a_spent_retry_budget_allows_no_hedge(tmp_path: Path) -> None:
    nothing = (
        "circuitBreaker: {consecutiveFailures: 0}\nretryConstraint: {budget: {percent: 0}, minRetryRate: {count: 0}}"
    )
    for delay in ("5ms", "0s"):
        async with raced(tmp_path, hedged(delay), extra=nothing) as (_running, upstreams, http):
            for name in "ab":
                upstreams.script(["latency-30ms"], upstream=name, repeat=True)
            assert (await http.post(CHAT, json=chat())).status_code == 200
            assert len(upstreams.attempts()) == 1


async def test_an_agent_that_leaves_takes_the_whole_race_along(tmp_path: Path) -> None:
    async with raced(tmp_path, AT_ONCE) as (running, upstreams, _):
        for name in "ab":
            upstreams.script(["first-token-5s"], upstream=name, repeat=True)
        async with raw(running, chat(stream=True), path=CHAT) as (_, writer):
            await until(lambda: len(upstreams.attempts()) == 2)
            writer.transport.abort()
        await settled(running, upstreams)
        assert {attempt.result for attempt in running.attempts} == {"AGENT_GONE"}
        await until(lambda: all(attempt.gone for attempt in upstreams.attempts()))
        assert [call.fault for call in running.calls] == ["AGENT_GONE"]
        for name in "ab":
            breakers = running.upstream(name).breakers.values()
            assert all(b.snapshot(asyncio.get_running_loop().time()).calls == 0 for b in breakers)


@pytest.mark.parametrize("fault", ["cut-4", "stall-3", "malformed-4", "no-terminal", "error-4"])
async def test_with_complete_the_first_whole_answer_wins(tmp_path: Path, fault: str) -> None:
    rule = AT_ONCE + "streaming: {commit: Complete}\ntimeouts: {streamIdle: 300ms}\n"
    async with raced(tmp_path, rule) as (_running, upstreams, http):
        upstreams.script([fault], upstream="a", repeat=True)
        for _ in range(3):
            answer = await http.post(CHAT, json=chat(stream=True))
            assert (answer.headers["x-seawall-upstream"], answer.status_code) == ("b", 200)
            assert answer.text.endswith("data: [DONE]\n\n")


async def test_a_thousand_races_leave_nothing_open(tmp_path: Path) -> None:
    async with raced(tmp_path, AT_ONCE) as (running, upstreams, http):
        upstreams.script(["first-token-20ms", "ok", "500", "gap-3ms"], upstream="a", repeat=True)
        upstreams.script(["ok", "first-token-10ms", "reset"], upstream="b", repeat=True)

        async def some(count: int) -> None:
            for _ in range(count):
                await http.post(CHAT, json=chat(stream=True))

        async def rounds(count: int) -> tuple[int, int]:
            await asyncio.gather(*[some(count) for _ in range(20)])
            await settled(running, upstreams)
            pool, ingress = running.service._pool, running.service._ingress
            assert ingress is not None
            await until(lambda: upstreams.connections == pool.connections)
            # What pool and agent keep has both its ends in this process.
            return sockets() - 2 * (pool.connections + ingress.connections), len(asyncio.all_tasks())

        before = await rounds(5)
        assert await rounds(50) == before
        assert running.service._buffers.used == 0
        assert running.service.engine._racing.losers == set()
        for name in "ab":
            places = running.upstream(name).limiter.snapshot()
            assert (places.active, places.pending) == (0, 0)
