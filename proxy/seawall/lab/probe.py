"""Plain HTTP endpoints for looking at what arrives: /inspect, /echo, /bytes/N. They speak no dialect."""

import re
from hashlib import sha256

from seawall.lab.answer import Answer, plain
from seawall.lab.families import Warehouse
from seawall.server.exchange import Exchange
from seawall.types import Headers, header

FAMILY = Warehouse()
_BYTES = re.compile(r"/bytes/(\d{1,9})")


def look(exchange: Exchange, path: str, digest: str, size: int) -> Answer | None:
    """The answer to /inspect (the request as it arrived, back to its sender only) and /bytes/N; None for others."""
    head = exchange.head
    if path == "/inspect":
        fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in head.headers]
        trailers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in exchange.trailers]
        seen = {"method": head.method, "target": head.target, "headers": fields, "trailers": trailers}
        return plain({**seen, "body_bytes": size, "body_sha256": digest})
    if match := _BYTES.fullmatch(path):
        pattern = bytes(range(256)) * 256
        left = int(match[1])
        frames = [pattern] * (left // len(pattern)) + [pattern[: left % len(pattern)]]
        return Answer([frame for frame in frames if frame], b"application/octet-stream")
    return None


async def echo(exchange: Exchange, fields: Headers) -> tuple[int, str]:
    """Send the body back as it comes, in constant memory; returns its size and SHA-256. Sends the head before the first
    byte is read, so that both directions stream."""
    kind = header(exchange.head.headers, b"content-type") or b"application/octet-stream"
    exchange.start(200, [(b"content-type", kind), *fields])
    digest, size = sha256(), 0
    while data := await exchange.body.read():
        digest.update(data)
        size += len(data)
        exchange.write(data)
        await exchange.drain()
    exchange.end(exchange.trailers)
    return size, digest.hexdigest()
