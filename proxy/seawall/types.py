"""The values that pass between rooms: bytes, header fields and small frozen dataclasses. No behaviour, no I/O.

Header fields are lists of raw (name, value) pairs, in the order and case in which they came, because promise 1
(transparent) covers duplicates, case and bytes that are not UTF-8.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

Headers = list[tuple[bytes, bytes]]


HINTS = (b"x-seawall-priority", b"x-seawall-timeout", b"x-seawall-cache-ttl")
"""Fields by which an agent asks us for something, where its route takes them. No upstream sees them."""


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first value of a field, or None. `name` must be in lower case."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def origin_form(target: str) -> str:
    """Path and query of a request's target; a proxy-style absolute one is cut down to them (RFC 9112 §3.2)."""
    if not target.startswith("/"):
        scheme, found, rest = target.partition("://")
        if found and scheme.lower() in ("http", "https"):
            path = rest[len(rest.replace("?", "/").partition("/")[0]) :]
            return path if path.startswith("/") else "/" + path
    return target


class Safety(enum.Enum):
    """What a second sending of the same request may do (SEMANTICS §1)."""

    SAFE = "safe"
    SAFE_BILLED = "safeBilled"
    KEYED = "keyed"
    UNSAFE = "unsafe"


class ServiceLevel(enum.Enum):
    FULL = "full"
    DEGRADED = "degraded"
    OFFLINE = "offline"


class Outcome(enum.Enum):
    """How a call was answered; the value of `x-seawall-outcome` and of the metrics' label."""

    PRIMARY = "primary"
    RETRY = "retry"
    HEDGE = "hedge"
    FAILOVER = "failover"
    CACHE = "cache"
    STALE = "stale"
    STATIC = "static"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an agent's request. `target` is the request line's second word, untouched."""

    method: str
    target: str = field(repr=False)
    headers: Headers = field(repr=False)
    http_version: str = "1.1"

    @property
    def path(self) -> str:
        """Without the query, and without an absolute target's authority: either may hold keys."""
        return origin_form(self.target).partition("?")[0]


WEBSOCKET = "websocket"
"""The operation of every call that asks for one, whatever its dialect calls what it is for."""


@dataclass(frozen=True, slots=True)
class Made:
    """Something that a request makes. path: where it can be read, below the base URL. of: a digest of what it was made
    of, by which it is told from others of that name; "" where nothing tells."""

    path: str
    of: str = ""


class Facts(msgspec.Struct, frozen=True):
    """What a dialect read from a request: just what the policy needs, nothing else is decoded."""

    operation: str
    """`chat`, `responses`, `messages`, `completions`, `embeddings`, …; `other` for what just passes through."""
    model: str = ""
    stream: bool = False
    safety: Safety = Safety.UNSAFE
    pinned: bool = False
    """Conversation state ties the call to the upstream that owns it: no failover."""
    choices: int = 1
    """Parallel completions asked for (`n`)."""
    framing: str = ""
    """How a streamed answer is framed, in its dialect's word, where it has several ways; "" for its usual one."""
    writes: str = ""
    """Why the statement of a warehouse does not surely only read, for people: `begins with INSERT`; "" where it does,
    and for requests that are no statements."""
    alone: bool = False
    """A race would gain nothing, since the first answer only tells that a statement, or a session, has begun."""
    session: str = ""
    """The id of a session or transaction that lives at one upstream and takes one request at a time."""
    patience: float = 0.0
    """Seconds that the request itself gives its answer, where it says so; a default limit is never shorter."""
    deterministic: bool = False
    """The same statement is meant to get the same answer. Of warehouses alone."""
    again: str = ""
    """A parameter that the query of a second sending to the same upstream has besides: `retry=true`."""
    made: Made | None = None
    """What this request makes under a key of its own: a conflict (409) of a second sending says that the first one has
    made it. None where a conflict says nothing of the kind."""

    @property
    def raceable(self) -> bool:
        """Two of the same at once do no harm."""
        return not (self.pinned or self.alone) and self.safety in (Safety.SAFE, Safety.SAFE_BILLED)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; 0 where it said nothing."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0


class Body(Protocol):
    """An async byte source with explicit read and close: an agent's request body, or an upstream's answer."""

    async def read(self) -> bytes:
        """The next bytes, at once if some are there; b"" at the end. An agent's raises faults.Refusal when what comes
        is no valid HTTP, or more than the policy takes."""

    @property
    def at_end(self) -> bool:
        """Known to hold no more bytes, now or later, without waiting."""

    def close(self) -> None:
        """Give the source up, whatever is left in it."""


class Agent(Protocol):
    """The agent's side of a call. `drain` waits while the agent reads more slowly than we write (`congested`); nothing
    else blocks."""

    @property
    def congested(self) -> bool: ...
    @property
    def cut(self) -> bool:
        """Whether seawall itself ends the call (the drain's limit), not the agent."""

    @property
    def sent_bytes(self) -> int: ...
    @property
    def unsent_bytes(self) -> int: ...
    def inform(self, status: int, headers: Headers) -> None: ...
    def start(self, status: int, headers: Headers, *, reason: bytes = b"") -> None: ...
    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def end(self, trailers: Headers | None = None) -> None: ...
    def abort(self) -> None: ...
    def drop(self) -> None: ...


# Events are msgspec structs: two are made per call, and frozen dataclasses of so many fields cost five times as much.


