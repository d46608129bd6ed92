"""Races across dialects: either side wins by the first content, losers stop at once and count against nobody, and many
races leave nothing behind. With `commit: Complete` answers come whole through streams that break."""

import asyncio
import gc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from across import OTHER, SAME, Across, across, after_its_own, anthropic_agent, openai_agent, other_first, raced
from harness import until
from leftovers import sockets
from peers import agent
from stage import ONE_TRY

from seawall.types import AttemptEnded, Raced

AT_ONCE = f"{ONE_TRY}\nhedging: {{hedgingDelay: 0s}}\n"
ASK: list[Any] = [{"role": "user", "content": "hi"}]
PATHS = {"OpenAI": "/openai/v1/chat/completions", "Anthropic": "/anthropic/v1/messages"}
BOTH = pytest.mark.parametrize("dialect", ["OpenAI", "Anthropic"])
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
END = {"OpenAI": "data: [DONE]\n\n", "Anthropic": 'data: {"type":"message_stop"}\n\n'}


def asked(model: str = "m", stream: bool = False) -> dict[str, Any]:
    return {"model": model, "max_tokens": 99, "messages": ASK, "stream": stream}


async def settled(at: Across) -> None:
    """Every call and every attempt has come to its end, here and there."""
    engine = at.running.service.engine
    await until(lambda: engine.calls == 0 and not engine._racing.losers)
    await until(lambda: all(attempt.end is not None for attempt in at.lab.attempts()))


@BOTH
@STREAMED
@pytest.mark.parametrize("winner", ["its own", "the other"])
async def test_the_first_content_wins_whichever_dialect_it_comes_in(
    tmp_path: Path, dialect: str, stream: bool, winner: str
) -> None:
    wins, loses = SAME[dialect], OTHER[dialect]
    if winner == "the other":
        wins, loses = loses, wins
    async with across(tmp_path, raced, AT_ONCE) as at, agent(at.running) as http:
        at.lab.script(["first-token-3s" if stream else "latency-3s"], upstream=loses, repeat=True)
        for _ in range(4):
            answer = await http.post(PATHS[dialect], json=asked(stream=stream))
            assert (answer.status_code, answer.headers["x-seawall-upstream"]) == (200, wins)
            assert answer.text.endswith(END[dialect]) if stream else answer.json()["model"] == "m"
        await settled(at)
        results = Counter((attempt.upstream, attempt.result) for attempt in at.running.attempts)
        assert results == {(loses, "cancelled"): 4, (wins, "ok"): 4}
        # The loser's connection was closed, not left to finish.
        assert all(attempt.gone for attempt in at.lab.attempts(upstream=loses))
        assert [e.winner for e in at.running.events if isinstance(e, Raced)] == [wins] * 4
        for breaker in at.running.upstream(loses).breakers.values():
            assert breaker.snapshot(asyncio.get_running_loop().time()).calls == 0
        # A stream of chat tells of tokens only if it was asked to; translated ones always are.
        usage = at.running.calls[0].usage
        assert (usage is not None and usage.output > 0) or (stream and winner == "its own")


@BOTH
async def test_a_hedge_goes_to_the_other_dialect_after_the_delay(tmp_path: Path, dialect: str) -> None:
    rule = f"{ONE_TRY}\nhedging: {{hedgingDelay: 60ms}}\n"
    async with across(tmp_path, raced, rule) as at, agent(at.running) as http:
        own, other = SAME[dialect], OTHER[dialect]
        at.lab.script(["first-token-3s"], upstream=own, repeat=True)
        # Which of a group comes first is drawn by lot.
        while not any(isinstance(event, Raced) for event in at.running.events):
            answer = await http.post(PATHS[dialect], json=asked(stream=True))
        assert (answer.headers["x-seawall-outcome"], answer.headers["x-seawall-upstream"]) == ("hedge", other)
        assert answer.text.endswith(END[dialect])
        await settled(at)
        first, second = at.lab.attempts()[-2:]
        assert (first.upstream, second.upstream, first.gone) == (own, other, True)
        [race] = [event for event in at.running.events if isinstance(event, Raced)]
        assert (race.winner, race.starts, race.hedges) == (other, 2, 1)


async def test_tokens_of_a_loser_are_told_as_wasted(tmp_path: Path) -> None:
    """Anthropic tells of the input before there is content."""
    async with across(tmp_path, raced, AT_ONCE) as at, agent(at.running) as http:
        at.lab.script(["first-token-2s"], upstream="a", repeat=True)
        at.lab.script(["first-token-80ms"], upstream="o", repeat=True)
        answer = await http.post(PATHS["OpenAI"], json=asked(stream=True))
        assert answer.headers["x-seawall-upstream"] == "o"
        await settled(at)
        [lost] = [a for a in at.running.attempts if a.upstream == "a"]
        assert lost.result == "cancelled" and lost.usage is not None and lost.usage.input > 0
        page = (await http.get(f"{at.running.admin_url}/metrics")).text
        assert [line for line in page.splitlines() if "wasted" in line and 'upstream="a"' in line and "tokens" in line]


