"""What policies with `enforcement: Shadow` would have done in real failures, beside what was done."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from harness import proxy, route, until, upstream
from peers import CHAT, agent, chat, closed_port, raw, wire
from trials import LENIENT, ONE_TRY, counted, moved, shadow, tried

from seawall.core.breaker import State
from seawall.lab import Lab


async def test_would_retry(tmp_path: Path) -> None:
    async with tried(tmp_path, "retry: {attempts: 2}\n") as (running, upstreams, http):
        upstreams.script(["500", "ok", "503", "400"], upstream="a")
        for status in (500, 200, 503, 400):
            assert (await http.post(CHAT, json=chat())).status_code == status
        assert len(upstreams.attempts()) == 4
        assert await counted(running, "failure") == {("a", "retry", "give_up"): 2, ("a", "give_up", "give_up"): 1}
        page = (await http.get(f"{running.admin_url}/metrics")).text
        labels = 'about="failure",agrees="no",did="give_up",route="chat",upstream="a",would="retry"'
        assert f"seawall_shadow_total{{{labels}}} 2.0" in page
        assert running.calls[0].shadow == ("a: failure retry instead of give_up",)


async def test_would_fail_over_and_would_not(tmp_path: Path) -> None:
    async with tried(tmp_path, "fallbackOn: [Unauthorized]\n", backends="a b") as (running, upstreams, http):
        upstreams.script(["auth", "500"], upstream="a")
        assert (await http.post(CHAT, json=chat())).status_code == 401
        assert (await http.post(CHAT, json=chat())).headers["x-seawall-upstream"] == "b"
        assert await counted(running, "failure") == {("a", "failover", "give_up"): 1, ("a", "failover", "failover"): 1}


async def test_would_not_fail_over_to_where_nobody_would_take_the_call(tmp_path: Path) -> None:
    async with tried(tmp_path, "fallbackOn: [Unauthorized]\n", backends="a b") as (running, upstreams, http):
        upstreams.script(["auth"], upstream="a")
        running.service.view.isolate("b", None)
        assert (await http.post(CHAT, json=chat())).status_code == 401
        assert await counted(running, "failure") == {("a", "give_up", "give_up"): 1}


async def test_behind_the_first_difference_nothing_is_guessed(tmp_path: Path) -> None:
    quick = "retry: {attempts: 3, backoff: {base: 1ms, max: 1ms}}\n"
    async with tried(tmp_path, "retry: {attempts: 1}\n", quick) as (running, upstreams, http):
        upstreams.script(["500"], repeat=True)
        await http.post(CHAT, json=chat())
        assert len(upstreams.attempts()) == 4
        # Agreed about the first failure; at the second the policy would have given up, and saw no third one.
        assert await counted(running, "failure") == {("a", "retry", "retry"): 1, ("a", "give_up", "retry"): 1}


async def test_would_spend_its_own_budget_only(tmp_path: Path) -> None:
    trial = "retry: {attempts: 1}\nretryConstraint: {budget: {percent: 0}, minRetryRate: {count: 2, interval: 10s}}\n"
    async with tried(tmp_path, trial) as (running, upstreams, http):
        upstreams.script(["500"], repeat=True)
        full = running.upstream("a").budget.snapshot(0).withdrawn
        for _ in range(4):
            await http.post(CHAT, json=chat())
        assert await counted(running, "failure") == {("a", "retry", "give_up"): 2, ("a", "give_up", "give_up"): 2}
        assert running.upstream("a").budget.snapshot(asyncio.get_running_loop().time()).withdrawn == full


async def test_would_open_refuse_and_probe(tmp_path: Path) -> None:
    trial = (
        "circuitBreaker: {consecutiveFailures: 2, open: {base: 200ms, jitterPercent: 0}, halfOpen: {successes: 1}}\n"
    )
    async with tried(tmp_path, trial) as (running, upstreams, http):
        upstreams.script(["500", "500", "500", "ok"], upstream="a")
        for status in (500, 500, 500):
            assert (await http.post(CHAT, json=chat())).status_code == status
        admitted = await counted(running, "admission")
        # A sole upstream's breaker lets a tenth of the calls through.
        assert admitted[("a", "admit", "admit")] + admitted.get(("a", "refuse", "admit"), 0) == 3
        told = moved(running)
        assert [(m.upstream, m.key, m.before, m.after) for m in told] == [("a", "gpt", "closed", "open")]
        assert running.moves == []
        state = (await http.get(f"{running.admin_url}/state")).json()
        a = state["upstreams"][0]
        assert [(b["key"], b["state"]) for b in a["shadow"] if not b["transport"]] == [("gpt", "open")]
        assert {b["state"] for b in a["breakers"]} == {"closed"}
        assert {"route", "upstream", "about", "would", "did", "count"} == set(state["shadow"][0])
        page = (await http.get(f"{running.admin_url}/metrics")).text
        assert 'seawall_shadow_breaker_state{key="gpt",upstream="a"} 2.0' in page
        assert 'seawall_breaker_state{key="gpt",upstream="a"} 0.0' in page
        assert 'seawall_shadow_breaker_transitions_total{key="gpt",to="open",upstream="a"} 1.0' in page
        dashboard = (await http.get(f"{running.admin_url}/")).text
        assert "Shadow policies: nothing of this was done" in dashboard
        # Whatever the policy would have done, nobody is worse off in a report.
        assert (await http.get(f"{running.admin_url}/health")).json()["upstreams"]["a"]["state"] == "closed"
        await asyncio.sleep(0.25)
        assert (await http.post(CHAT, json=chat())).status_code == 200
        await until(lambda: running.service.engine.calls == 0)
        told = moved(running)
        assert [m.after for m in told] == ["open", "half_open", "closed"]


async def test_a_breaker_that_would_be_open_refuses_where_there_is_another_upstream(tmp_path: Path) -> None:
    trial = "circuitBreaker: {consecutiveFailures: 1}\n"
    async with tried(tmp_path, trial, backends="a b") as (running, upstreams, http):
        upstreams.script(["500", "ok", "ok"], upstream="a")
        answers = [await http.post(CHAT, json=chat()) for _ in range(3)]
        assert [got.headers["x-seawall-upstream"] for got in answers] == ["b", "a", "a"]
        admitted = await counted(running, "admission")
        assert admitted == {("a", "admit", "admit"): 1, ("a", "refuse", "admit"): 2, ("b", "admit", "admit"): 1}


async def test_a_breaker_that_is_open_and_would_not_be_is_told_too(tmp_path: Path) -> None:
    trial, strict = "circuitBreaker: {consecutiveFailures: 9}\n", "circuitBreaker: {consecutiveFailures: 1}\n"
    async with tried(tmp_path, trial, backends="a b", extra=strict) as (running, upstreams, http):
        upstreams.script(["500"], upstream="a")
        for _ in range(3):
            assert (await http.post(CHAT, json=chat())).headers["x-seawall-upstream"] == "b"
        assert (await counted(running, "admission"))[("a", "admit", "refuse")] == 2


async def test_connections_that_fail_would_open_the_origins_breaker(tmp_path: Path) -> None:
    text = upstream("a", f"http://127.0.0.1:{closed_port()}/v1", extra=LENIENT) + route("chat", "/v1", "a", ONE_TRY)
    async with (
        proxy(text + shadow("circuitBreaker: {consecutiveFailures: 2}\n"), tmp_path) as running,
        agent(running) as http,
    ):
        for _ in range(2):
            assert (await http.post(CHAT, json=chat())).status_code == 502
        await until(lambda: running.service.engine.calls == 0)
        told = moved(running)
        origin = running.upstream("a").target.endpoint.origin
        assert [(m.key, m.after) for m in told] == [(origin, "open")]


async def test_a_breaker_held_by_hand_says_nothing_about_a_policy(tmp_path: Path) -> None:
    async with tried(tmp_path, "circuitBreaker: {consecutiveFailures: 1}\n", backends="a b") as (running, _, http):
        running.service.view.isolate("a", None)
        assert (await http.post(CHAT, json=chat())).headers["x-seawall-upstream"] == "b"
        assert await counted(running, "admission") == {("b", "admit", "admit"): 1}


@pytest.mark.parametrize("stream", [True, False])
async def test_would_hedge(tmp_path: Path, stream: bool) -> None:
    trial = "hedging: {maxAttempts: 2, hedgingDelay: 150ms}\n"
    async with tried(tmp_path, trial, backends="a|b") as (running, upstreams, http):
        for name in "ab":
            upstreams.script(["ok", "latency-300ms"], upstream=name)
        for _ in range(4):
            answer = await http.post(CHAT, json=chat(stream=stream))
            assert (answer.status_code, answer.headers["x-seawall-attempts"]) == (200, "1")
        found = await counted(running, "hedge")
        waited = sum(1 for attempt in upstreams.attempts() if attempt.fault == "latency-300ms")
        assert sum(n for (_, would, _), n in found.items() if would == "hedge") == waited
        assert {did for _, _, did in found} == {"none"}
        assert sum(found.values()) == 4
        assert len(upstreams.attempts()) == 4


async def test_would_not_hedge_what_must_not_be_sent_twice(tmp_path: Path) -> None:
    async with tried(tmp_path, "hedging: {hedgingDelay: 0s}\n") as (running, _, http):
        await http.post("/v1/responses", json={"model": "gpt", "input": "hi", "background": True})
        await http.post(CHAT, json=chat(), headers={"x-stainless-retry-count": "1"})
        assert await counted(running, "hedge") == {}
        await http.post(CHAT, json=chat())
        assert await counted(running, "hedge") == {("a", "hedge", "none"): 1}


async def test_a_hedge_that_is_made_and_would_not_be(tmp_path: Path) -> None:
    rule = "hedging: {maxAttempts: 2, hedgingDelay: 30ms}\n" + ONE_TRY
    trial = "hedging: {maxAttempts: 1}\ncircuitBreaker: {consecutiveFailures: 1}\n"
    async with tried(tmp_path, trial, rule) as (running, upstreams, http):
        upstreams.script(["first-token-2s", "ok"], upstream="a")
        answer = await http.post(CHAT, json=chat(stream=True))
        assert answer.headers["x-seawall-outcome"] == "hedge"
        assert await counted(running, "hedge") == {("a", "none", "hedge"): 1}


@pytest.mark.parametrize(
    ("limit", "stream", "fault", "would"),
    [
        ("firstContent: 50ms", True, "first-token-150ms", "first_content"),
        ("firstContent: 50ms", False, "latency-150ms", "none"),
        ("firstByte: 50ms", False, "latency-150ms", "first_byte"),
        ("backendRequest: 50ms", True, "gap-20ms", "attempt"),
        ("request: 50ms", True, "gap-20ms", "request"),
        ("request: 5s", True, "gap-20ms", "none"),
    ],
)
async def test_would_time_out(tmp_path: Path, limit: str, stream: bool, fault: str, would: str) -> None:
    async with tried(tmp_path, f"timeouts: {{{limit}}}\n") as (running, upstreams, http):
        upstreams.script([fault], upstream="a")
        answer = await http.post(CHAT, json=chat(stream=stream))
        assert answer.status_code == 200
        assert answer.text.endswith("data: [DONE]\n\n") or not stream
        assert await counted(running, "timeout") == {("a", would, "none"): 1}


async def test_what_would_have_timed_out_counts_against_a_shadow_breaker(tmp_path: Path) -> None:
    trial = "timeouts: {firstContent: 50ms}\ncircuitBreaker: {consecutiveFailures: 1}\n"
    async with tried(tmp_path, trial) as (running, upstreams, http):
        upstreams.script(["first-token-150ms"], upstream="a")
        assert (await http.post(CHAT, json=chat(stream=True))).status_code == 200
        await until(lambda: moved(running))
        machines = running.upstream("a").shadow
        assert machines is not None
        assert machines.breakers["gpt"].state(asyncio.get_running_loop().time()) is State.OPEN


async def test_an_agent_that_has_left_waited_long_enough_to_tell(tmp_path: Path) -> None:
    async with tried(tmp_path, "timeouts: {firstContent: 30ms}\n") as (running, upstreams, _):
        upstreams.script(["silent"], upstream="a")
        async with raw(running, chat(stream=True), path=CHAT) as (_, writer):
            await until(lambda: upstreams.attempts())
            await asyncio.sleep(0.06)
            writer.transport.abort()
        await running.call()
        assert await counted(running, "timeout") == {("a", "first_content", "none"): 1}


async def test_would_fall_back(tmp_path: Path) -> None:
    trial = "fallback: [{type: StaticResponse, status: 200, text: away}]\n"
    async with tried(tmp_path, trial) as (running, upstreams, http):
        upstreams.script(["500", "400", "503"], upstream="a")
        for path, status in ((CHAT, 500), (CHAT, 400), ("/v1/embeddings", 503)):
            body = chat() if path == CHAT else {"model": "gpt", "input": "hi"}
            assert (await http.post(path, json=body)).status_code == status
        # A refusal is the agent's own to see, and embeddings have no such answer.
        assert await counted(running, "answer") == {("", "static", "error"): 1, ("", "error", "error"): 2}


async def test_would_go_offline(tmp_path: Path) -> None:
    trial = "offline: Enabled\nfallback: [{type: StaticResponse, status: 200, text: away}]\n"
    async with tried(tmp_path, trial) as (running, _, http):
        assert (await http.post(CHAT, json=chat())).status_code == 200
        assert await counted(running, "offline") == {("", "offline", "online"): 1}
        assert await counted(running, "answer") == {("", "static", "answer"): 1}
        running.service.view.set_offline("chat", True)
        assert (await http.post(CHAT, json=chat())).status_code == 503
        # By hand, so that no policy has a say in it.
        assert await counted(running, "offline") == {("", "offline", "online"): 1}


async def test_would_queue_and_refuse(tmp_path: Path) -> None:
    trial = "concurrency: {maxParallelRequests: 1, maxPendingRequests: 1}\n"
    async with tried(tmp_path, trial) as (running, upstreams, http):
        upstreams.script(["latency-200ms"], repeat=True)
        asking = []
        for number in range(3):
            asking.append(asyncio.create_task(http.post(CHAT, json=chat())))
            await until(partial(_arrived, upstreams, number))
        assert [got.status_code for got in await asyncio.gather(*asking)] == [200] * 3
        assert await counted(running, "place") == {
            ("a", "admit", "admit"): 1,
            ("a", "queue", "admit"): 1,
            ("a", "refuse", "admit"): 1,
        }


def _arrived(upstreams: Lab, number: int) -> bool:
    return len(upstreams.attempts()) > number


async def test_a_timeout_that_would_come_later_leaves_open_what_would_have_become_of_the_call(tmp_path: Path) -> None:
    trial = "timeouts: {firstContent: 5s}\ncircuitBreaker: {consecutiveFailures: 1}\n"
    rule = ONE_TRY + "timeouts: {firstContent: 50ms}\n"
    async with tried(tmp_path, trial, rule) as (running, upstreams, _):
        upstreams.script(["first-token-1s"], upstream="a")
        assert not (await wire(running, chat(stream=True))).whole
        assert await counted(running, "timeout") == {("a", "none", "first_content"): 1}
        assert await counted(running, "failure") == {}
        assert moved(running) == []
