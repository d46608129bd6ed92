"""One connection to an upstream over real sockets: what answers it takes, how it ends those that are broken, and that
the next exchange never gets a byte of the last one."""

import asyncio
import socket

import pytest
from exchanges import CHUNKED, HOST, OK, SECOND, Pieces, ask, outcome, then
from leftovers import gone
from peers import always, request_head, serving

from seawall.faults import Code, Fault
from seawall.upstream.pool import Pool, Request

NOT_HTTP = [
    b"garbage\r\n\r\n",
    b"\x16\x03\x01\x00\x01",
    b"ICY 200 OK\r\n\r\n",
    b"HTTP/1.1 99 X\r\n\r\n",
    b"HTTP/1.1 099 X\r\n\r\n",
    b"HTTP/1.1 2000 X\r\n\r\n",
    b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello",
    OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"content-length: +5\r\n\r\nhello",
    OK + b"content-length: 99999999999999999999\r\n\r\nhello",
    OK + b"content-length : 5\r\n\r\nhello",
    OK + b"x: a\ncontent-length: 5\r\n\r\nhello",
    OK + b"transfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"transfer-encoding: gzip\r\n\r\nhello",
    OK + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("answer", NOT_HTTP)
async def test_an_answer_that_is_not_valid_http_is_a_protocol_error(pool: Pool, answer: bytes) -> None:
    async with serving(then(answer)) as port:
        fault = await outcome(await ask(pool, port))
        assert isinstance(fault, Fault), fault
        assert fault.code is Code.PROTOCOL_ERROR
        assert pool.connections == 0


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 ", b"x" * 10000),
        (OK + b"x: ", b"x" * 10000),
        (OK, b"x: y\r\n" * 1000),
        (OK, b"x" * 10000),
        (b"", b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 10),
        (CHUNKED, b"0" * 10000),
        (CHUNKED + b"5;", b"x" * 10000),
        (CHUNKED + b"0\r\n", b"x: y\r\n" * 1000),
        (CHUNKED + b"0\r\nx: ", b"x" * 10000),
    ],
)
async def test_what_never_ends_is_cut(pool: Pool, start: bytes, more: bytes) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(start)
        while True:
            writer.write(more)
            await writer.drain()

    async with serving(endless) as port:
        fault = await outcome(await ask(pool, port))
        assert isinstance(fault, Fault)
        assert fault.code is (Code.TRUNCATED if start.startswith(CHUNKED) else Code.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", Code.CONNECTION_LOST),
        (b"HTTP/1.1 200", Code.CONNECTION_LOST),
        (OK + b"content-length: 5\r\n", Code.CONNECTION_LOST),
        (b"HTTP/1.1 103 Early\r\n\r\n", Code.CONNECTION_LOST),
        (OK + b"content-length: 5\r\n\r\nhell", Code.TRUNCATED),
        (CHUNKED + b"5\r\nhello\r\n", Code.TRUNCATED),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", Code.TRUNCATED),
        (CHUNKED + b"5\r\nhelloX", Code.TRUNCATED),
        (CHUNKED + b"0x5\r\nhello", Code.TRUNCATED),
    ],
)
async def test_an_answer_that_is_cut_is_never_whole(pool: Pool, answer: bytes, code: Code) -> None:
    async with serving(always(answer)) as port:
        fault = await outcome(await ask(pool, port))
        assert isinstance(fault, Fault)
        assert fault.code is code


async def test_an_answer_without_length_ends_with_a_close_but_not_with_a_reset(pool: Pool) -> None:
    async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(OK + b"\r\nhello")
        await asyncio.sleep(0.02)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with serving(always(OK + b"\r\nhello")) as port:
        assert await outcome(await ask(pool, port)) == (200, b"hello")
    async with serving(resetting) as port:
        fault = await outcome(await ask(pool, port))
        assert isinstance(fault, Fault)
        assert fault.code is Code.TRUNCATED


async def test_control_characters_in_values_and_the_reason_are_passed_on(pool: Pool) -> None:
    async with serving(then(b"HTTP/1.1 200 \xff\x01\r\nX: a\x01\x7f\xfe\r\nx: \r\ncontent-length: 0\r\n\r\n")) as port:
        exchange = await ask(pool, port)
        assert await outcome(exchange) == (200, b"")
        assert exchange.reason == b"\xff\x01"
        assert exchange.headers[:2] == [(b"X", b"a\x01\x7f\xfe"), (b"x", b"")]


