"""Shared stores in tests: opened and closed, and waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stored import Hands

from seawall.store.guarded import Guarded
from seawall.store.redis import Address, SharedStore


@asynccontextmanager
async def shared(where: Address, patience: float = 1.0, connections: int = 16) -> AsyncIterator[SharedStore]:
    store = SharedStore(where, Hands(), connections, patience)
    try:
        yield store
    finally:
        await store.close()


async def until_idle(guarded: Guarded) -> None:
    async with asyncio.timeout(20):
        while guarded.stats().queued or guarded._tasks:
            await asyncio.sleep(0.001)
