"""The connections that sidecars ask over, byte by byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import cast
from unittest.mock import Mock

import pytest
import trustme
from bundling import Bundling, bundling, made
from harness import route, until, upstream

from seawall_operator import polling
from seawall_operator.bundles import Answer, Asker, BundleService
from seawall_operator.sidecars import Key

FIRST, SECOND = (
    made(upstream("main", "http://127.0.0.1:9/v1") + route(name, f"/{name}", "main"), sequence)
    for name, sequence in (("first", 5), ("second", 6))
)
PATH = "/v1/bundles/team/default"


@pytest.fixture
async def service() -> AsyncIterator[Bundling]:
    async with bundling() as running:
        running.put(FIRST)
        yield running


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def ask(self, running: str = "", *more: str, path: str = PATH, version: str = "1.1") -> None:
        known = [f'If-None-Match: "{running}"'] if running else []
        lines = [f"GET {path} HTTP/{version}", "Host: operator", "Authorization: Bearer good", *known, *more]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(10):
            start, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
            fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            return int(start.split()[1]), fields, await self.reader.readexactly(int(fields.get("content-length", 0)))

    async def ended(self) -> bool:
        async with asyncio.timeout(10):
            return await self.reader.read() == b""


@asynccontextmanager
async def line(service: Bundling) -> AsyncIterator[Line]:
    host, _, port = service.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_questions_follow_each_other_on_one_connection(service: Bundling) -> None:
    async with line(service) as one:
        one.ask()
        status, fields, body = await one.answer()
        assert (status, fields["etag"], len(body) > 0) == (200, f'"{FIRST.revision}"', True)
        one.ask(FIRST.revision)
        await until(service.has(FIRST.revision))
        service.put(SECOND)
        status, fields, _ = await one.answer()
        assert (status, fields["etag"]) == (200, f'"{SECOND.revision}"')
        assert len(service.connections) == 1


async def test_a_question_may_come_in_pieces_and_with_the_next_one(service: Bundling) -> None:
    async with line(service) as one:
        whole = f"GET {PATH} HTTP/1.1\r\nHost: o\r\nauthorization: bearer good\r\n\r\n".encode()
        for byte in whole:
            one.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        one.writer.write(whole + whole)
        assert [(await one.answer())[0] for _ in range(3)] == [200, 200, 200]


async def test_a_bundle_is_whole_however_large(service: Bundling) -> None:
    packed = bytes(range(256)) * 4096
    service.put(SECOND, packed)
    async with line(service) as one:
        one.ask(FIRST.revision)
        assert (await one.answer())[2] == packed


async def test_who_asks_on_without_reading_gets_no_more_than_fits(service: Bundling) -> None:
    service.put(SECOND, bytes(1024 * 1024))
    async with line(service) as one:
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport of asyncio's own
        before = len(service.said)
        for _ in range(50):
            one.ask(FIRST.revision)
        await until(lambda: len(service.said) > before)
        await asyncio.sleep(0.1)
        # What the sockets took, and one answer behind that.
        assert len(service.said) - before < 20
        one.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(50):
            assert len((await one.answer())[2]) == 1024 * 1024


async def test_who_sends_on_while_it_waits_is_cut_off(service: Bundling) -> None:
    async with line(service) as one:
        one.ask(FIRST.revision)
        await until(service.has(FIRST.revision))
        one.writer.write(b"x" * (2 * polling.MAX_HEAD))
        with suppress(ConnectionResetError):
            assert await one.ended()
    await until(lambda: service.waiting() == 0)


async def test_a_sidecar_that_goes_away_does_not_wait_any_more(service: Bundling) -> None:
    async with line(service) as one:
        one.ask(FIRST.revision)
        await until(service.has(FIRST.revision))
        assert service.waiting() == 1
    await until(lambda: service.waiting() == 0)
    service.put(SECOND)


async def test_a_sidecar_that_goes_away_while_its_token_is_reviewed_is_not_answered(service: Bundling) -> None:
    service.slow_reviews = True
    async with line(service) as one:
        one.ask()
        await until(lambda: service.reviewing == 1)
    await until(lambda: service.reviewing == 0)
    assert not service.said


@pytest.mark.parametrize("close", [("1.0", ()), ("1.1", ("Connection: close",))])
async def test_who_wants_one_answer_only_gets_one(service: Bundling, close: tuple[str, tuple[str, ...]]) -> None:
    async with line(service) as one:
        one.ask("", *close[1], version=close[0])
        status, fields, _ = await one.answer()
        assert (status, fields["connection"]) == (200, "close") and await one.ended()


async def test_a_connection_without_questions_ends(service: Bundling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "IDLE", 0.05)
    monkeypatch.setattr(polling, "SWEEP", 0.02)
    async with line(service) as silent, line(service) as waiting:
        waiting.ask(FIRST.revision)
        assert await silent.ended()
        service.put(SECOND)
        assert (await waiting.answer())[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET /v1/elsewhere HTTP/1.1\r\nHost: o\r\n\r\n", 404),
        (f"POST {PATH} HTTP/1.1\r\nHost: o\r\nContent-Length: 0\r\n\r\n", 404),
        (f"GET {PATH}/more HTTP/1.1\r\nHost: o\r\n\r\n", 404),
        (f"GET {PATH} HTTP/1.1\r\nHost: o\r\nContent-Length: x\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        (f"GET {PATH} HTTP/1.1\r\nA: {'x' * polling.MAX_HEAD}", 400),
    ],
)
async def test_all_other_requests_are_aiohttps(service: Bundling, request_: str, status: int) -> None:
    async with line(service) as one:
        one.writer.write(request_.encode())
        assert (await one.answer())[0] == status
        assert not service.said


async def test_an_operator_that_ends_answers_and_closes(service: Bundling) -> None:
    async with line(service) as waiting, line(service) as silent:
        waiting.ask(FIRST.revision)
        await until(service.has(FIRST.revision))
        await service.close()
        assert (await waiting.answer())[0] == 304
        assert await waiting.ended() and await silent.ended()


async def test_nothing_but_tls_is_answered_where_there_is_a_certificate() -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    async with bundling(tls=context) as service:
        service.put(FIRST)
        host, _, port = service.url.removeprefix("https://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {PATH} HTTP/1.1\r\n\r\n".encode())
        async with asyncio.timeout(10):
            assert not (await reader.read()).startswith(b"HTTP")
        writer.close()


async def test_a_question_whose_connection_has_gone_meanwhile_is_not_asked() -> None:
    class Service:
        asked = 0

        def ask(self, asker: Asker, key: Key, fields: Mapping[str, str]) -> None:
            self.asked += 1
            asker.answer(Answer(304, {}))

        def forget(self, asker: Asker) -> None:
            """Nobody waits."""

    service = Service()
    polls = polling.Polls(cast(BundleService, service), asyncio.Protocol)
    one = polls()
    one.connection_made(Mock(spec=asyncio.Transport, is_closing=lambda: False))
    one.data_received(f"GET {PATH} HTTP/1.1\r\nHost: o\r\n\r\n".encode() * 2)
    one.connection_lost(None)
    await asyncio.sleep(0)
    assert service.asked == 1
    polls.close()
