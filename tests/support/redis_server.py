"""A redis or valkey server of the tests' own, on a free port of 127.0.0.1: started, killed and started again."""

import asyncio
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from ports import free_port

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")

needs_redis = pytest.mark.skipif(
    PROGRAM is None,
    reason="neither redis-server nor valkey-server on PATH; no maintained PyPI package brings one with TLS"
    " (Debian: apt-get install redis-server)",
)


class Server:
    """options: more of its command line. Keeps nothing on disk."""

    def __init__(self, folder: Path, *options: str, tls: bool = False) -> None:
        self.port = free_port()
        self._tls = tls
        ports = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        self._command = ["--bind", "127.0.0.1", *ports, "--save", "", "--appendonly", "no", "--dir", str(folder)]
        self._command += options
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        assert PROGRAM is not None
        self._process = await asyncio.create_subprocess_exec(PROGRAM, *self._command, stdout=DEVNULL, stderr=DEVNULL)
        async with asyncio.timeout(20):
            while True:
                assert self._process.returncode is None, "redis-server ended at once"
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                return

    async def stop(self) -> None:
        """As by kill -9."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def redis_server(*options: str, tls: bool = False) -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), *options, tls=tls)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


class Between:
    """Stands between a client and a server, and may hold back what the server says. Bytes pass untouched."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.connections = 0
        """So far."""
        self.open_now = self.most_open = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def hold(self) -> None:
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        there, away = await asyncio.open_connection("127.0.0.1", self._to)
        for task in (
            asyncio.create_task(self._carry(reader, away, False)),
            asyncio.create_task(self._carry(there, writer, True)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: bool) -> None:
        try:
            while data := await reader.read(65536):
                if held:
                    await self._open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
            if not held:
                self.open_now -= 1


@asynccontextmanager
async def between(server: Server) -> AsyncIterator[Between]:
    one = Between(server.port)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()
