"""Which upstream a call goes to when none is quite fit: ramping up, cooling down, open, or lost among many models."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from harness import Running, lab, proxy, route, until, upstream
from peers import CHAT, QUICK, agent, chat, wire

from seawall.core.breaker import State
from seawall.core.by_model import MAX_MODELS
from seawall.lab import Lab

NO_RETRY = "retry: {attempts: 0}\n"
LONG = "circuitBreaker: {consecutiveFailures: 3, open: {base: 60s}}\n"


def pair(upstreams: Lab, rule: str, a: str = "", b: str = "") -> str:
    return (
        upstream("a", f"{upstreams.url}/u/a/v1", extra=a)
        + upstream("b", f"{upstreams.url}/u/b/v1", extra=b)
        + route("models", "/v1", "a b", rule)
    )


def state(running: Running, name: str, model: str = "gpt") -> State:
    now = time.monotonic()
    return running.upstream(name).breaker(model, now).state(now)


def tried(upstreams: Lab) -> Counter[str]:
    return Counter(attempt.upstream for attempt in upstreams.attempts())


async def test_a_candidate_that_refuses_while_it_ramps_up_costs_the_call_no_retry(tmp_path: Path) -> None:
    """503 prefers another upstream; where that one draws lots and refuses, the retry at the first one is still due."""
    ramping = (
        "circuitBreaker: {consecutiveFailures: 1, open: {base: 50ms, jitterPercent: 0}, halfOpen: {successes: 1}, "
        "rampUp: {duration: 1h, startPercent: 1}}\n"
    )
    calm = "circuitBreaker: {consecutiveFailures: 0, errorRate: {percent: 0}}\n"
    async with lab() as upstreams:
        policy = pair(upstreams, QUICK, calm, ramping) + route("b", "/b", "b", NO_RETRY)
        async with proxy(policy, tmp_path) as running:
            upstreams.script(["500"], upstream="b")
            await wire(running, chat(), path="/b/chat/completions")
            await until(lambda: state(running, "b") is State.HALF_OPEN)
            await wire(running, chat(), path="/b/chat/completions")
            assert state(running, "b") is State.CLOSED
            upstreams.script(["503; retry-after-ms=1", "ok"], upstream="a", repeat=True)
            upstreams.ring.clear()
            for _ in range(10):
                assert (await wire(running, chat())).status == 200
            # Of ten, hardly more than one is let in to the other.
            assert tried(upstreams)["a"] >= 14
            assert any("b: ramping up" in call.skipped for call in running.calls)


async def test_a_candidate_that_only_cools_down_is_preferred_to_one_whose_breaker_is_open(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(pair(upstreams, NO_RETRY, LONG), tmp_path) as running:
        upstreams.script([], upstream="a", then="500")
        upstreams.script(["ok"] * 3, upstream="b", then="429-retry-after-30")
        for status in (200, 200, 200, 429):
            assert (await wire(running, chat())).status == status
        assert state(running, "a") is State.OPEN
        assert not running.upstream("a").cooldowns and running.upstream("b").cooldowns
        upstreams.ring.clear()
        for _ in range(60):
            assert (await wire(running, chat())).field(b"x-seawall-upstream") == b"b"
        # Not even the tenth that a sole upstream with an open breaker gets.
        assert tried(upstreams) == {"b": 60}


async def test_where_breaker_and_cooldown_both_hold_the_agent_is_told_of_the_breaker(tmp_path: Path) -> None:
    """The cooldown, though longer, would not keep a sole upstream from being tried; the breaker does."""
    opens = "circuitBreaker: {consecutiveFailures: 3, open: {base: 5s, jitterPercent: 0}}\n"
    async with lab() as upstreams:
        upstreams.script(["429-retry-after-3000"], then="500")
        policy = upstream("a", f"{upstreams.url}/v1", extra=opens) + route("models", "/v1", "a", NO_RETRY)
        async with proxy(policy, tmp_path) as running:
            for status in (429, 500, 500, 500):
                assert (await wire(running, chat())).status == status
            assert state(running, "a") is State.OPEN and running.upstream("a").cooldowns
            number = 5
            # A tenth of the calls is let through.
            while (got := await wire(running, chat())).status == 500:
                number += 1
            told = json.loads(got.body)["seawall"]
            assert (got.status, told["code"]) == (503, "BREAKER_OPEN")
            assert 1 <= int(got.field(b"retry-after") or b"") <= 5
            assert (await running.call(number)).skipped == ("a: breaker open",)


async def flood(running: Running, names: range) -> None:
    async with agent(running) as client:
        for number in names:
            assert (await client.post(CHAT, json=chat(f"made-up-{number}"))).status_code == 200


async def test_an_open_breaker_is_not_forgotten_for_a_flood_of_made_up_models(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(pair(upstreams, NO_RETRY, LONG), tmp_path) as running:
        upstreams.script(["500"] * 3, upstream="a")
        for _ in range(3):
            await wire(running, chat())
        assert state(running, "a") is State.OPEN
        await flood(running, range(MAX_MODELS + 40))
        assert len(running.upstream("a").breakers) == MAX_MODELS
        assert (await wire(running, chat())).field(b"x-seawall-upstream") == b"b"
        assert state(running, "a") is State.OPEN


@pytest.mark.parametrize("action", ["isolate", "force_close"])
async def test_what_an_operator_said_of_a_model_is_not_forgotten_either(tmp_path: Path, action: str) -> None:
    async with lab() as upstreams, proxy(pair(upstreams, NO_RETRY, LONG), tmp_path) as running:
        wanted = State.ISOLATED if action == "isolate" else State.FORCED_CLOSED
        getattr(running.service.view, action)("a", "gpt")
        await flood(running, range(MAX_MODELS + 40))
        assert state(running, "a") is wanted


async def test_a_model_in_use_keeps_its_count_of_failures_through_a_flood(tmp_path: Path) -> None:
    """The longest unused goes first, not the oldest."""
    async with lab() as upstreams, proxy(pair(upstreams, NO_RETRY, LONG), tmp_path) as running:
        upstreams.script(["500", "500"], upstream="a")
        for _ in range(2):
            await wire(running, chat())
        for start in range(0, 400, 100):
            await flood(running, range(start, start + 100))
            upstreams.script(["400"], upstream="a")
            assert (await wire(running, chat())).status == 400
        upstreams.script(["500"], upstream="a")
        await wire(running, chat())
        assert state(running, "a") is State.OPEN
