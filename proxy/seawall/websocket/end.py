"""One end of a WebSocket that passes through: the protocol of a connection that has left HTTP.

It takes the place of the connection's HTTP protocol (its `Line`), which goes on hearing of the connection's end. Until
it is joined to a peer it keeps what comes, up to a bound; then every byte goes to the peer as it comes, and whoever
reads slowly makes the other one wait.
"""

import asyncio
import socket
from typing import Protocol

from seawall.types import Headers
from seawall.websocket.frames import Frames

# What may come before the other side is there. Clients wait for the answer to their handshake; servers may greet.
_EARLY = 64 * 1024
# A peer that has vanished without a word is found by the kernel's probes: a session may well be silent for an hour.
_PROBES = (("SO_KEEPALIVE", "SOL_SOCKET", 1), ("TCP_KEEPIDLE", "IPPROTO_TCP", 60), ("TCP_KEEPINTVL", "IPPROTO_TCP", 15))


class Line(Protocol):
    """What an end needs of the connection that it takes over."""

    transport: asyncio.Transport

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...


class Watcher(Protocol):
    """Who joined two ends."""

    def moved(self) -> None:
        """Bytes have passed."""

    def congested(self, end: "End") -> None: ...
    def relieved(self, end: "End") -> None: ...
    def ended(self, end: "End", why: Exception | None) -> None: ...


class Upgrade(Protocol):
    """An agent's request for a WebSocket, as long as it is not answered."""

    sent_bytes: int
    """Of the answer: what the agent was sent on it."""

    def switch(self, headers: Headers) -> "End":
        """Answer 101 with these fields; the connection is an end from then on."""


class End(asyncio.Protocol):
    """See above. early: what has come already."""

    __slots__ = ("_early", "_loop", "_watcher", "frames", "gone", "line", "passed", "peer", "transport")

    def __init__(self, line: Line, early: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._early = early
        self._watcher: Watcher | None = None
        self.line = line
        self.transport = line.transport
        self.peer: End | None = None
        self.frames = Frames()
        self.passed = 0
        """Bytes that came from here and went to the peer."""
        self.gone = self.transport.is_closing()
        self.transport.set_protocol(self)

    def join(self, peer: "End", watcher: Watcher) -> None:
        """From now on all bytes go to the peer, which has to be joined as well. Then `start`."""
        self.peer, self._watcher = peer, watcher
        _probe(self.transport)

    def start(self) -> None:
        """Pass on what has come early, and read on."""
        if early := self.release():
            self.data_received(early)
        if not self.transport.is_closing():
            self.line.resume()

    def release(self) -> bytes:
        """What has come, for another protocol that takes the connection over."""
        early, self._early = self._early, b""
        return early

    def part(self) -> None:
        """Pass nothing on any more; what comes is dropped."""
        self.peer, self._watcher = None, None

    def end(self, *, at_once: bool = False) -> None:
        """Close. What is still to be written goes out, but a peer that does not read does not keep the connection."""
        if at_once:
            self.transport.abort()
            return
        left = self.transport.get_write_buffer_size()
        self.transport.close()
        if left:
            self._loop.call_later(1.0, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        peer, watcher = self.peer, self._watcher
        if peer is None or watcher is None:
            self._early += data
            if len(self._early) >= _EARLY:
                self.line.pause()
            return
        watcher.moved()
        self.frames.feed(data)
        self.passed += len(data)
        if not peer.transport.is_closing():
            peer.transport.write(data)

    def pause_writing(self) -> None:
        if self.peer is None or self._watcher is None:
            self.line.pause_writing()
            return
        self.peer.line.pause()
        self._watcher.congested(self)

    def resume_writing(self) -> None:
        if self.peer is None or self._watcher is None:
            self.line.resume_writing()
            return
        if not self.peer.transport.is_closing():
            self.peer.line.resume()
        self._watcher.relieved(self)

    def eof_received(self) -> bool | None:
        """A WebSocket knows no half-closed connections: who sends nothing any more is gone."""
        if self._watcher is None:
            return self.line.eof_received()
        self._watcher.ended(self, None)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if self._watcher is None:
            self.line.connection_lost(exc)
            return
        self._watcher.ended(self, exc)
        # Who waits for the session's end hears of it before the line ends whatever still goes on.
        self._loop.call_soon(self.line.connection_lost, exc)


def _probe(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    for name, level, value in _PROBES:
        option, layer = getattr(socket, name, None), getattr(socket, level)
        if sock is not None and option is not None:
            sock.setsockopt(layer, option, value)
