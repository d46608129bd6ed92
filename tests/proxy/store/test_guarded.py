"""The guard: whatever a store does, who asks gets a miss in time and who puts is not held up."""

import asyncio

import pytest
from stored import Hands, entry

from seawall.clock import SystemClock
from seawall.store.base import Corrupt, Stats, Unavailable, Which
from seawall.store.entry import Entry
from seawall.store.guarded import Bounds, Guarded, Result
from seawall.store.memory import Memory
from seawall.store.rest import Rest

QUICK = Bounds(timeout=0.02, write_timeout=0.05, purge_timeout=0.2)


async def until_written(guarded: Guarded) -> None:
    while guarded.stats().queued:
        await asyncio.sleep(0)


class Moody:
    """A store far away that does as it is told: `mood` is awaited before each operation."""

    instant = False

    def __init__(self) -> None:
        self.kept: dict[bytes, Entry] = {}
        self.asked: list[str] = []
        self.finished = 0
        self.closed = False
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def mood(self, name: str) -> None:
        self.asked.append(name)
        await self.open.wait()
        self.finished += 1
        if self.error is not None:
            raise self.error

    async def get(self, key: bytes) -> Entry | None:
        await self.mood("get")
        return self.kept.get(key)

    async def put(self, key: bytes, entry: Entry) -> None:
        await self.mood("put")
        self.kept[key] = entry

    async def delete(self, key: bytes) -> None:
        await self.mood("delete")
        self.kept.pop(key, None)

    async def purge(self, which: Which) -> int:
        await self.mood("purge")
        gone = len(self.kept)
        self.kept.clear()
        return gone

    def stats(self) -> Stats:
        return Stats("redis", len(self.kept))

    async def close(self) -> None:
        await self.mood("close")
        self.closed = True


async def idle(guarded: Guarded) -> None:
    async with asyncio.timeout(5):
        while guarded.stats().queued or guarded._tasks:
            await asyncio.sleep(0.001)


def patient() -> Rest:
    return Rest(failures=1000)


async def test_what_was_put_is_there_at_once_and_reaches_the_store_soon() -> None:
    store, one = Moody(), entry()
    guarded = Guarded(store, Hands())
    guarded.put(b"k", one)
    assert store.kept == {} and await guarded.get(b"k") is one
    await idle(guarded)
    assert store.kept == {b"k": one}
    assert await guarded.get(b"k") is one
    guarded.delete(b"k")
    assert await guarded.get(b"k") is None
    await idle(guarded)
    assert store.kept == {}


async def test_what_waits_is_of_no_more_use_than_what_is_stored() -> None:
    store, clock = Moody(), Hands()
    guarded = Guarded(store, clock)
    guarded.put(b"k", entry(fresh=10))
    clock.time += 10
    assert await guarded.get(b"k") is None
    await idle(guarded)


async def test_the_last_put_or_delete_of_a_key_wins_also_while_one_is_under_way() -> None:
    store = Moody()
    guarded = Guarded(store, SystemClock())
    store.open.clear()
    guarded.put(b"a", entry(b"1"))
    guarded.put(b"b", entry(b"1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    guarded.put(b"a", entry(b"2"))
    guarded.delete(b"b")
    store.open.set()
    await idle(guarded)
    assert {key: one.pieces for key, one in store.kept.items()} == {b"a": (b"2",)}
    assert guarded.stats().dropped == 0


@pytest.mark.parametrize("steps", range(20))
async def test_what_is_put_just_when_the_queue_has_run_empty_is_not_forgotten(steps: int) -> None:
    store = Moody()
    guarded = Guarded(store, Hands())
    guarded.put(b"a", entry())
    for _ in range(steps):
        await asyncio.sleep(0)
    guarded.put(b"b", entry())
    await idle(guarded)
    assert set(store.kept) == {b"a", b"b"}


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (Unavailable("gone"), "down"),
        (Corrupt("bits"), "corrupt"),
        (RuntimeError("a bug"), "down"),
        (OSError(5, "io"), "down"),
        (TimeoutError(), "down"),
    ],
)
async def test_every_failure_is_a_miss_and_counted_by_its_kind(error: Exception, counted: str) -> None:
    store = Moody()
    guarded = Guarded(store, Hands())
    store.error = error
    assert await guarded.get(b"k") is None
    guarded.put(b"k", entry())
    guarded.delete(b"l")
    await idle(guarded)
    stats = guarded.stats()
    assert {"down": stats.down, "slow": stats.slow, "corrupt": stats.corrupt} == {
        "down": 0, "slow": 0, "corrupt": 0, counted: 3,
    }  # fmt: skip
    assert stats.last_error


