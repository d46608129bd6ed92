"""Clocks that jump: an answer of unknown age is never given, and one that has become old by the clock is old. What a
call waits for does not go by the wall clock at all."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import lab, proxy, route, until, upstream
from origins import Answer, Origin
from peers import CHAT, agent, chat, serving

from seawall.lab import Lab

HOUR, DAY = 3600.0, 86400.0
RULE = "retry: {attempts: 0}\nfallback: [{type: StaleCache}]\ncache: {mode: Enabled, ttl: 2h, staleIfError: %s}\n"
ASK: dict[str, Any] = chat(temperature=0)


class Jumping:
    """The system's clocks, with a wall clock that somebody sets."""

    def __init__(self) -> None:
        self.set_by = 0.0

    now = staticmethod(time.monotonic)

    def wall(self) -> float:
        return time.time() + self.set_by


@dataclass(frozen=True)
class Place:
    lab: Lab
    clock: Jumping
    client: httpx.AsyncClient

    async def say(self, **fields: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return await self.client.post(CHAT, json=ASK, headers=named)

    @property
    def asked(self) -> int:
        return len(self.lab.attempts())


@asynccontextmanager
async def place(folder: Path, if_error: str = "48h", more: str = "") -> AsyncIterator[Place]:
    clock = Jumping()
    rule = (RULE % if_error).replace("ttl: 2h", f"ttl: 2h{more}")
    async with lab() as upstreams:
        policy = upstream("a", f"{upstreams.url}/u/a/v1") + route("chat", "/v1", "a", rule)
        async with proxy(policy, folder, clock=clock) as running, agent(running) as client:
            yield Place(upstreams, clock, client)


def told(answer: httpx.Response) -> tuple[str, str]:
    return answer.headers["x-seawall-outcome"], answer.headers["cache-status"].partition("; ttl")[0]


async def test_set_back_by_an_hour_a_kept_answer_is_not_given(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        first = await at.say()
        at.clock.set_by = -HOUR
        second = await at.say()
        assert told(second) == ("primary", "seawall; fwd=stale")
        assert second.json()["id"] != first.json()["id"]
        # What came under the new time is of a known age again.
        third = await at.say()
        assert told(third) == ("cache", "seawall; hit")
        assert (third.content, third.headers["age"]) == (second.content, "0")
        # And has aged when the time is put right.
        at.clock.set_by = 0
        fourth = await at.say()
        assert int(fourth.headers["age"]) in (3600, 3601, 3602)
        assert at.asked == 2


@pytest.mark.parametrize(
    "wish", [{}, {"cache_control": "max-stale"}, {"cache_control": "stale-if-error=999999"}], ids=str
)
async def test_set_back_by_an_hour_not_even_an_outage_gets_it(tmp_path: Path, wish: dict[str, str]) -> None:
    async with place(tmp_path) as at:
        await at.say()
        at.clock.set_by = -HOUR
        at.lab.script(["503"], repeat=True)
        answer = await at.say(**wish)
        assert answer.status_code == 503
        assert answer.headers["x-seawall-outcome"] == "error"
        assert "age" not in answer.headers
        only = await at.say(cache_control="only-if-cached")
        assert only.status_code == 504


async def test_replicas_whose_clocks_differ_by_seconds_give_it(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        await at.say()
        at.clock.set_by = -5
        answer = await at.say()
        assert told(answer) == ("cache", "seawall; hit")
        assert answer.headers["age"] == "0"
        assert int(answer.headers["cache-status"].rpartition("ttl=")[2]) <= 7200


async def test_set_forward_by_a_day_it_is_for_an_outage_within_its_time_only(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        first = await at.say()
        at.clock.set_by = DAY
        at.lab.script(["503"])
        answer = await at.say()
        assert told(answer) == ("stale", "seawall; fwd=stale; fwd-status=503")
        assert answer.content == first.content
        assert DAY <= int(answer.headers["age"]) < DAY + 60
        ttl = int(answer.headers["cache-status"].rpartition("ttl=")[2])
        assert 2 * HOUR - DAY - 60 < ttl <= 2 * HOUR - DAY
        # Fresh no longer: with an upstream that works it is replaced.
        assert told(await at.say()) == ("primary", "seawall; fwd=stale")
        assert told(await at.say()) == ("cache", "seawall; hit")


async def test_set_forward_beyond_stale_if_error_it_is_gone(tmp_path: Path) -> None:
    async with place(tmp_path, "1h") as at:
        await at.say()
        at.clock.set_by = DAY
        at.lab.script(["503"])
        answer = await at.say()
        assert (answer.status_code, answer.headers["x-seawall-outcome"]) == (503, "error")
        assert (await at.say(cache_control="only-if-cached")).status_code == 504


async def test_set_forward_beyond_while_revalidate_it_is_not_given_meanwhile(tmp_path: Path) -> None:
    async with place(tmp_path, more=", staleWhileRevalidate: 1h") as at:
        await at.say()
        at.clock.set_by = 2.5 * HOUR
        assert told(await at.say()) == ("cache", "seawall; hit")
        await until(lambda: at.asked == 2)
        at.clock.set_by += 4 * HOUR
        assert told(await at.say()) == ("primary", "seawall; fwd=stale")


@pytest.mark.parametrize("jump", [-HOUR, DAY], ids=["back", "forward"])
async def test_a_jump_while_an_answer_is_under_way_makes_it_no_younger(tmp_path: Path, jump: float) -> None:
    async with place(tmp_path) as at:
        at.lab.script(["latency-200ms"], repeat=True)
        call = asyncio.ensure_future(at.say())
        await until(lambda: at.asked == 1)
        at.clock.set_by = jump
        # Nobody's time is over: waits do not go by the wall clock.
        first = await call
        assert first.status_code == 200
        again = await at.say()
        assert told(again)[0] == "cache"
        # A day of delay, as far as anybody can tell.
        assert max(0, jump) <= int(again.headers["age"]) < max(0, jump) + 60
        # It came under the old time for whoever sets the clock right again.
        at.clock.set_by = 0
        assert told(await at.say())[0] == ("cache" if jump < 0 else "primary")


async def test_a_get_of_unknown_age_is_validated_and_its_age_is_known_again(tmp_path: Path) -> None:
    clock = Jumping()

    def say(first: str, fields: dict[str, str]) -> Answer:
        stamp = [f"date: {formatdate(clock.wall(), usegmt=True)}", 'etag: "1"', "cache-control: max-age=7200"]
        return (304, stamp, b"") if "if-none-match" in fields else (200, stamp, b"hello")

    origin = Origin(say)
    async with serving(origin) as port:
        policy = upstream("o", f"http://127.0.0.1:{port}", "Generic") + route("o", "/", "o", RULE % "48h")
        async with proxy(policy, tmp_path, clock=clock) as running, agent(running) as client:
            await client.get("/a")
            clock.set_by = -HOUR
            answer = await client.get("/a")
            assert told(answer) == ("primary", "seawall; fwd=stale; fwd-status=304")
            assert (answer.status_code, answer.text) == (200, "hello")
            assert origin.heads[-1][1]["if-none-match"] == '"1"'
            again = await client.get("/a")
            assert told(again) == ("cache", "seawall; hit")
            assert again.headers["age"] in ("0", "1")
            clock.set_by = DAY
            old = await client.get("/a")
            assert told(old) == ("primary", "seawall; fwd=stale; fwd-status=304")
