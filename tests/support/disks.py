"""Disk stores in tests: opened and closed, asked, and looked at from outside."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from stored import Hands, key_of

from seawall.store.base import Corrupt, Unavailable
from seawall.store.disk import Disk

MIB = 2**20


@asynccontextmanager
async def disk(folder: Path, bound: int = 64 * MIB, clock: Hands | None = None) -> AsyncIterator[Disk]:
    store = Disk(folder, clock or Hands(), bound)
    try:
        yield store
    finally:
        await store.close()


async def taken(count: int, store: Disk, start: int = 0) -> list[int]:
    return [number for number in range(start, start + count) if await store.get(key_of(number)) is not None]


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file."""
    return {file.name: file.stat().st_size for file in folder.iterdir()}


def state(path: Path) -> tuple[int, ...]:
    """What tells whether a file was written, or is another one."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await condition():
            await asyncio.sleep(0.005)


async def miss(store: Disk, key: bytes) -> bool:
    """Whatever the reason."""
    try:
        return await store.get(key) is None
    except (Corrupt, Unavailable):
        return True
