"""WebSockets: a simple realtime API in OpenAI's words (`/v1/realtime`), and an echo (`/echo`), with the same faults as
streams: what counts there as an event is here a message that the lab sends.
"""

import asyncio
import re
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import msgspec

from seawall.clock import Rng
from seawall.lab import wire_frames as frames
from seawall.lab.answer import Ask, Mint, RejectedError, decide, encode, section
from seawall.lab.plan import Break, Breakage, Plan, Trouble
from seawall.lab.wire_frames import BINARY, CLOSE, PING, PONG, TEXT, Message, frame
from seawall.server.exchange import Exchange, reset
from seawall.types import Headers, header
from seawall.websocket.end import Line

_PATHS = re.compile(r"(?:/openai)?(?:/v1)?/realtime|/echo")
_PIECE = bytes(32 * 1024)


def owns(path: str) -> bool:
    return _PATHS.fullmatch(path) is not None


def model(target: str) -> str:
    """The model that a request for a session names; "" where none."""
    named = parse_qs(target.partition("?")[2])
    return (named.get("model") or named.get("deployment") or [""])[0]


class _Reading(asyncio.StreamReaderProtocol):
    """A stream whose connection's end ends the lab's attempt as well."""

    def __init__(self, reader: asyncio.StreamReader, line: Line) -> None:
        super().__init__(reader)
        self._line = line

    def eof_received(self) -> bool:
        super().eof_received()
        self._line.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._line.connection_lost(exc)


class _OverError(Exception):
    """A fault has ended the session."""


