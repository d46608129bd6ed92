"""The server that replays recorded provider traffic, a tee that stands between it and the proxy, and a raw client.
Sockets and bytes only, so that nothing is normalised on the way to a comparison."""

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from recorded import WIRE, Headers


@contextmanager
def replay(*, gzip: bool = False) -> Iterator[int]:
    """The replay server as a process of its own; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, str(WIRE / "replay.py"), "--port", str(port), "--cassettes", str(WIRE), "--delay", "0"]
    process = subprocess.Popen([*command, *(["--gzip"] if gzip else [])], stdout=subprocess.PIPE, cwd=WIRE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith(b"replay "), "the replay server did not start"
        yield port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def replayed(port: int) -> dict[str, int]:
    """What the replay server says that it served."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_replay/stats", timeout=10) as answer:
        served: dict[str, int] = json.load(answer)["served"]
    return served


# -- HTTP, just enough of it -----------------------------------------------------------------------------------------


@dataclass
class Message:
    """One request or answer as it came. pieces: its chunks, or reads. clean: it ended as its framing says."""

    head: bytes
    pieces: list[bytes] = field(default_factory=list)
    clean: bool = False

    @property
    def start(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def headers(self) -> Headers:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def chunked(self) -> bool:
        return self.header(b"transfer-encoding") == b"chunked"

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


async def receive(reader: asyncio.StreamReader, on_piece: Callable[[bytes], None] | None = None) -> Message:
    """Read one message. Raises IncompleteReadError where not even its head comes."""
    message = Message(await reader.readuntil(b"\r\n\r\n"))
    try:
        async for piece in _pieces(reader, message):
            message.pieces.append(piece)
            if on_piece is not None:
                on_piece(piece)
        message.clean = True
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    return message


async def _pieces(reader: asyncio.StreamReader, message: Message) -> AsyncIterator[bytes]:
    if not message.chunked:
        left = int(message.header(b"content-length") or 0)
        while left:
            piece = await reader.read(min(left, 65536))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            yield piece
        return
    while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")


async def ask(port: int, request: bytes, on_piece: Callable[[bytes], None] | None = None) -> Message:
    """Send raw bytes and read the answer, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        writer.write(request)
        async with asyncio.timeout(30):
            return await receive(reader, on_piece)
    finally:
        writer.close()


# -- between the proxy and the replay server -------------------------------------------------------------------------


@dataclass(frozen=True)
class Break:
    """What the tee does to an answer: lets `keep` bytes of its body through, then sends `insert`, then `then`s:
    `end` (a proper last chunk), `close` (none), `stall`, or `rest` (goes on as recorded)."""

    keep: int
    then: str
    insert: bytes = b""


@dataclass
class Gate:
    """Lets a stream's next event leave only when the client has all those before it, from byte `start` on."""

    start: int = 0
    got: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, piece: bytes) -> None:
        self.got += len(piece)
        self.moved.set()

    async def passed(self, size: int) -> None:
        async with asyncio.timeout(10):
            while self.got < size >= self.start:
                self.moved.clear()
                await self.moved.wait()


@dataclass
class Tee:
    """Records every request byte for byte and hands it to the replay server, once per run; the answer is passed on as
    it came, but for what `breaks` and `gates` say. All by the request's `x-replay-run`."""

    target: int
    port: int = 0
    pace: float = 0.0
    """Seconds between the pieces of a stream."""
    requests: dict[str, list[Message]] = field(default_factory=lambda: defaultdict(list))
    breaks: dict[str, list[Break]] = field(default_factory=dict)
    """Of the first attempts, in order; what follows is whole."""
    gates: dict[str, Gate] = field(default_factory=dict)
    written: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When each piece left."""
    _answers: dict[str, Message] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await receive(reader)
                run = (request.header(b"x-replay-run") or b"").decode()
                self.requests[run].append(request)
                if run not in self._answers:
                    self._answers[run] = await ask(self.target, request.head + request.body)
                attempt = len(self.requests[run])
                breaks = self.breaks.get(run, [])
                if not await self._answer(reader, writer, run, breaks[attempt - 1] if attempt <= len(breaks) else None):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, run: str, broken: Break | None
    ) -> bool:
        """Whether the connection can be used again."""
        answer = self._answers[run]
        pieces = answer.pieces if broken is None else _broken(answer, broken)
        writer.write(answer.head)
        gate, size = self.gates.get(run), 0
        for piece in pieces:
            if gate is not None:
                await gate.passed(size)
            size += len(piece)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
            self.written[run].append(time.monotonic())
            if self.pace:
                await asyncio.sleep(self.pace)
            elif len(pieces) > 1:
                await asyncio.sleep(0)
        if broken is None or broken.then in ("end", "rest"):
            writer.write(b"0\r\n\r\n" if answer.chunked else b"")
            await writer.drain()
            return True
        if broken.then == "stall":
            await reader.read()
        return False


def _broken(answer: Message, broken: Break) -> list[bytes]:
    """The pieces that leave, cut as they came."""
    kept: list[bytes] = []
    left = broken.keep
    for piece in answer.pieces:
        if left > 0:
            kept.append(piece[:left])
        left -= len(piece)
    rest = [answer.body[broken.keep :]] if broken.then == "rest" else []
    return [piece for piece in [*kept, broken.insert, *rest] if piece]


@asynccontextmanager
async def tee(target: int, pace: float = 0.0) -> AsyncIterator[Tee]:
    started, tasks = Tee(target, pace=pace), set[asyncio.Task[None]]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(started.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**24, backlog=512)
    started.port = server.sockets[0].getsockname()[1]
    try:
        yield started
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
