"""TLS in front of both of the service's protocols, with other implementations' clients, and without any manners."""

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
import trustme
from aiohttp import web
from bundling import KEY, Bundling, bundling, made
from harness import route, until, upstream

from seawall_operator import tls
from seawall_operator.serve import Listening, listen
from seawall_operator.shelf import Served

FIRST = made(upstream("main", "http://127.0.0.1:9/v1") + route("first", "/first", "main"), 5)
POLL = f"GET /v1/bundles/{'/'.join(KEY)} HTTP/1.1\r\nHost: o\r\nAuthorization: Bearer good\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def bundles(server: ssl.SSLContext) -> AsyncIterator[Bundling]:
    async with bundling(tls=server) as running:
        running.put(FIRST)
        yield running


@asynccontextmanager
async def echoing(server: ssl.SSLContext) -> AsyncIterator[Listening]:
    async def echo(request: web.Request) -> web.Response:
        assert request.scheme == "https"
        return web.Response(body=await request.read())

    listening = await listen([web.post("/", echo)], "127.0.0.1", 0, server)
    try:
        yield listening
    finally:
        await listening.close()


@asynccontextmanager
async def connected(
    service: Bundling, context: ssl.SSLContext | None = None, **more: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(service), ssl=context, **more)
    try:
        yield reader, writer
    finally:
        if not writer.is_closing():
            writer.transport.abort()
        with suppress(ssl.SSLError, OSError):
            await writer.wait_closed()


def port_of(service: Bundling) -> int:
    return int(service.url.rpartition(":")[2])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_bundle_is_whole_in_every_version_of_tls(
    bundles: Bundling, client: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    client.maximum_version = client.minimum_version = version
    packed = bytes(range(256)) * 4001
    bundles.shelf.put(KEY[0], {KEY: Served("large", packed)})
    async with connected(bundles, client) as (reader, writer):
        writer.write((POLL + "Connection: close\r\n\r\n").encode())
        async with asyncio.timeout(10):
            whole = await reader.read()
        assert whole.partition(b"\r\n\r\n")[2] == packed
        assert writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
        writer.close()
        await writer.wait_closed()


async def test_large_bodies_go_both_ways_through_aiohttp(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    body = bytes(range(256)) * 4 * 3000
    async with echoing(server) as listening, httpx.AsyncClient(verify=client) as agent:
        for _ in range(3):
            assert (await agent.post(f"https://127.0.0.1:{listening.port}/", content=body)).content == body


async def test_who_does_not_read_is_not_written_to_without_end(bundles: Bundling, client: ssl.SSLContext) -> None:
    bundles.shelf.put(KEY[0], {KEY: Served("large", bytes(1024 * 1024))})
    async with connected(bundles, client, limit=1024) as (_, writer):
        before = len(bundles.said)
        writer.write((POLL + "\r\n").encode() * 50)
        await until(lambda: len(bundles.said) > before)
        await asyncio.sleep(0.2)
        assert len(bundles.said) - before < 20


async def test_records_may_come_byte_by_byte(bundles: Bundling, client: ssl.SSLContext) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = client.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    async with connected(bundles) as (reader, writer):

        async def slowly() -> None:
            for byte in outgoing.read():
                writer.write(bytes([byte]))
                await asyncio.sleep(0)

        async with asyncio.timeout(20):
            while True:
                try:
                    side.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await slowly()
                    incoming.write(await reader.read(65536))
            side.write((POLL + "\r\n").encode())
            await slowly()
            answer = b""
            while b"\r\n\r\n" not in answer:
                incoming.write(await reader.read(65536))
                try:
                    while True:
                        answer += side.read(65536)
                except ssl.SSLWantReadError:
                    continue
        assert answer.startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


async def test_a_goodbye_is_said_and_heard(bundles: Bundling, client: ssl.SSLContext) -> None:
    async with connected(bundles, client) as (reader, writer):
        writer.write((POLL + f'If-None-Match: "{FIRST.revision}"\r\n\r\n').encode())
        await until(lambda: bundles.waiting() == 1)
        writer.close()
        # asyncio's own side waits for the answer to its close_notify here; without one it would be an error.
        await writer.wait_closed()
        await until(lambda: bundles.waiting() == 0)
        async with connected(bundles, client) as (reader, writer):
            await bundles.close()
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.close()


async def test_a_connection_that_is_cut_without_a_word_is_let_go(bundles: Bundling, client: ssl.SSLContext) -> None:
    async with connected(bundles, client) as (_, writer):
        writer.write((POLL + f'If-None-Match: "{FIRST.revision}"\r\n\r\n').encode())
        await until(lambda: bundles.waiting() == 1)
        writer.transport.abort()
        await until(lambda: bundles.waiting() == 0)


async def test_what_is_no_tls_is_not_answered(bundles: Bundling) -> None:
    async with connected(bundles) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(10):
            answer = await reader.read()
        assert not answer.startswith(b"HTTP")
        writer.close()


async def test_a_spoiled_record_ends_the_connection(bundles: Bundling, client: ssl.SSLContext) -> None:
    async with connected(bundles, client) as (reader, writer):
        raw = writer.get_extra_info("socket")
        os.write(raw.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
        async with asyncio.timeout(10):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await reader.readexactly(1)


async def test_who_begins_no_handshake_is_let_go(bundles: Bundling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE", 0.1)
    async with connected(bundles) as (reader, writer):
        async with asyncio.timeout(10):
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                return
        writer.close()


async def test_a_certificate_may_be_changed_while_connections_are_open(
    bundles: Bundling, server: ssl.SSLContext, client: ssl.SSLContext
) -> None:
    other = trustme.CA()
    async with connected(bundles, client) as (reader, writer):
        other.issue_cert("127.0.0.1").configure_cert(server)
        writer.write((POLL + "\r\n").encode())
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port_of(bundles), ssl=client)
        newer = ssl.create_default_context()
        other.configure_trust(newer)
        async with connected(bundles, newer) as (_, writer):
            writer.close()
            await writer.wait_closed()


async def test_openssls_own_client_gets_its_answer(bundles: Bundling, authority: trustme.CA) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine; the other tests have Python's client")
    words = ["s_client", "-quiet", "-connect", f"127.0.0.1:{port_of(bundles)}", "-servername", "operator"]
    process = await asyncio.create_subprocess_exec(
        "openssl",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(20):
            out, _ = await process.communicate((POLL + "Connection: close\r\n\r\n").encode())
    finally:
        if process.returncode is None:
            process.kill()
    assert out.startswith(b"HTTP/1.1 200")
