"""An HTTP proxy on the way to an upstream, where its policy asks for the environment's."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness import proxy, route, upstream
from peers import GOOD, Recorder, answer, request_head, serving
from secure import authority, code

VIA = "proxy: {mode: Environment}\n"


def one(url: str, extra: str) -> str:
    return upstream("a", url, "OpenAI", extra) + route("models", "/v1", "a", "retry: {attempts: 0}\n")


@dataclass
class Tunnels:
    """A tiny proxy: CONNECT, and plain requests, which it answers itself. `refuse`: the status of its refusals."""

    refuse: int = 0
    heads: list[bytes] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await request_head(reader))
        method, target, _ = self.heads[-1].split(b"\r\n")[0].split(b" ")
        if self.refuse:
            writer.write(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % self.refuse)
            return
        if method != b"CONNECT":
            writer.write(answer(GOOD))
            return
        host, _, port = target.decode().rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.close()


Environment = Callable[[int], None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    def point(port: int) -> None:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://user:pass%20word@127.0.0.1:{port}")
            monkeypatch.delenv(name.lower(), raising=False)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)

    return point


@asynccontextmanager
async def tunnelled(tunnels: Tunnels, environment: Environment) -> AsyncIterator[None]:
    async with serving(tunnels) as port:
        environment(port)
        yield


PAIR = b"Basic " + base64.b64encode(b"user:pass word")


async def test_tls_goes_through_the_environments_proxy_if_asked(tmp_path: Path, environment: Environment) -> None:
    ours, tunnels, seen = authority(tmp_path, "ours"), Tunnels(), Recorder()
    async with serving(seen, ours.server("127.0.0.1")) as port, tunnelled(tunnels, environment):
        tls = f"tls: {{caFile: {ours.file}}}\n"
        async with proxy(one(f"https://127.0.0.1:{port}", tls + VIA), tmp_path) as running:
            assert await code(running) == (200, "")
            assert tunnels.heads[0].startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n".encode())
            assert PAIR in tunnels.heads[0]
            # What is meant for the proxy stays with it.
            assert seen.fields(b"proxy-authorization") == []
        async with proxy(one(f"https://127.0.0.1:{port}", tls), tmp_path) as running:
            assert await code(running) == (200, "")
            assert len(tunnels.heads) == 1


async def test_plain_requests_name_the_whole_url_to_the_proxy(tmp_path: Path, environment: Environment) -> None:
    tunnels = Tunnels()
    async with (
        tunnelled(tunnels, environment),
        proxy(one("http://model.example/api", VIA), tmp_path) as running,
    ):
        assert await code(running) == (200, "")
        head = tunnels.heads[0]
        assert head.startswith(b"POST http://model.example:80/api/chat/completions HTTP/1.1\r\n")
        assert PAIR in head


async def test_a_refused_tunnel_is_a_connection_fault(tmp_path: Path, environment: Environment) -> None:
    async with (
        tunnelled(Tunnels(refuse=407), environment),
        proxy(one("https://model.example", VIA), tmp_path) as running,
    ):
        assert await code(running) == (502, "CONNECT_FAILED")
        assert "407" in running.attempts[0].detail
