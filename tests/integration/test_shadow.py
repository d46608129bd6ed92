"""Policies that are only evaluated, before real upstreams: nothing that they say is done, nothing is forgotten."""

import asyncio
import json
import logging
import re
from pathlib import Path

import pytest
from peers import CHAT, chat, wire
from trials import counted, evaluated, policy, tried

from seawall.core.breaker import State
from seawall.telemetry.access_log import AccessLog

EVERYTHING = """\
timeouts: {firstContent: 1ms, firstByte: 1ms, backendRequest: 2ms, request: 3ms}
retry: {attempts: 5, backoff: {base: 0s}, codes: [400]}
hedging: {maxAttempts: 3, hedgingDelay: 0s}
fallbackOn: [Unauthorized, NotFound]
fallback: [{type: StaticResponse, status: 200, text: never}]
circuitBreaker: {consecutiveFailures: 1, slowCall: {duration: 1ms}, open: {base: 300s}}
concurrency: {maxParallelRequests: 1, maxPendingRequests: 0}
retryConstraint: {budget: {percent: 0}, minRetryRate: {count: 0}}
"""
STEPS = [
    "ok",
    "500",
    "ok",
    "400",
    "auth",
    "cut-4",
    "first-token-50ms",
    "503-retry-after-1",
    "rate-limit-1",
    "reset",
    "ok",
]
STEPS += ["malformed-4", "error-prelude-overloaded", "gap-2ms", "quota", "ok"]
# Ids, times of day, and how long the lab took.
_WHEN_AND_WHO = re.compile(rb'(?i)sw_[0-9a-f]+|date: [^\r]*|processing-ms: \d+|"created(_at)?": ?\d+')


async def _told(folder: Path, trial: str) -> tuple[list[bytes], list[object], list[object]]:
    """Everything that agent and upstreams saw of a series of failing calls, and what seawall told of them."""
    rule = "retry: {attempts: 1, backoff: {base: 1ms, max: 1ms}}\ntimeouts: {firstContent: 5s}\n"
    async with tried(folder, trial, rule, "a b") as (running, upstreams, _):
        upstreams.script([*STEPS], upstream="a")
        upstreams.script(["ok", "500", "400"], upstream="b", repeat=True)
        answers = []
        for number in range(14):
            got = await wire(running, chat(stream=number % 2 == 0, n=1))
            answers.append(_WHEN_AND_WHO.sub(b"", got.data) + got.end.encode())
        await running.call(14)
        sent: list[object] = [
            (a.upstream, a.path, a.status, a.body_sha256, a.header_names, a.gone) for a in upstreams.attempts()
        ]
        told: list[object] = [(c.outcome, c.fault, c.status, c.attempts, c.skipped) for c in running.calls]
        assert bool(running.service.engine.shadows.counts) == bool(trial)
        told += [(m.upstream, m.key, m.after) for m in running.moves]
    return answers, sent, told


async def test_what_is_done_is_the_same_byte_for_byte_with_a_shadow_policy_and_without(tmp_path: Path) -> None:
    assert await _told(tmp_path, EVERYTHING) == await _told(tmp_path, "")


async def test_without_a_shadow_policy_or_a_difference_no_plan_carries_anything(tmp_path: Path) -> None:
    for trial in ("", "retry: {attempts: 0}\n"):
        async with tried(tmp_path, trial) as (running, _, http):
            await http.post(CHAT, json=chat())
            runtime = running.service._current()
            assert [plan.shadow for plan in runtime.plans] == [None]
            assert [u.shadow for u in runtime.upstreams.values()] == [None, None]
            assert not running.service.engine.shadows.counts
            assert "seawall_shadow" not in (await http.get(f"{running.admin_url}/metrics")).text


async def test_a_bug_in_the_evaluation_harms_no_call_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def random(self) -> float:
            raise ArithmeticError

    async with tried(tmp_path, "retry: {attempts: 2}\n") as (running, upstreams, http):
        upstreams.script(["500"], repeat=True)
        shadows = running.service.engine.shadows
        whole, shadows.rng = shadows.rng, Broken()
        with caplog.at_level(logging.ERROR, "seawall.shadow.book"):
            for _ in range(3):
                assert (await http.post(CHAT, json=chat())).status_code == 500
        assert len(caplog.records) == 1
        assert await counted(running, "failure") == {}
        shadows.rng = whole
        running.service.apply(evaluated(policy(upstreams, "retry: {attempts: 3}\n")))
        await http.post(CHAT, json=chat())
        assert await counted(running, "failure") == {("a", "retry", "give_up"): 1}


async def test_a_reload_keeps_shadow_state_and_the_end_of_the_policy_ends_it(tmp_path: Path) -> None:
    trial = "circuitBreaker: {consecutiveFailures: 1, open: {base: 100s}}\n"
    async with tried(tmp_path, trial) as (running, upstreams, http):
        upstreams.script(["500"], upstream="a")
        await http.post(CHAT, json=chat())
        before, counts = running.upstream("a").shadow, await counted(running, "admission")
        assert before is not None
        running.service.apply(evaluated(policy(upstreams, trial.replace("100s", "200s"), "retry: {attempts: 1}\n")))
        machines, now = running.upstream("a").shadow, asyncio.get_running_loop().time()
        assert machines is before
        assert machines.breakers["gpt"].state(now) is State.OPEN
        assert await counted(running, "admission") == counts
        running.service.apply(evaluated(policy(upstreams, "").replace("chat", "other")))
        assert running.upstream("a").shadow is None
        assert running.service.engine.shadows.counts == {}


async def test_models_that_agents_choose_are_bounded_in_shadow_machines_too(tmp_path: Path) -> None:
    async with tried(tmp_path, "circuitBreaker: {consecutiveFailures: 1}\nhedging: {}\n") as (running, _, http):
        for start in range(0, 300, 50):
            await asyncio.gather(*[http.post(CHAT, json=chat(f"m-{start + n}")) for n in range(50)])
        machines = running.upstream("a").shadow
        assert machines is not None
        assert len(machines.breakers) == len(running.upstream("a").breakers) == 256
        assert len(machines.latencies) <= 256
        assert await counted(running, "admission") == {("a", "admit", "admit"): 300}


async def test_the_log_marks_what_was_not_done_and_adds_no_line_per_call(tmp_path: Path) -> None:
    lines: list[bytes] = []

    class Sink:
        put = staticmethod(lines.append)

    trial = "retry: {attempts: 1}\ncircuitBreaker: {consecutiveFailures: 1}\n"
    async with tried(tmp_path, trial) as (running, upstreams, http):
        running.service.events.observers.append(AccessLog(Sink(), running.service._clock))
        upstreams.script(["ok", "500", "ok", "ok"], upstream="a")
        for _ in range(4):
            await http.post(CHAT, json=chat())
        await running.call(4)
        found = [json.loads(line) for line in lines]
        assert sorted(line["event"] for line in found) == ["attempt", "call", "call", "call", "call", "shadow_breaker"]
        (moved,) = (line for line in found if line["event"] == "shadow_breaker")
        assert (moved["level"], moved["after"]) == ("info", "open")
        calls = [line for line in found if line["event"] == "call"]
        assert "shadow" not in calls[0]
        assert calls[1]["shadow"] == ["a: failure retry instead of give_up"]
