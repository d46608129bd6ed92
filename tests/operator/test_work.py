"""What has to be done is done once, and later each time it fails."""

import asyncio

from seawall_operator.work import Marks


async def test_what_is_asked_for_twice_is_done_once() -> None:
    marks = Marks(0.01)
    marks.add(["a"])
    taking = asyncio.create_task(marks.take())
    await asyncio.sleep(0)
    marks.add(["a", "b"])
    assert await taking == {"a", "b"} and not marks


async def test_nothing_is_lost_that_comes_while_something_is_taken() -> None:
    marks = Marks(0.0)
    marks.add(["a"])
    assert await marks.take() == {"a"}
    marks.add(["b"])
    async with asyncio.timeout(1):
        assert await marks.take() == {"b"}


async def test_what_failed_comes_back_later_each_time() -> None:
    marks, loop = Marks(0.0), asyncio.get_running_loop()
    waits = []
    for _ in range(3):
        marks.again("a")
        waits.append(marks._timers["a"].when() - loop.time())
        marks._timers.pop("a").cancel()
    assert [round(wait, 1) for wait in waits] == [0.5, 1.0, 2.0]
    marks.good("a")
    marks.again("a")
    assert round(marks._timers["a"].when() - loop.time(), 1) == 0.5


async def test_the_earlier_of_two_times_counts() -> None:
    marks = Marks(0.0)
    marks.later("a", 0.01)
    marks.later("a", 60)
    async with asyncio.timeout(1):
        assert await marks.take() == {"a"}