async def test_a_slow_store_is_a_miss_in_time_and_its_answer_comes_to_its_end() -> None:
    store = Moody()
    guarded = Guarded(store, SystemClock(), QUICK)
    store.open.clear()
    async with asyncio.timeout(5):
        assert await guarded.get(b"k") is None
    assert guarded.stats().slow == 1 and store.finished == 0
    store.open.set()
    await idle(guarded)
    # Not cancelled, and counted once.
    assert store.finished == 1 and guarded.stats().slow == 1


async def test_who_leaves_leaves_the_operation_to_its_end_and_to_the_counts() -> None:
    store, told = Moody(), list[Result]()
    guarded = Guarded(store, SystemClock(), watch=lambda name, result, seconds: told.append(result))
    store.open.clear()
    asking = asyncio.create_task(guarded.get(b"k"))
    while not store.asked:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    store.open.set()
    await idle(guarded)
    assert store.finished == 1 and told == [Result.MISS]


async def test_a_store_that_is_down_is_asked_once_per_rest_only() -> None:
    store, clock = Moody(), Hands()
    guarded = Guarded(store, clock, rest=Rest(failures=5, seconds=1.0))
    store.error = Unavailable("gone")
    for _ in range(100):
        assert await guarded.get(b"k") is None
    assert len(store.asked) == 5 and guarded.stats().skipped == 95 and guarded.stats().resting
    clock.time += 1.0
    for _ in range(100):
        await guarded.get(b"k")
    assert len(store.asked) == 6
    store.error = None
    clock.time += 1.0
    for _ in range(3):
        await guarded.get(b"k")
    assert len(store.asked) == 9 and not guarded.stats().resting


async def test_a_store_that_takes_answers_but_gives_none_is_left_alone_all_the_same() -> None:
    store, clock = Moody(), Hands()
    guarded = Guarded(store, clock, rest=Rest(failures=5, seconds=1.0))
    for number in range(10):
        store.error = Unavailable("reads fail")
        assert await guarded.get(b"k") is None
        store.error = None
        guarded.put(b"%d" % number, entry())
        await until_written(guarded)
    assert store.asked.count("get") == 5
    assert store.asked.count("put") == 10


async def test_corrupt_answers_do_not_make_a_store_rest() -> None:
    store = Moody()
    guarded = Guarded(store, Hands(), rest=Rest(failures=2))
    store.error = Corrupt("bits")
    for _ in range(10):
        await guarded.get(b"k")
    assert len(store.asked) == 10


async def test_puts_beyond_the_queues_bounds_are_dropped_and_counted() -> None:
    store = Moody()
    guarded = Guarded(store, Hands(), Bounds(queued=10, queued_bytes=50_000))
    store.open.clear()
    for number in range(15):
        guarded.put(b"%d" % number, entry(b"x" * 100))
    assert guarded.stats().queued == 10 and guarded.stats().dropped == 5
    # One in place of another of the same key always has its place.
    guarded.put(b"9", entry(b"new"))
    assert guarded.stats().dropped == 5
    for number in range(10):
        guarded.delete(b"%d" % number)
    guarded.put(b"0", entry(b"x" * 30_000))
    guarded.put(b"1", entry(b"x" * 30_000))
    assert guarded.stats().dropped == 6
    store.open.set()
    await idle(guarded)
    assert guarded._queue_bytes == 0


