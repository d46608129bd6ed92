"""Calls that share one answer while it comes: each at its own pace and within its own deadline, and none of them ended
by another (SEMANTICS §6, coalescing)."""

import asyncio
import os
import zlib
from pathlib import Path

import pytest
from flying import (
    CACHE,
    DONE,
    LAST,
    PLAIN,
    REST,
    SSE,
    STOP,
    STREAM,
    SURE,
    USAGE,
    Stage,
    stage,
    token,
)
from harness import until
from leaving import chunk

from seawall import relay
from seawall.flight import Flight
from seawall.types import AnswerKept

SMALL = "cache: {mode: Enabled, ttl: 1m, maxEntry: 64Ki}\nretry: {attempts: 0}\n"


def held_by(at: Stage) -> int:
    """Bytes of answers under way."""
    engine = at.running.service.engine
    assert engine.cached is not None
    flights: set[Flight] = engine.cached._flights._flying
    return sum(len(piece) for flight in flights for piece in flight.pieces)


async def test_usage_is_billed_once_when_a_leader_goes_in_the_middle(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        async with at.reading(STREAM) as (reader, _):
            await at.asks(1)
            followers = [at.get(STREAM) for _ in range(3)]
            await at.followed(*followers)
            at.teller.say(SSE, chunk(token()))
            await reader.readuntil(b"content")
        at.teller.say(chunk(STOP), chunk(USAGE), chunk(DONE), LAST)
        answers = await asyncio.gather(*followers)
        assert all(answer.whole for answer in answers)
        assert len({answer.body for answer in answers}) == 1
        calls = await at.ended(4)
        told = [(call.fault, call.outcome.value, call.usage is not None, bool(call.saved)) for call in calls]
        assert sorted(told) == [
            ("", "cache", False, True),
            ("", "cache", False, True),
            ("", "primary", True, False),
            ("AGENT_GONE", "error", False, False),
        ]


async def test_an_error_event_counts_for_all_who_read_it(tmp_path: Path) -> None:
    event = b'data: {"error": {"message": "x", "type": "server_error", "code": "server_error"}}\n\n'
    async with stage(tmp_path) as at:
        leader = at.get(STREAM)
        await at.asks(1)
        follower = at.get(STREAM)
        await at.followed(follower)
        at.teller.say(SSE, chunk(token()), chunk(event), LAST)
        assert (await leader).body == (await follower).body
        calls = await at.ended(2)
        assert [(call.outcome.value, call.fault) for call in calls] == [("error", "SERVER_ERROR")] * 2


async def test_an_answer_that_breaks_off_is_told_as_that(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        leader = at.get(STREAM)
        await at.asks(1)
        follower = at.get(STREAM)
        await at.followed(follower)
        at.teller.say(SSE, chunk(token()))
        at.teller.hang_up()
        assert [(got.whole, b"TRUNCATED" in got.body) for got in (await leader, await follower)] == [(False, True)] * 2
        assert [(call.outcome.value, call.fault) for call in await at.ended(2)] == [("error", "TRUNCATED")] * 2


async def test_who_comes_while_the_last_reader_leaves_gets_a_whole_answer(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.reading(STREAM) as (reader, writer):
        await at.asks(1)
        at.teller.say(SSE, chunk(token()))
        await reader.readuntil(b"content")
        second = at.get(STREAM)
        writer.transport.abort()
        await until(lambda: at.teller.gone or at.asked == 2 or at.running.calls)
        at.teller.say(*REST)
        at.teller.say(SSE, chunk(token()), *REST, to=2)
        assert (await second).body.endswith(DONE)


async def test_a_reader_that_stalls_does_not_end_the_answer_of_another(tmp_path: Path) -> None:
    async with stage(tmp_path, SMALL + "timeouts: {agentWrite: 300ms}\n") as at:
        fast = at.get(STREAM)
        await at.asks(1)
        async with at.reading(STREAM, buffer=4096):
            await at.followed(fast)
            at.teller.say(SSE, *[chunk(token("x" * 60_000))] * 200, *REST)
            assert (await fast).whole
            assert sorted(call.fault for call in await at.ended(2)) == ["", "AGENT_STALLED"]


async def test_a_leader_that_stalls_does_not_hold_up_those_who_follow(tmp_path: Path) -> None:
    async with stage(tmp_path, CACHE + "timeouts: {agentWrite: 300ms}\n") as at, at.reading(STREAM, buffer=4096):
        await at.asks(1)
        follower = at.get(STREAM)
        await at.followed(follower)
        at.teller.say(SSE, *[chunk(token("x" * 60_000))] * 200, *REST)
        assert (await follower).whole
        assert [call.fault for call in await at.ended(2)].count("AGENT_STALLED") == 1


async def test_what_is_too_large_goes_at_the_pace_of_the_slowest_and_cuts_nobody(tmp_path: Path) -> None:
    async with stage(tmp_path, SMALL) as at:

        async def slow() -> bytes:
            data = b""
            async with at.reading(STREAM, buffer=8192) as (reader, _):
                while not data.endswith(LAST):
                    part = await reader.read(20_000)
                    assert part
                    data += part
                    await asyncio.sleep(0.001)
            return data

        fast = at.get(STREAM)
        await at.asks(1)
        slows = [asyncio.ensure_future(slow()) for _ in range(3)]
        await at.followed(fast, fast, fast)
        at.teller.say(SSE, *[chunk(token("x" * 30_000))] * 100, *REST)
        most = 0
        while not all(one.done() for one in slows):
            most = max(most, held_by(at))
            await asyncio.sleep(0.002)
        assert (await fast).body.count(b"xx") == slows[0].result().count(b"xx")
        assert len({one.result().partition(b"\r\n\r\n")[2] for one in slows}) == 1
        assert most < 400_000


async def test_a_reader_that_waits_for_another_coding_lets_nothing_pile_up(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=31)

    def packed(data: bytes) -> bytes:
        return chunk(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))

    async with stage(tmp_path, SMALL) as at:
        packs = at.get(STREAM, "accept-encoding: gzip\r\n")
        await at.asks(1)
        other = at.get(STREAM, "accept-encoding: identity\r\n")
        await at.followed(other)
        at.teller.say(SSE[:-2] + b"content-encoding: gzip\r\n\r\n", packed(token()))
        at.teller.say(*(packed(token(os.urandom(30_000).hex())) for _ in range(20)))
        await at.asks(2)
        at.teller.say(SSE, chunk(token("plain")), *REST, to=2)
        assert b"plain" in (await other).body
        assert held_by(at) < 400_000
        at.teller.say(chunk(packer.flush()), LAST)
        await packs


async def test_a_spent_budget_ends_the_record_and_nobodys_answer(tmp_path: Path) -> None:
    async with stage(tmp_path, buffer_budget=20_000) as at:
        readers = [at.get(STREAM)]
        await at.asks(1)
        readers += [at.get(STREAM) for _ in range(3)]
        await at.followed(*readers[1:])
        at.teller.say(SSE, *[chunk(token("x" * 3000))] * 20, *REST)
        answers = await asyncio.gather(*readers)
        assert answers[0].body.endswith(DONE)
        assert len({answer.body for answer in answers}) == 1
        assert [e.why for e in at.running.events if isinstance(e, AnswerKept)] == ["too large"]


async def test_everyone_keeps_their_own_deadline_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    async with stage(tmp_path, CACHE + "timeouts: {request: 600ms}\n") as at:
        leader = at.get(STREAM)
        await at.asks(1)
        at.teller.say(SSE, chunk(token()))
        await asyncio.sleep(0.4)
        follower = at.get(STREAM)
        first = await leader
        assert (first.whole, b"TIMEOUT_REQUEST" in first.body) == (False, True)
        at.teller.say(*REST)
        assert (await follower).whole


async def test_who_takes_over_is_not_ended_by_the_deadline_of_who_left(tmp_path: Path) -> None:
    async with stage(tmp_path, CACHE + "timeouts: {request: 500ms}\n") as at:
        async with at.reading(SURE):
            await at.asks(1)
            await asyncio.sleep(0.3)
            follower = at.get(SURE)
            await at.followed(follower)
        await at.asks(2)
        at.teller.say(PLAIN, to=2)
        assert (await follower).status == 200
        assert [call.fault for call in await at.ended(2)] == ["AGENT_GONE", ""]


async def test_a_bug_in_the_middle_of_an_answer_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path) as at:
        readers = [at.get(STREAM)]
        await at.asks(1)
        readers.append(at.get(STREAM))
        await at.followed(readers[1])
        at.teller.say(SSE, chunk(token()))
        await until(lambda: held_by(at))
        monkeypatch.setattr(relay._Progress, "too_slow", None)
        at.teller.say(chunk(token()))
        assert [answer.whole for answer in await asyncio.gather(*readers)] == [False, False]
        assert {call.fault for call in await at.ended(2)} == {"INTERNAL"}


@pytest.mark.parametrize("size", [1, 30_000], ids=["recorded", "too large to be"])
async def test_every_reader_is_told_when_the_process_ends(tmp_path: Path, size: int) -> None:
    async with stage(tmp_path, SMALL) as at:
        readers = [at.get(STREAM)]
        await at.asks(1)
        readers += [at.get(STREAM) for _ in range(2)]
        await at.followed(*readers[1:])
        at.teller.say(SSE, *[chunk(token("x" * size))] * 4)
        await until(lambda: held_by(at) or size > 1)
        await asyncio.sleep(0.05)
        await at.running.service.close(0.1)
        for answer in await asyncio.gather(*readers):
            assert (answer.whole, b'"code":"DRAINING"' in answer.body) == (False, True)


async def test_before_there_is_a_head_as_well(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        readers = [at.get(STREAM)]
        await at.asks(1)
        readers += [at.get(STREAM) for _ in range(2)]
        await at.followed(*readers[1:])
        await at.running.service.close(0.1)
        assert [answer.status for answer in await asyncio.gather(*readers)] == [503] * 3


async def test_agents_of_http_1_0_lead_and_follow(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        old = at.get(STREAM, version="1.0")
        await at.asks(1)
        others = [at.get(STREAM), at.get(STREAM, version="1.0")]
        await at.followed(*others)
        at.teller.say(SSE, chunk(token()), *REST)
        assert {answer.body for answer in await asyncio.gather(old, *others)} == {token() + STOP + DONE}


async def test_who_asks_for_a_new_answer_joins_nobody_and_keeps_nobody_from_joining(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        anew = [at.get(SURE, "cache-control: no-cache\r\n") for _ in range(2)]
        await at.asks(2)
        leader = at.get(SURE)
        await at.asks(3)
        follower = at.get(SURE)
        await asyncio.sleep(0.05)
        for number in (1, 2, 3):
            at.teller.say(PLAIN, to=number)
        assert [answer.status for answer in await asyncio.gather(*anew, leader, follower)] == [200] * 4
        assert at.asked == 3
