"""The disk store and other processes: killed in the middle, two at once, disks that are full or may only be read."""

import asyncio
import random
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import pytest
from stored import Hands, entry, key_of, noise

from seawall.store.base import Unavailable
from seawall.store.disk import Disk

ROOT = Path(__file__).parents[3]
_PATH = f"{ROOT / 'proxy'}:{ROOT / 'tests' / 'support'}"

# Writes numbers as they are committed.
_WRITER = """
import asyncio, sys
from pathlib import Path
from stored import Hands, entry, key_of, noise
from seawall.store.disk import Disk

async def main(folder, start, count, size):
    store = Disk(Path(folder), Hands(), 64 * 2**20)
    async def put(number):
        await store.put(key_of(number), entry(noise(size, number)))
        print(number, flush=True)
    for first in range(start, start + count, 10):
        await asyncio.gather(*map(put, range(first, first + 10)))
    await store.close()

asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
"""


async def _writer(folder: Path, start: int, count: int, size: int, out: int = PIPE) -> asyncio.subprocess.Process:
    arguments = [str(folder), str(start), str(count), str(size)]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, *arguments, env={"PYTHONPATH": _PATH}, stdout=out
    )


async def test_kill_9_in_the_middle_of_writes_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    rng, kept = random.Random(11), set[int]()
    for turn in range(6):
        process = await _writer(tmp_path, turn * 100_000, 100_000, 3000)
        assert process.stdout is not None
        for _ in range(rng.randrange(50, 400)):
            kept.add(int(await process.stdout.readline()))
        process.kill()
        rest = (await process.stdout.read()).split(b"\n")[:-1]
        kept.update(map(int, rest))
        await process.wait()
        store = Disk(tmp_path, Hands(), 64 * 2**20)
        try:
            for number in kept:
                found = await store.get(key_of(number))
                assert found is not None and found.pieces == (noise(3000, number),)
            assert (store.stats().entries or 0) >= len(kept)
        finally:
            await store.close()
        assert not (tmp_path / "cache.sqlite3.bad").exists()


async def test_two_processes_share_a_folder_without_harm(tmp_path: Path) -> None:
    """Also while both evict."""
    processes = [await _writer(tmp_path, start, 3000, 20_000, DEVNULL) for start in (0, 10_000)]
    store = Disk(tmp_path, Hands(), 64 * 2**20)
    right = 0
    try:
        while any(process.returncode is None for process in processes):
            for start in (0, 10_000):
                number = start + random.randrange(3000)
                if (found := await store.get(key_of(number))) is not None:
                    assert found.pieces == (noise(20_000, number),)
                    right += 1
        assert [process.returncode for process in processes] == [0, 0]
        await store.put(b"k", entry())
        assert await store.get(key_of(2999)) is not None and await store.get(key_of(12_999)) is not None
        assert right > 0 and 2000 < (store.stats().entries or 0) < 3000
    finally:
        await store.close()
    assert not (tmp_path / "cache.sqlite3.bad").exists()


async def _told(program: str, *arguments: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, env={"PYTHONPATH": _PATH}, stdout=PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().split()


# A limit on file sizes is as near to a full disk as a process comes without being root.
_FULL = """
import asyncio, resource, sys
from pathlib import Path
from stored import Hands, entry, key_of, noise
from seawall.store.base import Unavailable
from seawall.store.disk import Disk

async def main(folder):
    store = Disk(Path(folder), Hands(), 64 * 2**20)
    await store.put(b"first", entry())
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 2**20, resource.RLIM_INFINITY))
    failed = 0
    for number in range(1000):
        try:
            await store.put(key_of(number), entry(noise(20_000, number)))
        except Unavailable:
            failed += 1
    found = await store.get(b"first")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.put(b"last", entry())
    print(failed > 0, found is not None, await store.get(b"last") is not None, store.stats().renewed)
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


async def test_a_full_disk_fails_puts_only_and_only_while_it_is_full(tmp_path: Path) -> None:
    assert await _told(_FULL, str(tmp_path)) == ["True", "True", "True", "0"]


_READ_ONLY = """
import asyncio, os, sys
from pathlib import Path
from stored import Hands, entry
from seawall.store.base import Corrupt, Unavailable
from seawall.store.disk import Disk

async def main(folder):
    if os.getuid() == 0:  # whom no mode stops
        os.setgid(65534)
        os.setuid(65534)
    store = Disk(Path(folder), Hands(), 64 * 2**20)
    for operation in (store.get(b"k"), store.put(b"k", entry())):
        try:
            await operation
        except Unavailable:
            print("unavailable")
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


def _read_only(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.parent.chmod(0o755)


async def test_a_folder_that_may_only_be_read_is_unavailable() -> None:
    # pytest's own folders are closed to whoever the process becomes.
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "folder"
        store = Disk(folder, Hands())
        await store.put(b"k", entry())
        await store.close()
        _read_only(folder)
        assert await _told(_READ_ONLY, str(folder)) == ["unavailable", "unavailable"]
        folder.chmod(0o755)


@pytest.mark.parametrize("entries", [10, 5000])
async def test_opening_takes_as_many_steps_whatever_the_number_of_entries(tmp_path: Path, entries: int) -> None:
    """Counted in what SQLite does, not in time."""
    store = Disk(tmp_path, Hands(), 64 * 2**20)
    for start in range(0, entries, 1000):
        await asyncio.gather(*(store.put(key_of(n), entry()) for n in range(start, min(entries, start + 1000))))
    await store.close()
    opened = Disk(tmp_path, Hands(), 64 * 2**20)._file.connect()
    try:
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        opened.connection.set_progress_handler(count, 1)
        again = Disk(tmp_path, Hands(), 64 * 2**20)._file
        assert again._lay_out(opened.connection)
        assert steps < 100
    finally:
        opened.close()


async def test_a_bad_path_says_so_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "cache.sqlite3").mkdir(parents=True)
    store = Disk(tmp_path, Hands())
    try:
        with pytest.raises(Unavailable, match=r"cache\.sqlite3: "):
            await store.get(b"k")
    finally:
        await store.close()
