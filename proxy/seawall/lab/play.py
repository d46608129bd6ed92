"""Plays the actions of an attempt on its connection: the lab's only output. It decides nothing.

Cancellation (the client went away) ends it at any action.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from http.client import responses

from seawall.lab.perform import Action, Close, End, Hang, Inform, Raw, Reset, Send, Start, Wait
from seawall.server.exchange import Exchange

_UNINTERRUPTED = 256 * 1024
"""Bytes of an answer that may leave in one go."""
_LINGER_NOT = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: closing sends RST


async def play(actions: Iterable[Action], exchange: Exchange, sending: Callable[[int | None], None]) -> int:
    """Play to the end. `sending` is called before anything but a body leaves, with the status that the agent will see,
    or None where it is no final head. Returns the bytes sent outside of the framing."""
    raw = 0
    for action in actions:
        match action:
            case Start(status):
                sending(status)
            case Raw(data):
                sending(int(data[9:12]) if data.startswith(b"HTTP/1.1 ") else None)
            case Inform():
                sending(None)
        match action:
            case Send(data):
                if exchange.head.method != "HEAD":
                    exchange.write(data)
                await _room(exchange)
            case Start(status, headers):
                exchange.start(status, headers, reason=responses.get(status, "").encode())
            case End(trailers):
                exchange.end(trailers)
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case Inform(status, headers):
                exchange.inform(status, headers)
            case Raw(data):
                await asyncio.sleep(0)  # lets a head that was started leave first
                exchange.transport.write(data)
                raw += len(data)
                await _room(exchange)
            case Close():
                exchange.abort()
            case Reset():
                await _reset(exchange)
            case Hang():
                await asyncio.get_running_loop().create_future()
    return raw


async def _room(exchange: Exchange) -> None:
    """Wait until the client has read enough. Endless answers must let others run even while it keeps up, and must let
    their own cancellation in when it is gone: writes to a lost connection never block."""
    await exchange.drain()
    if exchange.sent_bytes > _UNINTERRUPTED or exchange.transport.is_closing():
        await asyncio.sleep(0)


async def _reset(exchange: Exchange) -> None:
    transport = exchange.transport
    await asyncio.sleep(0)
    # What was written must arrive before the reset, which would destroy it.
    for _ in range(200):
        if transport.get_write_buffer_size() == 0:
            break
        await asyncio.sleep(0.005)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    exchange.abort()
    transport.abort()
