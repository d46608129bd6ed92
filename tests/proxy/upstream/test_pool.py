"""Reuse of connections: which one is taken, when none may be, and that none is lost, whatever goes wrong on the way."""

import asyncio
import socket
import ssl

import pytest
import trustme
from exchanges import HOST, OK, SECOND, Pieces, ask, outcome, then
from leftovers import gone, sockets
from peers import blackhole, closed_port, request_head, serving

from seawall.clock import SystemClock
from seawall.faults import Code, Fault
from seawall.upstream.connect import Endpoint
from seawall.upstream.exchange import Exchange
from seawall.upstream.pool import FRESH_SECONDS, IDLE_SECONDS, Pool, Request


class Clock(SystemClock):
    """The system's, and then some."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return SystemClock.now() + self.ahead


async def test_a_connection_serves_one_exchange_after_the_other(pool: Pool) -> None:
    async with serving(then(*[SECOND] * 5)) as port:
        for _ in range(5):
            assert await outcome(await ask(pool, port)) == (200, b"second")
        assert pool.connections == 1


async def test_exchanges_at_the_same_time_have_connections_of_their_own(pool: Pool) -> None:
    async with serving(then(SECOND, SECOND)) as port:
        exchanges = await asyncio.gather(*[ask(pool, port) for _ in range(5)])
        assert [await outcome(e) for e in exchanges] == [(200, b"second")] * 5
        assert pool.connections == 5


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b"HTTP/1.0 200 OK\r\n"])
async def test_a_connection_that_the_upstream_will_close_is_not_kept(pool: Pool, answer: bytes) -> None:
    async with serving(then(answer + b"content-length: 2\r\n\r\nok")) as port:
        assert await outcome(await ask(pool, port)) == (200, b"ok")
        assert pool.connections == 0
        await gone(port)


async def test_a_connection_that_the_upstream_closed_is_not_taken(pool: Pool) -> None:
    close = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(SECOND)
        await close.wait()

    async with serving(handle) as port:
        assert await outcome(await ask(pool, port)) == (200, b"second")
        close.set()
        await gone(port)
        assert await outcome(await ask(pool, port)) == (200, b"second")


async def test_a_connection_that_is_closed_as_it_is_reused_is_a_fault_of_its_own(pool: Pool) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(SECOND)
        await request_head(reader)

    async with serving(handle) as port:
        assert await outcome(await ask(pool, port)) == (200, b"second")
        fault = await outcome(await ask(pool, port))
        assert isinstance(fault, Fault)
        assert fault.code is Code.STALE_CONNECTION


async def test_what_must_not_be_sent_twice_takes_no_connection_that_was_idle_for_long() -> None:
    clock = Clock()
    pool = Pool(clock)
    async with serving(then(SECOND, SECOND, SECOND)) as port:
        await outcome(await ask(pool, port))
        clock.ahead = FRESH_SECONDS + 1
        await outcome(await ask(pool, port, Request("POST", "/", HOST, fresh=True)))
        assert pool.connections == 2
        await outcome(await ask(pool, port))
        assert pool.connections == 2
        clock.ahead += IDLE_SECONDS + 1
        await outcome(await ask(pool, port))
        assert pool.connections == 3
        pool._sweep()
        assert pool.connections == 1
        await pool.close()
        await gone(port)


async def test_a_connection_whose_reading_paused_at_the_end_of_an_answer_can_be_used_again(pool: Pool) -> None:
    large = OK + b"content-length: 300000\r\n\r\n" + b"x" * 300000
    async with serving(then(large, large, SECOND)) as port:
        for _ in range(2):
            exchange = await ask(pool, port)
            await exchange.head()
            # The agent is slow: everything arrives before anything is read.
            await asyncio.sleep(0.05)
            assert await outcome(exchange) == (200, b"x" * 300000)
        assert await outcome(await ask(pool, port), 1.0) == (200, b"second")
        assert pool.connections == 1


async def test_reading_pauses_while_nobody_takes_the_answer(pool: Pool) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request_head(reader)
        writer.write(OK + b"\r\n")
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with serving(endless) as port:
        exchange = await ask(pool, port)
        await exchange.head()
        await asyncio.sleep(0.2)
        assert exchange._size < 1_000_000
        before = sent
        await asyncio.sleep(0.05)
        assert sent == before
        exchange.close()
        await gone(port)


async def test_an_upload_waits_for_an_upstream_that_reads_slowly(pool: Pool) -> None:
    body = Pieces([b"x" * 100_000] * 1000)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as a write transport
        await asyncio.sleep(5)

    async with serving(slow) as port:
        request = Request("POST", "/", [*HOST, (b"content-length", b"100000000")], body)
        exchange = await ask(pool, port, request)
        await asyncio.sleep(0.2)
        left = len(body.left)
        assert left > 800
        await asyncio.sleep(0.05)
        assert len(body.left) == left
        exchange.close()
        await gone(port)


async def test_a_deadline_ends_the_exchange_and_its_connection(pool: Pool) -> None:
    async with serving(then()) as port:
        exchange = await ask(pool, port)
        exchange.expect_by(SystemClock.now() + 0.05, Code.TIMEOUT_FIRST_BYTE)
        fault = await outcome(exchange, 1.0)
        assert isinstance(fault, Fault)
        assert fault.code is Code.TIMEOUT_FIRST_BYTE
        await gone(port)


@pytest.mark.parametrize("stage", ["head", "body", "upload"])
async def test_giving_an_exchange_up_closes_its_connection_at_once(pool: Pool, stage: str) -> None:
    async with serving(then(OK + b"content-length: 9\r\n\r\nhello" if stage == "body" else b"")) as port:
        upload = Request("POST", "/", [*HOST, (b"content-length", b"9")], Pieces([b"hello"], hang=True))
        exchange = await ask(pool, port, upload if stage == "upload" else None)
        if stage == "body":
            assert await exchange.head() is None
        await asyncio.sleep(0.01)
        exchange.close()
        assert pool.connections == 0
        await gone(port)


async def test_no_socket_is_left_of_a_connection_that_could_not_be_opened(pool: Pool) -> None:
    before = sockets()
    context = ssl.create_default_context()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await asyncio.sleep(5)

    async def wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Plain\r\n\r\n")

    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    with blackhole() as hole:
        async with serving(mute) as silent, serving(wrong) as plain, serving(mute, server) as untrusted:
            cases = [
                (Endpoint("127.0.0.1", closed_port()), Code.CONNECT_FAILED),
                (Endpoint("127.0.0.1", hole), Code.CONNECT_TIMEOUT),
                (Endpoint("127.0.0.1", silent, context), Code.CONNECT_TIMEOUT),
                (Endpoint("127.0.0.1", plain, context), Code.TLS_FAILED),
                (Endpoint("127.0.0.1", untrusted, context), Code.TLS_FAILED),
                (Endpoint("127.0.0.1", 443, context, proxy=f"http://127.0.0.1:{silent}"), Code.CONNECT_TIMEOUT),
                (Endpoint("127.0.0.1", 443, context, proxy=f"http://127.0.0.1:{plain}"), Code.CONNECT_FAILED),
                (Endpoint("name.invalid", 80), Code.DNS_FAILED),
            ]
            for endpoint, code in cases:
                fault = await pool.send(endpoint, Request("GET", "/", HOST), 0.2)
                assert isinstance(fault, Fault), endpoint
                assert fault.code is code, (endpoint, fault)
            assert pool.connections == 0
            for endpoint in (cases[1][0], cases[2][0], cases[5][0]):
                sending = asyncio.create_task(pool.send(endpoint, Request("GET", "/", HOST), 5.0))
                await asyncio.sleep(0.02)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
            for endpoint in (cases[2][0], cases[5][0]):
                await gone(endpoint.port if endpoint.proxy is None else silent)
    async with asyncio.timeout(2):
        while sockets() > before:
            await asyncio.sleep(0.01)


async def test_exchanges_over_tls_end_and_are_reused_as_without(pool: Pool) -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    cut = OK + b"content-length: 9\r\n\r\nhello"
    async with serving(then(SECOND, SECOND, cut), server) as port:
        endpoint = Endpoint("127.0.0.1", port, client)
        for expected in (SECOND, SECOND, cut):
            exchange = await pool.send(endpoint, Request("GET", "/", HOST), 2.0)
            assert isinstance(exchange, Exchange)
            if expected is SECOND:
                assert await outcome(exchange) == (200, b"second")
        assert pool.connections == 1
        assert isinstance(exchange, Exchange)
        assert await exchange.head() is None
        exchange.close()
        assert pool.connections == 0
        await gone(port)


async def test_closing_the_pool_closes_what_is_in_use_and_takes_nothing_back(pool: Pool) -> None:
    async with serving(then(SECOND)) as port, serving(then()) as silent:
        await outcome(await ask(pool, port))
        waiting = await ask(pool, silent)
        await pool.close()
        fault = await outcome(waiting)
        assert isinstance(fault, Fault)
        assert fault.code is Code.CONNECTION_LOST
        await gone(port)
        await gone(silent)


def test_sockets_are_counted() -> None:
    before = sockets()
    with socket.socket():
        assert sockets() == before + 1
