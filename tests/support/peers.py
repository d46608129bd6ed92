"""Who speaks with the proxy in these tests besides the lab: raw agents that show exactly what came over the wire and
read as they like, and upstreams that misbehave in ways that the lab does not offer.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
from harness import Running

CHAT = "/v1/chat/completions"
QUICK = "retry: {backoff: {base: 1ms, max: 2ms}}\n"
"""Of a rule: retries without waits worth mentioning."""


class Listening(Protocol):
    @property
    def url(self) -> str: ...


Upstream = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def chat(model: str = "gpt", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}


@asynccontextmanager
async def agent(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=running.url, timeout=10.0, trust_env=False, limits=limits, verify=False
    ) as client:
        yield client


@dataclass(frozen=True, slots=True)
class Wire:
    """Everything that came until the connection ended: `end` is eof or reset."""

    data: bytes
    end: str

    @property
    def head(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.data[9:12])

    @property
    def body(self) -> bytes:
        """Without chunk sizes."""
        rest = self.data.partition(b"\r\n\r\n")[2]
        if b"transfer-encoding: chunked" not in self.head.lower():
            return rest
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            if not length:
                break
            body, rest = body + rest[:length], rest[length + 2 :]
        return body

    @property
    def whole(self) -> bool:
        """Whether the framing says that nothing is missing."""
        if b"transfer-encoding: chunked" in self.head.lower():
            # The last chunk, and maybe trailers.
            return self.data.endswith(b"0\r\n\r\n") or (b"\r\n0\r\n" in self.data and self.data.endswith(b"\r\n\r\n"))
        length = next((v for k, v in self.fields if k == b"content-length"), None)
        rest = self.data.partition(b"\r\n\r\n")[2]
        return self.end == "eof" if length is None else len(rest) == int(length)

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = [line.partition(b":") for line in self.head.split(b"\r\n")[1:]]
        return [(name.lower(), value.strip()) for name, _, value in lines]

    @property
    def trailers(self) -> dict[bytes, bytes]:
        lines = self.data.rpartition(b"\r\n0\r\n")[2].split(b"\r\n")
        return {name: value.strip() for name, found, value in (line.partition(b":") for line in lines) if found}

    def field(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.fields if key == name), None)


@asynccontextmanager
async def raw(
    running: Listening,
    body: object = None,
    *,
    path: str = CHAT,
    headers: str = "",
    version: str = "1.1",
    buffer: int = 0,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A request whose answer the test reads as it likes. `body` None: a GET. buffer: of the socket, to read in."""
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", urlsplit(running.url).port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096 if buffer else 65536)
    data = b"" if body is None else json.dumps(body).encode()
    framing = f"content-length: {len(data)}\r\n" if body is not None else ""
    method = "GET" if body is None else "POST"
    writer.write(f"{method} {path} HTTP/{version}\r\nhost: seawall\r\n{framing}{headers}\r\n".encode() + data)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def wire(
    running: Running, body: object = None, *, headers: str = "connection: close\r\n", **request: Any
) -> Wire:
    """The whole answer to one request, however it ends."""
    data, end = bytearray(), "eof"
    async with raw(running, body, headers=headers, **request) as (reader, _), asyncio.timeout(10):
        try:
            while part := await reader.read(65536):
                data += part
        except ConnectionResetError:
            end = "reset"
    return Wire(bytes(data), end)


async def request_head(reader: asyncio.StreamReader) -> bytes:
    """For upstreams: the next request's head, its body read and dropped. Raises IncompleteReadError at the end."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            await reader.readexactly(int(value))
    return head


def answer(body: bytes, kind: str = "application/json", *, status: int = 200, extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status} OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


@asynccontextmanager
async def serving(handle: Upstream, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """An upstream that does whatever `handle` does with each connection; gives its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def always(*pieces: bytes, hang: bool = False) -> Upstream:
    """Answers every request with these bytes, and then closes, or stays silent."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if hang:
            await reader.read()

    return handle


@contextmanager
def blackhole() -> Iterator[int]:
    """A port whose listener accepts nobody and whose backlog is full: connection attempts hang."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


GOOD = b'{"choices": [], "model": "gpt"}'


class Recorder:
    """An upstream that answers well and keeps the heads it got."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.heads.append(await request_head(reader))
            writer.write(answer(GOOD))

    def fields(self, name: bytes) -> list[bytes]:
        """Of the latest request."""
        lines = [line.partition(b":") for line in self.heads[-1].split(b"\r\n")]
        return [value.strip() for key, _, value in lines if key.lower() == name]
