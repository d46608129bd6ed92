"""The field blocks that documents share: timeouts, retry, circuit breaker and the rest, named after Gateway API.

Every field may be absent and none has a default here: a default in the model would look set and beat an inherited
value (the defaults are in defaults.py). Values stay as they were written.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict
from pydantic.alias_generators import to_camel

from seawall.policy.units import (
    Count,
    Delay,
    Duration,
    Percent,
    PositiveCount,
    PositiveDuration,
    PositivePercent,
    PositiveSize,
    Size,
)

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
TEXT_PATTERN = r"^[^\x00-\x1f\x7f]*$"
TOKEN_PATTERN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
MODEL_PATTERN = r"^([^*\s]+\*?|\*)$"
FORMS = {
    NAME_PATTERN: "lower-case letters, digits, `-` and `.`, as Kubernetes names its objects",
    LABEL_PATTERN: "at most 63 lower-case letters, digits and `-`",
    TEXT_PATTERN: "text without control characters",
    MODEL_PATTERN: "a name without blanks, or the beginning of names with one `*` behind it",
    TOKEN_PATTERN: "letters, digits and `-`, without blanks and colons",
}
"""What the patterns ask for, for people."""

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""RFC 1123, as Kubernetes names its objects."""
Label = Annotated[str, Field(pattern=LABEL_PATTERN)]
Text = Annotated[str, Field(min_length=1, max_length=1024, pattern=TEXT_PATTERN)]
Token = Annotated[str, Field(max_length=256, pattern=TOKEN_PATTERN)]
"""A field name or an auth scheme (RFC 9110 §5.6.2)."""
Status = Annotated[int, Strict(), Field(ge=400, le=599)]


class Block(BaseModel):
    """Base of every part of a document: immutable, camelCase, and strict about unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, defer_build=True
    )


class Timeouts(Block):
    """`0s` switches a limit off (Gateway API), where off is possible at all."""

    request: Duration | None = None
    backend_request: Duration | None = None
    connect: PositiveDuration | None = None
    first_byte: Duration | None = None
    first_content: Duration | None = None
    stream_idle: Duration | None = None
    agent_write: PositiveDuration | None = None


class Backoff(Block):
    base: Duration | None = None
    max: Duration | None = None


class Retry(Block):
    attempts: Annotated[int, Strict(), Field(ge=0, le=10)] | None = None
    backoff: Backoff | None = None
    codes: tuple[Status, ...] | None = None
    retry_after_max: Duration | None = None


class Hedging(Block):
    max_attempts: Annotated[int, Strict(), Field(ge=1, le=10)] | None = None
    hedging_delay: Delay | None = None


class Cache(Block):
    """`0s` switches each of its times off, but for `timeout`."""

    mode: Literal["Disabled", "Enabled"] | None = None
    ttl: Duration | None = None
    stale_while_revalidate: Duration | None = None
    stale_if_error: Duration | None = None
    negative_ttl: Duration | None = None
    scope: Literal["Tenant", "Namespace"] | None = None
    nondeterministic: Literal["Allow", "Deny"] | None = None
    tool_calls: Literal["Allow", "Deny"] | None = None
    heuristic: Literal["Allow", "Deny"] | None = None
    max_entry: PositiveSize | None = None
    store: Literal["Memory", "Disk", "Redis"] | None = None
    timeout: PositiveDuration | None = None


class MinProgress(Block):
    events: PositiveCount
    interval: PositiveDuration


class Streaming(Block):
    commit: Literal["FirstContent", "Complete", "Headers"] | None = None
    max_hold: PositiveSize | None = None
    min_progress: MinProgress | None = None
    keep_alive: Duration | None = None


class Fallback(Block):
    type: Literal["StaleCache", "StaticResponse"]
    status: Annotated[int, Strict(), Field(ge=200, le=599)] | None = None
    text: Annotated[str, Field(min_length=1, max_length=16384)] | None = None


FallbackOn = Literal["Unauthorized", "Forbidden", "NotFound", "ContentPolicy", "ContextLength"]


ClientHint = Literal["Priority", "Timeout", "CacheTTL"]


class Limits(Block):
    max_body: PositiveSize | None = None
    replay_buffer: Size | None = None


class Budget(Block):
    percent: Percent | None = None
    interval: PositiveDuration | None = None


class Rate(Block):
    count: Count | None = None
    interval: PositiveDuration | None = None


class RetryConstraint(Block):
    budget: Budget | None = None
    min_retry_rate: Rate | None = None


class ErrorRate(Block):
    percent: Percent | None = None
    window: PositiveDuration | None = None
    minimum_calls: PositiveCount | None = None


class SlowCall(Block):
    duration: Duration | None = None
    percent: Percent | None = None


class Open(Block):
    base: PositiveDuration | None = None
    max: PositiveDuration | None = None
    jitter_percent: Percent | None = None
    forget_after: PositiveDuration | None = None


class HalfOpen(Block):
    permits: PositiveCount | None = None
    successes: PositiveCount | None = None


class RampUp(Block):
    duration: Duration | None = None
    start_percent: PositivePercent | None = None


class CircuitBreaker(Block):
    consecutive_failures: Count | None = None
    error_rate: ErrorRate | None = None
    slow_call: SlowCall | None = None
    open: Open | None = None
    half_open: HalfOpen | None = None
    ramp_up: RampUp | None = None


class Concurrency(Block):
    max_parallel_requests: PositiveCount | None = None
    max_pending_requests: Count | None = None
    queue_timeout: Duration | None = None


class RateLimit(Block):
    requests: Rate | None = None
    tokens: Rate | None = None


class HealthCheck(Block):
    path: Text | None = None
    interval: PositiveDuration | None = None
    timeout: PositiveDuration | None = None


class RouteFields(Block):
    """What a route's rule decides, inline or through a policy."""

    timeouts: Timeouts | None = None
    retry: Retry | None = None
    hedging: Hedging | None = None
    cache: Cache | None = None
    streaming: Streaming | None = None
    fallback: tuple[Fallback, ...] | None = None
    fallback_on: tuple[FallbackOn, ...] | None = None
    sticky: Literal["Conversation", "None"] | None = None
    offline: Literal["Enabled", "Disabled"] | None = None
    client_hints: tuple[ClientHint, ...] | None = None
    limits: Limits | None = None


class UpstreamFields(Block):
    """What an upstream's owner decides, inline or through a policy."""

    timeouts: Timeouts | None = None
    retry_constraint: RetryConstraint | None = None
    circuit_breaker: CircuitBreaker | None = None
    concurrency: Concurrency | None = None
    rate_limit: RateLimit | None = None
    health_check: HealthCheck | None = None


class PolicyFields(RouteFields, UpstreamFields):
    """`defaults` or `overrides` of a policy: both of the above; each target takes the fields that are its own."""
