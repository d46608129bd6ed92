"""A kept connection that is lost at its reuse: when that is put down to its age, and what it says of others."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from exchanges import HOST, SECOND, Pieces, ask, outcome
from peers import request_head, serving

from seawall.clock import SystemClock
from seawall.faults import Code, Fault
from seawall.upstream.pool import Pool, Request


class Ahead(SystemClock):
    """The system's clock, and then some."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return SystemClock.now() + self.seconds


class Kept:
    """Answers each connection's first `good` requests, and ends the connection at the next one without an answer,
    after `first` was said of it and `go` was given."""

    def __init__(self, good: int = 1, first: bytes = b"") -> None:
        self.good = good
        self.first = first
        self.requests = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(self.good):
            await request_head(reader)
            self.requests += 1
            writer.write(SECOND)
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        writer.write(self.first)
        await self.go.wait()


@pytest.fixture
async def clock() -> Ahead:
    return Ahead()


@pytest.fixture
async def aged(clock: Ahead) -> AsyncIterator[Pool]:
    """A pool on that clock."""
    pool = Pool(clock)
    yield pool
    await pool.close()


async def lost(pool: Pool, port: int, request: Request | None = None) -> Code:
    fault = await outcome(await ask(pool, port, request))
    assert isinstance(fault, Fault), fault
    return fault.code


async def test_a_loss_without_a_word_right_after_the_reuse_is_put_down_to_age(aged: Pool) -> None:
    async with serving(Kept()) as port:
        await outcome(await ask(aged, port))
        assert await lost(aged, port) is Code.STALE_CONNECTION


async def test_a_loss_more_than_a_second_after_the_reuse_is_the_upstreams_doing(aged: Pool, clock: Ahead) -> None:
    kept = Kept()
    async with serving(kept) as port:
        await outcome(await ask(aged, port))
        kept.go.clear()
        exchange = await ask(aged, port)
        clock.seconds = 1.1
        kept.go.set()
        fault = await outcome(exchange)
        assert isinstance(fault, Fault)
        assert fault.code is Code.CONNECTION_LOST


@pytest.mark.parametrize("word", [b"HTTP/1.1 103 Early\r\n\r\n", b"HTTP/1.1 2"])
async def test_a_loss_after_a_word_is_the_upstreams_doing(aged: Pool, word: bytes) -> None:
    async with serving(Kept(first=word)) as port:
        await outcome(await ask(aged, port))
        assert await lost(aged, port) is Code.CONNECTION_LOST


async def test_a_loss_at_the_first_use_is_the_upstreams_doing(aged: Pool) -> None:
    async with serving(Kept(good=0)) as port:
        assert await lost(aged, port) is Code.CONNECTION_LOST


async def test_one_stale_connection_casts_doubt_on_all_that_were_idle_for_as_long(aged: Pool) -> None:
    """After a restart, or a gateway that forgot its flows, all of them are dead; tried one by one they would use up a
    call's retries, though a new connection would have done."""
    kept = Kept()
    async with serving(kept) as port:
        exchanges = await asyncio.gather(*[ask(aged, port) for _ in range(5)])
        for exchange in exchanges:
            await outcome(exchange)
        assert aged.connections == 5
        assert await lost(aged, port) is Code.STALE_CONNECTION
        assert aged.connections == 0
        assert await outcome(await ask(aged, port)) == (200, b"second")
        assert kept.requests == 7


async def test_a_connection_used_after_the_stale_one_is_kept(aged: Pool) -> None:
    kept = Kept()
    async with serving(kept) as port:
        await outcome(await ask(aged, port))
        kept.go.clear()
        stale = await ask(aged, port)
        await outcome(await ask(aged, port))
        kept.go.set()
        fault = await outcome(stale)
        assert isinstance(fault, Fault)
        assert (fault.code, aged.connections) == (Code.STALE_CONNECTION, 1)


async def unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


async def test_an_upload_says_whether_it_waits_for_the_agent_or_for_the_upstream(pool: Pool) -> None:
    """Which of the two is to blame for what comes late hangs on it."""
    async with serving(unread) as port:
        length = (b"content-length", b"100000000")
        slow_agent = await ask(pool, port, Request("PUT", "/", [*HOST, length], Pieces([b"x"], hang=True)))
        slow_upstream = await ask(pool, port, Request("PUT", "/", [*HOST, length], Pieces([b"x" * 100_000] * 1000)))
        await asyncio.sleep(0.2)
        assert slow_agent.agents_seconds > 0.15
        assert slow_upstream.agents_seconds < 0.1
        slow_agent.close()
        slow_upstream.close()
