"""Thousands of simulated sidecars, in a process of their own: each holds a TLS connection to the operator, asks for its
bundle over it as `seawall serve --operator` does, and asks again as soon as it has an answer.

    control_plane_sidecars.py FILE     # {"url", "ca_file", "sidecars": [[namespace, token], ...]}

Each line on standard input is a time (CLOCK_MONOTONIC, seconds); the answer, a line of JSON, tells how many are
connected, and when those that got a bundle since then got it.
"""

import asyncio
import json
import random
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

AT_A_TIME = 100
"""Handshakes in progress at most: the start is not what is measured."""
SOON = 1.0


@dataclass(eq=False)
class Sidecar(asyncio.Protocol):
    """One of them. `at`: when it got its last bundle."""

    namespace: str
    token: str
    host: str
    revision: bytes = b""
    sequence: bytes = b"0"
    at: float = 0.0
    answers: int = 0
    problems: int = 0
    connected: bool = False
    _asked: float = 0.0
    _head: bytes = b""
    _left: int = 0
    _transport: asyncio.Transport | None = None
    first: "asyncio.Event" = field(default_factory=asyncio.Event)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one, and no subclass.
        self._transport = cast(asyncio.Transport, transport)
        self.connected, self._head, self._left = True, b"", 0
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connected = False
        self.first.set()

    def _ask(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        known = b"If-None-Match: " + self.revision + b"\r\n" if self.revision else b""
        path = f"GET /v1/bundles/{self.namespace}/default HTTP/1.1\r\nHost: {self.host}\r\n".encode()
        fields = f"Authorization: Bearer {self.token}\r\nX-Seawall-Sequence: ".encode() + self.sequence
        self._asked = time.monotonic()
        self._transport.write(path + known + fields + b"\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
            if self._left == 0:
                self._done(changed=True)
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        self._head = b""
        status, *lines = head.split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        code = status.split(b" ")[1]
        if code not in (b"200", b"304"):
            self.problems += 1
            asyncio.get_running_loop().call_later(random.uniform(0.5, 2.0), self._ask)
            return
        self.sequence = fields[b"x-seawall-sequence"]
        if code == b"304":
            self._done(changed=False)
            return
        self.revision = fields[b"etag"]
        self._left = int(fields[b"content-length"]) - len(rest)
        if self._left == 0:
            self._done(changed=True)

    def _done(self, *, changed: bool) -> None:
        self.answers += 1
        now = time.monotonic()
        if changed:
            self.at = now
            self.first.set()
        # As a real one waits where an answer brought nothing at once.
        if not changed and now - self._asked < SOON:
            asyncio.get_running_loop().call_later(SOON, self._ask)
        else:
            self._ask()


async def start(sidecars: list[Sidecar], url: str, ca_file: str) -> None:
    parts, trust = urlsplit(url), ssl.create_default_context(cafile=ca_file)
    host, port = parts.hostname or "", parts.port or 443
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(sidecar: Sidecar) -> None:
        async with places:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: sidecar, host, port, ssl=trust)
            await sidecar.first.wait()

    await asyncio.gather(*(one(sidecar) for sidecar in sidecars))


async def run(wanted: dict[str, Any]) -> None:
    host = urlsplit(wanted["url"]).netloc
    sidecars = [Sidecar(namespace, token, host) for namespace, token in wanted["sidecars"]]
    began = time.monotonic()
    await start(sidecars, wanted["url"], wanted["ca_file"])
    print(json.dumps({"started_in": time.monotonic() - began}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        since = float(line)
        told = {
            "connected": sum(one.connected for one in sidecars),
            "answers": sum(one.answers for one in sidecars),
            "problems": sum(one.problems for one in sidecars),
            "got": sorted(one.at - since for one in sidecars if one.at > since),
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    uvloop.run(run(json.loads(Path(sys.argv[1]).read_text())))
