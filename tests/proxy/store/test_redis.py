"""The shared store with a real server: restarts, delays, damage, and two replicas."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis_server import Server, between, needs_redis, redis_server
from sharing import shared, until_idle
from stored import START, Hands, entry, key_of, noise

from seawall.clock import SystemClock
from seawall.store.base import Corrupt, Unavailable, Which
from seawall.store.guarded import Bounds, Guarded
from seawall.store.redis import PREFIX, SharedStore, address
from seawall.store.rest import Rest

pytestmark = needs_redis


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with redis_server() as one:
        yield one


async def said(server: Server, *words: bytes) -> bytes:
    """A server's first words to one command."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
    answer = await reader.read(10_000)
    writer.close()
    return answer


async def test_replicas_share_what_one_of_them_put(server: Server) -> None:
    one = entry(b"data: a\n\n", b"data: b\n\n", stream=True)
    async with shared(address(server.url)) as here, shared(address(server.url)) as there:
        await here.put(b"k", one)
        assert await there.get(b"k") == one
        await there.delete(b"k")
        assert await here.get(b"k") is None


async def test_the_server_lets_go_of_an_answer_when_it_is_of_no_more_use(server: Server) -> None:
    async with shared(address(server.url)) as store:
        await store.put(b"k", entry(fresh=10, keep_seconds=20))
        left = int((await said(server, b"PTTL", PREFIX + b"k"))[1:])
        assert 25_000 < left <= 30_000
        await store.put(b"short", entry(fresh=0.05))
        while await said(server, b"EXISTS", PREFIX + b"short") != b":0\r\n":
            await asyncio.sleep(0.005)


async def test_databases_are_apart(server: Server) -> None:
    async with shared(address(f"{server.url}/1")) as one, shared(address(f"{server.url}/2")) as two:
        await one.put(b"k", entry())
        assert await two.get(b"k") is None
        assert await two.purge(Which()) == 0


async def test_a_purge_finds_thousands_and_leaves_other_peoples_keys(server: Server) -> None:
    async with shared(address(server.url), patience=30.0) as store:
        await said(server, b"SET", b"theirs", b"x")
        await said(server, b"SET", PREFIX + b"rubbish", b"x")
        for start in range(0, 3000, 500):
            puts = (store.put(key_of(n), entry(model="m" * 3000 if n % 2 else "n")) for n in range(start, start + 500))
            await asyncio.gather(*puts)
        assert await store.purge(Which(model="m" * 3000)) == 1500
        assert await store.get(key_of(1)) is None and await store.get(key_of(2)) is not None
        assert await store.purge(Which()) == 1501
        assert await said(server, b"DBSIZE") == b":1\r\n"


async def test_damage_and_rubbish_are_corrupt(server: Server) -> None:
    async with shared(address(server.url)) as store:
        await store.put(b"k", entry(noise(100)))
        await said(server, b"SETRANGE", PREFIX + b"k", b"60", b"zzz")
        with pytest.raises(Corrupt):
            await store.get(b"k")
        await said(server, b"SET", PREFIX + b"k", b"rubbish")
        with pytest.raises(Corrupt):
            await store.get(b"k")
        await said(server, b"DEL", PREFIX + b"k")
        await said(server, b"LPUSH", PREFIX + b"k", b"x")
        with pytest.raises(Unavailable, match="WRONGTYPE"):
            await store.get(b"k")
        await store.put(b"k", entry())
        assert await store.get(b"k") is not None


async def test_one_copied_to_another_key_is_not_served(server: Server) -> None:
    async with shared(address(server.url)) as store:
        await store.put(b"tenant a", entry())
        await said(server, b"COPY", PREFIX + b"tenant a", PREFIX + b"tenant b")
        with pytest.raises(Corrupt):
            await store.get(b"tenant b")


async def test_one_too_large_is_not_kept_and_nor_is_what_it_replaces(server: Server) -> None:
    async with shared(address(server.url)) as store:
        await store.put(b"k", entry(b"old"))
        await store.put(b"k", entry(noise(9 * 2**20)))
        assert await store.get(b"k") is None and store.stats().refused == 1


async def test_a_full_server_refuses_and_says_why(server: Server) -> None:
    async with shared(address(server.url)) as store:
        await said(server, b"CONFIG", b"SET", b"maxmemory", b"1")
        with pytest.raises(Unavailable, match="maxmemory"):
            await store.put(b"k", entry())
        assert await store.get(b"k") is None


# Servers that go, and come back


async def test_a_server_that_was_restarted_is_used_again_at_once(server: Server) -> None:
    async with shared(address(server.url)) as store:
        await asyncio.gather(*(store.put(key_of(n), entry()) for n in range(50)))
        await server.stop()
        with pytest.raises(Unavailable):
            await store.get(key_of(1))
        await server.start()
        # Its connections are all dead; none of them costs a call its answer.
        assert await asyncio.gather(*(store.get(key_of(n)) for n in range(50))) == [None] * 50
        await store.put(b"k", entry())
        assert await store.get(b"k") is not None


