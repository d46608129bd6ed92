"""The ingress over real sockets: what it takes, what it refuses, how it frames, and that nothing hangs or is left."""

import asyncio
import json
import re
import socket
import struct
from dataclasses import dataclass, field

import pytest
from ambiguous import BAD_CHUNKS, BAD_FRAMING, BAD_START
from listening import ingress

from seawall.faults import Refusal
from seawall.server.exchange import Exchange
from seawall.server.limits import Limits
from seawall.server.listener import Server
from seawall.types import Head, Headers

HOST = b"host: a\r\n"


@dataclass
class Seen:
    """What a handler that reads the whole body got."""

    heads: list[Head] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    trailers: list[Headers] = field(default_factory=list)
    broken: int = 0

    async def __call__(self, exchange: Exchange) -> None:
        self.heads.append(exchange.head)
        body = b""
        try:
            while data := await exchange.body.read():
                body += data
        except (asyncio.CancelledError, Refusal):
            self.broken += 1
            raise
        self.bodies.append(body)
        self.trailers.append(list(exchange.trailers))
        exchange.start(200, [(b"content-length", b"%d" % len(body))])
        exchange.write(body)
        exchange.end()


async def say(server: Server, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Everything that comes back until the server closes; after 2 seconds that is an error."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answer = b""
    try:
        async with asyncio.timeout(2):
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    if pause:
                        await asyncio.sleep(pause)
                while data := await reader.read(65536):
                    answer += data
            except ConnectionError:
                pass
    finally:
        writer.transport.abort()
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", answer)]


@pytest.mark.parametrize("rest", BAD_FRAMING)
async def test_ambiguous_framing_is_refused(rest: bytes) -> None:
    seen = Seen()
    async with ingress(seen) as server:
        smuggled = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        answer = await say(server, b"POST /x HTTP/1.1\r\n" + HOST + rest + smuggled)
        assert statuses(answer) == [400]
        assert b"connection: close" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["seawall"]["code"] == "BAD_REQUEST"
        assert seen.bodies == []


@pytest.mark.parametrize("rest", BAD_CHUNKS)
@pytest.mark.parametrize("split", [False, True])
async def test_bad_chunking_is_refused_and_ends_the_call(rest: bytes, split: bool) -> None:
    seen = Seen()
    async with ingress(seen) as server:
        head = b"POST /x HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n"
        answer = await say(server, head, rest, pause=0.01) if split else await say(server, head + rest)
        assert statuses(answer) == [400]
        assert seen.bodies == []
        assert seen.broken == len(seen.heads)


@pytest.mark.parametrize("data", BAD_START)
async def test_what_is_no_http_1_request_is_refused(data: bytes) -> None:
    seen = Seen()
    async with ingress(seen) as server:
        assert statuses(await say(server, data)) == [400]
        assert seen.heads == []


async def test_a_broken_request_does_not_cut_the_answers_before_it() -> None:
    go = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await go.wait()
        exchange.start(200, [(b"content-length", b"2")])
        exchange.write(b"ok")
        exchange.end()

    async with ingress(slow) as server:
        asyncio.get_running_loop().call_later(0.05, go.set)
        first = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"
        answer = await say(server, first + first + b"BROKEN\r\n\r\n")
        assert statuses(answer) == [200, 200, 400]


CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
FLOODS = [
    (b"GET /", b"x"),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"x"),
    (b"GET / HTTP/1.1\r\nhost: a\r\n", b"x"),
    (b"GET / HTTP/1.1\r\nhost: a\r\n", b"x: y\r\n"),
    (CHUNKED, b"0"),
    (CHUNKED + b"5;", b"x"),
    (CHUNKED + b"0\r\nx: ", b"x"),
    (CHUNKED + b"0\r\n", b"x: y\r\n"),
]


