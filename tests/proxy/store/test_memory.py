"""The memory store: bounded, cheap, and hard to flood."""

import asyncio
import itertools
import random
from bisect import bisect

from stored import START, Hands, Recency, entry, key_of, noise

from seawall.store.base import Which
from seawall.store.memory import Memory, cost_of

MIB = 2**20


async def test_a_hit_returns_the_very_object_and_never_suspends() -> None:
    memory, one = Memory(Hands()), entry()
    await memory.put(b"k", one)
    asking = memory.get(b"k")
    try:
        asking.send(None)
    except StopIteration as done:
        assert done.value is one
    else:
        raise AssertionError("it suspended")


async def test_an_entry_is_of_use_until_its_last_second_and_then_gone() -> None:
    clock = Hands()
    memory = Memory(clock)
    await memory.put(b"k", entry(fresh=10, keep_seconds=20))
    clock.time = START + 29.9
    assert await memory.get(b"k") is not None
    clock.time = START + 30
    assert await memory.get(b"k") is None
    assert memory.stats().entries == 0 and memory.stats().bytes == 0


async def test_its_bytes_never_exceed_the_bound_whatever_is_put() -> None:
    memory, rng = Memory(Hands(), MIB), random.Random(3)
    for number in range(5000):
        await memory.put(key_of(rng.randrange(2000)), entry(noise(rng.choice([10, 500, 5000, 60_000]), number)))
        if rng.random() < 0.5:
            await memory.get(key_of(rng.randrange(2000)))
        stats = memory.stats()
        assert stats.bytes is not None and 0 < stats.bytes <= MIB
    assert memory.stats().evictions > 1000


async def test_one_that_would_push_out_too_much_is_not_kept_and_nor_is_what_it_replaces() -> None:
    memory = Memory(Hands(), MIB)
    await memory.put(b"k", entry(b"old"))
    await memory.put(b"k", entry(noise(MIB // 8)))
    assert await memory.get(b"k") is None
    assert memory.stats().refused == 1


async def test_many_small_pieces_cost_what_they_take_not_what_they_hold() -> None:
    assert cost_of(entry(*[b"data"] * 1000)) > 40_000


async def test_a_scan_does_not_push_out_what_is_asked_for() -> None:
    memory = Memory(Hands(), MIB)
    asked = [key_of(number) for number in range(100)]
    for key in asked * 2:
        if await memory.get(key) is None:
            await memory.put(key, entry(noise(1000)))
    for number in range(10_000, 20_000):
        await memory.put(key_of(number), entry(noise(1000)))
    assert all([await memory.get(key) for key in asked])


async def test_hit_rate_beats_lru_where_one_time_questions_are_mixed_in() -> None:
    most = 500
    one = entry(noise(1000))
    memory, lru = Memory(Hands(), most * cost_of(one)), Recency(most)
    rng, fresh = random.Random(5), itertools.count(10**6)
    weights = list(itertools.accumulate((rank + 1) ** -0.9 for rank in range(10_000)))
    hits = [0, 0]
    for turn in range(40_000):
        scan = turn % 4000 >= 2000
        number = next(fresh) if scan else bisect(weights, rng.random() * weights[-1])
        hits[1] += lru.asks(number)
        if await memory.get(key_of(number)) is not None:
            hits[0] += 1
        else:
            await memory.put(key_of(number), one)
    assert hits[0] > 1.2 * hits[1]


async def test_an_old_favourite_does_not_stay_for_ever() -> None:
    memory = Memory(Hands(), MIB)
    await memory.put(b"k", entry(noise(1000)))
    for _ in range(1000):
        await memory.get(b"k")
    for number in range(3000):
        for _ in range(2):
            if await memory.get(key_of(number)) is None:
                await memory.put(key_of(number), entry(noise(1000)))
    assert await memory.get(b"k") is None


async def test_a_purge_leaves_what_replaces_an_entry_while_it_goes_on() -> None:
    memory = Memory(Hands())
    for number in range(5000):
        await memory.put(key_of(number), entry(b"old"))
    purging = asyncio.create_task(memory.purge(Which(route="chat")))
    await asyncio.sleep(0)  # it has done its first slice now
    assert 0 < (memory.stats().entries or 0) < 5000
    await memory.put(key_of(4999), entry(b"new"))
    assert await purging == 4999
    kept = await memory.get(key_of(4999))
    assert kept is not None and kept.pieces == (b"new",)
    assert memory.stats().entries == 1


async def test_closing_lets_everything_go() -> None:
    memory = Memory(Hands())
    await memory.put(b"k", entry())
    await memory.close()
    assert await memory.get(b"k") is None
    assert memory.stats().bytes == 0
