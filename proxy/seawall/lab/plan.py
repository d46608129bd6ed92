"""What the lab does with one attempt: a healthy answer, delayed, bent or broken in stated ways. Values only.

A `Spec` is a parsed fault text; its parts may depend on chance, time or count, and `resolve` turns it into the `Plan`
of one attempt. Time, randomness and count are passed in; nothing here waits or talks to anyone.
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from seawall.clock import Rng


class Trouble(enum.Enum):
    """Errors that every dialect has its own words for."""

    INVALID = "invalid"
    AUTH = "auth"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    CONTEXT = "context"
    FILTER = "filter"
    RATE_LIMIT = "rate-limit"
    QUOTA = "quota"
    SERVER = "server"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"


class Wire(enum.Enum):
    """Faults that come instead of any HTTP answer, or spoil its head."""

    RESET = "reset"
    CLOSE = "close"
    SILENT = "silent"
    GARBAGE = "garbage"
    ENDLESS_HEADERS = "endless-headers"
    BAD_HEADER = "bad-header"


class Break(enum.Enum):
    """Ways in which a body fails after N events."""

    CUT = "cut"
    UNCLEAN = "unclean"
    RESET = "reset"
    STALL = "stall"
    MALFORMED = "malformed"
    ERROR = "error"
    FAILED = "failed"
    BAD_CHUNK = "bad-chunk"
    TRUNCATED = "truncated"
    NO_TERMINAL = "no-terminal"


PRELUDE = -1
"""As a break's position: after the events that come before the first content."""
HALF = -2
"""As a break's position: after half of the events."""


@dataclass(frozen=True, slots=True)
class Status:
    """An error answer. `code` None: the dialect's usual status for the trouble.

    retry_after is sent as it is (seconds or an HTTP date); retry_after_ms is OpenAI's field, in milliseconds.
    body replaces the dialect's own body when it is not None.
    """

    code: int | None = None
    trouble: Trouble | None = None
    retry_after: str | None = None
    retry_after_ms: str | None = None
    error_code: str | None = None
    message: str | None = None
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Breakage:
    """A body that fails: how, after how many events (or PRELUDE, HALF), and for error events with which trouble."""

    how: Break
    at: int = HALF
    trouble: Trouble = Trouble.SERVER


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of waits, in seconds.

    constant: `a`; uniform: from `a` to `b`; lognormal: median `a`, sigma `b` (of the underlying normal distribution).
    """

    kind: str
    a: float
    b: float = 0.0

    def draw(self, rng: Rng) -> float:
        """A wait of 0 to 3600 seconds."""
        match self.kind:
            case "constant":
                seconds = self.a
            case "uniform":
                seconds = self.a + (self.b - self.a) * rng.random()
            case _:
                radius = math.sqrt(-2.0 * math.log(1.0 - rng.random()))  # Box-Muller
                seconds = self.a * math.exp(self.b * radius * math.cos(2.0 * math.pi * rng.random()))
        return min(max(seconds, 0.0), 3600.0)


@dataclass(frozen=True, slots=True)
class Drip:
    """A body that leaves `size` bytes at a time, `seconds` apart."""

    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a healthy answer says.

    tools: names to call, in parallel, while fewer than `rounds` rounds of tool calls were made; empty: those that the
    last user message names, else the first. all_tools: every function tool that was offered.
    tokens: words of text; None: 12. text: the very text to answer. args: the very arguments of the tools, as JSON.
    """

    tools: tuple[str, ...] = ()
    all_tools: bool = False
    no_tools: bool = False
    rounds: int = 1
    tokens: int | None = None
    text: str | None = None
    args: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to one attempt. The empty plan is a healthy answer at once."""

    status: Status | None = None
    wire: Wire | None = None
    breakage: Breakage | None = None
    error_body: Trouble | None = None
    huge: int | None = None
    first_byte: Latency | None = None
    first_token: Latency | None = None
    gap: Latency | None = None
    drip: Drip | None = None
    early_hints: bool = False
    trailers: bool = False
    gzip: bool = False
    scenario: Scenario = field(default_factory=Scenario)

    @property
    def healthy(self) -> bool:
        """Whether the answer is whole and good, however slow."""
        return (self.status, self.wire, self.breakage, self.error_body, self.huge) == (None,) * 5


@dataclass(frozen=True, slots=True)
class Flaky:
    """Applies to a share of attempts: `share` in 0–1."""

    share: float

    def hits(self, *, elapsed: float, nth: int, rng: Rng) -> bool:
        return rng.random() < self.share


@dataclass(frozen=True, slots=True)
class Flap:
    """`up` seconds without the fault, `down` seconds with it, and again, from the lab's start."""

    up: float
    down: float

    def hits(self, *, elapsed: float, nth: int, rng: Rng) -> bool:
        return elapsed % (self.up + self.down) >= self.up


@dataclass(frozen=True, slots=True)
class FirstOf:
    """Of each `count + 1` attempts the first `count` fail."""

    count: int

    def hits(self, *, elapsed: float, nth: int, rng: Rng) -> bool:
        return nth % (self.count + 1) < self.count


Gate = Flaky | Flap | FirstOf


@dataclass(frozen=True, slots=True)
class Part:
    """One word of a fault text: the Plan fields it sets, and when."""

    fields: Mapping[str, Any]
    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """A parsed fault text. `gate` holds or waives all of it (the parameter `p`)."""

    text: str
    parts: tuple[Part, ...] = ()
    gate: Gate | None = None

    def resolve(self, *, elapsed: float, nth: int, rng: Rng) -> Plan:
        """The plan of one attempt: `elapsed` seconds since the lab began, `nth` attempts before it under its key."""
        if self.gate is not None and not self.gate.hits(elapsed=elapsed, nth=nth, rng=rng):
            return HEALTHY
        merged: dict[str, Any] = {}
        for part in self.parts:
            if part.gate is None or part.gate.hits(elapsed=elapsed, nth=nth, rng=rng):
                merged.update(part.fields)
        return replace(HEALTHY, **merged) if merged else HEALTHY


HEALTHY = Plan()
NO_FIELDS: Mapping[str, Any] = MappingProxyType({})
OK = Spec("ok")
