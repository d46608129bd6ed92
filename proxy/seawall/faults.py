"""THE taxonomy: every way in which a call can fail, and for each what to do about it.

One row of SEMANTICS §1 is one `Rule`; nobody else decides whether a failure may be retried, counts against a breaker
or moves the call to another upstream. Dialects turn an answer into a `Code` (they know the shapes), the wire turns
socket errors into one; from there on only this table is asked.
"""

import enum
from dataclasses import dataclass, field, replace


class Retry(enum.Enum):
    """Another try on the same upstream."""

    NEVER = enum.auto()
    ONCE = enum.auto()
    YES = enum.auto()
    LAST_RESORT = enum.auto()
    """Not while another upstream is left."""


class Sample(enum.Enum):
    """What the failure says about the upstream's health."""

    BAD = enum.auto()
    IGNORED = enum.auto()
    """The upstream works; it just does not serve this request. Counts neither way."""
    GOOD = enum.auto()
    VOID = enum.auto()
    """Says nothing: gives the permit back."""
    COOLDOWN = enum.auto()
    """Never the breaker: (upstream, model, credential) rests for the hinted time."""
    PARK = enum.auto()
    """Never the breaker: the credential is out of quota."""


class Failover(enum.Enum):
    NO = enum.auto()
    LISTED = enum.auto()
    """Only where the route's `fallbackOn` names the fault."""
    YES = enum.auto()
    """After the retries on the same upstream."""
    PREFERRED = enum.auto()
    """Before a retry on the same upstream."""


class Category(enum.Enum):
    VALIDATION = "validation"
    AUTHENTICATION = "authentication"
    AUTHORIZATION = "authorization"
    RATE_LIMIT = "rate_limit"
    TIMEOUT = "timeout"
    NETWORK = "network"
    DATA_CORRUPTION = "data_corruption"
    RESOURCE_EXHAUSTION = "resource_exhaustion"
    UNKNOWN = "unknown"


