"""The bound holds for the process's real memory, not just for our own sums."""

import asyncio
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_PROGRAM = """
import asyncio, os, sys
from stored import Hands, entry, key_of
from seawall.store.memory import Memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def answer(kind, number):
    if kind == "events":
        pieces = [b"data: %d %d %s" % (number, at, b"x" * 60) for at in range(400)]
        return entry(*pieces, stream=True)
    size = {"small": 1000, "large": 100_000, "mixed": [300, 3000, 30_000, 300_000][number % 4]}[kind]
    headers = [(b"header-%d" % at, b"%d-%d" % (number, at)) for at in range(10)]
    return entry(b"%d" % number + b"x" * size, headers=headers)

async def main(kind, total):
    memory, before, put, number, peak = Memory(Hands()), resident(), 0, 0, 0
    while put < total:
        one = answer(kind, number)
        await memory.put(key_of(number), one)
        if number % 7 == 0:
            await memory.get(key_of(number - number % 13))
        put += one.size
        number += 1
        if number % 500 == 0:
            peak = max(peak, resident() - before)
    print(peak, memory.stats().bytes)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read from Linux's /proc")
@pytest.mark.parametrize(("kind", "total"), [("large", 2**30), ("mixed", 2**30), ("small", 2**26), ("events", 2**27)])
async def test_a_flood_of_distinct_answers_stays_within_32_mib(kind: str, total: int) -> None:
    """A gigabyte where that is quick; many times the bound elsewhere, counting what small objects really take."""
    path = f"{ROOT / 'proxy'}:{ROOT / 'tests' / 'support'}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, kind, str(total), env={"PYTHONPATH": path}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    peak, counted = map(int, out.split())
    assert 20 * 2**20 < counted <= 32 * 2**20
    # An eighth more for what lies between objects and for the one that is being put.
    assert peak < 36 * 2**20
