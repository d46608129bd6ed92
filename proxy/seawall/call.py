"""One agent request on its way: what was asked, the body that may be sent again, and the record of what was done.

Nothing here decides anything; `engine.py` does. Bytes that are kept for another attempt are drawn from one budget of
the whole process, so that memory is bounded whatever agents send.
"""

import msgspec

from seawall.client_hints import NO_HINTS, Hints
from seawall.faults import Code, Fault, Refusal
from seawall.runtime import Plan
from seawall.types import Body, Facts, Head, Headers, Made, Outcome, Safety, ServiceLevel, TraceContext, Usage
from seawall.websocket.end import Upgrade


class Buffers:
    """The process-wide budget for replay, hold and prelude buffers, in bytes (`bufferBudget`)."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int = 64 * 1024 * 1024) -> None:
        self.limit = limit
        self.used = 0

    def take(self, size: int) -> bool:
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        self.used -= size


class Replay:
    """A request's body: kept whole where it fits, else a kept beginning and a rest that passes once.

    Whoever makes one calls `close` at the end, which returns its bytes to the budget.
    """

    __slots__ = ("_buffers", "_kept", "_limit", "_passed", "_source", "_started", "_taken", "data", "trailers", "whole")

    def __init__(self, source: Body, trailers: Headers, buffers: Buffers) -> None:
        self._source = source
        self._buffers = buffers
        self._taken = 0
        self._limit: int | None = None
        self._passed = 0
        self._started = False
        self._kept = True
        self.data = b""
        self.trailers = trailers
        self.whole = False

    async def fill(self, limit: int, most: int | None) -> None:
        """Read until the body is whole, or above `limit` bytes, or the budget is spent. Raises Refusal above `most`,
        and for a body that is no valid HTTP. May be called again with a higher limit."""
        self._limit = most
        parts = [self.data] if self.data else []
        size = len(self.data)
        while True:
            data = await self._source.read()
            self._count(data)
            parts.append(data)
            size += len(data)
            # A body that is here whole can be read for its facts, and sent once, whatever the budget says.
            self.whole = not data or self._source.at_end
            self._kept = self._keep(size)
            if not self._kept or self.whole or size > limit:
                break
        if self.whole and size > limit:
            # It came at once, and is not sent twice all the same.
            self._kept = False
        self.data = parts[0] if len(parts) == 1 else b"".join(parts)

    def once(self) -> None:
        """It is here whole to be read for its facts, but it is sent once, as one that flows."""
        self._kept = False

    @property
    def kept(self) -> bool:
        """Whether it is here whole, to be sent as often as need be."""
        return self.whole and self._kept

    @property
    def spent(self) -> bool:
        """Whether it is not whole because the budget of the process was spent."""
        return not self.whole and not self._kept

    @property
    def replayable(self) -> bool:
        """Whether it can be sent (again) from its first byte."""
        return self.kept or not self._started

    def send_whole(self) -> bytes:
        """The whole body, for one attempt."""
        self._started = True
        return self.data

    async def read(self) -> bytes:
        """The next bytes for the one attempt that gets a body that is not whole."""
        if not self._started:
            self._started = True
            data, self.data = self.data, b""
            # It passes once, so nothing of it need be kept.
            self._buffers.give(self._taken)
            self._taken = 0
            if data:
                return data
        data = await self._source.read()
        self._count(data)
        return data

    @property
    def at_end(self) -> bool:
        return self.whole

    def close(self) -> None:
        self._source.close()
        self._buffers.give(self._taken)
        self._taken = 0

    def _keep(self, size: int) -> bool:
        more = size - self._taken
        if not self._buffers.take(more):
            return False
        self._taken = size
        return True

    def _count(self, data: bytes) -> None:
        self._passed += len(data)
        if self._limit is not None and self._passed > self._limit:
            raise Refusal(Fault(Code.BODY_TOO_LARGE, f"the body exceeds {self._limit} bytes"))

    @property
    def size(self) -> int:
        """Bytes read from the agent so far."""
        return self._passed

    def passed(self, size: int) -> None:
        """So many bytes of the agent's have gone another way."""
        self._passed += size


class Call(msgspec.Struct, frozen=True, eq=False, weakref=True):
    """One agent request, with the snapshot of the policy that it keeps to its end.

    rest: path below the route's prefix, and query. bare: the agent used the provider's own path, without a prefix.
    received: on the monotonic clock. deadline: likewise; None for a stream without an explicit `timeouts.request`.
    sdk_retries: which retry of the agent's own SDK this is (`x-stainless-retry-count`). hints: what the agent asks of
    us, as far as its route takes that.
    """

    id: str
    head: Head
    facts: Facts
    plan: Plan
    rest: str
    bare: bool
    body: Replay
    chunked: bool
    received: float
    deadline: float | None
    sdk_retries: int = 0
    mark: bytes = b""
    """Of its request's bytes, where that was reckoned already: see asking.request_mark."""
    upgrade: Upgrade | None = None
    """A WebSocket is asked for; how it is granted."""
    flight: bool = False
    """Several agents may read the answer, each until its own deadline; this one's counts up to the commit."""
    hints: Hints = NO_HINTS
    trace: TraceContext | None = None
    """None: it is not traced, and costs nothing more."""

    @property
    def limited(self) -> bool:
        """Somebody has set the deadline on purpose, so that it ends a committed answer as well."""
        return not self.flight and (self.plan.timeouts.request_set or self.hints.timeout is not None)


class _Nothing:
    """The body of a request that has none."""

    at_end = True

    async def read(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


def reading(call: Call, made: Made) -> Call:
    """The call that asks for what this one makes, in its stead and within its time."""
    fields = [field for field in call.head.headers if not field[0].lower().startswith(b"content-")]
    head = Head("GET", made.path, fields, call.head.http_version)
    body = Replay(_Nothing(), [], Buffers(0))
    body.whole = True
    facts = Facts("made", call.facts.model, safety=Safety.SAFE, pinned=True, made=made)
    return msgspec.structs.replace(call, head=head, facts=facts, rest=made.path, body=body, chunked=False)


class Ledger(msgspec.Struct):
    """What was done for one call; turned into one CallEnded at its end."""

    attempts: int = 0
    retries: int = 0
    upstream: str = ""
    model: str = ""
    answered: str = ""
    """The model that answered, as the answer says."""
    outcome: Outcome = Outcome.ERROR
    service_level: ServiceLevel = ServiceLevel.FULL
    fault: Fault | None = None
    status: int = 0
    first_content: float | None = None
    waited: float = 0.0
    """Seconds until the commit that were not ours: upstreams, back-off, queues."""
    committed: float | None = None
    stream: bool = False
    usage: Usage | None = None
    skipped: list[str] = []
    cache: str = ""
    """What the cache did for it: see types.CallEnded; "" where the rule has none."""
    cache_key: str = ""
    """The beginning of the key that it was looked for under."""
    saved: Usage | None = None
    """Tokens that were billed to another call, and not to this one."""
    notes: Headers = []
    """Fields for the agent beside `x-seawall-*`: Age, Cache-Status."""

    @property
    def failed(self) -> bool:
        """Whether the agent got an error, or half an answer. What a provider's filter withheld from a good answer is
        no failure: it came as the provider wrote it."""
        if self.outcome in (Outcome.STATIC, Outcome.STALE):
            return False
        return self.fault is not None and not (self.fault.code is Code.CONTENT_POLICY and self.status < 400)
