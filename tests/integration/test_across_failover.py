"""A call fails over to a provider of another dialect after its own has failed, in every way that there is, and back."""

from pathlib import Path
from typing import Any

import pytest
from across import (
    OTHER,
    SAME,
    Across,
    across,
    after_its_own,
    anthropic_agent,
    gemini_agent,
    in_order,
    openai_agent,
    routes,
    upstreams,
)
from anthropic.types import Message
from harness import lab, proxy
from peers import blackhole, closed_port
from stage import ONE_TRY

RULE = f"{ONE_TRY}\ntimeouts: {{connect: 200ms, streamIdle: 200ms, firstContent: 300ms, backendRequest: 400ms}}\n"
ASK: list[Any] = [{"role": "user", "content": "hi"}]
FAULTS = [
    "500", "529", "503-retry-after-9", "429-retry-after-9", "quota", "408", "reset", "close", "garbage", "silent",
    "cut-prelude", "stall-prelude", "stall-1", "malformed-1", "error-prelude-overloaded",
    "unclean-1", "bad-chunk-1", "truncated-1",
]  # fmt: skip
ASKED = ["chat", "responses", "messages", "generate"]
DIALECT = {"chat": "OpenAI", "responses": "OpenAI", "messages": "Anthropic", "generate": "Gemini"}
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


async def text_of(at: Across, operation: str, stream: bool, model: str = "m") -> str:
    """A whole answer's text, as the dialect's own SDK reads it."""
    if operation == "generate":
        async with gemini_agent(at) as google:
            if not stream:
                return (await google.models.generate_content(model=model, contents="hi")).text or ""
            pieces = await google.models.generate_content_stream(model=model, contents="hi")
            return "".join([piece.text or "" async for piece in pieces])
    if operation == "messages":
        async with anthropic_agent(at) as agent:
            asked: Any = {"model": model, "max_tokens": 99, "messages": ASK}
            if not stream:
                message: Message = await agent.messages.create(**asked)
                return "".join(block.text for block in message.content if block.type == "text")
            async with agent.messages.stream(**asked) as running:
                return await running.get_final_text()
    async with openai_agent(at) as agent:
        if operation == "responses":
            asked = {"model": model, "input": "hi", "store": False}
            if not stream:
                return str((await agent.responses.create(**asked)).output_text)
            async with agent.responses.stream(**asked) as events:
                return (await events.get_final_response()).output_text
        asked = {"model": model, "messages": ASK}
        if not stream:
            return (await agent.chat.completions.create(**asked)).choices[0].message.content or ""
        async with agent.chat.completions.stream(**asked) as chunks:
            return (await chunks.get_final_completion()).choices[0].message.content or ""


@STREAMED
@pytest.mark.parametrize("operation", ASKED)
@pytest.mark.parametrize("other_first", [False, True], ids=["from its own", "to its own"])
async def test_every_failure_of_the_first_is_made_good_by_the_second(
    tmp_path: Path, operation: str, stream: bool, other_first: bool
) -> None:
    dialect = DIALECT[operation]
    first, second = SAME[dialect], OTHER[dialect]
    if other_first:
        first, second = second, first
    async with across(tmp_path, in_order(f"{first} {second}"), RULE) as at:
        wanted = await text_of(at, operation, stream)
        for fault in FAULTS:
            if not stream and fault == "malformed-1":
                continue  # of streams only
            if first == "g" and fault.endswith("-1"):
                fault = fault.replace("-1", "-0")  # Gemini's first event is content already
            # What one call met decides nothing about the next: each asks for a model of its own.
            at.lab.script([], upstream=first, then=fault)
            assert await text_of(at, operation, stream, f"m-{fault}") == wanted, fault
            call = at.running.calls[-1]
            assert (call.upstream, call.outcome.value) == (second, "failover"), fault
            # Where a kept connection was reset, a fresh one came between.
            assert call.attempts == 2 or fault in ("reset", "close"), fault


@pytest.mark.parametrize("operation", ASKED)
async def test_whom_no_connection_reaches_is_made_good_by_the_other_dialect(tmp_path: Path, operation: str) -> None:
    dialect = DIALECT[operation]
    async with lab() as providers:
        with blackhole() as hole:
            for port, code in ((closed_port(), "CONNECT_FAILED"), (hole, "CONNECT_TIMEOUT")):
                for broken in (SAME[dialect], OTHER[dialect]):
                    policy = upstreams(tmp_path, providers.url).replace(
                        f"baseURL: {providers.url}/u/{broken}", f"baseURL: http://127.0.0.1:{port}/u/{broken}"
                    )
                    order = after_its_own(dialect) if broken == SAME[dialect] else f"{broken} {SAME[dialect]}"
                    async with proxy(policy + routes(in_order(order), RULE), tmp_path) as running:
                        assert await text_of(Across(providers, running), operation, stream=True)
                        call = await running.call()
                        assert (call.outcome.value, call.attempts) == ("failover", 2)
                        assert [a.result for a in running.attempts] == [code, "ok"]


@pytest.mark.parametrize("operation", ASKED)
async def test_an_open_breaker_sends_calls_to_the_other_dialect_at_once_and_back(
    tmp_path: Path, operation: str
) -> None:
    """Breakers of both kinds of attempts count alike, and a probe that is translated closes one again."""
    dialect = DIALECT[operation]
    extra = (
        "circuitBreaker: {consecutiveFailures: 2, open: {base: 300ms, jitterPercent: 0}, halfOpen: {successes: 1}}\n"
    )
    for first, second in ((SAME[dialect], OTHER[dialect]), (OTHER[dialect], SAME[dialect])):
        async with across(tmp_path, in_order(f"{first} {second}"), RULE, extra) as at:
            at.lab.script(["500", "500"], upstream=first)
            for attempts in (2, 2, 1):
                assert await text_of(at, operation, stream=True)
                call = at.running.calls[-1]
                assert (call.upstream, call.attempts) == (second, attempts)
            assert call.skipped == (f"{first}: breaker open",)
            while at.running.calls[-1].upstream != first:
                assert await text_of(at, operation, stream=True)
