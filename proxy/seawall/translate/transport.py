"""The providers' SDKs over our own wire: connections, TLS, proxies, deadlines and faults are those of every other call.

An error, or an answer that is not whole, never reaches an SDK: the upstream's dialect judges the bytes as it does where
nothing is translated, and what it finds is raised as `WireFault`. So no SDK retries or reads an error its own way.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import httpx2

from seawall.clock import Clock
from seawall.decode import Decoder, decoder_for
from seawall.dialects.base import Dialect, Watch
from seawall.faults import Code, Fault
from seawall.translate.words import in_body, in_events
from seawall.types import Facts, Headers, Usage, header
from seawall.upstream.connect import Endpoint
from seawall.upstream.credential import Credential, Unsigned
from seawall.upstream.exchange import Exchange, Limit
from seawall.upstream.pool import Pool, Request

ERROR_BYTES = 64 * 1024
"""So much of an error's body tells what it is."""

# Of what an SDK sends only these fields go out; others tell about the SDK, or hold credentials of the environment.
_SENT = frozenset({b"accept", b"anthropic-beta", b"anthropic-version", b"content-type", b"user-agent"})


NO_LIMIT: Limit = (None, Code.TIMEOUT_REQUEST)


class WireFault(httpx2.TransportError):
    """A fault on its way through an SDK."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.code.value}: {fault.detail}")
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Destination:
    """Where requests go and how they are judged."""

    dialect: Dialect
    endpoint: Endpoint
    host: bytes


class WireTransport(httpx2.AsyncBaseTransport):
    """The transport of one attempt, and what was seen on it.

    credential: what authorises the request; None sends none. connect_seconds bounds the opening of a
    connection, max_bytes a plain answer. before_content: the limit that takes the place of `expect_by`'s once there is
    a head. more: fields that requests have besides an SDK's.
    """

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        destination: Destination,
        facts: Facts,
        *,
        credential: Credential | None = None,
        connect_seconds: float | None = None,
        before_content: Limit = NO_LIMIT,
        more: Headers | None = None,
        max_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._destination = destination
        self._facts = facts
        self._credential = credential
        self._connect_seconds = connect_seconds
        self._deadline = self._silence = NO_LIMIT
        self._before_content = before_content
        self._more = more or []
        self._max_bytes = max_bytes
        self._exchange: Exchange | None = None
        self._watch: Watch | None = None
        self._decoder: Decoder | None = None
        self._plain: tuple[str, Usage | None] = ("", None)
        self.connected = False
        """A request went out."""
        self.headers: Headers = []
        """Of the answer."""
        self.status: int | None = None
        self.fault: Fault | None = None
        """Why there is no good answer."""
        self.withheld: Fault | None = None
        """The answer is whole, but the provider's filter withheld content."""

    def expect_by(self, deadline: float | None, code: Code) -> None:
        """As an exchange's."""
        self._deadline = deadline, code
        if self._exchange is not None:
            self._exchange.expect_by(deadline, code)

    def expect_within(self, seconds: float | None, code: Code) -> None:
        """As an exchange's."""
        self._silence = seconds, code
        if self._exchange is not None:
            self._exchange.expect_within(seconds, code)

    @property
    def content(self) -> bool:
        """Content-bearing bytes have come."""
        return self._watch is not None and self._watch.content

    @property
    def model(self) -> str:
        """The model that answered, as the answer says; "" while or where it does not."""
        return self._plain[0] if self._watch is None else self._watch.model

    @property
    def usage(self) -> Usage | None:
        """Tokens, as far as the answer has told of them."""
        return self._plain[1] if self._watch is None else self._watch.usage

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request. Raises WireFault."""
        body = await request.aread()
        target = request.url.raw_path.decode("ascii")
        fields = self._fields(request, len(body))
        if self._credential is not None:
            own = self._credential.fields(Unsigned(request.method, target, fields, body))
            if own is None:
                raise self._broken(Fault(Code.CREDENTIAL_UNREADABLE, self._credential.error))
            fields += own
        sent = await self._pool.send(
            self._destination.endpoint, Request(request.method, target, fields, body), self._connect_seconds
        )
        if isinstance(sent, Fault):
            raise self._broken(sent)
        self.connected, self._exchange = True, sent
        sent.expect_by(*self._deadline)
        sent.expect_within(*self._silence)
        given = False
        try:
            response = await self._answer(sent)
            given = True
            return response
        finally:
            if not given:
                sent.close()

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the answer up, if it has not ended: its connection is closed, so that the upstream stops at once."""
        if self._exchange is not None:
            self._exchange.close()

    def _fields(self, request: httpx2.Request, length: int) -> Headers:
        fields = [(b"host", self._destination.host)]
        fields += [(name, value) for name, value in request.headers.raw if name.lower() in _SENT]
        fields.append((b"content-length", b"%d" % length))
        return fields + self._more

    async def _answer(self, exchange: Exchange) -> httpx2.Response:
        fault = await exchange.head()
        if fault is not None:
            raise self._broken(fault)
        if self._before_content is not NO_LIMIT:
            self.expect_by(*self._before_content)
        self.status, self.headers = exchange.status, exchange.headers
        # A shared client would keep cookies, and has no use for them.
        fields = [(name, value) for name, value in exchange.headers if name.lower() != b"set-cookie"]
        self._decoder = decoder_for(exchange.headers)
        kind = (header(exchange.headers, b"content-type") or b"").lower()
        dialect = self._destination.dialect
        if exchange.status == 200 and kind.startswith(dialect.stream_type(self._facts)):
            self._watch = dialect.watch(self._facts)
            return httpx2.Response(exchange.status, headers=fields, stream=_Events(self))
        body = await self._whole(exchange)
        if self._facts.stream:
            # An SDK would find no event in it, and take it for an empty answer.
            raise self._broken(Fault(Code.MALFORMED_EVENT, "no stream where one was asked for", exchange.status))
        return httpx2.Response(exchange.status, headers=fields, content=body)

    async def _whole(self, exchange: Exchange) -> bytes:
        """A good plain answer, as it came. Whatever else comes is judged and raised."""
        good = 200 <= exchange.status < 300
        most = self._max_bytes if good else ERROR_BYTES
        parts: list[bytes] = []
        size, ended = 0, False
        while size <= most and not ended:
            data = await exchange.read()
            if isinstance(data, Fault):
                if good:
                    raise self._broken(data)
                break
            parts.append(data)
            size, ended = size + len(data), not data
        if good and not ended:
            raise self._broken(Fault(Code.PROTOCOL_ERROR, f"an answer of more than {most} bytes", exchange.status))
        body = b"".join(parts)
        self._judge(exchange, body, ended)
        return body

    def _judge(self, exchange: Exchange, body: bytes, whole: bool) -> None:
        plain = body if self._decoder is None else self._decoder.feed(body)
        dialect, facts, status = self._destination.dialect, self._facts, exchange.status
        fault = dialect.judge(facts, status, exchange.headers, plain or b"", self._clock.wall(), whole=whole)
        if fault is None and not 200 <= status < 300:
            # No redirect is followed: it would take the credential to who knows where.
            fault = Fault(Code.PROTOCOL_ERROR, f"status {status} where an answer was expected", status)
        if plain is not None and 200 <= status < 300:
            self._plain = dialect.answered(facts, plain)
        self._settle(fault and in_body(fault, plain or b""))
        if self.fault is not None:
            raise WireFault(self.fault)

    async def _read(self) -> bytes:
        """The next whole events of a stream; b"" at its proper end."""
        exchange, watch = self._exchange, self._watch
        assert exchange is not None and watch is not None
        while True:
            if self.fault is not None:
                # What came before it has been handed out.
                raise WireFault(self.fault)
            data = await exchange.read()
            if isinstance(data, Fault):
                # What breaks off behind its terminal event was whole.
                if watch.terminal:
                    return b""
                raise self._broken(data)
            seen = data if self._decoder is None else self._decoder.feed(data)
            if seen is None:
                raise self._broken(Fault(Code.PROTOCOL_ERROR, "a coding that cannot be decoded", self.status))
            released = watch.feed(seen) if data else watch.end()
            self._settle(watch.fault and in_events(watch.fault, released))
            if not data and not watch.terminal:
                self._settle(Fault(Code.TRUNCATED, "the stream ended without its terminal event", self.status))
            passed = released if self._decoder is None else data
            if passed or (not data and self.fault is None):
                return passed

    def _settle(self, fault: Fault | None) -> None:
        """Withheld content is the provider's answer, and so is told to the agent; every other fault is none."""
        if fault is not None and fault.code is Code.CONTENT_POLICY and (self.status or 0) < 400:
            self.withheld = fault
        elif fault is not None:
            self.fault = self.fault or fault

    def _broken(self, fault: Fault) -> WireFault:
        self.fault = self.fault or fault
        return WireFault(fault)


# To build an SDK's client costs half a millisecond, so attempts share one; which of them a request belongs to is known
# from the task that makes it.
_ATTEMPT: ContextVar[WireTransport] = ContextVar("attempt")


class SharedTransport(httpx2.AsyncBaseTransport):
    """What a shared client speaks over: each request goes to the wire of the attempt that makes it."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await _ATTEMPT.get().handle_async_request(request)


@contextmanager
def over(wire: WireTransport) -> Iterator[None]:
    """Requests that begin in this context go over `wire`."""
    token = _ATTEMPT.set(wire)
    try:
        yield
    finally:
        _ATTEMPT.reset(token)


class _Events(httpx2.AsyncByteStream):
    """A streamed answer's body."""

    def __init__(self, wire: WireTransport) -> None:
        self._wire = wire

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._wire._read():
            yield data

    async def aclose(self) -> None:
        self._wire.close()
