"""GET and HEAD on routes that speak plain HTTP, by RFC 9111, before an origin that says how its answers may be kept."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
from harness import Running, proxy, route, until, upstream
from origins import Answer, Origin
from peers import agent, serving

RULE = "cache: {mode: Enabled}\nretry: {attempts: 0}\n"
KEYED = {"authorization": "Bearer one"}


@dataclass(frozen=True)
class Place:
    origin: Origin
    running: Running
    client: httpx.AsyncClient

    @property
    def asked(self) -> int:
        return len(self.origin.heads)

    async def get(self, path: str = "/a", method: str = "GET", **fields: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return await self.client.request(method, path, headers={**KEYED, **named})


@asynccontextmanager
async def place(folder: Path, say: Callable[[str, dict[str, str]], Answer], rule: str = RULE) -> AsyncIterator[Place]:
    origin = Origin(say)
    async with serving(origin) as port:
        policy = upstream("o", f"http://127.0.0.1:{port}", "Generic") + route("o", "/", "o", rule)
        async with proxy(policy, folder) as running, agent(running) as client:
            yield Place(origin, running, client)


def now(offset: float = 0.0) -> str:
    import time

    return formatdate(time.time() + offset, usegmt=True)


async def test_a_fresh_answer_is_given_again_with_its_age(tmp_path: Path) -> None:
    async with place(tmp_path, lambda *_: (200, ["cache-control: max-age=60", "age: 7"], b"one")) as at:
        first, second = await at.get(), await at.get()
        assert (first.content, second.content, at.asked) == (b"one", b"one", 1)
        assert first.headers["age"] == second.headers["age"] == "7"
        assert second.headers["cache-status"].startswith("seawall; hit; ttl=5")
        assert second.headers["x-seawall-outcome"] == "cache"
        assert len(second.headers.get_list("age")) == 1


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["cache-control: no-store"],
        ["cache-control: max-age=0"],
        ["cache-control: max-age=60", "set-cookie: a=b"],
        ["cache-control: max-age=60", "vary: *"],
        ["expires: 0"],
    ],
)
async def test_answers_that_may_not_be_reused_are_not(tmp_path: Path, fields: list[str]) -> None:
    async with place(tmp_path, lambda *_: (200, fields, b"one")) as at:
        for _ in range(2):
            assert (await at.get()).headers["x-seawall-outcome"] == "primary"
        assert at.asked == 2


async def test_expires_counts_from_date(tmp_path: Path) -> None:
    async with place(tmp_path, lambda *_: (200, [f"date: {now()}", f"expires: {now(60)}"], b"x")) as at:
        await at.get()
        assert (await at.get()).headers["x-seawall-outcome"] == "cache"


async def test_a_private_answer_is_kept_for_its_tenant_alone(tmp_path: Path) -> None:
    async with place(tmp_path, lambda *_: (200, ["cache-control: private, max-age=60"], b"x")) as at:
        await at.get()
        assert (await at.get()).headers["x-seawall-outcome"] == "cache"
        assert (await at.get(authorization="Bearer two")).headers["x-seawall-outcome"] == "primary"


async def test_a_stale_answer_with_a_tag_is_revalidated(tmp_path: Path) -> None:
    def say(first: str, fields: dict[str, str]) -> Answer:
        more = ["cache-control: max-age=0", 'etag: "v1"', "x-turn: 2"]
        return (304, more, b"") if fields.get("if-none-match") == '"v1"' else (200, [*more[:2], "x-turn: 1"], b"body")

    async with place(tmp_path, say) as at:
        await at.get()
        again = await at.get()
        assert (again.status_code, again.content) == (200, b"body")
        assert again.headers["x-turn"] == "2"
        assert again.headers["cache-status"].startswith("seawall; fwd=stale; fwd-status=304")
        assert at.asked == 2
        call = await at.running.call(2)
        assert (call.cache, call.attempts, call.status) == ("revalidated", 1, 200)
        mine = await at.get(if_none_match='"v1"')
        assert (mine.status_code, mine.content) == (304, b"")


async def test_by_last_modified_as_well(tmp_path: Path) -> None:
    changed = now(-1000)

    def say(first: str, fields: dict[str, str]) -> Answer:
        more = ["cache-control: max-age=0", f"last-modified: {changed}"]
        return (304, more, b"") if fields.get("if-modified-since") == changed else (200, more, b"body")

    async with place(tmp_path, say) as at:
        await at.get()
        assert (await at.get()).content == b"body"
        assert at.origin.heads[1][1]["if-modified-since"] == changed


async def test_a_changed_answer_takes_the_place_of_the_old(tmp_path: Path) -> None:
    turn = iter(range(9))

    def say(first: str, fields: dict[str, str]) -> Answer:
        number = next(turn)
        return 200, [f"cache-control: max-age={60 * number}", f'etag: "v{number}"'], b"%d" % number

    async with place(tmp_path, say) as at:
        assert [(await at.get()).content for _ in range(3)] == [b"0", b"1", b"1"]
        assert at.origin.heads[1][1]["if-none-match"] == '"v0"'


async def test_a_304_about_something_else_is_asked_about_again(tmp_path: Path) -> None:
    def say(first: str, fields: dict[str, str]) -> Answer:
        if "if-none-match" in fields:
            return 304, ['etag: "other"'], b""
        return 200, ["cache-control: max-age=0", 'etag: "v1"'], b"body"

    async with place(tmp_path, say) as at:
        await at.get()
        again = await at.get()
        assert (again.status_code, again.content) == (200, b"body")
        assert "if-none-match" not in at.origin.heads[2][1]


async def test_a_refusal_while_revalidating_leaves_the_kept_answer(tmp_path: Path) -> None:
    statuses = iter([200, 401, 304])

    def say(first: str, fields: dict[str, str]) -> Answer:
        return next(statuses), ["cache-control: max-age=0", 'etag: "v1"'], b"body"

    async with place(tmp_path, say) as at:
        answers = [await at.get() for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 401, 200]


async def test_answers_that_vary_are_kept_apart(tmp_path: Path) -> None:
    def say(first: str, fields: dict[str, str]) -> Answer:
        return 200, ["cache-control: max-age=60", "vary: accept-language"], fields["accept-language"].encode()

    async with place(tmp_path, say) as at:
        for language in ("de", "fr", "de", "fr"):
            assert (await at.get(accept_language=language)).content == language.encode()
        assert at.asked == 2
        third = await at.get(accept_language="it")
        assert third.headers["cache-status"].startswith("seawall; fwd=vary-miss")


async def test_agents_that_ask_for_different_variants_at_once_do_not_share(tmp_path: Path) -> None:
    def say(first: str, fields: dict[str, str]) -> Answer:
        return 200, ["cache-control: max-age=60", "vary: accept-language"], fields["accept-language"].encode()

    async with place(tmp_path, say) as at:
        languages = ["de", "fr", "it"] * 4
        answers = await asyncio.gather(*(at.get(accept_language=language) for language in languages))
        assert [answer.text for answer in answers] == languages


async def test_what_a_write_makes_void_is_asked_for_again_in_all_its_variants(tmp_path: Path) -> None:
    def say(first: str, fields: dict[str, str]) -> Answer:
        more = [] if first.startswith("POST") else ["cache-control: max-age=60", "vary: accept-language"]
        return 200, more, b"x"

    async with place(tmp_path, say) as at:
        for language in ("de", "fr"):
            await at.get(accept_language=language)
        assert (await at.get(method="POST")).headers["cache-status"] == "seawall; fwd=method"
        for language in ("de", "fr"):
            answer = await at.get(accept_language=language)
            assert answer.headers["x-seawall-outcome"] == "primary"


async def test_a_head_is_answered_by_a_kept_get(tmp_path: Path) -> None:
    async with place(tmp_path, lambda *_: (200, ["cache-control: max-age=60"], b"body")) as at:
        await at.get()
        head = await at.get(method="HEAD")
        assert (head.headers["x-seawall-outcome"], head.headers["content-length"], head.content) == ("cache", "4", b"")
        assert at.asked == 1


async def test_a_head_that_tells_of_a_change_drops_the_kept_get(tmp_path: Path) -> None:
    tags = iter(["v1", "v2", "v2"])

    def say(first: str, fields: dict[str, str]) -> Answer:
        return 200, ["cache-control: max-age=0", f'etag: "{next(tags)}"'], b"body"

    async with place(tmp_path, say) as at:
        await at.get()
        await at.get(method="HEAD")
        await at.get()
        assert "if-none-match" not in at.origin.heads[2][1]


@pytest.mark.parametrize(
    ("said", "expected"), [("max-age=0", 200), ("max-age=0, must-revalidate", 502), ("no-cache", 502)]
)
async def test_must_revalidate_is_never_given_stale_and_other_answers_are(
    tmp_path: Path, said: str, expected: int
) -> None:
    statuses = iter([200, 502])

    def say(first: str, fields: dict[str, str]) -> Answer:
        return next(statuses), [f"cache-control: {said}", 'etag: "1"'], b"body"

    async with place(tmp_path, say, RULE + "fallback: [{type: StaleCache}]\n") as at:
        await at.get()
        answer = await at.get()
        assert answer.status_code == expected
        if expected == 200:
            assert answer.headers["x-seawall-outcome"] == "stale"
            assert answer.headers["cache-status"].startswith("seawall; fwd=stale; fwd-status=502")
            assert "warning" not in answer.headers


async def test_stale_while_revalidate_asks_behind_the_agents_back(tmp_path: Path) -> None:
    turn = iter(range(9))

    def say(first: str, fields: dict[str, str]) -> Answer:
        return 200, ["cache-control: max-age=0, stale-while-revalidate=60"], b"%d" % next(turn)

    async with place(tmp_path, say) as at:
        assert (await at.get()).content == b"0"
        assert (await at.get()).content == b"0"
        await until(lambda: at.asked == 2)
        await asyncio.sleep(0.05)
        assert (await at.get()).content == b"1"


async def test_ranges_and_conditions_of_the_origins_own_pass_through(tmp_path: Path) -> None:
    async with place(tmp_path, lambda *_: (200, ["cache-control: max-age=60"], b"body")) as at:
        await at.get()
        for name in ("range", "if_match", "if_unmodified_since", "if_range"):
            answer = await at.get(**{name: "bytes=0-1"})
            assert answer.headers["cache-status"] == "seawall; fwd=bypass"
        assert at.asked == 5
