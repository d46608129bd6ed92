"""The disk store: it keeps what it has, stays within its bound, and gives way to nothing but a miss."""

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest
from disks import MIB, disk, sizes, state, taken, until
from stored import START, Hands, entry, key_of, noise

from seawall.store import disk_file
from seawall.store.base import Unavailable, Which
from seawall.store.disk import Disk


def modes(folder: Path) -> tuple[int, set[int]]:
    """Of the folder, and of the files with answers."""
    files = {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir() if "sqlite3" in file.name}
    return stat.S_IMODE(folder.stat().st_mode), files


async def test_answers_survive_a_restart(tmp_path: Path) -> None:
    one = entry(b"data: a\n\n", b"data: b\n\n", stream=True, vary=((b"accept", None),), more={"x": "y"})
    async with disk(tmp_path) as store:
        await store.put(b"k", one)
    async with disk(tmp_path) as store:
        assert await store.get(b"k") == one
        await store.delete(b"none")
        assert store.stats().entries == 1


async def test_only_the_owner_may_read_its_files(tmp_path: Path) -> None:
    async with disk(tmp_path / "new" / "folder") as store:
        await store.put(b"k", entry())
        assert modes(tmp_path / "new" / "folder") == (0o700, {0o600})


async def test_nothing_is_opened_before_somebody_asks(tmp_path: Path) -> None:
    async with disk(tmp_path / "folder"):
        assert not (tmp_path / "folder").exists()


async def test_its_files_never_exceed_the_bound_and_the_newest_are_kept(tmp_path: Path) -> None:
    bound = 8 * MIB
    async with disk(tmp_path, bound) as store:
        for start in range(0, 2000, 100):
            puts = (store.put(key_of(n), entry(noise(10_000, n))) for n in range(start, start + 100))
            await asyncio.gather(*puts)
            assert sum(size for name, size in sizes(tmp_path).items() if not name.endswith("-shm")) <= bound
        stats = store.stats()
        kept = await taken(2000, store)
        assert kept == list(range(kept[0], 2000))
        assert stats.entries == len(kept) and stats.evictions == 2000 - len(kept)
        # Most of the bound is made use of.
        assert len(kept) * 10_000 > bound / 2


async def test_what_is_asked_for_outlives_what_is_not(tmp_path: Path) -> None:
    async with disk(tmp_path, 8 * MIB) as store:
        for start in range(0, 2000, 50):
            await asyncio.gather(*(store.put(key_of(n), entry(noise(10_000, n))) for n in range(start, start + 50)))
            assert await taken(20, store) == list(range(min(20, start + 50)))
        assert store.stats().evictions > 500


async def test_a_read_writes_nothing(tmp_path: Path) -> None:
    async with disk(tmp_path) as store:
        await asyncio.gather(*(store.put(key_of(n), entry()) for n in range(100)))
        await taken(100, store)
        log = Path(f"{tmp_path / 'cache.sqlite3'}-wal")
        before = state(log)
        for _ in range(20):
            await taken(100, store)
        assert state(log) == before


async def test_what_is_outlived_makes_room_by_and_by(tmp_path: Path) -> None:
    clock = Hands()
    async with disk(tmp_path, clock=clock) as store:
        await asyncio.gather(*(store.put(key_of(n), entry(fresh=10)) for n in range(100)))
        clock.time = START + 11
        assert await store.get(key_of(1)) is None
        for number in range(10):
            await store.put(b"%d" % number, entry(at=clock.time))
        assert store.stats().entries == 10 and store.stats().evictions == 0


async def test_one_that_would_push_out_too_much_is_not_kept_and_nor_is_what_it_replaces(tmp_path: Path) -> None:
    async with disk(tmp_path, 4 * MIB) as store:
        await store.put(b"k", entry(b"old"))
        await store.put(b"k", entry(noise(MIB)))
        assert await store.get(b"k") is None
        assert store.stats().refused == 1


