"""Agents that need no live tokens (`commit: Complete`): whole answers through streams that break in their middle, by
retry, race and failover, also at a provider of the other dialect."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from harness import Running, lab, proxy, route, until, upstream
from held import COMMENT, DIALECTS, KINDS, TERMINAL
from mixed import MODELS, mixed
from openai import AsyncOpenAI
from peers import Wire, wire

from seawall.lab import Lab

LENIENT = """\
circuitBreaker: {consecutiveFailures: 0, errorRate: {percent: 0}}
retryConstraint: {budget: {percent: 100}, minRetryRate: {count: 100000, interval: 1s}}
"""
ONE_TRY = "retry: {attempts: 0}\n"
STALL = "stall-6"
BREAKS = ["cut-6", "no-terminal", "reset-6", "unclean-6", "malformed-6", STALL, "bad-chunk-6", "error-6-overloaded"]
EVERY_BREAK = pytest.mark.parametrize("fault", BREAKS)
RACES = {"at once": "hedging: {hedgingDelay: 0s}\n", "after a delay": "hedging: {hedgingDelay: 20ms}\n"}
EVERY_RACE = pytest.mark.parametrize("race", RACES.values(), ids=RACES.keys())
AGENTS = pytest.mark.parametrize(
    ("first", "operation"), [("OpenAI", "chat"), ("OpenAI", "responses"), ("Anthropic", "")]
)
TALK: list[Any] = [{"role": "user", "content": "hi"}]


def whole(fault: str) -> str:
    """Of a rule. Only a stall needs a limit on silence; a busy machine is silent too."""
    idle = "timeouts: {streamIdle: 400ms}\n" if fault == STALL else ""
    return "streaming: {commit: Complete}\n" + idle


@asynccontextmanager
async def two(folder: Path, dialect: str, backends: str, rule: str) -> AsyncIterator[tuple[Running, Lab]]:
    async with lab() as upstreams:
        policy = "".join(upstream(name, f"{upstreams.url}/u/{name}/v1", dialect, LENIENT) for name in "ab")
        async with proxy(policy + route("models", "/v1", backends, rule), folder) as running:
            yield running, upstreams


@asynccontextmanager
async def across(folder: Path, first: str, backends: str, rule: str) -> AsyncIterator[tuple[Running, Lab]]:
    async with lab() as upstreams:
        policy = mixed(upstreams, folder, first, backends, rule, LENIENT)
        async with proxy(policy, folder) as running:
            yield running, upstreams


async def settled(running: Running, upstreams: Lab) -> None:
    engine = running.service.engine
    await until(lambda: engine.calls == 0 and not engine._racing.losers)
    await until(lambda: all(attempt.end is not None for attempt in upstreams.attempts()))


@KINDS
@EVERY_BREAK
async def test_a_failover_gives_the_whole_answer(
    tmp_path: Path, dialect: str, path: str, body: Any, fault: str
) -> None:
    async with two(tmp_path, dialect, "a b", ONE_TRY + whole(fault)) as (running, upstreams):
        upstreams.script([], upstream="a", then=fault)
        got = await wire(running, body, path=path)
        assert (got.whole, got.field(b"x-seawall-upstream")) == (True, b"b")
        assert any(end in got.body for end in TERMINAL)
        assert got.field(b"x-seawall-outcome") == b"failover"


@KINDS
@EVERY_RACE
@EVERY_BREAK
async def test_a_race_is_won_by_the_whole_answer(
    tmp_path: Path, dialect: str, path: str, body: Any, fault: str, race: str
) -> None:
    async with two(tmp_path, dialect, "a|b", ONE_TRY + whole(fault) + race) as (running, upstreams):
        upstreams.script([], upstream="a", then=fault)
        upstreams.script([], upstream="b", then="gap-2ms")
        # Which of the two is first is drawn by lot.
        for _ in range(4):
            got = await wire(running, body, path=path)
            assert (got.whole, got.field(b"x-seawall-upstream")) == (True, b"b")
            assert any(end in got.body for end in TERMINAL)
        await settled(running, upstreams)
        assert {call.fault for call in running.calls} == {""}


async def test_a_race_and_a_retry_after_it_have_the_last_whole_answer(tmp_path: Path) -> None:
    rule = "retry: {attempts: 2, backoff: {base: 1ms, max: 1ms}}\nhedging: {hedgingDelay: 0s}\n" + whole(STALL)
    async with two(tmp_path, "OpenAI", "a|b", rule) as (running, upstreams):
        upstreams.script(["cut-6", "malformed-6"], upstream="a")
        upstreams.script(["cut-6", "stall-6"], upstream="b")
        got = await wire(running, DIALECTS[0][2])
        assert (got.whole, got.body.count(b"[DONE]")) == (True, 1)
        await settled(running, upstreams)


async def text_of(running: Running, first: str, operation: str, **options: Any) -> str:
    """What the agent's own SDK makes of its stream."""
    options = {"api_key": "k", "max_retries": 0, **options}
    if first == "Anthropic":
        async with (
            AsyncAnthropic(base_url=running.url, **options) as claude,
            claude.messages.stream(model=MODELS[first], max_tokens=99, messages=TALK) as stream,
        ):
            return await stream.get_final_text()
    async with AsyncOpenAI(base_url=f"{running.url}/v1", **options) as agent:
        if operation == "chat":
            chunks = await agent.chat.completions.create(model=MODELS[first], messages=TALK, stream=True)
            return "".join([c.delta.content or "" async for chunk in chunks for c in chunk.choices])
        async with agent.responses.stream(model=MODELS[first], input="hi") as answer:
            async for _ in answer:
                pass
            return (await answer.get_final_response()).output_text


