"""A line to an upstream that keeps what was asked over it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_TRACEPARENT = re.compile(rb"\r\n(?i:traceparent): ([^\r]*)\r\n")
_TRACESTATE = re.compile(rb"\r\n(?i:tracestate): ([^\r]*)\r\n")


@dataclass
class Tee:
    url: str = ""
    asked: list[bytearray] = field(default_factory=list)
    """What came of each connection."""

    @property
    def traceparents(self) -> list[str]:
        return [found.decode() for asked in self.asked for found in _TRACEPARENT.findall(bytes(asked))]

    @property
    def tracestates(self) -> list[str]:
        return [found.decode() for asked in self.asked for found in _TRACESTATE.findall(bytes(asked))]


@asynccontextmanager
async def tee(upstream: str) -> AsyncIterator[Tee]:
    """Before the server of that URL."""
    made, there = Tee(), urlsplit(upstream)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(there.hostname, there.port)
        asked = bytearray()
        made.asked.append(asked)
        await asyncio.gather(_copy(reader, far_writer, asked), _copy(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray | None = None) -> None:
    try:
        while chunk := await reader.read(64 * 1024):
            if kept is not None:
                kept += chunk
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    writer.close()