@pytest.mark.parametrize(("start", "more"), FLOODS)
@pytest.mark.parametrize("size", [60000, 120])
async def test_an_endless_head_line_or_trailer_is_refused(start: bytes, more: bytes, size: int) -> None:
    async with ingress(Seen(), Limits(head=2000, fields=1000)) as server:
        pieces = [more * (size // len(more))] * 30
        assert statuses(await say(server, start, *pieces, pause=0.002)) == [431]


async def test_a_head_that_comes_byte_by_byte_has_its_time_and_no_more() -> None:
    async with ingress(Seen(), Limits(head_timeout=0.2, sweep=0.02)) as server:
        started = asyncio.get_running_loop().time()
        data = b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 100
        assert statuses(await say(server, *[b"%c" % b for b in data], pause=0.02)) in ([], [408])
        assert 0.15 < asyncio.get_running_loop().time() - started < 1.0


async def test_an_idle_connection_is_closed() -> None:
    async with ingress(Seen(), Limits(keep_alive=0.1, sweep=0.02)) as server:
        assert await say(server) == b""
        assert statuses(await say(server, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")) == [200]


async def test_an_agent_that_stops_in_the_middle_of_its_body_is_dropped() -> None:
    seen = Seen()
    async with ingress(seen, Limits(body_idle=0.1, sweep=0.02)) as server:
        await say(server, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel")
        assert (len(seen.heads), seen.bodies, seen.broken) == (1, [], 1)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_agent_that_leaves_while_its_body_is_not_read_is_noticed(how: str) -> None:
    gone = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            gone.set()
            raise

    async with ingress(handle, Limits(sweep=0.02)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(CHUNKED + b"100000\r\n" + b"x" * 0x100000)
        # So much of it stays with the kernel that its end would never be read.
        await asyncio.sleep(0.05)
        if how == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        async with asyncio.timeout(1):
            await gone.wait()


async def test_an_agent_whose_body_is_not_read_is_not_taken_for_silent() -> None:
    async def handle(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        size = 0
        while data := await exchange.body.read():
            size += len(data)
        exchange.start(200, [])
        exchange.write(b"%d" % size)
        exchange.end()

    async with ingress(handle, Limits(body_idle=0.1, sweep=0.02)) as server:
        body = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        answer = await say(
            server, CHUNKED.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), body * 40, b"0\r\n\r\n"
        )
        assert statuses(answer) == [200]
        assert b"%d" % (0x10000 * 40) in answer


async def test_pipelined_requests_are_answered_in_order() -> None:
    seen = Seen()
    async with ingress(seen) as server:
        data = (
            b"".join(b"POST /%d HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n%02d" % (n, n) for n in range(20))
            + b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        )
        answer = await say(server, data)
        assert statuses(answer) == [200] * 21
        assert seen.bodies == [b"%02d" % n for n in range(20)] + [b""]
        assert [head.target for head in seen.heads] == [f"/{n}" for n in range(20)] + ["/last"]


async def test_too_many_pipelined_requests_are_refused() -> None:
    async with ingress(Seen(), Limits(pipelined=3)) as server:
        answer = await say(server, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 10)
        assert statuses(answer) == [200] * 4 + [400]


async def test_any_split_of_the_bytes_gives_the_same_requests() -> None:
    data = (
        b"POST /a HTTP/1.1\r\nHost: a\r\nX-Y: 1\r\nx-y: \xff\xfe\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n"
        b"POST /b HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nxyz"
    )
    seen = Seen()
    async with ingress(seen) as server:
        for at in range(1, len(data), 7):
            answer = await say(server, data[:at], data[at:], pause=0.001)
            assert statuses(answer) == [200, 200]
    assert seen.bodies == [b"abcde", b"xyz"] * (len(seen.bodies) // 2)
    assert seen.heads[0].headers == [
        (b"Host", b"a"), (b"X-Y", b"1"), (b"x-y", b"\xff\xfe"), (b"transfer-encoding", b"chunked"),
    ]  # fmt: skip
    assert seen.trailers[0] == [(b"T", b"u")]
