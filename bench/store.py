#!/usr/bin/env python3
"""What the cache's stores cost: a hit in memory, on disk with a million entries, and in redis; starts; hit rates.

    store.py [--entries 1000000] [--seconds 240] [--json FILE]

Answers of 1 KB. The disk store is filled once in a temporary folder, for `--seconds` at most (fewer entries then: it
says how many). Redis is left out where there is no redis-server on PATH. Nothing else should run meanwhile.

exit codes: 0 whatever the times; 1 a wrong or missing answer; 2 it could not run.
"""

import argparse
import asyncio
import itertools
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from bisect import bisect
from collections import OrderedDict
from pathlib import Path

import uvloop
from machine import free_ports

from seawall.clock import SystemClock
from seawall.store.disk import Disk
from seawall.store.entry import Entry
from seawall.store.guarded import Bounds, Guarded
from seawall.store.memory import Memory, cost_of

Figures = dict[str, float]
_CLOCK = SystemClock()
_GETS = 20_000
_WORDS = [format(n * 2654435761 % 2**32, "x") for n in range(5000)]


class Wrong(Exception):
    """A store returned something else, or nothing."""


def key_of(number: int) -> bytes:
    return (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big") * 4


def answer(number: int) -> Entry:
    rng = random.Random(number)
    text = " ".join(rng.choices(_WORDS, k=95))
    body = b'{"id":"chatcmpl-%d","choices":[{"message":{"content":"%b"}}]}' % (number, text.encode())
    headers = [(b"content-type", b"application/json"), (b"x-request-id", b"req-%d" % number)]
    now = _CLOCK.wall()
    return Entry(
        status=200, headers=headers, pieces=(body,), requested_at=now, responded_at=now,
        fresh_seconds=86400.0, route="chat", upstream="openai", model="gpt-4o", dialect="OpenAI",
    )  # fmt: skip


async def memory() -> Figures:
    """Nanoseconds of one hit, as a call asks."""
    store = Guarded(Memory(_CLOCK, 2**28), _CLOCK)
    keys = [key_of(number) for number in range(20_000)]
    for number, key in enumerate(keys):
        store.put(key, answer(number))
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter_ns()
        for key in keys:
            if await store.get(key) is None:
                raise Wrong("memory")
        best = min(best, (time.perf_counter_ns() - began) / len(keys))
    one = answer(0)
    began = time.perf_counter_ns()
    for key in keys:
        store.put(key, one)
    return {"memory_hit_ns": best, "memory_put_ns": (time.perf_counter_ns() - began) / len(keys)}


async def fill(store: Disk, most: int, seconds: float) -> int:
    """How many entries it got in."""
    until = time.perf_counter() + seconds
    for start in range(0, most, 500):
        if time.perf_counter() > until:
            return start
        await asyncio.gather(*(store.put(key_of(n), answer(n)) for n in range(start, min(start + 500, most))))
    return most


async def first_hit(folder: Path, bound: int) -> float:
    """Milliseconds from nothing to the first answer."""
    began = time.perf_counter()
    store = Disk(folder, _CLOCK, bound)
    found = await store.get(key_of(1))
    seconds = time.perf_counter() - began
    await store.close()
    if found is None:
        raise Wrong("disk, at the start")
    return seconds * 1000


async def timed(store: Guarded, count: int, together: int) -> list[float]:
    """Milliseconds of each hit, in order of size; `together` ask at a time, one entry after the other at random."""
    rng, times = random.Random(1), list[float]()

    async def ask() -> None:
        for _ in range(_GETS // together):
            number = rng.randrange(count)
            began = time.perf_counter()
            found = await store.get(key_of(number))
            times.append((time.perf_counter() - began) * 1000)
            if found is None or not found.pieces[0].startswith(b'{"id":"chatcmpl-%d"' % number):
                raise Wrong(f"entry {number}: {store.stats().last_error or 'a miss'}")

    await asyncio.gather(*(ask() for _ in range(together)))
    return sorted(times)


async def disk(entries: int, seconds: float, folder: Path) -> Figures:
    bound, figures = 2**33, Figures()
    for name, most in (("few", 1000), ("many", entries)):
        began = time.perf_counter()
        store = Disk(folder / name, _CLOCK, bound)
        count = await fill(store, most, seconds)
        took = time.perf_counter() - began
        await store.close()
        figures[f"disk_start_ms_{name}"] = statistics.median([await first_hit(folder / name, bound) for _ in range(5)])
    figures |= {"disk_entries": count, "disk_put_us": took / count * 1e6}
    store = Disk(folder / "many", _CLOCK, bound)
    guarded = Guarded(store, _CLOCK, Bounds(timeout=5.0))
    for together in (1, 16):
        times = await timed(guarded, count, together)
        figures[f"disk_hit_p50_ms_{together}"] = times[len(times) // 2]
        figures[f"disk_hit_p99_ms_{together}"] = times[len(times) * 99 // 100]
    writing = asyncio.create_task(fill(Disk(folder / "many", _CLOCK, bound), 10**6, 10.0))
    times = await timed(guarded, count, 1)
    figures["disk_hit_p99_ms_while_writing"] = times[len(times) * 99 // 100]
    await writing
    figures["disk_mib"] = sum(file.stat().st_size for file in (folder / "many").iterdir()) / 2**20
    await guarded.close()
    return figures


async def redis() -> Figures:
    """A round trip to a server on the same machine."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        return {}
    from seawall.store.redis import Address, SharedStore

    (port,) = free_ports(1)
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", tempfile.gettempdir(),
        stdout=quiet, stderr=quiet,
    )  # fmt: skip
    store = SharedStore(Address("127.0.0.1", port), _CLOCK)
    try:
        for _ in range(1000):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.01)
        for number in range(1000):
            await store.put(key_of(number), answer(number))
        figures = Figures()
        for together in (1, 16):
            times = await timed(Guarded(store, _CLOCK, Bounds(timeout=5.0)), 1000, together)
            figures[f"redis_hit_p50_ms_{together}"] = times[len(times) // 2]
            figures[f"redis_hit_p99_ms_{together}"] = times[len(times) * 99 // 100]
        return figures
    finally:
        await store.close()
        process.kill()
        await process.wait()


class Recency:
    """Plain LRU, to compare with."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: OrderedDict[int, None] = OrderedDict()

    def asks(self, number: int) -> bool:
        if found := number in self.kept:
            self.kept.move_to_end(number)
        self.kept[number] = None
        if len(self.kept) > self.most:
            self.kept.popitem(last=False)
        return found


async def hit_rates() -> Figures:
    """Of the memory store and of LRU with room for as many entries: questions by Zipf's law (0.9) over 100,000; the
    same with a scan of 5000 new ones after every 5000; and with seven of ten asked only once."""
    figures, one, most, asks = Figures(), answer(0), 5000, 200_000
    weights = list(itertools.accumulate((rank + 1) ** -0.9 for rank in range(100_000)))
    for trace in ("zipf", "scans", "once"):
        rng, fresh = random.Random(1), itertools.count(10**7)
        store, lru, hits = Memory(_CLOCK, most * cost_of(one)), Recency(most), [0, 0]
        for turn in range(asks):
            new = (trace == "scans" and turn % 10_000 >= 5000) or (trace == "once" and rng.random() < 0.7)
            number = next(fresh) if new else bisect(weights, rng.random() * weights[-1])
            hits[1] += lru.asks(number)
            if await store.get(key_of(number)) is not None:
                hits[0] += 1
            else:
                await store.put(key_of(number), one)
        figures |= {f"hit_rate_{trace}": hits[0] / asks, f"hit_rate_{trace}_lru": hits[1] / asks}
    return figures


async def measure(entries: int, seconds: float) -> Figures:
    figures = await memory()
    figures |= await hit_rates()
    figures |= await redis()
    with tempfile.TemporaryDirectory() as folder:
        figures |= await disk(entries, seconds, Path(folder))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, help="on disk")
    parser.add_argument("--seconds", type=float, default=240.0, help="to fill the disk store with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    a = parser.parse_args()
    try:
        figures = uvloop.run(measure(a.entries, a.seconds))
    except Wrong as wrong:
        print(f"store: {wrong}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"store: {error}", file=sys.stderr)
        return 2
    for name, value in figures.items():
        print(f"{name:32}{value:14,.3f}")
    if a.json:
        a.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
