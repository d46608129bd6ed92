"""Anything at all at the ingress: nothing raises out of a callback, hangs, leaks a connection or is answered misframed,
and what is taken as a request is the same for an independent parser (h11).
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import h11
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seawall.server.exchange import Exchange
from seawall.server.limits import Limits
from seawall.server.listener import Server, serve

TEMPLATES = [
    b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
]
TOKENS = [
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b";", b":", b",", b"0", b"\xff", b"0\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: upgrade\r\n", b"Connection: close\r\n", b"Host: b\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.1",
    b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n", b"fffffffffffffff\r\n", b"CONNECT a:1 HTTP/1.1\r\n",
]  # fmt: skip

# h11 keeps no HTTP/1.0 connection open.
PERSISTENT = [template for template in TEMPLATES if b"HTTP/1.0" not in template]

requests = st.lists(st.sampled_from(TEMPLATES), min_size=1, max_size=4).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = draw(requests)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.sampled_from([0, 0, 1, 2, 10]))
        data = data[:at] + draw(st.sampled_from(TOKENS) | st.binary(max_size=3)) + data[at + cut :]
    return data


class Ingress:
    """A server whose every request and failure is kept."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, bytes]] = []
        self.errors: list[object] = []
        self.server: Server

    async def start(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.errors.append(context))
        self.server = await serve(self._echo, "127.0.0.1", 0, limits=Limits(head=4000, fields=50, linger=0.02))

    async def _echo(self, exchange: Exchange) -> None:
        body = b""
        while data := await exchange.body.read():
            body += data
        self.taken.append((exchange.head.method, exchange.head.target, body))
        exchange.start(200, [(b"content-length", b"%d" % len(body))])
        exchange.write(body)
        exchange.end()

    async def speak(self, pieces: list[bytes], expected: int = 0) -> bytes:
        """What comes back to an agent that sends these bytes and then closes its side, once so many requests were taken
        and nothing more comes."""
        self.taken.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        answer = b""
        try:
            for piece in pieces:
                if not writer.transport.is_closing():
                    writer.write(piece)
                await asyncio.sleep(0)
            async with asyncio.timeout(2):
                while True:
                    try:
                        async with asyncio.timeout(0.01):
                            data = await reader.read(65536)
                    except TimeoutError:
                        if len(self.taken) < expected:
                            continue
                        if not writer.transport.is_closing():
                            writer.write_eof()
                        data = await reader.read(65536)
                    if not data:
                        break
                    answer += data
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
        async with asyncio.timeout(2):
            while self.server.connections:
                await asyncio.sleep(0)
        return answer


@contextmanager
def ingress() -> Iterator[tuple[asyncio.Runner, Ingress]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        made = Ingress()
        runner.run(made.start())
        try:
            yield runner, made
        finally:
            runner.run(made.server.close())
        assert made.errors == []


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(marks)]


def well_framed(answer: bytes, methods: list[str]) -> list[int]:
    """The statuses of whole answers, read strictly."""
    found: list[int] = []
    while answer:
        head, ended, rest = answer.partition(b"\r\n\r\n")
        assert ended and head.startswith(b"HTTP/1.1 "), answer
        status = int(head[9:12])
        if status != 100:
            method = methods[len(found)] if len(found) < len(methods) else ""
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            length = 0 if method == "HEAD" and status == 200 else int(fields[b"content-length"])
            assert len(rest) >= length, answer
            rest = rest[length:]
            found.append(status)
        answer = rest
    return found


CUTS = st.lists(st.integers(0, 2000), max_size=6)
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def test_arbitrary_bytes_are_answered_or_closed() -> None:
    with ingress() as (runner, made):

        @QUIET
        @given(st.binary(max_size=300), CUTS)
        def check(data: bytes, cuts: list[int]) -> None:
            answer = runner.run(made.speak(split(data, cuts)))
            assert set(well_framed(answer, [])) <= {400, 431}

        check()


def test_mutated_requests_are_taken_whole_or_refused() -> None:
    with ingress() as (runner, made):

        @QUIET
        @given(mutated(), CUTS)
        def check(data: bytes, cuts: list[int]) -> None:
            answer = runner.run(made.speak(split(data, cuts)))
            statuses = well_framed(answer, [taken[0] for taken in made.taken])
            assert set(statuses) <= {200, 400, 431, 501}
            # One refusal at most, and nothing is said behind it.
            assert all(status == 200 for status in statuses[:-1])
            assert statuses.count(200) == len(made.taken)

        check()


def test_whole_requests_are_read_as_another_parser_reads_them() -> None:
    with ingress() as (runner, made):

        @QUIET
        @given(st.lists(st.sampled_from(PERSISTENT), min_size=1, max_size=4).map(b"".join), CUTS)
        def check(data: bytes, cuts: list[int]) -> None:
            expected = read_by_h11(data)
            runner.run(made.speak(split(data, cuts), len(expected)))
            assert made.taken == expected

        check()


def read_by_h11(data: bytes) -> list[tuple[str, str, bytes]]:
    found: list[tuple[str, str, bytes]] = []
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            found.append((event.method.decode(), event.target.decode(), b""))
        elif isinstance(event, h11.Data):
            found[-1] = (*found[-1][:2], found[-1][2] + bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return found
            connection.start_next_cycle()
        else:
            return found
