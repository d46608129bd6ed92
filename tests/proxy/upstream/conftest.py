"""The loop of the real process, and the least that a test of connections needs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from seawall.clock import SystemClock
from seawall.upstream.pool import Pool


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """`seawall serve` runs on uvloop, whose transports differ from asyncio's in their corners."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    """Nothing may go wrong unseen in a callback, and no task may be left."""
    failed: list[object] = []
    loop = asyncio.get_running_loop()

    def keep(_: object, context: dict[str, object]) -> None:
        # asyncio's own stream server reports its cancelled handlers here.
        if not isinstance(context.get("exception"), asyncio.CancelledError):
            failed.append(context)

    loop.set_exception_handler(keep)
    before = asyncio.all_tasks()
    made = Pool(SystemClock())
    yield made
    await made.close()
    async with asyncio.timeout(2):
        while asyncio.all_tasks() - before - {asyncio.current_task()}:
            await asyncio.sleep(0.002)
    assert failed == []
