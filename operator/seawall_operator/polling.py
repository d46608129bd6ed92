"""The connections over which sidecars ask for their bundle.

Ten thousand of them are open at a time, and all that happens on most is a question every 40 s: what is held for one is
its TLS and one object, with neither a task nor a parser. Every other request on the port goes to aiohttp, with its
connection.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

import httptools

from seawall_operator.bundles import Answer, BundleService
from seawall_operator.sidecars import Key

PATH = b"/v1/bundles/"
MAX_HEAD = 16 * 1024
"""Bytes. Tokens have 1 to 2 kB."""
IDLE = 75.0
"""Seconds that a connection may wait without a question."""
SWEEP = 5.0

Handover = Callable[[], asyncio.Protocol]


class Poll(asyncio.Protocol):
    """One connection."""

    __slots__ = ("_alive", "_asking", "_congested", "_polls", "_read", "_transport", "since")

    _transport: asyncio.Transport

    def __init__(self, polls: "Polls") -> None:
        self._polls = polls
        self._read = b""
        self._asking = self._congested = False
        self._alive = True
        self.since = 0.0
        """When it last had nothing to wait for; 0.0 while it waits for an answer."""

    # -- asyncio -------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one, and no subclass.
        self._transport = cast(asyncio.Transport, transport)
        self._polls.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        # What came last may still be about to be looked at: nobody waits for its answer.
        self._read = b""
        self._polls.lost(self)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if not self._asking and not self._congested:
            self._next()
        elif len(self._read) > MAX_HEAD:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False
        self._more()

    def _more(self) -> None:
        if self._read and not self._asking and not self._congested:
            self._next()

    # -- a question ----------------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        return str((self._transport.get_extra_info("peername") or ("",))[0])

    def _next(self) -> None:
        end = self._read.find(b"\r\n\r\n")
        if end < 0 and len(self._read) <= MAX_HEAD and self._read.startswith((b"GET " + PATH)[: len(self._read)]):
            return  # more of it is to come
        head = _head_of(self._read[: end + 4]) if end >= 0 else None
        if head is None:
            self._hand_over()
            return
        self._read = self._read[end + 4 :]
        self._asking, self._alive = True, head.alive
        self.since = 0.0
        self._polls.service.ask(self, head.key, head.fields)

    def answer(self, answer: Answer) -> None:
        """What has come meanwhile is looked at in a turn of its own."""
        loop = asyncio.get_running_loop()
        self._asking, self.since = False, loop.time()
        alive = self._alive and not self._polls.closing
        fields = {**answer.fields, **({} if answer.status == 304 else {"Content-Length": str(len(answer.body))})}
        fields |= {} if alive else {"Connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        whole = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n{lines}\r\n".encode() + answer.body
        self._transport.write(whole)
        if not alive:
            self._transport.close()
        elif self._read:
            loop.call_soon(self._more)

    def _hand_over(self) -> None:
        """To aiohttp, from this request on."""
        self._polls.lost(self)
        other = self._polls.handover()
        self._transport.set_protocol(other)
        other.connection_made(self._transport)
        other.data_received(self._read)

    def end(self) -> None:
        # Who has not read its last answer for so long does not get the rest of it either.
        (self._transport.abort if self._congested else self._transport.close)()


class Polls:
    """All of them."""

    def __init__(self, service: BundleService, handover: Handover) -> None:
        """`handover` makes what takes care of any other request."""
        self.service = service
        self.handover = handover
        self.closing = False
        self._open: set[Poll] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> Poll:
        return Poll(self)

    def connected(self, poll: Poll) -> None:
        loop = asyncio.get_running_loop()
        if self.closing:
            # It was in its handshake when all others were told.
            loop.call_soon(poll.end)
        poll.since = loop.time()
        self._open.add(poll)
        if self._timer is None:
            self._timer = loop.call_later(SWEEP, self._sweep)

    def lost(self, poll: Poll) -> None:
        self._open.discard(poll)
        self.service.forget(poll)

    def close(self) -> None:
        """No answer is owed any more: the shelf is closed."""
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
        for poll in list(self._open):
            poll.end()

    def _sweep(self) -> None:
        """Connections that ask for nothing are not kept for ever."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for poll in [one for one in self._open if one.since and now - one.since > IDLE]:
            poll.end()
        self._timer = loop.call_later(SWEEP, self._sweep) if self._open else None


class _Head:
    """What httptools reads of one request."""

    def __init__(self) -> None:
        self.url = b""
        self.fields: dict[str, str] = {}
        self.key: Key = ("", "")
        self.alive = True
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_message_complete(self) -> None:
        self.complete = True


def _head_of(data: bytes) -> _Head | None:
    """Of a question; None for anything else."""
    head = _Head()
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    parts = head.url.partition(b"?")[0].removeprefix(PATH).split(b"/")
    if not head.complete or parser.get_method() != b"GET" or not head.url.startswith(PATH) or len(parts) != 2:
        return None
    namespace, profile = (unquote(part.decode("latin-1")) for part in parts)
    head.key = namespace, profile
    head.alive = parser.get_http_version() == "1.1" and "close" not in head.fields.get("connection", "").lower()
    return head
