"""WebSockets on the wire: backpressure in bounded memory, what is no WebSocket and never becomes a tunnel, TLS, and the
end of a whole process."""

import asyncio
import re
import signal
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from harness import Running, lab, proxy, route, until, upstream
from peers import request_head, serving
from processes import served
from secure import authority
from stage import ONE_TRY, QUICK_RETRIES
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

HANDSHAKE = (
    b"GET /ws/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
GRANT = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
)
MEGABYTE = 1024 * 1024


def one(url: str, rule: str = ONE_TRY, extra: str = "") -> str:
    return upstream("a", url, "Generic", extra) + route("ws", "/ws", "a", rule)


@asynccontextmanager
async def joined(
    running: Running, extra: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """An agent's connection, behind the grant."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port, limit=4096)
    writer.write(HANDSHAKE + b"\r\n" + extra)
    try:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        yield reader, writer
    finally:
        writer.transport.abort()


def big(size: int) -> bytes:
    """The head of one binary message."""
    return struct.pack(">BBQ", 0x82, 127, size)


class Flood:
    """Grants, and then writes as fast as it can; `sent` counts."""

    def __init__(self) -> None:
        self.sent = 0
        self.gone = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(GRANT + big(10**12))
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                self.sent += 65536
        finally:
            self.gone = True


async def steady(read: Callable[[], int]) -> int:
    before = -1
    async with asyncio.timeout(10):
        while before != (before := read()):
            await asyncio.sleep(0.1)
    return before


# -- backpressure ------------------------------------------------------------------------------------------------------


async def test_an_agent_that_reads_slowly_pauses_the_upstream_and_is_dropped(tmp_path: Path) -> None:
    flood = Flood()
    async with serving(flood) as port:
        rule = f"{ONE_TRY}\ntimeouts: {{agentWrite: 1s}}"
        async with proxy(one(f"http://127.0.0.1:{port}", rule), tmp_path) as running, joined(running) as (reader, _):
            sent = await steady(lambda: flood.sent)
            assert 0 < sent < 40 * MEGABYTE  # in the kernel's buffers of both hops
            assert unsent(running) <= 512 * 1024
            for _ in range(400):
                await reader.readexactly(65536)
            assert await steady(lambda: flood.sent) > sent
            await until(lambda: flood.gone, 10)
            assert (await running.call()).fault == "AGENT_STALLED"
            assert running.moves == []


def unsent(running: Running) -> int:
    """Bytes that seawall holds for its agents."""
    ingress = running.service._ingress
    assert ingress is not None
    return sum(line.transport.get_write_buffer_size() for line in ingress._lines)


async def test_an_upstream_that_reads_slowly_pauses_the_agent(tmp_path: Path) -> None:
    read = 0
    go = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal read
        await request_head(reader)
        writer.write(GRANT)
        await go.wait()
        while data := await reader.read(65536):
            read += len(data)
        writer.close()

    async with serving(slow) as port, proxy(one(f"http://127.0.0.1:{port}"), tmp_path) as running:
        async with joined(running) as (_, writer):
            written = 0

            async def write() -> None:
                nonlocal written
                writer.write(big(10**12))
                while True:
                    writer.write(b"x" * 65536)
                    await writer.drain()
                    written += 65536

            writing = asyncio.create_task(write())
            paused = await steady(lambda: written)
            assert 0 < paused < 40 * MEGABYTE
            [there] = running.service._pool._open
            assert there.transport.get_write_buffer_size() <= 512 * 1024
            go.set()
            await until(lambda: read > paused + 4 * MEGABYTE)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        await until(lambda: running.calls)


async def test_an_agent_that_is_paused_and_dies_is_noticed(tmp_path: Path) -> None:
    """While nothing is read from it, only a look at its socket shows that it has gone."""
    gone = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(GRANT)
        transport = writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]
        await gone.wait()
        transport.abort()

    async with serving(deaf) as port, proxy(one(f"http://127.0.0.1:{port}"), tmp_path) as running:
        async with joined(running) as (_, writer):
            writer.write(big(10**12))
            ingress = running.service._ingress
            assert ingress is not None
            [line] = ingress._lines
            while not line._paused:
                writer.write(b"x" * 65536)
                await writer.drain()
                await asyncio.sleep(0.002)
        await until(lambda: running.calls, 12)
        assert running.calls[0].fault == "AGENT_GONE"
        gone.set()


# -- what is none ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n\r\n",
        b"POST /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /ws HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n"
        b"\r\n0\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_what_is_no_proper_handshake_reaches_no_upstream(tmp_path: Path, fields: bytes) -> None:
    reached = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.read())

    async with serving(handle) as port, proxy(one(f"http://127.0.0.1:{port}"), tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
        writer.write(fields + b"GET /ws/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert answer[9:12] in (b"400", b"501") and len(re.findall(rb"HTTP/1.1 \d", answer)) == 1
        assert reached == []


async def test_another_upgrade_is_never_tunnelled(tmp_path: Path) -> None:
    """h2c is ignored on both sides; an upstream that switches all the same has not answered in HTTP."""
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await request_head(reader))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI")
        await reader.read()
        writer.close()

    async with serving(handle) as port, proxy(one(f"http://127.0.0.1:{port}"), tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
        writer.write(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
        writer.close()
        assert b"upgrade" not in heads[0].lower()
        await until(lambda: running.calls)
        assert running.calls[0].fault == "PROTOCOL_ERROR"


@pytest.mark.parametrize(
    "grant",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
async def test_another_grant_than_was_asked_for_is_none(tmp_path: Path, grant: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(grant)
        await reader.read()
        writer.close()

    async with serving(handle) as port, proxy(one(f"http://127.0.0.1:{port}"), tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
        writer.write(HANDSHAKE + b"\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 502 ")
        writer.close()
        await until(lambda: running.calls)
        assert running.calls[0].fault == "PROTOCOL_ERROR"


async def test_a_grant_and_a_goodbye_at_once_are_a_failed_handshake(tmp_path: Path) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(GRANT if tries else b"")
        tries.append(1)
        writer.close()

    tries: list[int] = []
    async with serving(handle) as port, proxy(one(f"http://127.0.0.1:{port}", QUICK_RETRIES), tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
        writer.write(HANDSHAKE + b"\r\n")
        data = await reader.read()
        writer.close()
        assert data[9:12] in (b"101", b"502") and len(tries) >= 2
        await until(lambda: running.calls)


async def test_an_upstream_that_speaks_first_is_heard(tmp_path: Path) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(GRANT + b"\x81\x05hello" + b"\x88\x02\x03\xe8")
        await reader.read()
        writer.close()

    async with serving(handle) as port, proxy(one(f"http://127.0.0.1:{port}"), tmp_path) as running:
        async with joined(running) as (reader, writer):
            assert await reader.readexactly(11) == b"\x81\x05hello\x88\x02\x03\xe8"
            writer.write(b"\x88\x82\0\0\0\0\x03\xe8")
            writer.write_eof()
            assert await reader.read() == b""
        assert (await running.call()).fault == ""


async def test_a_handshake_waits_its_turn_behind_other_requests(tmp_path: Path) -> None:
    async with lab() as there, proxy(one(there.url), tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
        writer.write(
            b"GET /ws/bytes/3 HTTP/1.1\r\nHost: a\r\n\r\n" + HANDSHAKE.replace(b"/ws/x", b"/ws/echo") + b"\r\n"
        )
        writer.write(b"\x82\x82\0\0\0\0hi")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(3) == bytes((0, 1, 2))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(4) == b"\x82\x02hi"
        writer.close()
        await until(lambda: len(running.calls) == 2)


async def test_behind_a_refused_handshake_no_request_is_read(tmp_path: Path) -> None:
    async with lab() as there, proxy(one(there.url), tmp_path) as running:
        there.script(["auth"])
        reader, writer = await asyncio.open_connection("127.0.0.1", running.service.port)
        writer.write(HANDSHAKE + b"\r\n" + b"GET /ws/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 401 ") and len(re.findall(rb"HTTP/1.1 \d", answer)) == 1
        assert b"connection: close" in answer and len(there.attempts()) == 1


# -- elsewhere ---------------------------------------------------------------------------------------------------------


async def test_over_tls(tmp_path: Path) -> None:
    trusted = authority(tmp_path, "ca")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(GRANT)
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=trusted.server("localhost"))
    port = server.sockets[0].getsockname()[1]
    policy = one(f"https://localhost:{port}", extra=f"tls: {{caFile: {trusted.file}}}")
    async with server, proxy(policy, tmp_path) as running:
        async with joined(running) as (reader, writer):
            piece = big(3 * MEGABYTE) + bytes(range(256)) * 4096 * 3
            writer.write(piece)
            assert await reader.readexactly(len(piece)) == piece
        assert (await running.call()).fault == "AGENT_GONE"


async def test_a_message_that_is_cut_by_the_drain_is_no_message(tmp_path: Path) -> None:
    flood = Flood()
    async with serving(flood) as port, proxy(one(f"http://127.0.0.1:{port}"), tmp_path) as running:
        async with joined(running) as (reader, _):
            await reader.readexactly(65536)
            closing = asyncio.create_task(running.service.close(0.1))
            rest = b""
            while data := await reader.read(65536):
                rest = data[-200:]
            assert b"DRAINING" not in rest, "within a message a Close frame would be taken for its content"
            await closing
        assert (await running.call()).fault == "DRAINING"


async def test_a_process_that_is_told_to_end_says_goodbye_to_its_sessions(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    async with lab() as there:
        file.write_text(one(there.url))
        async with served(file, tmp_path, "--drain", "0.5") as process:
            async with connect(f"ws://127.0.0.1:{process.port}/ws/echo", proxy=None) as socket:
                await socket.send("a")
                assert await socket.recv() == "a"
                process.tell(signal.SIGTERM)
                await socket.send("b")
                assert await socket.recv() == "b"
                with pytest.raises(ConnectionClosed) as ended:
                    await socket.recv()
                assert ended.value.rcvd is not None and ended.value.rcvd.code == 1001
            assert await process.code() == 0
        await until(lambda: there.attempts()[0].end is not None)