class Severity(enum.Enum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do about one kind of fault, and how it is told to the agent.

    status: the HTTP status when seawall itself has to answer for it.
    sent: False where the request can not have reached the upstream, so that even `unsafe` ones may be sent again.
    backoff: base of the exponential back-off, in seconds; None: the policy's `retry.backoff.base`.
    hinted: the wait comes from the answer's own headers where it has some.
    fallback_on: the name by which `fallbackOn` lists it.
    """

    status: int
    retry: Retry
    sample: Sample
    failover: Failover
    category: Category
    severity: Severity
    recoverable: bool
    suggested_action: str
    sent: bool = True
    backoff: float | None = None
    hinted: bool = False
    fallback_on: str = ""

    @property
    def outage(self) -> bool:
        """Nobody has answered, as opposed to an answer that refuses: what a fallback is for."""
        return self.failover in (Failover.YES, Failover.PREFERRED) or self.category is Category.TIMEOUT


class Code(enum.Enum):
    """Stable codes: they are in error bodies, logs and metrics, and users match on them."""

    DNS_FAILED = "DNS_FAILED"
    CONNECT_FAILED = "CONNECT_FAILED"
    CONNECT_TIMEOUT = "CONNECT_TIMEOUT"
    TLS_FAILED = "TLS_FAILED"
    CREDENTIAL_UNREADABLE = "CREDENTIAL_UNREADABLE"

    CONNECTION_LOST = "CONNECTION_LOST"
    STALE_CONNECTION = "STALE_CONNECTION"
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    TIMEOUT_REQUEST = "TIMEOUT_REQUEST"
    TIMEOUT_ATTEMPT = "TIMEOUT_ATTEMPT"
    TIMEOUT_FIRST_BYTE = "TIMEOUT_FIRST_BYTE"
    TIMEOUT_FIRST_CONTENT = "TIMEOUT_FIRST_CONTENT"
    TIMEOUT_STREAM_IDLE = "TIMEOUT_STREAM_IDLE"
    STREAM_TOO_SLOW = "STREAM_TOO_SLOW"
    TRUNCATED = "TRUNCATED"
    MALFORMED_EVENT = "MALFORMED_EVENT"

    INVALID_REQUEST = "INVALID_REQUEST"
    UNAUTHORIZED = "UNAUTHORIZED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    CONTEXT_LENGTH = "CONTEXT_LENGTH"
    CONTENT_POLICY = "CONTENT_POLICY"
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    CONFLICT = "CONFLICT"
    RATE_LIMITED = "RATE_LIMITED"
    QUOTA_EXHAUSTED = "QUOTA_EXHAUSTED"
    SERVER_ERROR = "SERVER_ERROR"
    OVERLOADED = "OVERLOADED"
    GATEWAY_ERROR = "GATEWAY_ERROR"
    """Something before the provider could not reach it for a moment, where its protocol says to ask again at once."""

    RACE_LOST = "RACE_LOST"
    """Another attempt of the same call was faster."""
    AGENT_GONE = "AGENT_GONE"
    AGENT_STALLED = "AGENT_STALLED"

    BREAKER_OPEN = "BREAKER_OPEN"
    QUEUE_FULL = "QUEUE_FULL"
    QUEUE_TIMEOUT = "QUEUE_TIMEOUT"
    DRAINING = "DRAINING"
    OFFLINE = "OFFLINE"
    """An operator or the policy keeps calls from all upstreams."""
    NO_ROUTE = "NO_ROUTE"
    BAD_REQUEST = "BAD_REQUEST"
    HEAD_TOO_LARGE = "HEAD_TOO_LARGE"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    UPGRADE_REFUSED = "UPGRADE_REFUSED"
    NO_CANDIDATE = "NO_CANDIDATE"
    NOT_CACHED = "NOT_CACHED"
    """The agent wants a kept answer and no other (RFC 9111 §5.2.1.7), and there is none."""
    STATEMENT_REFUSED = "STATEMENT_REFUSED"
    """`statements: ReadOnly`, and the statement does not surely only read."""
    INTERNAL = "INTERNAL"

    @property
    def rule(self) -> Rule:
        return RULES[self]


def _never_sent(status: int, action: str, severity: Severity = Severity.HIGH) -> Rule:
    return Rule(
        status, Retry.YES, Sample.BAD, Failover.YES, Category.NETWORK, severity, True, action, sent=False
    )  # gRPC's transparent retry: even `unsafe` requests


def _broken(status: int, category: Category, action: str) -> Rule:
    return Rule(status, Retry.YES, Sample.BAD, Failover.YES, category, Severity.HIGH, True, action)


def _late(action: str) -> Rule:
    return Rule(504, Retry.LAST_RESORT, Sample.BAD, Failover.YES, Category.TIMEOUT, Severity.HIGH, True, action)


def _refused(status: int, category: Category, action: str, fallback_on: str = "") -> Rule:
    listed = Failover.LISTED if fallback_on else Failover.NO
    return Rule(
        status, Retry.NEVER, Sample.IGNORED, listed, category, Severity.MEDIUM, False, action, fallback_on=fallback_on
    )


def _own(
    status: int, category: Category, action: str, *, recoverable: bool = False, failover: Failover = Failover.NO
) -> Rule:
    """Made by seawall itself before anything was sent; no upstream is to blame."""
    return Rule(status, Retry.NEVER, Sample.VOID, failover, category, Severity.MEDIUM, recoverable, action, sent=False)


RULES: dict[Code, Rule] = {
    Code.DNS_FAILED: _never_sent(502, "check the upstream's baseURL and the cluster's DNS"),
    Code.CONNECT_FAILED: _never_sent(502, "check that the upstream is reachable from here"),
    Code.CONNECT_TIMEOUT: _never_sent(504, "check that the upstream is reachable from here, or raise timeouts.connect"),
    Code.TLS_FAILED: _never_sent(502, "check the upstream's certificate and tls settings"),
    Code.CREDENTIAL_UNREADABLE: Rule(
        502,
        Retry.NEVER,
        Sample.VOID,
        Failover.YES,
        Category.AUTHENTICATION,
        Severity.CRITICAL,
        True,
        "check that what auth names (keyFile, credentialsFile, a role) can be read",
        sent=False,
    ),
    Code.CONNECTION_LOST: _broken(502, Category.NETWORK, "retry; the upstream closed the connection"),
    # A pooled connection that the upstream closed while our request was under way says nothing about its health.
    Code.STALE_CONNECTION: Rule(
        502,
        Retry.YES,
        Sample.VOID,
        Failover.YES,
        Category.NETWORK,
        Severity.LOW,
        True,
        "retry; the upstream closed an idle connection",
    ),
    Code.PROTOCOL_ERROR: _broken(502, Category.DATA_CORRUPTION, "retry; the upstream did not answer in valid HTTP"),
    Code.TIMEOUT_REQUEST: Rule(
        504,
        Retry.NEVER,
        Sample.BAD,
        Failover.NO,
        Category.TIMEOUT,
        Severity.HIGH,
        True,
        "retry, or raise timeouts.request",
    ),
    Code.TIMEOUT_ATTEMPT: _late("retry, or raise timeouts.backendRequest"),
    Code.TIMEOUT_FIRST_BYTE: _late("retry, or raise timeouts.firstByte"),
    Code.TIMEOUT_FIRST_CONTENT: _late("retry, or raise timeouts.firstContent"),
    Code.TIMEOUT_STREAM_IDLE: _late("retry, or raise timeouts.streamIdle"),
    Code.STREAM_TOO_SLOW: _late("retry, or lower streaming.minProgress"),
    Code.TRUNCATED: _broken(502, Category.DATA_CORRUPTION, "retry; the answer ended before it was whole"),
    Code.MALFORMED_EVENT: _broken(502, Category.DATA_CORRUPTION, "retry; the stream held an event that is not valid"),
    Code.INVALID_REQUEST: _refused(400, Category.VALIDATION, "correct the request"),
    Code.UNAUTHORIZED: _refused(401, Category.AUTHENTICATION, "check the credential", "Unauthorized"),
    Code.FORBIDDEN: _refused(403, Category.AUTHORIZATION, "check the credential's permissions", "Forbidden"),
    Code.NOT_FOUND: _refused(404, Category.VALIDATION, "check path and model", "NotFound"),
    Code.CONTEXT_LENGTH: _refused(400, Category.VALIDATION, "shorten the input or use a larger model", "ContextLength"),
    Code.CONTENT_POLICY: _refused(400, Category.VALIDATION, "change the content", "ContentPolicy"),
    Code.UPSTREAM_TIMEOUT: _broken(504, Category.TIMEOUT, "retry"),
    Code.CONFLICT: Rule(
        409, Retry.YES, Sample.IGNORED, Failover.YES, Category.VALIDATION, Severity.MEDIUM, True, "retry"
    ),
    Code.RATE_LIMITED: Rule(
        429,
        Retry.YES,
        Sample.COOLDOWN,
        Failover.PREFERRED,
        Category.RATE_LIMIT,
        Severity.MEDIUM,
        True,
        "slow down, or wait as long as Retry-After says",
        backoff=1.0,
        hinted=True,
    ),
    Code.QUOTA_EXHAUSTED: Rule(
        429,
        Retry.NEVER,
        Sample.PARK,
        Failover.YES,
        Category.RESOURCE_EXHAUSTION,
        Severity.CRITICAL,
        False,
        "raise the account's quota or credit, or add an upstream with another credential",
    ),
    Code.SERVER_ERROR: _broken(502, Category.UNKNOWN, "retry"),
    Code.OVERLOADED: Rule(
        503,
        Retry.ONCE,
        Sample.BAD,
        Failover.PREFERRED,
        Category.RESOURCE_EXHAUSTION,
        Severity.HIGH,
        True,
        "retry later, or add an upstream to fail over to",
        backoff=1.0,
        hinted=True,
    ),
    Code.GATEWAY_ERROR: Rule(
        502, Retry.YES, Sample.BAD, Failover.YES, Category.NETWORK, Severity.HIGH, True, "retry", hinted=True
    ),
    Code.RACE_LOST: Rule(
        499, Retry.NEVER, Sample.VOID, Failover.NO, Category.NETWORK, Severity.LOW, True, "none; another was faster"
    ),
    Code.AGENT_GONE: Rule(
        499, Retry.NEVER, Sample.VOID, Failover.NO, Category.NETWORK, Severity.LOW, True, "none; the agent went away"
    ),
    Code.AGENT_STALLED: Rule(
        499,
        Retry.NEVER,
        Sample.VOID,
        Failover.NO,
        Category.NETWORK,
        Severity.LOW,
        True,
        "read the answer faster, or raise timeouts.agentWrite",
    ),
    Code.BREAKER_OPEN: _own(
        503,
        Category.RESOURCE_EXHAUSTION,
        "retry later; its upstreams are failing",
        recoverable=True,
        failover=Failover.YES,
    ),
    Code.QUEUE_FULL: _own(
        503, Category.RESOURCE_EXHAUSTION, "retry later, or raise concurrency", recoverable=True, failover=Failover.YES
    ),
    Code.QUEUE_TIMEOUT: _own(
        503, Category.RESOURCE_EXHAUSTION, "retry later, or raise concurrency", recoverable=True, failover=Failover.YES
    ),
    Code.DRAINING: _own(503, Category.RESOURCE_EXHAUSTION, "retry; this instance is shutting down", recoverable=True),
    Code.OFFLINE: _own(
        503, Category.RESOURCE_EXHAUSTION, "retry later; offline mode is on", recoverable=True, failover=Failover.YES
    ),
    Code.NO_ROUTE: _own(404, Category.VALIDATION, "use one of the known routes, or add one to the policy"),
    Code.BAD_REQUEST: _own(400, Category.VALIDATION, "send valid HTTP/1.1"),
    Code.HEAD_TOO_LARGE: _own(431, Category.VALIDATION, "send fewer or smaller header fields"),
    Code.BODY_TOO_LARGE: _own(413, Category.VALIDATION, "send a smaller body, or raise the policy's limit"),
    Code.UPGRADE_REFUSED: _own(501, Category.VALIDATION, "begin a WebSocket with GET; nothing else is upgraded"),
    Code.NO_CANDIDATE: _own(
        503, Category.RESOURCE_EXHAUSTION, "add an upstream that can serve this request", failover=Failover.YES
    ),
    Code.NOT_CACHED: _own(504, Category.VALIDATION, "ask without Cache-Control: only-if-cached"),
    Code.STATEMENT_REFUSED: _own(
        403, Category.AUTHORIZATION, "send one statement that only reads, or lift `statements` of the upstream"
    ),
    Code.INTERNAL: _own(500, Category.UNKNOWN, "report this as a bug, with the request id", recoverable=True),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure, as a value. Never holds a secret or a body.

    hint: seconds after which the upstream itself asks to be tried again; None when it said nothing usable.
    status: of the upstream's answer, None when there was none. words: the upstream's own, where its answer cannot be
    passed on as it is; for the agent alone, since they may quote its request. final: to ask again would be told the
    same, since what failed is not the request but what it asks about. undone: the upstream says that it has done
    nothing with the request, so that even an `unsafe` one may be sent again.
    """

    code: Code
    detail: str = ""
    status: int | None = None
    hint: float | None = None
    words: str = field(default="", repr=False, compare=False)
    final: bool = False
    undone: bool = False

    @property
    def rule(self) -> Rule:
        return RULES[self.code]

    @property
    def sent(self) -> bool:
        """Whether the request may have had effects."""
        return self.rule.sent and not self.undone

    def listed(self, fallback_on: frozenset[str]) -> bool:
        """A larger context window is what a context-length error may always move to; the rest is up to
        `fallbackOn`."""
        return self.code is Code.CONTEXT_LENGTH or self.rule.fallback_on in fallback_on


class Refusal(Exception):
    """A request that cannot be taken, found out while it was read; it is answered with the fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault as it is told to an agent: what a dialect needs to write an error in its own shape."""

    fault: Fault
    message: str
    request_id: str
    upstream: str = ""
    attempts: int = 0
    retry_after: float | None = None
    """Seconds; also sent as Retry-After."""
    fallback_available: bool = False
    known_routes: tuple[str, ...] = ()
    status: int | None = None
    """With which an upstream's own error is told in another dialect; None: with the code's."""

    def saying(self, message: str) -> "Problem":
        """The same in other words."""
        return replace(self, message=message)

    def seawall(self) -> dict[str, object]:
        """The extra `seawall` object of an error body (SEMANTICS §1)."""
        rule = self.fault.rule
        return {
            "code": self.fault.code.value,
            "category": rule.category.value,
            "severity": rule.severity.value,
            "recoverable": rule.recoverable,
            "suggested_action": rule.suggested_action,
            "retry_after_seconds": self.retry_after,
            "fallback_available": self.fallback_available,
            "request_id": self.request_id,
            "support_reference": f"{self.fault.code.value}-{self.request_id}",
            "upstream": self.upstream or None,
            "attempts": self.attempts,
        }