async def test_reads_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    async with disk(tmp_path) as store:
        await store.put(b"k", entry())
        other = sqlite3.connect(tmp_path / "cache.sqlite3", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            other.execute("DELETE FROM entries")
            async with asyncio.timeout(disk_file._BUSY / 2):
                assert await store.get(b"k") is not None
            # And a writer that waits too long fails for this once.
            with pytest.raises(Unavailable):
                await store.put(b"k", entry(b"new"))
        finally:
            other.close()
        await store.put(b"k", entry(b"new"))
        found = await store.get(b"k")
        assert found is not None and found.pieces == (b"new",)


async def test_a_purge_of_all_takes_even_an_empty_key(tmp_path: Path) -> None:
    async with disk(tmp_path) as store:
        await store.put(b"", entry())
        assert await store.purge(Which(prefix=b"a")) == 0
        assert await store.purge(Which()) == 1


async def test_a_reader_is_served_while_a_purge_goes_on(tmp_path: Path) -> None:
    async with disk(tmp_path) as store:
        await asyncio.gather(*(store.put(key_of(n), entry(route=f"r{n % 2}")) for n in range(5000)))
        purging = asyncio.create_task(store.purge(Which(route="r1")))
        await store.put(b"k", entry(route="r1"))
        while not purging.done():
            assert await store.get(key_of(0)) is not None
        assert await purging in (2500, 2501)
        assert await store.get(key_of(1)) is None


# What it finds


async def test_a_newer_versions_file_is_left_alone(tmp_path: Path) -> None:
    async with disk(tmp_path) as store:
        await store.put(key_of(1), entry())
    path = tmp_path / "cache.sqlite3"
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 999")
    other.close()
    before = state(path)
    async with disk(tmp_path) as store:
        with pytest.raises(Unavailable, match="newer version"):
            await store.get(key_of(1))
        with pytest.raises(Unavailable, match="newer version"):
            await store.put(key_of(1), entry())
    assert state(path) == before


async def test_a_file_of_another_layout_or_too_large_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite3"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE entries (theirs)")
    other.close()
    async with disk(tmp_path) as store:
        assert await store.get(b"k") is None
        await asyncio.gather(*(store.put(key_of(n), entry(noise(30_000, n))) for n in range(300)))
    assert sizes(tmp_path)["cache.sqlite3"] > 8 * MIB
    async with disk(tmp_path, 8 * MIB) as store:
        assert await taken(300, store) == []
        await store.put(b"k", entry())
        assert await store.get(b"k") is not None
        assert sizes(tmp_path)["cache.sqlite3"] < MIB


async def test_a_place_that_is_no_folder_is_unavailable_each_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with disk(tmp_path / "file") as store:
        for _ in range(3):
            with pytest.raises(Unavailable):
                await store.get(b"k")
            with pytest.raises(Unavailable):
                await store.put(b"k", entry())


async def test_after_closing_it_is_unavailable_and_leaves_one_file(tmp_path: Path) -> None:
    store = Disk(tmp_path, Hands())
    await store.put(b"k", entry())
    await store.get(b"k")
    await store.close()
    for operation in (store.get(b"k"), store.put(b"k", entry()), store.delete(b"k"), store.purge(Which())):
        with pytest.raises(Unavailable):
            await operation
    assert sorted(sizes(tmp_path)) == ["cache.lock", "cache.sqlite3"]


async def test_puts_that_nobody_waits_for_any_more_are_done_all_the_same(tmp_path: Path) -> None:
    async with disk(tmp_path) as store:
        tasks = [asyncio.create_task(store.put(key_of(n), entry())) for n in range(100)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

        async def all_there() -> bool:
            return await taken(100, store) == list(range(100))

        await until(all_there)
        for number in range(20):
            asking = asyncio.create_task(store.get(key_of(number)))
            await asyncio.sleep(0)
            asking.cancel()
        assert await all_there()
