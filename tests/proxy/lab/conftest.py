"""A lab on a free port for each test, and a raw HTTP client that shows exactly what came over the wire."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from seawall.lab import Lab, start_lab


@dataclass(frozen=True, slots=True)
class Wire:
    """Everything that the lab sent until the connection ended: `end` is eof, reset or timeout (still open)."""

    data: bytes
    end: str
    chunks_at: tuple[float, ...]

    @property
    def head(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]


Send = Callable[..., Coroutine[Any, Any, Wire]]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    running = await start_lab(seed=7)
    yield running
    await running.close()


@pytest.fixture
async def send(lab: Lab) -> Send:
    """`send(fault, stream=…)` asks for a chat completion under a fault; method, path and body for anything else."""

    async def _send(
        fault: str = "ok",
        *,
        stream: bool = False,
        path: str = "/v1/chat/completions",
        method: str = "POST",
        body: object = None,
        headers: str = "",
        wait: float = 1.0,
        limit: int = 1 << 20,
    ) -> Wire:
        if body is None:
            body = {"model": "gpt", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
        payload = b"" if method in ("GET", "HEAD", "DELETE") else msgspec.json.encode(body)
        head = f"{method} {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\nx-lab-fault: {fault}\r\n{headers}"
        reader, writer = await asyncio.open_connection("127.0.0.1", int(lab.url.rsplit(":", 1)[1]))
        writer.write(f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload)
        data, at, end = bytearray(), list[float](), "eof"
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(wait):
                while len(data) < limit and (part := await reader.read(65536)):
                    data += part
                    at.append(loop.time() - started)
        except TimeoutError:
            end = "timeout"
        except ConnectionResetError:
            end = "reset"
        finally:
            writer.transport.abort()
        return Wire(bytes(data), end, tuple(at))

    return _send
