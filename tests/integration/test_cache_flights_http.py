"""GET and HEAD that share one answer while it comes: only where each would have got that answer, and never one from
before a write."""

import asyncio
from pathlib import Path

import pytest
from flying import Stage, stage
from peers import Wire, answer

RULE = "cache: {mode: Enabled}\nretry: {attempts: 0}\n"
STALE = RULE + "fallback: [{type: StaleCache}]\n"
TAGGED = ("cache-control: max-age=0", 'etag: "1"')


def ok(body: bytes, *fields: str, status: int = 200) -> bytes:
    return answer(body, "text/plain", status=status, extra="".join(f"{field}\r\n" for field in fields))


def not_modified(*fields: str) -> bytes:
    return ("HTTP/1.1 304 X\r\n" + "".join(f"{field}\r\n" for field in fields) + "\r\n").encode()


def get(at: Stage, *fields: str) -> "asyncio.Task[Wire]":
    return at.get(path="/a", headers="".join(f"{field}\r\n" for field in fields))


async def test_a_304_in_an_outage_is_for_the_one_alone_that_has_the_answer(tmp_path: Path) -> None:
    async with stage(tmp_path, STALE, dialect="Generic") as at:
        at.teller.say(ok(b"body", *TAGGED))
        await get(at)
        has_it = get(at, 'if-none-match: "1"')
        await at.asks(2)
        has_not = get(at)
        await at.followed(has_not)
        for number in (2, 3):
            at.teller.say(ok(b"", status=503), to=number)
        assert (await has_not).body == b"body"
        assert (await has_it).status in (200, 304)


@pytest.mark.parametrize("down", [False, True], ids=["it holds", "outage"])
async def test_a_kept_variant_is_not_given_to_those_who_asked_for_another(tmp_path: Path, down: bool) -> None:
    fields = (*TAGGED, "vary: accept-language")
    async with stage(tmp_path, STALE, dialect="Generic") as at:
        at.teller.say(ok(b"de", *fields))
        await get(at, "accept-language: de")
        german = get(at, "accept-language: de")
        await at.asks(2)
        french = get(at, "accept-language: fr")
        await at.followed(french)
        at.teller.say(ok(b"", status=503) if down else not_modified(*fields), to=2)
        at.teller.say(ok(b"fr", *fields), to=3)
        assert ((await german).body, (await french).body) == (b"de", b"fr")


async def test_fields_that_a_304_says_an_answer_depends_on_count_from_then_on(tmp_path: Path) -> None:
    vary = ("cache-control: max-age=60", "vary: accept-language", 'etag: "1"')
    async with stage(tmp_path, RULE, dialect="Generic") as at:
        at.teller.say(ok(b"de", *TAGGED))
        await get(at, "accept-language: de")
        at.teller.say(not_modified(*vary), to=2)
        assert (await get(at, "accept-language: de")).body == b"de"
        at.teller.say(ok(b"fr", *vary), to=3)
        assert (await get(at, "accept-language: fr")).body == b"fr"
        assert (await get(at, "accept-language: de")).body == b"de"
        assert at.asked == 3


async def test_an_answer_from_before_a_write_is_neither_joined_nor_kept_after_it(tmp_path: Path) -> None:
    async with stage(tmp_path, RULE, dialect="Generic") as at:
        before = get(at)
        await at.asks(1)
        at.teller.say(ok(b"done"), to=2)
        assert (await at.get({}, path="/a")).status == 200
        after = get(at)
        await at.asks(3)
        at.teller.say(ok(b"new", "cache-control: max-age=60"), to=3)
        assert (await after).body == b"new"
        at.teller.say(ok(b"old", "cache-control: max-age=60"))
        assert (await before).body == b"old"
        assert (await get(at)).body == b"new"


@pytest.mark.parametrize("fields", [["cache-control: no-store"], ["cache-control: max-age=60", "set-cookie: a=b"]])
async def test_a_refusal_that_is_for_one_alone_is_not_shared(tmp_path: Path, fields: list[str]) -> None:
    async with stage(tmp_path, RULE, dialect="Generic") as at:
        leader = get(at)
        await at.asks(1)
        follower = get(at)
        await at.followed(follower)
        at.teller.say(ok(b"no", *fields, status=404))
        at.teller.say(ok(b"yes"), to=2)
        assert ((await leader).status, (await follower).body) == (404, b"yes")


async def test_a_304_about_something_else_leaves_nobody_without_an_answer(tmp_path: Path) -> None:
    async with stage(tmp_path, RULE, dialect="Generic") as at:
        at.teller.say(ok(b"old", *TAGGED))
        await get(at)
        leader = get(at)
        await at.asks(2)
        followers = [get(at) for _ in range(2)]
        await at.followed(*followers)
        at.teller.say(not_modified('etag: "other"'), to=2)
        for number in (3, 4, 5):
            at.teller.say(ok(b"new", "cache-control: max-age=60"), to=number)
        assert {got.body for got in await asyncio.gather(leader, *followers)} == {b"new"}


async def test_a_renewal_asks_for_the_whole_answer_whatever_its_agent_has(tmp_path: Path) -> None:
    fields = "cache-control: max-age=0, stale-while-revalidate=60"
    async with stage(tmp_path, RULE, dialect="Generic") as at:
        at.teller.say(ok(b"one", fields))
        await get(at)
        for _ in range(3):
            # What has no tag and no date of change is "since then" for those who got it.
            await get(at, "if-modified-since: Mon, 01 Jan 2024 00:00:00 GMT")
        await at.asks(2)
        await asyncio.sleep(0.05)
        assert at.asked == 2
        assert b"if-modified-since" not in at.teller.heads[1]
        at.teller.say(ok(b"two", fields), to=2)
        await asyncio.sleep(0.05)
        at.teller.say(ok(b"three", fields), to=3)
        assert (await get(at)).body == b"two"