async def test_no_call_fails_while_the_server_is_stopped_and_started_under_load(server: Server) -> None:
    store = SharedStore(address(server.url), SystemClock())
    # Patient, since this is not about a busy machine.
    guarded = Guarded(store, SystemClock(), Bounds(timeout=2.0), rest=Rest(failures=5, seconds=0.05))
    now, stopping = SystemClock.wall(), asyncio.Event()
    hits = [0, 0, 0]
    phase = 0

    async def call(number: int) -> None:
        while not stopping.is_set():
            key = key_of(number % 10)
            found = await guarded.get(key)
            if found is None:
                guarded.put(key, entry(b"%d" % (number % 10), at=now))
            else:
                assert found.pieces == (b"%d" % (number % 10),)
                hits[phase] += 1
            await asyncio.sleep(0.001)

    calls = [asyncio.create_task(call(number)) for number in range(30)]

    async def some(more: int) -> None:
        async with asyncio.timeout(20):
            while hits[phase] < more:
                await asyncio.sleep(0.002)

    await some(100)
    await server.stop()
    async with asyncio.timeout(20):
        while not guarded.stats().resting:
            await asyncio.sleep(0.002)
    phase = 1
    await asyncio.sleep(0.1)
    await server.start()
    async with asyncio.timeout(20):
        while guarded.stats().resting:
            await asyncio.sleep(0.002)
    phase = 2
    await some(100)
    stopping.set()
    await asyncio.gather(*calls)
    assert guarded.stats().down >= 5 and not guarded.stats().resting
    await guarded.close()


async def test_a_slow_server_is_a_miss_in_time_and_its_connections_stay(server: Server) -> None:
    async with between(server) as middle:
        store = SharedStore(address(f"redis://127.0.0.1:{middle.port}"), SystemClock(), patience=10.0)
        guarded = Guarded(store, SystemClock(), Bounds(timeout=0.02), rest=Rest(failures=1000))
        now = SystemClock.wall()
        for number in range(8):
            guarded.put(key_of(number), entry(b"%d" % number, at=now))
        await until_idle(guarded)
        connections = middle.connections
        middle.hold()
        assert [await guarded.get(key_of(number)) for number in range(8)] == [None] * 8
        assert guarded.stats().slow == 8
        held = middle.connections
        middle.go_on()
        await until_idle(guarded)
        # Each answer still goes to its own question, and no connection was lost.
        found = await asyncio.gather(*(store.get(key_of(number)) for number in range(8)))
        assert [one and one.pieces for one in found] == [(b"%d" % number,) for number in range(8)]
        assert connections <= 8 and middle.connections == held
        await guarded.close()


async def test_gets_that_are_cancelled_leave_answers_to_those_who_asked(server: Server) -> None:
    """Straight at the store, without the guard: a cancelled command's answer must never go to the next one."""
    async with between(server) as middle, shared(address(f"redis://127.0.0.1:{middle.port}")) as store:
        await asyncio.gather(*(store.put(key_of(n), entry(b"%d" % n)) for n in range(20)))
        for turn in range(10):
            middle.hold()
            asking = [asyncio.create_task(store.get(key_of(n))) for n in range(20)]
            await asyncio.sleep(0.001 * turn)
            for one in asking[turn % 3 :: 3]:
                one.cancel()
            middle.go_on()
            for number, found in enumerate(await asyncio.gather(*asking, return_exceptions=True)):
                if not isinstance(found, asyncio.CancelledError):
                    assert found == entry(b"%d" % number)
        assert await asyncio.gather(*(store.get(key_of(n)) for n in range(20))) == [
            entry(b"%d" % number) for number in range(20)
        ]


async def test_no_command_waits_longer_than_its_patience_and_connections_are_bounded(server: Server) -> None:
    async with between(server) as middle:
        where = address(f"redis://127.0.0.1:{middle.port}")
        async with shared(where, patience=0.1, connections=4) as store:
            middle.hold()
            results = await asyncio.gather(*(store.get(key_of(n)) for n in range(40)), return_exceptions=True)
            assert all(isinstance(result, Unavailable) for result in results)
            assert "no answer within 0.1 s" in str(results[0])
            # One that is given up may still be closing when the next one comes.
            assert middle.most_open <= 8
            middle.go_on()
            assert await store.get(b"k") is None


async def test_a_server_that_speaks_something_else_is_unavailable() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    web = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with web, shared(address(f"redis://127.0.0.1:{web.sockets[0].getsockname()[1]}")) as store:
        with pytest.raises(Unavailable):
            await store.get(b"k")


async def test_an_outlived_answer_is_a_miss_by_our_own_clock_too(server: Server) -> None:
    clock = Hands()
    store = SharedStore(address(server.url), clock)
    await store.put(b"k", entry(fresh=10))
    clock.time = START + 10
    assert await store.get(b"k") is None
    await store.close()