@BOTH
async def test_a_failure_in_one_dialect_starts_the_other_at_once(tmp_path: Path, dialect: str) -> None:
    rule = f"{ONE_TRY}\nhedging: {{hedgingDelay: 5s}}\n"
    for broken in "oa":
        async with across(tmp_path, raced, rule) as at, agent(at.running) as http:
            at.lab.script(["500", "reset", "error-prelude-overloaded"], upstream=broken, repeat=True)
            for _ in range(8):
                answer = await http.post(PATHS[dialect], json=asked(stream=True))
                assert answer.text.endswith(END[dialect])
            await settled(at)
            assert {call.outcome.value for call in at.running.calls} <= {"failover", "primary"}
            assert {call.upstream for call in at.running.calls} == {"a" if broken == "o" else "o"}


@BOTH
async def test_what_the_other_dialect_cannot_be_asked_runs_alone(tmp_path: Path, dialect: str) -> None:
    """An unfit candidate takes no part in a race; a sole upstream is raced with itself."""
    unfit = {"logprobs": True} if dialect == "OpenAI" else {"speed": "fast"}
    async with across(tmp_path, raced, AT_ONCE) as at, agent(at.running) as http:
        for _ in range(4):
            answer = await http.post(PATHS[dialect], json={**asked(), **unfit})
            assert (answer.status_code, answer.headers["x-seawall-upstream"]) == (200, SAME[dialect])
        await settled(at)
        for call in at.running.calls:
            assert [name for name in call.skipped if name.startswith(f"{OTHER[dialect]}: {next(iter(unfit))}: ")], call
        assert {attempt.upstream for attempt in at.lab.attempts()} == {SAME[dialect]}


@pytest.mark.parametrize("fault", ["cut-4", "stall-3", "malformed-4", "no-terminal", "error-4", "unclean-4"])
async def test_with_complete_the_first_whole_answer_wins(tmp_path: Path, fault: str) -> None:
    rule = f"{AT_ONCE}streaming: {{commit: Complete}}\ntimeouts: {{streamIdle: 300ms}}\n"
    async with across(tmp_path, raced, rule) as at, agent(at.running) as http:
        for broken, good in ("oa", "ao"):
            at.lab.script([fault], upstream=broken, repeat=True)
            at.lab.script(["ok"], upstream=good, repeat=True)
            for dialect, path in PATHS.items():
                for _ in range(2):
                    answer = await http.post(path, json=asked(stream=True))
                    assert (answer.status_code, answer.headers["x-seawall-upstream"]) == (200, good)
                    assert answer.text.endswith(END[dialect])
        await settled(at)


@pytest.mark.parametrize(
    "fault", ["cut-4", "stall-3", "malformed-4", "no-terminal", "error-4", "reset-4", "bad-chunk-4"]
)
async def test_with_complete_agents_get_whole_answers_through_broken_streams(tmp_path: Path, fault: str) -> None:
    rule = f"{ONE_TRY}\nstreaming: {{commit: Complete}}\ntimeouts: {{streamIdle: 100ms}}\n"
    for order in (after_its_own, other_first):
        async with across(tmp_path, order, rule) as at, openai_agent(at) as chat, anthropic_agent(at) as claude:
            for dialect in PATHS:
                first = order(dialect)[0]
                at.lab.script([fault], upstream=first)
                if dialect == "OpenAI":
                    async with chat.chat.completions.stream(model="m", messages=ASK) as chunks:
                        completion = await chunks.get_final_completion()
                    assert completion.choices[0].finish_reason == "stop" and completion.choices[0].message.content
                else:
                    async with claude.messages.stream(model="m", max_tokens=99, messages=ASK) as events:
                        message = await events.get_final_message()
                    assert message.stop_reason == "end_turn" and message.content
                call = at.running.calls[-1]
                assert (call.outcome.value, call.fault, call.attempts) == ("failover", "", 2)


async def test_hundreds_of_races_leave_nothing_open(tmp_path: Path) -> None:
    async with across(tmp_path, raced, AT_ONCE) as at, agent(at.running) as http:
        at.lab.script(["first-token-20ms", "ok", "500", "gap-3ms"], upstream="o", repeat=True)
        at.lab.script(["ok", "first-token-10ms", "reset"], upstream="a", repeat=True)

        async def some(count: int, dialect: str) -> None:
            for number in range(count):
                await http.post(PATHS[dialect], json=asked(stream=number % 3 > 0))

        async def rounds(count: int) -> tuple[int, int]:
            await asyncio.gather(*[some(count, dialect) for dialect in ["OpenAI", "Anthropic"] * 5])
            await settled(at)
            service = at.running.service
            pool, ingress = service._pool, service._ingress
            assert ingress is not None
            await until(lambda: at.lab.connections == pool.connections and not service._translator._cleaning)  # type: ignore[union-attr]
            # What pool and agent keep has both its ends in this process.
            return sockets() - 2 * (pool.connections + ingress.connections), len(asyncio.all_tasks())

        before = await rounds(4)
        at.running.events.clear()
        gc.collect()
        objects = len(gc.get_objects())
        assert await rounds(22) == before
        ended = [event for event in at.running.events if isinstance(event, AttemptEnded)]
        assert {attempt.result for attempt in ended} <= {
            "ok",
            "cancelled",
            "SERVER_ERROR",
            "CONNECTION_LOST",
            "STALE_CONNECTION",
        }
        assert len(ended) > 300
        at.running.events.clear()
        ended.clear()
        assert at.running.service._buffers.used == 0
        # The lab keeps its attempts; what is translated keeps nothing of its calls.
        at.lab.clear()
        gc.collect()
        assert len(gc.get_objects()) - objects < 5_000
