"""An upstream that keeps what it got, byte for byte, and an agent that says and hears bytes: what tests of transparency
compare. Answers and requests are read by h11, which shares nothing with the proxy's parser.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import h11

Fields = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """A request or an answer. `line`: its first line; `fields`: in order and case."""

    line: bytes
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    interims: list[int] = field(default_factory=list)
    chunks: int = 0

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]

    @property
    def status(self) -> int:
        return int(self.line.split(b" ")[1])


def ok(body: bytes = b"", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    lines = b"".join(f + b"\r\n" for f in fields)
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, lines, len(body), body)


class Recorder:
    """Gives every request the same answer. `errors`: what h11 did not take for HTTP."""

    def __init__(self, answer: bytes = ok()) -> None:
        self.answer = answer
        self.requests: list[Message] = []
        self.raw = b""
        self.errors: list[Exception] = []
        self.connections = 0
        self.open = 0

    @property
    def last(self) -> Message:
        return self.requests[-1]

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self._serve(reader, writer)
        except h11.RemoteProtocolError as error:
            self.errors.append(error)
        finally:
            self.open -= 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=4_000_000)
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(1 << 20)
                if not data:
                    return
                self.raw += data if len(self.raw) < 10_000_000 else b""
                parser.receive_data(data)
            elif isinstance(event, h11.Request):
                line = b"%b %b HTTP/%b" % (event.method, event.target, event.http_version)
                message = Message(line, event.headers.raw_items())
            elif isinstance(event, h11.Data):
                message.body += bytes(event.data)
                message.chunks += event.chunk_start
            elif isinstance(event, h11.EndOfMessage):
                message.trailers = event.headers.raw_items() if event.headers else []
                self.requests.append(message)
                writer.write(self.answer)
                await writer.drain()
                parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                parser.send(h11.EndOfMessage())
                if parser.our_state is h11.MUST_CLOSE:
                    return
                parser.start_next_cycle()
            else:
                raise AssertionError(event)


async def say(port: int, *pieces: bytes, pause: float = 0.0, seconds: float = 5.0) -> bytes:
    """Everything that comes back until the other side closes or resets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        async with asyncio.timeout(seconds):
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)
                while data := await reader.read(1 << 20):
                    answer += data
            except ConnectionError:
                pass
    finally:
        writer.transport.abort()
    return answer


def answers(data: bytes, methods: Sequence[str] = ("GET",)) -> list[Message]:
    """The whole answers in what an agent heard; an AssertionError for anything that is not one."""
    found: list[Message] = []
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=4_000_000)
    parser.receive_data(data)
    parser.receive_data(b"")
    for number, method in enumerate(methods):
        parser.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        parser.send(h11.EndOfMessage())
        message = Message(b"", [])
        while not isinstance(event := parser.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.InformationalResponse):
                message.interims.append(event.status_code)
            elif isinstance(event, h11.Response):
                message.line = b"HTTP/%b %d %b" % (event.http_version, event.status_code, event.reason)
                message.fields = event.headers.raw_items()
            elif isinstance(event, h11.Data):
                message.body += bytes(event.data)
                message.chunks += event.chunk_start
            else:
                raise AssertionError(event)
        message.trailers = event.headers.raw_items() if event.headers else []
        found.append(message)
        if number + 1 < len(methods):
            parser.start_next_cycle()
    assert not parser.trailing_data[0], parser.trailing_data
    return found


async def heard(port: int, request: bytes, method: str = "GET", **more: float) -> Message:
    return answers(await say(port, request, **more), [method])[0]
