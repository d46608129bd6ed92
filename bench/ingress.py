"""The ingress candidates, measured: what one plain request costs in each (docs/design.md has the outcome).

    python bench/ingress.py [--seconds 3] [--rounds 3]

Every candidate reads a 1 kB POST and answers 0.7 kB of JSON; none goes on to an upstream. The load comes from this
process on the last CPU, the candidate runs alone on CPU 0. Figures are CPU microseconds per request of the candidate's
process (user and system), the median of the rounds, which are interleaved.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1] / "proxy"))
ANSWER = b'{"answer":"' + b"x" * 700 + b'"}'
BODY = b'{"question":"' + b"y" * 1000 + b'"}'
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench\r\naccept: */*\r\n"
    b"authorization: Bearer sk-bench\r\ncontent-type: application/json\r\nx-stainless-lang: python\r\n"
    b"content-length: %d\r\n\r\n" % len(BODY)
) + BODY
CANDIDATES = {
    "aiohttp": "aiohttp's server with its own C parser (refuses what SDKs send; the yardstick)",
    "aiohttp-python": "aiohttp's server with its Python parser, the check on repeated fields patched away",
    "aiohttp-llhttp": "aiohttp's server and handler over a parser of our own on llhttp",
    "seawall": "seawall's ingress: llhttp and an exchange, nothing of aiohttp",
}


async def aiohttp_server(port: int) -> None:
    from aiohttp import web

    async def handle(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=ANSWER, content_type="application/json")

    await asyncio.get_running_loop().create_server(web.Server(handle, access_log=None), "127.0.0.1", port)


def patch_python_parser() -> None:
    from aiohttp import http_parser, web_protocol

    # It has no switch for either; a measurement may reach in.
    vars(http_parser)["SINGLETON_HEADERS"] = frozenset()
    vars(web_protocol)["HttpRequestParser"] = http_parser.HttpRequestParserPy


def patch_llhttp_parser() -> None:
    import httptools
    from aiohttp import HttpVersion11, streams, web_protocol
    from aiohttp.http_parser import RawRequestMessage
    from multidict import CIMultiDict, CIMultiDictProxy
    from yarl import URL

    class Parser:
        """The smallest thing that aiohttp's handler accepts as a parser."""

        def __init__(self, protocol: object, loop: asyncio.AbstractEventLoop, limit: int, **_: object) -> None:
            self._protocol, self._loop, self._limit = protocol, loop, limit
            self._parser = httptools.HttpRequestParser(self)
            self._messages: list[object] = []

        def on_message_begin(self) -> None:
            self._path = b""
            self._headers: list[tuple[bytes, bytes]] = []

        def on_url(self, url: bytes) -> None:
            self._path += url

        def on_header(self, name: bytes, value: bytes) -> None:
            self._headers.append((name, value))

        def on_headers_complete(self) -> None:
            pairs = [(n.decode("ascii"), v.decode("utf-8", "surrogateescape")) for n, v in self._headers]
            path = self._path.decode("ascii")
            headers = CIMultiDictProxy(CIMultiDict(pairs))
            self._payload = streams.StreamReader(self._protocol, self._limit, loop=self._loop)  # type: ignore[arg-type]
            message = RawRequestMessage(
                self._parser.get_method().decode(), path, HttpVersion11, headers, tuple(self._headers),
                not self._parser.should_keep_alive(), None, False, False, URL(path, encoded=True),
            )  # fmt: skip
            self._messages.append((message, self._payload))

        def on_body(self, data: bytes) -> None:
            self._payload.feed_data(data)

        def on_message_complete(self) -> None:
            self._payload.feed_eof()

        def feed_data(self, data: bytes) -> tuple[list[object], bool, bytes]:
            self._parser.feed_data(data)
            messages, self._messages = self._messages, []
            return messages, False, b""

        def feed_eof(self) -> None:
            pass

        def pause_reading(self) -> None:
            pass

        def resume_reading(self) -> None:
            pass

        def message_consumed(self) -> None:
            pass

        def set_upgraded(self, _: bool) -> None:
            pass

    vars(web_protocol)["HttpRequestParser"] = Parser


async def seawall_server(port: int) -> None:
    from seawall.server.exchange import Exchange
    from seawall.server.listener import serve

    async def handle(exchange: Exchange) -> None:
        while await exchange.body.read():
            pass
        length = b"%d" % len(ANSWER)
        exchange.start(200, [(b"content-type", b"application/json"), (b"content-length", length)], reason=b"OK")
        exchange.write(ANSWER)
        exchange.end()

    await serve(handle, "127.0.0.1", port)


async def run_candidate(name: str, port: int) -> None:
    if name == "aiohttp-python":
        patch_python_parser()
    if name == "aiohttp-llhttp":
        patch_llhttp_parser()
    await (seawall_server(port) if name == "seawall" else aiohttp_server(port))
    print("ready", flush=True)
    await asyncio.sleep(600)


async def load(port: int, seconds: float, connections: int = 16) -> int:
    """Requests answered whole within the time."""
    done = 0
    until = time.monotonic() + seconds

    async def one() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < until:
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(len(ANSWER)) == ANSWER
            done += 1
        writer.close()

    await asyncio.gather(*[one() for _ in range(connections)])
    return done


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=3.0)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--candidate", choices=CANDIDATES, help=argparse.SUPPRESS)
    arguments.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.candidate:
        uvloop.run(run_candidate(options.candidate, options.port))
        return
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    costs: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(options.rounds):
        for number, name in enumerate(CANDIDATES):
            port = 9300 + number
            command = ["taskset", "-c", "0", sys.executable, __file__, "--candidate", name, "--port", str(port)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                try:
                    assert process.stdout is not None
                    process.stdout.readline()
                    before = cpu_seconds(process.pid)
                    done = uvloop.run(asyncio.wait_for(load(port, options.seconds), options.seconds + 10))
                    costs[name].append((cpu_seconds(process.pid) - before) * 1e6 / done)
                finally:
                    process.terminate()
    base = statistics.median(costs["aiohttp"])
    for name, text in CANDIDATES.items():
        median = statistics.median(costs[name])
        print(f"{name:16}{median:8.1f} us/request {median / base:6.2f} x  {text}")


if __name__ == "__main__":
    main()
