"""Calls of one session go one after another (ClickHouse's SESSION_IS_LOCKED)."""

import asyncio

from seawall.faults import Code
from seawall.turns import MOST, Turns


async def test_turns_are_taken_in_order() -> None:
    turns, order = Turns(), list[int]()

    async def call(number: int) -> None:
        assert await turns.take("s", 5.0) is None
        order.append(number)
        await asyncio.sleep(0)
        turns.give("s")

    await asyncio.gather(*(call(number) for number in range(20)))
    assert order == list(range(20))
    assert not turns._waiting, "nothing is remembered of a session that is over"


async def test_one_that_waits_too_long_leaves_its_place() -> None:
    turns = Turns()
    assert await turns.take("s", 5.0) is None
    late = await turns.take("s", 0.01)
    assert late is not None and late.code is Code.QUEUE_TIMEOUT
    assert await turns.take("other", 0.0) is None
    turns.give("s")
    assert await turns.take("s", 0.0) is None


async def test_one_that_leaves_while_it_waits_holds_nobody_up() -> None:
    turns = Turns()
    await turns.take("s", 5.0)
    gone, next_ = (asyncio.create_task(turns.take("s", 5.0)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    turns.give("s")
    assert await next_ is None
    turns.give("s")
    assert not turns._waiting


async def test_one_that_leaves_just_as_its_turn_comes_passes_it_on() -> None:
    turns = Turns()
    await turns.take("s", 5.0)
    gone, next_ = (asyncio.create_task(turns.take("s", 5.0)) for _ in range(2))
    await asyncio.sleep(0)
    turns.give("s")
    gone.cancel()
    assert await next_ is None


async def test_so_many_may_wait_and_no_more() -> None:
    turns = Turns()
    await turns.take("s", 5.0)
    waiting = [asyncio.create_task(turns.take("s", 5.0)) for _ in range(MOST)]
    await asyncio.sleep(0)
    full = await turns.take("s", 5.0)
    assert full is not None and full.code is Code.QUEUE_FULL
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
