"""TLS on a connection that was accepted, for as little memory as OpenSSL itself takes: 20 kB while nothing happens,
where uvloop's own takes 26 kB (and keeps as much again as was ever written at once), and asyncio's 280 kB. A replica
holds ten thousand of these.

All of the protocol is the ssl module's (`SSLContext.wrap_bio`); what is here moves bytes.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, cast

HANDSHAKE = 10.0
"""Seconds."""
SLICE = 2048
"""Bytes that are encrypted at a time: for each connection OpenSSL keeps as much memory as it needed at once."""
READ = 64 * 1024


class Secured(asyncio.Transport, asyncio.Protocol):
    """Between a TCP transport, whose protocol it is, and another protocol, whose transport it is."""

    __slots__ = ("_above", "_closing", "_context", "_incoming", "_made", "_outgoing", "_tcp", "_timer", "_tls")

    _tcp: asyncio.Transport

    def __init__(self, context: ssl.SSLContext, made: Callable[[], asyncio.BaseProtocol]) -> None:
        """`made` makes the protocol above, once the handshake is done."""
        super().__init__()
        self._context = context
        self._made = made
        self._above: asyncio.Protocol | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    # -- as the protocol below -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one, and no subclass.
        self._tcp = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE, self._tcp.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._end_timer()
        if self._above is not None:
            self._above.connection_lost(exc)
            self._above = None

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            if self._above is None and not self._shake_hands():
                return
            self._read()
        except ssl.SSLError:
            # What it says of the reason goes to the peer; scanners and probes make thousands of these.
            self._flush()
            self._closing = True
            self._tcp.close()

    def eof_received(self) -> bool:
        """Without a word of TLS or with one: nobody reads an answer any more."""
        return False

    def pause_writing(self) -> None:
        if self._above is not None:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._above is not None:
            self._above.resume_writing()

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._flush()
        self._end_timer()
        self._above = cast(asyncio.Protocol, self._made())
        self._above.connection_made(self)
        return True

    def _read(self) -> None:
        while self._above is not None and not self._closing:
            try:
                data = self._tls.read(READ)
            except ssl.SSLWantReadError:
                return self._flush()
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                return self.close()
            self._above.data_received(data)
        return None

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._tcp.write(self._outgoing.read())

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- as the transport above ----------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        view = memoryview(data)
        for start in range(0, len(view), SLICE):
            self._tls.write(view[start : start + SLICE])
            self._flush()

    def close(self) -> None:
        """What was written goes out before."""
        if self._closing:
            return
        self._closing = True
        if self._above is not None:
            # The peer's own word is not waited for (RFC 8446 §6.1).
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
        self._tcp.close()

    def abort(self) -> None:
        self._closing = True
        self._tcp.abort()

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        own = {"sslcontext": self._context, "ssl_object": self._tls}
        return own[name] if name in own else self._tcp.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._above = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._above is not None
        return self._above

    def pause_reading(self) -> None:
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        self._tcp.resume_reading()

    def is_reading(self) -> bool:
        return self._tcp.is_reading()

    def get_write_buffer_size(self) -> int:
        return self._tcp.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._tcp.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        return False