class Socket:
    """One session: sends messages, and breaks off where the plan says so."""

    def __init__(self, exchange: Exchange, plan: Plan, rng: Rng, early: bytes, line: Line) -> None:
        self.reader = asyncio.StreamReader()
        self._transport = exchange.transport
        protocol = _Reading(self.reader, line)
        exchange.transport.set_protocol(protocol)
        protocol.connection_made(exchange.transport)
        self._writer = asyncio.StreamWriter(exchange.transport, protocol, None, asyncio.get_running_loop())
        if early:
            self.reader.feed_data(early)
        exchange.transport.resume_reading()
        self._plan = plan
        self._rng = rng
        self._sent = 0
        self.bytes = 0

    async def send(self, message: Message) -> None:
        """Raises _OverError where the session ends before, or instead of, this message."""
        if self._sent and self._plan.gap is not None:
            await asyncio.sleep(self._plan.gap.draw(self._rng))
        broken = self._plan.breakage
        if broken is not None and self._sent >= max(broken.at, 0 if broken.at >= 0 else 1):
            await self._break(broken, message)
        await self.write(frame(message.opcode, message.data))
        self._sent += 1

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        self.bytes += len(data)
        await self._writer.drain()

    async def _break(self, broken: Breakage, message: Message) -> None:
        transport = self._transport
        match broken.how:
            case Break.STALL:
                await asyncio.get_running_loop().create_future()
            case Break.RESET:
                for _ in range(200):
                    if not transport.get_write_buffer_size():
                        break
                    await asyncio.sleep(0.005)
                reset(transport)
            case Break.UNCLEAN | Break.TRUNCATED:
                whole = frame(message.opcode, message.data)
                await self.write(whole[: max(len(whole) // 2, 1)])
                transport.close()
            case Break.ERROR | Break.FAILED:
                told = {"type": broken.trouble.value, "message": "The server had an error."}
                await self.write(frame(TEXT, encode({"type": "error", "error": told})))
                await self.close(1011, "internal error")
            case _:
                transport.close()
        raise _OverError

    def end(self) -> None:
        self._transport.close()

    async def close(self, code: int, reason: str = "") -> None:
        await self.write(frame(CLOSE, struct.pack(">H", code) + reason.encode()))
        self.end()


async def grant(exchange: Exchange, path: str, plan: Plan, fields: Headers, rng: Rng) -> Socket:
    """Answer the handshake. Raises RejectedError for one without a key."""
    key = header(exchange.head.headers, b"sec-websocket-key")
    if key is None:
        raise RejectedError(Trouble.INVALID, "a handshake needs a Sec-WebSocket-Key")
    if plan.first_byte is not None:
        await asyncio.sleep(plan.first_byte.draw(rng))
    granted = [(b"sec-websocket-accept", frames.accept(key)), *fields]
    if header(exchange.head.headers, b"sec-websocket-protocol") is not None:
        granted.append((b"sec-websocket-protocol", b"realtime"))
    end = exchange.switch(granted)
    return Socket(exchange, plan, rng, end.release(), end.line)


async def serve(socket: Socket, exchange: Exchange, path: str, plan: Plan, mint: Mint) -> None:
    """A session to its end, whoever brings it about."""
    try:
        if path == "/echo":
            await _echo(socket, plan)
        else:
            await _realtime(socket, model(exchange.head.target), plan, mint)
    except (_OverError, asyncio.IncompleteReadError, ConnectionError, ValueError):
        socket.end()


async def _next(socket: Socket) -> Message:
    """The agent's next message; its pings are answered, and its goodbye ends the session."""
    while True:
        message = await frames.read(socket.reader)
        if message.opcode == CLOSE:
            await socket.close(int.from_bytes(message.data[:2], "big") or 1000)
            raise _OverError
        if message.opcode == PING:
            await socket.write(frame(PONG, message.data))
        elif message.opcode != PONG:
            return message


async def _echo(socket: Socket, plan: Plan) -> None:
    """Give back what comes, or with `huge` that many bytes which nobody asked for."""
    left = plan.huge or 0
    while left > 0:
        await socket.send(Message(BINARY, _PIECE[:left]))
        left -= len(_PIECE)
    while True:
        await socket.send(await _next(socket))


async def _realtime(socket: Socket, name: str, plan: Plan, mint: Mint) -> None:
    session = {"id": mint.id("sess_"), "object": "realtime.session", "type": "realtime", "model": name}
    await socket.send(_event(mint, {"type": "session.created", "session": session}))
    while True:
        message = await _next(socket)
        if message.opcode == BINARY:
            await socket.send(message)
            continue
        for event in _answers(message.data, name, session, plan, mint):
            await socket.send(_event(mint, event))


def _answers(data: bytes, name: str, session: object, plan: Plan, mint: Mint) -> Iterator[dict[str, Any]]:
    """What an event of the agent's brings about."""
    try:
        asked = msgspec.json.decode(data, type=dict[str, Any])
    except ValueError:
        asked = {}
    match asked.get("type"):
        case "session.update":
            yield {"type": "session.updated", "session": session}
        case "conversation.item.create":
            yield {"type": "conversation.item.added", "item": {"id": mint.id("item_"), **section(asked, "item")}}
        case "response.create":
            yield from _response(name, plan, mint)
        case kind:
            error = {"type": "invalid_request_error", "message": f"unknown event {kind!r}"}
            yield {"type": "error", "error": error}


def _response(name: str, plan: Plan, mint: Mint) -> Iterator[dict[str, Any]]:
    said = decide(Ask(name), plan.scenario, mint.seed)
    id_, item = mint.id("resp_"), mint.id("item_")
    response: dict[str, Any] = {"id": id_, "object": "realtime.response", "status": "in_progress", "output": []}
    yield {"type": "response.created", "response": response}
    at = {"response_id": id_, "item_id": item, "output_index": 0, "content_index": 0}
    for piece in said.pieces:
        yield {"type": "response.output_text.delta", **at, "delta": piece}
    yield {"type": "response.output_text.done", **at, "text": said.text}
    usage = {"input_tokens": 1, "output_tokens": said.tokens, "total_tokens": 1 + said.tokens}
    yield {"type": "response.done", "response": {**response, "status": "completed", "usage": usage}}


def _event(mint: Mint, event: dict[str, Any]) -> Message:
    return Message(TEXT, encode({"event_id": mint.id("event_"), **event}))