@AGENTS
@EVERY_BREAK
async def test_a_failover_to_the_other_dialect_gives_the_whole_answer(
    tmp_path: Path, first: str, operation: str, fault: str
) -> None:
    async with across(tmp_path, first, "a b", ONE_TRY + whole(fault)) as (running, upstreams):
        upstreams.script([], upstream="a", then=fault)
        upstreams.script([], upstream="b", then="ok; text=The sea is calm.")
        assert await text_of(running, first, operation) == "The sea is calm."
        call = await running.call()
        assert (call.outcome.value, call.upstream, call.fault) == ("failover", "b", "")
        assert [attempt.result != "ok" for attempt in running.attempts] == [True, False]


@AGENTS
@EVERY_BREAK
async def test_what_breaks_at_the_other_dialect_is_not_seen_either(
    tmp_path: Path, first: str, operation: str, fault: str
) -> None:
    rule = "retry: {attempts: 1, backoff: {base: 1ms, max: 1ms}}\n" + whole(fault)
    async with across(tmp_path, first, "a b", rule) as (running, upstreams):
        upstreams.script([], upstream="a", then="503")
        upstreams.script([fault], upstream="b", then="ok; text=The sea is calm.")
        assert await text_of(running, first, operation) == "The sea is calm."
        assert (await running.call()).upstream == "b"


@AGENTS
@EVERY_RACE
@pytest.mark.parametrize("fault", ["cut-6", STALL, "malformed-6"])
async def test_a_race_across_dialects_is_won_by_the_whole_answer(
    tmp_path: Path, first: str, operation: str, race: str, fault: str
) -> None:
    async with across(tmp_path, first, "a|b", ONE_TRY + whole(fault) + race) as (running, upstreams):
        for broken, good in ("ab", "ba"):
            upstreams.script([], upstream=broken, then=fault)
            upstreams.script([], upstream=good, then="gap-2ms; text=The sea is calm.")
            for _ in range(2):
                assert await text_of(running, first, operation) == "The sea is calm."
            await settled(running, upstreams)
            assert running.calls[-1].upstream == good


@AGENTS
async def test_an_impatient_agent_waits_for_a_whole_answer_of_the_other_dialect(
    tmp_path: Path, first: str, operation: str
) -> None:
    rule = ONE_TRY + "streaming: {commit: Complete, keepAlive: 150ms}\n"
    async with across(tmp_path, first, "a b", rule) as (running, upstreams):
        upstreams.script([], upstream="a", then="first-token-500ms+cut-6")
        upstreams.script([], upstream="b", then="first-token-900ms; text=The sea is calm.")
        assert await text_of(running, first, operation, timeout=0.6) == "The sea is calm."
        call = await running.call()
        assert (call.upstream, call.opened, call.first_content_seconds is not None) == ("b", True, True)
        assert call.keep_alives and call.keep_alives >= 6


@pytest.mark.parametrize("seed", range(4))
@AGENTS
async def test_comments_in_a_translated_stream_stand_between_whole_events_only(
    tmp_path: Path, first: str, operation: str, seed: int
) -> None:
    """The provider's bytes come in pieces that end anywhere, and with longer pauses than the agent is to hear."""
    path, body = next((path, body) for d, path, body in DIALECTS if d == first and operation in path)
    rule = ONE_TRY + f"streaming: {{keepAlive: 10ms, commit: {('FirstContent', 'Headers')[seed % 2]}}}\n"
    async with across(tmp_path, first, "b", rule) as (running, upstreams):
        upstreams.script(["ok; text=The sea is calm.", f"drip-{90 + seed * 17}-25ms; text=The sea is calm."])
        plain, got = await wire(running, body, path=path), await wire(running, body, path=path)
        comment = COMMENT.strip()
        said = got.body.split(b"\n\n").count(comment)
        assert got.whole and got.body.count(b": keep-alive") == said > 3
        assert events_of(got) == events_of(plain)
        call = await running.call(2)
        assert (call.keep_alives, call.opened or False) == (said, False)


def events_of(got: Wire) -> list[bytes]:
    """Without comments, and without what two answers of one model differ in: ids and times."""
    blocks = (block for block in got.body.split(b"\n\n") if block != COMMENT.strip())
    return [re.sub(rb"[0-9a-f]{16,}|[0-9]{10}", b"-", block) for block in blocks]