class AttemptEnded(msgspec.Struct, frozen=True):
    """One request to one upstream is over."""

    call_id: str
    route: str
    upstream: str
    model: str
    number: int
    """1 for the call's first attempt."""
    result: str
    """`ok`, or the fault's code."""
    status: int | None
    seconds: float
    detail: str = ""
    next: str = ""
    """What the engine does now: `retry in 0.42 s`, `failover to openai-eu`, …; empty for the last attempt."""
    usage: Usage | None = None
    """What is known to be billed for an answer that was not used."""
    trace_id: str | msgspec.UnsetType = msgspec.UNSET
    span_id: str | msgspec.UnsetType = msgspec.UNSET
    """Where it is found among traces, if its call is traced."""


class CallEnded(msgspec.Struct, frozen=True):
    """One agent request is over, however it ended. The one source of access log, metrics and audit."""

    call_id: str
    route: str
    rule: str
    dialect: str
    operation: str
    method: str
    path: str
    """Without the query, which may hold keys."""
    upstream: str
    model: str
    outcome: Outcome
    fault: str
    """The code of the fault that decided the call; empty for a good answer."""
    status: int
    attempts: int
    retries: int
    stream: bool
    service_level: ServiceLevel
    seconds: float
    first_content_seconds: float | None
    overhead_seconds: float
    """Time spent in seawall itself: the whole less the time in upstreams and in waits."""
    request_bytes: int
    answer_bytes: int
    usage: Usage | None = None
    skipped: tuple[str, ...] = ()
    """Candidates that were passed over, each with its reason: `openai-eu: breaker open`."""
    shadow: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Where a Shadow policy would have done something else: `openai: retry instead of give_up`."""
    opened: bool | msgspec.UnsetType = msgspec.UNSET
    """The agent got a head of ours while its stream was held back, so that its status says nothing."""
    keep_alives: int | msgspec.UnsetType = msgspec.UNSET
    """Comments that kept it waiting."""
    cache: str | msgspec.UnsetType = msgspec.UNSET
    """What the cache did, where the rule has one: `hit`, `stale`, `miss`, `revalidated`, `coalesced`, `bypass`."""
    cache_key: str | msgspec.UnsetType = msgspec.UNSET
    """The beginning of the key under which its answer is kept: 16 hexadecimal digits."""
    saved: Usage | msgspec.UnsetType = msgspec.UNSET
    """Tokens of its answer that were billed to another call."""
    trace_id: str | msgspec.UnsetType = msgspec.UNSET
    span_id: str | msgspec.UnsetType = msgspec.UNSET
    """Where it is found among traces, if it is traced."""


class TraceContext(msgspec.Struct, frozen=True):
    """A call's place in a trace that is recorded (W3C Trace Context): ids as hexadecimal digits in lower case."""

    trace_id: str
    span_id: str
    """Of the call's own span."""
    parent_id: str = ""
    """Of the agent's, where it told of one."""
    flags: int = 1
    state: str = ""
    """`tracestate`, which may hold whatever the agent's tracing has put there."""


class AttemptTraced(msgspec.Struct, frozen=True):
    """An attempt of a traced call is over for good: where its answer was used, that has come to its end.

    attempt: with its end, which AttemptEnded could not tell yet of one that was used. answered: the model, as the
    answer says. first_content_seconds: since the attempt began.
    """

    trace: TraceContext
    span_id: str
    attempt: AttemptEnded
    method: str
    operation: str
    stream: bool
    hedge: bool
    """No failure called for it."""
    answered: str = ""
    first_content_seconds: float | None = None


class CallTraced(msgspec.Struct, frozen=True):
    """A traced call is over. link: the call whose answer it read along with."""

    trace: TraceContext
    call: CallEnded
    link: TraceContext | None = None


class AnswerKept(msgspec.Struct, frozen=True):
    """An upstream's answer was kept in the cache, or could not be."""

    route: str
    upstream: str
    model: str
    why: str
    """"" where it was kept; else a value of core.cache.Why: `sets a cookie`, …."""
    detail: str
    """More of that, in its dialect's words: `finish_reason length`."""
    size: int
    """Bytes of body and fields."""
    usage: Usage | None = None
    """Billed for it where no call tells of that, since it was fetched behind the agents' backs."""


class BreakerMoved(msgspec.Struct, frozen=True):
    """A circuit breaker changed its state."""

    upstream: str
    key: str
    """The model, or the origin for transport faults."""
    before: str
    after: str
    reason: str
    until_seconds: float | None = None


class ShadowMoved(msgspec.Struct, frozen=True):
    """A circuit breaker would have changed its state under a Shadow policy; nothing was done."""

    upstream: str
    key: str
    """The model, or the origin for transport faults."""
    before: str
    after: str
    reason: str
    until_seconds: float | None = None


class CredentialParked(msgspec.Struct, frozen=True):
    """A terminal quota error took a credential out of use."""

    upstream: str
    model: str
    seconds: float
    code: str


class Raced(msgspec.Struct, frozen=True):
    """A race with more than one attempt was decided."""

    call_id: str
    route: str
    winner: str
    """The upstream; "" when all of them failed."""
    starts: int
    hedges: int
    """Starts that no failure called for."""
    seconds: float
    saved_seconds: float | None = None
    """How much later the first candidate's own content came, where that is known."""


class CoolingDown(msgspec.Struct, frozen=True):
    """A transient 429 took (upstream, model) out of the first choice for a while."""

    upstream: str
    model: str
    seconds: float


class Reloaded(msgspec.Struct, frozen=True):
    """A policy was taken (`revision`), or refused (`errors`) and the old one kept."""

    revision: str
    errors: tuple[str, ...] = ()


Event = (
    AnswerKept
    | AttemptEnded
    | AttemptTraced
    | CallEnded
    | CallTraced
    | BreakerMoved
    | CredentialParked
    | CoolingDown
    | Raced
    | Reloaded
    | ShadowMoved
)


class Observer(Protocol):
    """Takes every Event; must be quick and must not raise."""

    def __call__(self, event: Event, /) -> None: ...
