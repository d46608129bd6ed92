"""Held streams with keep-alive comments, shared: what was opened for one agent is promised to no other."""

import asyncio
from pathlib import Path

from flying import CACHE, LAST, REST, ROLE, SSE, STREAM, stage, token
from held import COMMENT
from leaving import chunk
from peers import answer

HELD = "streaming: {commit: Complete, keepAlive: 60ms}\n"


async def test_who_takes_over_an_opened_answer_gets_no_comments_before_a_head(tmp_path: Path) -> None:
    async with stage(tmp_path, CACHE + HELD) as at:
        async with at.reading(STREAM) as (reader, _):
            await at.asks(1)
            at.teller.say(SSE, chunk(ROLE))
            await reader.readuntil(COMMENT)
            follower = at.get(STREAM)
            await at.followed(follower)
        await asyncio.sleep(0.15)
        at.teller.say(chunk(token()), *REST)
        got = await follower
        assert (got.status, got.data.count(b"HTTP/1.1"), got.whole) == (200, 1, True)
        assert got.field(b"content-type") == b"text/event-stream"
        assert COMMENT not in got.body


async def test_an_answer_is_opened_only_for_the_one_that_asked(tmp_path: Path) -> None:
    async with stage(tmp_path, CACHE + HELD.replace("60ms", "200ms")) as at:
        async with at.reading(STREAM):
            await at.asks(1)
            at.teller.say(SSE, chunk(ROLE))
            follower = at.get(STREAM)
            await at.followed(follower)
        await asyncio.sleep(0.3)
        at.teller.say(chunk(token()), *REST)
        got = await follower
        assert (got.status, got.data.count(b"HTTP/1.1"), got.whole) == (200, 1, True)
        assert COMMENT not in got.body


async def test_comments_are_neither_kept_nor_given_to_those_who_follow(tmp_path: Path) -> None:
    async with stage(tmp_path, CACHE + HELD) as at:
        leader = at.get(STREAM)
        await at.asks(1)
        at.teller.say(SSE, chunk(ROLE))
        follower = at.get(STREAM)
        await asyncio.sleep(0.2)
        at.teller.say(chunk(token()), *REST)
        first, second, third = await leader, await follower, await at.get(STREAM)
        assert first.body.startswith(COMMENT)
        assert second.body == third.body == first.body.replace(COMMENT, b"")
        assert at.asked == 1
        assert [call.opened is True for call in await at.ended(3)].count(True) == 1


async def test_a_failure_of_an_opened_answer_is_told_as_one_only_to_the_one_that_asked(tmp_path: Path) -> None:
    rule = "cache: {mode: Enabled, ttl: 1m}\nretry: {attempts: 1, backoff: {base: 1ms, max: 1ms}}\n" + HELD
    refusal = answer(b'{"error":{"message":"no","type":"invalid_request_error"}}', status=400)
    async with stage(tmp_path, rule) as at:
        async with at.reading(STREAM) as (reader, _):
            await at.asks(1)
            at.teller.say(SSE, chunk(ROLE))
            await reader.readuntil(COMMENT)
            follower = at.get(STREAM)
            await at.followed(follower)
            at.teller.hang_up()
            for number in (2, 3):
                at.teller.say(refusal, to=number)
            await reader.readuntil(b'"INVALID_REQUEST"')
        got = await follower
        assert (got.status, got.field(b"content-type"), got.whole) == (400, b"application/json", True)


async def test_a_stale_answer_in_the_place_of_an_opened_one_has_its_own_head_for_those_who_follow(
    tmp_path: Path,
) -> None:
    rule = "cache: {mode: Enabled, ttl: 50ms}\nretry: {attempts: 0}\nfallback: [{type: StaleCache}]\n" + HELD
    async with stage(tmp_path, rule) as at:
        at.teller.say(SSE, chunk(ROLE), chunk(token()), *REST)
        first = await at.get(STREAM)
        await asyncio.sleep(0.1)
        async with at.reading(STREAM) as (reader, _):
            await at.asks(2)
            at.teller.say(SSE, chunk(ROLE), to=2)
            await reader.readuntil(COMMENT)
            follower = at.get(STREAM)
            await at.followed(follower)
            at.teller.hang_up(2)
            at.teller.say(answer(b"{}", status=503), to=3)
            await reader.readuntil(LAST[:1] + b"\r\n")
        got = await follower
        assert (got.status, got.body) == (200, first.body)
        assert got.field(b"content-type") == b"text/event-stream"
        assert got.field(b"age") == b"0"
        assert (got.field(b"cache-status") or b"").startswith(b"seawall; fwd=stale")
