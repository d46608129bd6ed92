#!/usr/bin/env python3
"""The ends of `framings.py`: an upstream that streams in any framing, a load that asks for it, and the floor for
WebSockets.

    framings_ends.py upstream PORT
    framings_ends.py load URL FRAMING CONNECTIONS SECONDS CHUNKS GAP_MS     prints answers and wrong ones as JSON
    framings_ends.py floor PORT ORIGIN
"""

import asyncio
import json
import sys
import time

import aiohttp
import httptools
import uvloop
from aiohttp import web
from client import Connection, Reply, Target, connect
from framed import FRAMINGS, whole

from seawall.lab.wire_frames import accept

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n"
_GRANT = b"HTTP/1.1 101 X\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: %b\r\n\r\n"
_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
_GO = b"\x81\x82\0\0\0\0go"
_PLAN = b"x-plan: %d %d"


class Upstream(asyncio.Protocol):
    """Streams what the path is framed in; `x-plan: CHUNKS GAP_MS` says how much."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._plan = (50, 5)
        self._socket = False
        self._key = _KEY
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._socket:
            self._start("websocket")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._socket = True
            self.transport.write(_GRANT % accept(self._key))

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-plan":
            chunks, gap = value.split()
            self._plan = int(chunks), int(gap)
        elif name.lower() == b"sec-websocket-key":
            self._key = value

    def on_message_complete(self) -> None:
        url, self._url = self._url.decode(), b""
        if self._parser.should_upgrade():
            return
        name = next((name for name, framing in FRAMINGS.items() if url == framing.path), None)
        if name is None:
            self.transport.write(b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n")
        else:
            self._start(name)

    def _start(self, name: str) -> None:
        self._task = asyncio.get_running_loop().create_task(self._stream(name))

    async def _stream(self, name: str) -> None:
        framing, (chunks, gap) = FRAMINGS[name], self._plan
        if framing.kind:
            self.transport.write(_HEAD % framing.kind.encode())
        for send in framing.sends(chunks):
            self.transport.write(b"%x\r\n%b\r\n" % (len(send), send) if framing.kind else send)
            await asyncio.sleep(gap / 1000)
        if framing.kind:
            self.transport.write(b"0\r\n\r\n")


class Load:
    """Asks on each connection again and again, and compares every answer."""

    def __init__(self, url: str, name: str, seconds: float, chunks: int, gap: int) -> None:
        framing = FRAMINGS[name]
        self.target = Target.parse(url + framing.path)
        self.expected = whole(name, chunks)
        self.socket = not framing.kind
        plan = _PLAN % (chunks, gap)
        if self.socket:
            fields = (
                b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: " + _KEY
            )
            self.request = b"GET %b HTTP/1.1\r\nhost: a\r\n%b\r\n%b\r\n\r\n" % (framing.path.encode(), fields, plan)
        else:
            asked = self.target.request(json.dumps(framing.body).encode())
            self.request = asked.replace(b"\r\n\r\n", b"\r\n%b\r\n\r\n" % plan, 1)
        self.until = time.perf_counter() + seconds
        self.answers = self.wrong = 0

    def good(self, answer: bytes) -> None:
        self.answers += 1
        self.wrong += answer != self.expected

    @property
    def over(self) -> bool:
        return time.perf_counter() >= self.until


async def _asking(load: Load) -> None:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Reply] = loop.create_future()
    line = Connection(lambda reply: answered.set_result(reply))
    await connect(load.target, line)
    while not load.over:
        answered = loop.create_future()
        line.send(load.request)
        reply = await answered
        load.good(reply.body if reply.status == 200 else b"")
    line.transport.abort()


async def _listening(load: Load) -> None:
    reader, writer = await asyncio.open_connection(load.target.host, load.target.port)
    writer.write(load.request)
    await reader.readuntil(b"\r\n\r\n")
    while not load.over:
        writer.write(_GO)
        load.good(await reader.readexactly(len(load.expected)))
    writer.transport.abort()


async def _load(url: str, name: str, connections: str, seconds: str, chunks: str, gap: str) -> None:
    load = Load(url, name, float(seconds), int(chunks), int(gap))
    one = _listening if load.socket else _asking
    await asyncio.gather(*(one(load) for _ in range(int(connections))))
    print(json.dumps({"answers": load.answers, "wrong": load.wrong}))


async def _upstream(port: str) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", int(port), backlog=4096)
    await server.serve_forever()


async def _floor(port: str, origin: str) -> None:
    """A pass-through for WebSockets on aiohttp, message by message, as one would write it."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            agent = web.WebSocketResponse(autoping=False, compress=False)
            await agent.prepare(request)
            fields = {"x-plan": request.headers.get("x-plan", "50 5")}
            async with session.ws_connect(origin + str(request.rel_url), autoping=False, headers=fields) as upstream:

                async def up() -> None:
                    async for message in agent:
                        await upstream.send_str(message.data)

                sending = asyncio.create_task(up())
                async for message in upstream:
                    await agent.send_str(message.data)
                sending.cancel()
            return agent

        server = web.Server(handle, access_log=None)
        listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", int(port), backlog=4096)
        await listener.serve_forever()


def main() -> None:
    mode, *words = sys.argv[1:]
    match mode:
        case "upstream":
            uvloop.run(_upstream(*words))
        case "floor":
            uvloop.run(_floor(*words))
        case _:
            uvloop.run(_load(*words))


if __name__ == "__main__":
    main()
