"""How answers are framed, and what an agent's way of asking and leaving does to its call."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from listening import ingress

from seawall.server.exchange import Exchange
from seawall.server.http1 import Handler
from seawall.server.limits import Limits
from seawall.server.listener import Server, serve
from seawall.types import Headers

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


@asynccontextmanager
async def agent(server: Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(3):
            yield reader, writer
    finally:
        writer.transport.abort()


async def say(server: Server, *pieces: bytes) -> bytes:
    async with agent(server) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        return await reader.read(-1)


def answering(status: int, headers: Headers, *pieces: bytes, trailers: Headers | None = None) -> Handler:
    async def handle(exchange: Exchange) -> None:
        exchange.start(status, headers, reason=b"Why not")
        for piece in pieces:
            exchange.write(piece)
            await asyncio.sleep(0)
        exchange.end(trailers)

    return handle


async def take(exchange: Exchange) -> int:
    size = 0
    while data := await exchange.body.read():
        size += len(data)
    return size


async def test_reason_case_order_and_duplicates_of_fields_are_kept() -> None:
    fields = [
        (b"X-B", b"1"),
        (b"x-b", b"2"),
        (b"Set-Cookie", b"a"),
        (b"set-cookie", b"\xff"),
        (b"Content-Length", b"2"),
    ]
    async with ingress(answering(299, fields, b"ok")) as server:
        answer = await say(server, LAST)
        assert answer == (
            b"HTTP/1.1 299 Why not\r\nX-B: 1\r\nx-b: 2\r\nSet-Cookie: a\r\nset-cookie: \xff\r\nContent-Length: 2\r\n"
            b"connection: close\r\n\r\nok"
        )


async def test_an_answer_without_length_is_chunked_and_carries_trailers() -> None:
    trailers = [(b"X-Sum", b"9"), (b"content-length", b"4"), (b"Host", b"b"), (b"Transfer-Encoding", b"gzip")]
    async with ingress(answering(200, [], b"ab", b"cde", trailers=trailers)) as server:
        head, _, body = (await say(server, LAST)).partition(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        # What frames, routes or belongs to one hop never travels as a trailer (RFC 9110 §6.5.1).
        assert body == b"2\r\nab\r\n3\r\ncde\r\n0\r\nX-Sum: 9\r\n\r\n"


async def test_an_http_1_0_agent_gets_no_chunks_and_the_connections_end() -> None:
    async with ingress(answering(200, [], b"ab", b"cde")) as server:
        head, _, body = (await say(server, b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head and b"connection: close" in head
        assert body == b"abcde"


async def test_an_http_1_0_agent_may_keep_its_connection() -> None:
    async with ingress(answering(200, [(b"content-length", b"2")], b"ok")) as server:
        answer = await say(server, b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n" + b"GET / HTTP/1.0\r\n\r\n")
        assert answer.count(b"ok") == 2
        assert b"connection: keep-alive" in answer


@pytest.mark.parametrize(
    ("method", "status", "length"), [("HEAD", 200, b"5"), ("HEAD", 404, b"5"), ("GET", 304, b"5"), ("GET", 204, b"0")]
)
async def test_an_answer_without_body_keeps_its_length_and_the_connection(
    method: str, status: int, length: bytes
) -> None:
    # An error of our own writes its body without looking at the method.
    async with ingress(answering(status, [(b"content-length", length)], b"hello")) as server:
        data = f"{method} / HTTP/1.1\r\nhost: a\r\n\r\n".encode()
        last = data.replace(b"host", b"connection: close\r\nhost")
        first, second, rest = (await say(server, data + last)).split(b"\r\n\r\n")
        assert first == b"HTTP/1.1 %d Why not\r\ncontent-length: %b" % (status, length)
        assert second == first + b"\r\nconnection: close"
        assert rest == b""


@pytest.mark.parametrize("pieces", [[b"abc"], [b"abc", b"defg"]])
async def test_an_answer_that_is_not_as_long_as_announced_is_cut(pieces: list[bytes]) -> None:
    async with ingress(answering(200, [(b"content-length", b"5")], *pieces)) as server:
        head, _, body = (await say(server, GET + GET)).partition(b"\r\n\r\n")
        assert b"content-length: 5" in head
        assert body == b"abc"


async def test_a_handler_that_fails_is_answered_for_and_cuts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(exchange: Exchange) -> None:
        raise ValueError("bug")

    async with ingress(handle) as server:
        answer = await say(server, GET)
        assert answer.startswith(b"HTTP/1.1 500")
        assert b"connection: close" in answer
    assert "a bug" in caplog.text


async def test_100_continue_is_sent_when_the_body_is_wanted_and_once() -> None:
    async def handle(exchange: Exchange) -> None:
        await asyncio.sleep(0.02)
        exchange.start(200, [(b"content-length", b"1")])
        exchange.write(b"%d" % await take(exchange))
        exchange.end()

    for field in (b"expect: 100-continue\r\n", b"Expect: 100-Continue \r\n"):
        async with ingress(handle) as server, agent(server) as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n" + field + b"\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"he")
            writer.write(b"llo")
            assert (await reader.readuntil(b"5")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_100_continue_is_sent_neither_without_need_nor_to_http_1_0(version: str) -> None:
    async def handle(exchange: Exchange) -> None:
        await take(exchange)
        exchange.start(200, [(b"content-length", b"0")])
        exchange.end()

    async with ingress(handle) as server, agent(server) as (reader, writer):
        body = b"hello" if version == "1.1" else b""
        head = f"POST / HTTP/{version}\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n".encode()
        writer.write(head + body)
        await asyncio.sleep(0.02)
        writer.write(b"hello"[len(body) :])
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_refusal_before_the_body_says_so_without_100_and_closes() -> None:
    async with ingress(answering(413, [(b"content-length", b"3")], b"big")) as server:
        answer = await say(server, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer and answer.endswith(b"big")


async def test_an_early_answer_reaches_an_agent_that_still_sends() -> None:
    async with ingress(answering(413, [(b"content-length", b"3")], b"big")) as server:
        pieces = [b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000000\r\n\r\n"] + [b"x" * 1000000] * 9
        assert (await say(server, *pieces)).endswith(b"big")


@pytest.mark.parametrize(
    ("request_line", "words"),
    [(b"POST /ws HTTP/1.1", b"a WebSocket begins with GET"), (b"CONNECT a:443 HTTP/1.1", b"CONNECT is not supported")],
)
async def test_what_is_no_handshake_is_refused_with_a_clear_error(request_line: bytes, words: bytes) -> None:
    async with ingress(answering(200, [])) as server:
        fields = b"\r\nhost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
        answer = await say(server, request_line + fields + b"\x81\x00GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert re.findall(rb"HTTP/1.1 (\d+) ", answer) == [b"501"]
        assert words in answer


async def test_behind_a_handshake_no_http_is_read_whatever_the_answer() -> None:
    async with ingress(answering(200, [(b"content-length", b"2")], b"no")) as server:
        fields = b"\r\nhost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
        answer = await say(server, b"GET /ws HTTP/1.1" + fields + b"\x81\x00" + GET)
        assert re.findall(rb"HTTP/1.1 (\d+) ", answer) == [b"200"]
        assert b"connection: close" in answer


async def test_an_h2c_upgrade_is_ignored_and_the_connection_goes_on() -> None:
    bodies = []

    async def handle(exchange: Exchange) -> None:
        bodies.append(await take(exchange))
        exchange.start(200, [(b"content-length", b"0")])
        exchange.end()

    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
    with_length = b"POST / HTTP/1.1\r\nhost: a\r\n" + upgrade + b"content-length: 5\r\n\r\nhello"
    chunked = b"POST / HTTP/1.1\r\nhost: a\r\n" + upgrade + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    async with ingress(handle) as server:
        answer = await say(server, with_length + chunked + GET.replace(b"host", upgrade + b"host") + LAST)
        assert (answer.count(b"HTTP/1.1 200 "), bodies) == (4, [5, 2, 0, 0])


async def test_interim_answers_stop_when_the_agent_reads_none_of_them() -> None:
    sizes = []

    async def handle(exchange: Exchange) -> None:
        for _ in range(3000):
            exchange.inform(103, [(b"link", b"x" * 10000)])
            await asyncio.sleep(0)
        sizes.append(exchange.transport.get_write_buffer_size())
        exchange.start(200, [(b"content-length", b"0")])
        exchange.end()

    async with ingress(handle) as server, agent(server) as (reader, writer):
        reader._limit = 1000  # type: ignore[attr-defined]  # reads no more than this by itself
        writer.write(GET)
        while not sizes:
            await asyncio.sleep(0.01)
    assert sizes[0] < 300_000


async def test_a_closing_server_finishes_calls_and_closes_connections_that_would_stay() -> None:
    go = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        await go.wait()
        exchange.start(200, [(b"content-length", b"2")])
        exchange.write(b"ok")
        exchange.end()

    server = await serve(handle, "127.0.0.1", 0)
    async with agent(server) as (reader, writer), agent(server) as (idle, _):
        writer.write(GET)
        await asyncio.sleep(0.02)
        closing = asyncio.create_task(server.close(2.0))
        assert await idle.read() == b""
        go.set()
        answer = await reader.read(-1)
        assert answer.endswith(b"ok") and b"connection: close" in answer
        writer.close()
        started = asyncio.get_running_loop().time()
        await closing
        assert asyncio.get_running_loop().time() - started < 1.0


@pytest.mark.parametrize("leave", ["close", "half", "reset"])
async def test_an_agent_that_leaves_cancels_its_call(leave: str) -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handle(exchange: Exchange) -> None:
        exchange.start(200, [])
        try:
            for _ in range(100):
                exchange.write(b"x" * 100000)
                await exchange.drain()
                await asyncio.sleep(0)
            await asyncio.sleep(2)
        except asyncio.CancelledError:
            ended.set_result("cancelled")
            raise

    async with ingress(handle) as server, agent(server) as (_, writer):
        writer.write(GET)
        await asyncio.sleep(0.05)
        if leave == "half":
            # It reads nothing either: the end must not wait until what was written has gone out.
            writer.write_eof()
        else:
            writer.transport.abort() if leave == "reset" else writer.close()
        assert await asyncio.wait_for(ended, 1) == "cancelled"
        writer.transport.abort()


async def test_bodies_waiting_behind_a_call_are_bounded_together() -> None:
    go, sizes = asyncio.Event(), []

    async def handle(exchange: Exchange) -> None:
        await go.wait()
        sizes.append(await take(exchange))
        exchange.start(200, [(b"content-length", b"0")])
        exchange.end()

    async with ingress(handle, Limits(pipelined=1000)) as server, agent(server) as (reader, writer):
        one = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100000
        writer.write(GET + one * 99 + one.replace(b"host", b"connection: close\r\nhost"))
        await asyncio.sleep(0.2)
        line = next(iter(server._lines))
        assert sum(exchange.body._size for exchange in line._queue) < 1_000_000
        go.set()
        assert (await reader.read(-1)).count(b"HTTP/1.1 200") == 101
        assert sizes == [0] + [100000] * 100