async def test_a_flood_of_gets_that_hang_does_not_pile_up() -> None:
    store = Moody()
    guarded = Guarded(store, SystemClock(), QUICK, rest=patient())
    store.open.clear()
    assert await asyncio.gather(*(guarded.get(b"k") for _ in range(1000))) == [None] * 1000
    assert len(store.asked) < 300
    assert guarded.stats().skipped + guarded.stats().slow == 1000
    store.open.set()
    await idle(guarded)
    assert await guarded.get(b"k") is None and store.asked[-1] == "get"


async def test_closing_writes_what_waits() -> None:
    store = Moody()
    guarded = Guarded(store, Hands())
    for number in range(100):
        guarded.put(b"%d" % number, entry())
    await guarded.close()
    assert len(store.kept) == 100 and store.closed
    guarded.put(b"k", entry())
    assert await guarded.get(b"k") is None and guarded.stats().dropped == 1


async def test_closing_waits_only_so_long_and_counts_what_is_lost() -> None:
    store = Moody()
    guarded = Guarded(store, SystemClock())
    store.open.clear()
    for number in range(100):
        guarded.put(b"%d" % number, entry())
    asking = asyncio.create_task(guarded.get(b"k"))
    await asyncio.sleep(0)
    await guarded.close(limit=0.02)
    assert guarded.stats().dropped == 100 and guarded.stats().last_error == "not closed in time"
    assert await asking is None
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_purge_takes_what_waits_and_what_is_on_its_way() -> None:
    store = Moody()
    guarded = Guarded(store, SystemClock(), Bounds(write_timeout=1.0))
    store.open.clear()
    for number in range(40):
        guarded.put(b"%d" % number, entry(route="a" if number % 2 else "b"))
    await asyncio.sleep(0)
    purging = asyncio.create_task(guarded.purge(Which(route="a")))
    await asyncio.sleep(0)
    assert await guarded.get(b"1") is None and await guarded.get(b"2") is not None
    store.open.set()
    assert await purging >= 20
    await idle(guarded)
    assert not any(one.route == "a" for one in store.kept.values())


@pytest.mark.parametrize("hangs", [False, True])
async def test_who_purges_is_told_of_a_failure(hangs: bool) -> None:
    store = Moody()
    guarded = Guarded(store, SystemClock(), QUICK)
    if hangs:
        store.open.clear()
    else:
        store.error = Unavailable("gone")
    with pytest.raises(Unavailable):
        await guarded.purge(Which())


async def test_what_watches_is_told_of_each_end() -> None:
    store, clock, told = Moody(), Hands(), list[tuple[str, Result, float]]()
    guarded = Guarded(store, clock, watch=lambda *words: told.append(words))
    guarded.put(b"k", entry())
    await idle(guarded)
    await guarded.get(b"k")
    await guarded.get(b"none")
    guarded.delete(b"k")
    await idle(guarded)
    store.error = Corrupt("bits")
    await guarded.get(b"k")
    assert told == [
        ("put", Result.DONE, 0.0), ("get", Result.HIT, 0.0), ("get", Result.MISS, 0.0), ("delete", Result.DONE, 0.0),
        ("get", Result.CORRUPT, 0.0),
    ]  # fmt: skip


async def test_memory_is_asked_without_task_or_timer() -> None:
    guarded, one = Guarded(Memory(Hands()), Hands()), entry()
    before = asyncio.all_tasks()
    guarded.put(b"k", one)
    asking = guarded.get(b"k")
    with pytest.raises(StopIteration) as done:
        asking.send(None)
    assert done.value.value is one and asyncio.all_tasks() == before
    guarded.delete(b"k")
    assert await guarded.get(b"k") is None
    await guarded.close()
