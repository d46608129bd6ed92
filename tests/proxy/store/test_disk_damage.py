"""The disk store and damaged files: a miss, and a new beginning."""

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from disks import disk, miss, taken, until
from stored import entry, key_of, noise

from seawall.store.base import Corrupt, Unavailable
from seawall.store.disk import Disk


def _overwritten(path: Path, at: slice, fill: bytes) -> None:
    size = path.stat().st_size
    start, end, step = at.indices(size)
    with path.open("r+b") as file:
        for offset in range(start, end, step):
            file.seek(offset)
            file.write(fill)


async def _filled(folder: Path) -> None:
    async with disk(folder) as store:
        await asyncio.gather(*(store.put(key_of(n), entry(noise(3000, n))) for n in range(300)))


async def right_or_missing(store: Disk, number: int) -> None:
    try:
        found = await store.get(key_of(number))
    except (Corrupt, Unavailable):
        return
    assert found is None or found.pieces == (noise(3000, number),)


@pytest.mark.parametrize(
    ("at", "fill"),
    [
        (slice(0, 16), b"not a database.."),
        (slice(0, 100, 100), bytes(100)),
        (slice(100, None, 4096), b"\xff" * 64),
        (slice(4096, None, 4096), bytes(4096)),
        (slice(0, None, 512), b"\xa5" * 512),
    ],
    ids=["no database", "no header", "each page", "zeroed pages", "all"],
)
async def test_a_damaged_file_is_a_miss_put_aside_and_begun_anew(tmp_path: Path, at: slice, fill: bytes) -> None:
    await _filled(tmp_path)
    _overwritten(tmp_path / "cache.sqlite3", at, fill)
    async with disk(tmp_path) as store:
        for number in range(300):
            await right_or_missing(store, number)

        async def works() -> bool:
            try:
                await store.put(b"k", entry(b"new"))
            except Unavailable:
                return False
            return not await miss(store, b"k")

        await until(works)
        assert (tmp_path / "cache.sqlite3.bad").exists()
        # For good.
        await asyncio.gather(*(store.put(key_of(n), entry(noise(3000, n))) for n in range(300)))
        assert await taken(300, store) == list(range(300))


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 50_000, 500_001])
async def test_a_file_cut_short_is_a_miss_and_begun_anew(tmp_path: Path, size: int) -> None:
    await _filled(tmp_path)
    os.truncate(tmp_path / "cache.sqlite3", size)
    async with disk(tmp_path) as store:
        for number in range(300):
            await right_or_missing(store, number)

        async def works() -> bool:
            try:
                await asyncio.gather(*(store.put(key_of(n), entry(noise(3000, n))) for n in range(300)))
            except Unavailable:
                return False
            return await taken(300, store) == list(range(300))

        await until(works)


async def test_damage_while_it_is_open_is_a_miss_and_begun_anew(tmp_path: Path) -> None:
    async with disk(tmp_path) as store:
        await asyncio.gather(*(store.put(key_of(n), entry(noise(3000, n))) for n in range(3000)))
        other = sqlite3.connect(tmp_path / "cache.sqlite3")
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.close()
        _overwritten(tmp_path / "cache.sqlite3", slice(4096, None, 4096), b"\xff" * 4096)

        async def works() -> bool:
            for number in range(100):
                await miss(store, key_of(number))
            try:
                await store.put(b"k", entry(b"new"))
            except Unavailable:
                return False
            return not await miss(store, b"k")

        await until(works)
        assert store.stats().renewed == 1


async def test_one_damaged_answer_is_corrupt_once_then_a_miss_and_the_others_stay(tmp_path: Path) -> None:
    await _filled(tmp_path)
    path = tmp_path / "cache.sqlite3"
    data = path.read_bytes()
    at = data.index(noise(3000, 7)[:500])
    _overwritten(path, slice(at, at + 1), bytes([data[at] ^ 1]))
    async with disk(tmp_path) as store:
        with pytest.raises(Corrupt):
            await store.get(key_of(7))

        async def gone() -> bool:
            return await miss(store, key_of(7)) and store.stats().entries == 299

        await until(gone)
        assert await taken(300, store) == [n for n in range(300) if n != 7]
        assert store.stats().renewed == 0


async def test_a_folder_deleted_under_it_is_begun_anew(tmp_path: Path) -> None:
    async with disk(tmp_path / "folder") as store:
        await store.put(b"k", entry())
        for file in (tmp_path / "folder").iterdir():
            file.unlink()
        (tmp_path / "folder").rmdir()
        assert await store.get(b"k") is None
        await store.put(b"k", entry(b"new"))
        assert await store.get(b"k") is not None
