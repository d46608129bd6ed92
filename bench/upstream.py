#!/usr/bin/env python3
"""A model upstream that is fast enough to measure proxies with: OpenAI chat completions on a raw asyncio protocol.

    upstream.py PORT [--cert FILE --key FILE]

It answers any POST, with server-sent events if the body asks for a stream. Query parameters shape the answer:
delay_ms (before the first byte), chunks and gap_ms (of a stream), status (of a plain answer), stamp=1 (each event tells
when it was sent, in nanoseconds of the system's monotonic clock), mark=1 (an `x-body` field tells length and CRC-32 of
the request's body). It is a load generator's other end: it trusts its peer and has no limits.
"""

import argparse
import asyncio
import ssl
import time
from pathlib import Path
from urllib.parse import parse_qsl

import httptools
import uvloop
from answers import LAST, PLAIN, ROLE, body_mark, failed, sends, token

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n%btransfer-encoding: chunked\r\n\r\n"
)
_PLAIN_HEAD = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
_FIELD = b"x-request-id: req_bench\r\n"
_HEALTHY = _PLAIN_HEAD % (200, _FIELD, len(PLAIN)) + PLAIN


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Wishes:
    """What a request's query asks for."""

    def __init__(self, url: bytes) -> None:
        asked = dict(parse_qsl(url.partition(b"?")[2].decode()))
        self.delay = float(asked.get("delay_ms", 0)) / 1000
        self.gap = float(asked.get("gap_ms", 0)) / 1000
        self.chunks = int(asked.get("chunks", 50))
        self.status = int(asked.get("status", 200))
        self.stamp = asked.get("stamp") == "1"
        self.mark = asked.get("mark") == "1"


class Connection(asyncio.Protocol):
    """One client's connection; requests are taken one after the other, without pipelining."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        url, body = self._url, b"".join(self._body)
        self._url = b""
        self._body.clear()
        streaming = b'"stream":true' in body[-200:]
        if b"?" not in url and not streaming:
            self.transport.write(_HEALTHY)
            return
        wishes = Wishes(url)
        extra = _FIELD + (b"x-body: %b\r\n" % body_mark(body) if wishes.mark else b"")
        answer = self._stream(wishes, extra) if streaming else self._plain(wishes, extra)
        self._task = asyncio.get_running_loop().create_task(answer)

    async def _plain(self, wishes: Wishes, extra: bytes) -> None:
        if wishes.delay:
            await asyncio.sleep(wishes.delay)
        body = PLAIN if wishes.status == 200 else failed(wishes.status)
        self.transport.write(_PLAIN_HEAD % (wishes.status, extra, len(body)) + body)

    async def _stream(self, wishes: Wishes, extra: bytes) -> None:
        if wishes.delay:
            await asyncio.sleep(wishes.delay)
        write, now = self.transport.write, time.monotonic_ns
        write(_STREAM_HEAD % extra + _chunk(ROLE))
        for number, ready in enumerate(_chunks(wishes.chunks)):
            write(_chunk(token(number, sent=now())) if wishes.stamp else ready)
            if wishes.gap:
                await asyncio.sleep(wishes.gap)
        write(_chunk(LAST) + b"0\r\n\r\n")


_prepared: dict[int, list[bytes]] = {}


def _chunks(number: int) -> list[bytes]:
    """A stream's content events, framed once."""
    if number not in _prepared:
        _prepared[number] = [_chunk(send) for send in sends(number)[1:-1]]
    return _prepared[number]


async def serve(port: int, tls: ssl.SSLContext | None) -> None:
    """Listen on 127.0.0.1 until cancelled."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, ssl=tls, backlog=4096)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--cert", type=Path, help="serve TLS with this certificate chain (PEM)")
    parser.add_argument("--key", type=Path, help="its key (PEM)")
    arguments = parser.parse_args()
    tls = None
    if arguments.cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.cert, arguments.key)
    uvloop.run(serve(arguments.port, tls))


if __name__ == "__main__":
    main()