@pytest.mark.parametrize(
    ("method", "status", "framing"),
    [
        ("HEAD", 200, b"content-length: 5"),
        ("HEAD", 200, b"transfer-encoding: chunked"),
        ("GET", 204, b"x: y"),
        ("GET", 304, b"content-length: 5"),
    ],
)
async def test_an_answer_without_body_ends_with_its_head(pool: Pool, method: str, status: int, framing: bytes) -> None:
    async with serving(then(b"HTTP/1.1 %d X\r\n%b\r\n\r\n" % (status, framing), SECOND)) as port:
        assert await outcome(await ask(pool, port, Request(method, "/", HOST))) == (status, b"")
        assert await outcome(await ask(pool, port)) == (200, b"second")
        assert pool.connections == 1


async def test_interim_answers_are_told_but_not_100(pool: Pool) -> None:
    interims: list[int] = []
    answer = b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 102 P\r\ncontent-length: 3\r\n\r\n"
    async with serving(then(answer + SECOND)) as port:
        assert await outcome(await ask(pool, port, interims=interims)) == (200, b"second")
        assert interims == [103, 102]


async def test_trailers_are_kept_apart_from_fields(pool: Pool) -> None:
    async with serving(then(CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: 9\r\n\r\n", SECOND)) as port:
        exchange = await ask(pool, port)
        assert await outcome(exchange) == (200, b"hi")
        assert exchange.trailers == [(b"X-Sum", b"9")]
        assert await outcome(await ask(pool, port)) == (200, b"second")


POISON = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"


@pytest.mark.parametrize("pause", [0.0, 0.02])
@pytest.mark.parametrize("more", [POISON, POISON[:20], b"X", b"\x00", b"5\r\nhello\r\n0\r\n\r\n", b"\r\nX"])
@pytest.mark.parametrize(
    ("method", "first"),
    [("GET", OK + b"content-length: 2\r\n\r\nhi"), ("GET", CHUNKED + b"2\r\nhi\r\n0\r\n\r\n"),
     ("GET", OK[:9] + b"204 X\r\n\r\n"), ("HEAD", OK + b"content-length: 2\r\n\r\n"), ("HEAD", CHUNKED),
     ("HEAD", OK + b"\r\n")],
)  # fmt: skip
async def test_bytes_that_nobody_asked_for_reach_no_other_exchange(
    pool: Pool, method: str, first: bytes, more: bytes, pause: float
) -> None:
    bar = b"|" if pause else b""
    async with serving(then(first + bar + more, SECOND, pause=pause)) as port, serving(then(SECOND)) as _:
        assert (await outcome(await ask(pool, port, Request(method, "/", HOST)))) in (
            (200, b"hi"),
            (204, b""),
            (200, b""),
        )
        async with asyncio.timeout(2):
            while pool.connections:
                await asyncio.sleep(0.005)


async def test_an_upstream_that_speaks_first_breaks_nothing(pool: Pool) -> None:
    async def eager(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example.com ESMTP\r\n")
        await reader.read()

    async with serving(eager) as port:
        for _ in range(20):
            fault = await outcome(await ask(pool, port))
            assert isinstance(fault, Fault)
            assert fault.code in (Code.PROTOCOL_ERROR, Code.CONNECTION_LOST)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("keep", [True, False])
async def test_an_early_answer_is_heard_and_an_upstream_that_reads_no_more_is_left(
    pool: Pool, streamed: bool, keep: bool
) -> None:
    left = asyncio.Event()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Big\r\ncontent-length: 3\r\n\r\nbig")
        if keep:
            # Reads nothing more and does not close: a close of ours would wait for it for ever.
            while not writer.transport.is_closing():
                await asyncio.sleep(0.01)
            left.set()

    body = Pieces([b"x" * 100_000] * 200) if streamed else b"x" * 20_000_000
    request = Request("POST", "/", [*HOST, (b"content-length", b"20000000")], body)
    async with serving(early) as port:
        assert await outcome(await ask(pool, port, request)) == (413, b"big")
        assert pool.connections == 0
        await gone(port)
