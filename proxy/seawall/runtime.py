"""What a policy compiles to: immutable plans over live upstreams. A request takes one snapshot and keeps it to its end.

An `Upstream` here is the living thing: its machines belong to its identity and survive a reload; only its settings
are replaced. Everything else is frozen and made anew with each policy.
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from seawall.clock import Rng
from seawall.core.breaker import Breaker, BreakerSettings
from seawall.core.budget import Budget, HedgeBudget
from seawall.core.by_model import Breakers, LatenciesOf
from seawall.core.cache import CacheSettings
from seawall.core.cooldown import Cooldowns
from seawall.core.health import Health
from seawall.core.latency import Latencies
from seawall.core.limit import Limiter
from seawall.core.retry import RetrySettings
from seawall.core.shadow import Shadow
from seawall.dialects.base import Dialect
from seawall.types import Facts, Head, header
from seawall.upstream.connect import Endpoint
from seawall.upstream.credential import Credential


class Commit(enum.Enum):
    FIRST_CONTENT = "FirstContent"
    COMPLETE = "Complete"
    HEADERS = "Headers"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Target:
    """What a policy says of an upstream's place and ways: a call keeps the one that it began with."""

    dialect: Dialect
    endpoint: Endpoint
    base_path: str
    host: bytes
    keep_host: bool = False
    read_only: bool = False
    """It takes no statement that does not surely only read."""
    credential: Credential | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Agents' names for models → this upstream's own."""


class Upstream:
    """An upstream's machines. `key` is its identity, which they survive reloads with; `name` its label in metrics and
    headers; `target` what the newest policy says of it."""

    def __init__(self, key: str, breaker: BreakerSettings, budget: Budget, limiter: Limiter) -> None:
        self.key = key
        self.name = key
        self.type = "HTTP"
        self.target: Target
        self.budget = budget
        self.limiter = limiter
        self.cooldowns = Cooldowns()
        self.health = Health()
        self.hedges = HedgeBudget()
        self.breakers = Breakers()
        self._latencies = LatenciesOf()
        self.breaker_settings = breaker
        self.manual: str | None = None
        """`isolate` or `force_close` while an operator holds the whole upstream so; new breakers take it over."""
        self.transport = Breaker(breaker)
        """Of its origin, shared by the upstreams that have the same."""
        self.shadow: Shadow | None = None
        """What they would do under a policy that is only evaluated; None where there is none."""

    def configure_breakers(self, settings: BreakerSettings) -> None:
        """Take new settings in place; no state is lost."""
        self.breaker_settings = settings
        self.transport.configure(settings)
        for breaker in self.breakers.values():
            breaker.configure(settings)

    def breaker(self, model: str, now: float) -> Breaker:
        """The breaker of (upstream, model)."""
        found = self.breakers.known(model)
        if found is None:
            found = Breaker(self.breaker_settings)
            if self.manual == "isolate":
                found.isolate(now)
            elif self.manual == "force_close":
                found.force_close(now)
            self.breakers.add(model, found, now)
        return found

    def latencies(self, model: str) -> Latencies:
        """Of (upstream, model)'s first contents; the least recently asked for go first."""
        return self._latencies.of(model)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; None: no such limit. `request_set`: the policy says so itself, so that it holds for streams as well."""

    request: float
    request_set: bool
    connect: float
    agent_write: float
    backend_request: float | None = None
    first_byte: float | None = None
    first_content: float | None = None
    stream_idle: float | None = None
    session_idle: float | None = None
    """The longest silence of a WebSocket: `streamIdle` where the policy says so itself."""


@dataclass(frozen=True, slots=True)
class Static:
    """An answer that needs no upstream. text: with `{model}`, `{requestId}` and `{code}`."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Hedging:
    """attempts: in parallel at most, 2 or more. delay: seconds between two starts, 0: all at once, None: the 95th
    percentile of what the first upstream takes."""

    attempts: int
    delay: float | None


def matches_model(pattern: str, model: str) -> bool:
    """`gpt-5*` takes every name that begins so, `*` any."""
    return model == pattern or (pattern.endswith("*") and model.startswith(pattern[:-1]))


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One upstream of a rule. `model` "" leaves the agent's."""

    upstream: Upstream
    target: Target
    timeouts: Timeouts
    model: str = ""
    models_asked: tuple[tuple[str, str], ...] = ()
    """Agents' names for models (`gpt-5*`: all that begin so) → this upstream's own; before `model`."""
    foreign: bool = False
    """It speaks another dialect than the agents of its rule: what is asked of it is translated."""
    group: int = 0
    """0 for the first priority; a later one means degraded service."""
    weight: int = 1
    windows: Mapping[str, int | None] = field(default_factory=dict)
    """Context window by model, in tokens, where the policy tells."""
    capabilities: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """What a model can do, for those of which the policy tells."""
    shadow: Timeouts | None = None
    """What a policy that is only evaluated would make of the timeouts, where they would be different."""

    def model_for(self, asked: str) -> str:
        """The model to ask this upstream for when the agent asks for `asked`; a request that names none stays so."""
        if self.models_asked and asked:
            for name, own in self.models_asked:
                if matches_model(name, asked):
                    return own
        return asked and (self.model or self.target.aliases.get(asked, asked))

    def models(self) -> set[str]:
        """Every model that the policy names here."""
        return {self.model, *self.windows, *(own for _, own in self.models_asked)} - {""}

    @property
    def renames(self) -> bool:
        """Whether an agent's request may be sent with another model's name than its own."""
        return bool(self.model or self.models_asked or self.target.aliases)

    def lacks(self, asked: str, needs: frozenset[str]) -> frozenset[str]:
        """What a request needs and the model here cannot do. One of which the policy tells nothing can do anything."""
        return needs - self.capabilities.get(self.model_for(asked), needs)

    def window_for(self, asked: str) -> int:
        return self.windows.get(self.model_for(asked)) or 0


@dataclass(frozen=True, slots=True, eq=False)
class PlanShadow:
    """What a rule would say if the policies that are only evaluated were enforced. The rule itself may stay as it is
    where only one of its upstreams would be different.

    request: seconds, where a document would set it. retries, timed, hedges, answers: which of its parts would be
    different: retries and `fallbackOn`, `request`, hedging, and what answers in the end.
    """

    retry: RetrySettings
    fallback_on: frozenset[str]
    request: float | None
    hedging: Hedging | None
    static: Static | None
    offline: bool
    retries: bool
    timed: bool
    hedges: bool
    answers: bool


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything that one rule says, ready for use."""

    route: str
    rule: str
    dialect: Dialect
    groups: tuple[tuple[Candidate, ...], ...]
    timeouts: Timeouts
    retry: RetrySettings
    fallback_on: frozenset[str]
    commit: Commit
    max_hold: int
    min_progress: tuple[int, float] | None
    """(content events, seconds): fewer in that time is a slow drip."""
    replay_buffer: int
    max_body: int | None
    keep_alive: float | None = None
    """Seconds without a word after which an agent whose stream is held back gets a comment; None: it gets none."""
    hedging: Hedging | None = None
    offline: bool = False
    """No upstream is asked."""
    static: Static | None = None
    """The answer when nobody else has one."""
    cache: CacheSettings | None = None
    """None: no answer is kept, and calls cost nothing more."""
    stale: bool = False
    """A kept answer that is stale comes before the static one."""
    client_hints: frozenset[str] = frozenset()
    """What agents may ask for by fields of ours."""
    sticky: bool = False
    """A conversation stays with the upstream that answered it."""
    fixed_order: tuple[Candidate, ...] | None = None
    """The order of candidates, where no weights have a say in it."""
    shadow: PlanShadow | None = None
    """None: no policy is to be evaluated beside this one, and calls cost nothing more."""

    @property
    def selective(self) -> bool:
        """Whether the policy tells of any candidate that there are requests which it cannot take."""
        return any(c.capabilities or c.target.read_only for group in self.groups for c in group)

    def order(self, rng: Rng) -> tuple[Candidate, ...]:
        """Candidates by priority, and by weighted chance within one."""
        if self.fixed_order is not None:
            return self.fixed_order
        chosen: list[Candidate] = []
        for group in self.groups:
            left = list(group)
            while left:
                # Efraimidis and Spirakis would need logarithms; groups are small, so draw one by one.
                mark = rng.random() * sum(c.weight for c in left)
                pick = left[-1]
                for candidate in left:
                    mark -= candidate.weight
                    if mark < 0:
                        pick = candidate
                        break
                left.remove(pick)
                chosen.append(pick)
        return tuple(chosen)


@dataclass(frozen=True, slots=True)
class Match:
    """One `matches` entry of a rule."""

    plan: Plan
    prefix: str
    """What is stripped from the path: "" for the root; the whole path for an Exact match is kept."""
    headers: tuple[tuple[bytes, str | re.Pattern[str]], ...] = ()
    models: tuple[str, ...] = ()

    def takes_head(self, head: Head) -> bool:
        for name, wanted in self.headers:
            value = header(head.headers, name)
            if value is None:
                return False
            text = value.decode("latin-1")
            if not (text == wanted if isinstance(wanted, str) else wanted.fullmatch(text)):
                return False
        return True

    def takes_model(self, facts: Facts) -> bool:
        return not self.models or any(matches_model(m, facts.model) for m in self.models)


@dataclass(frozen=True, slots=True)
class Runtime:
    """One compiled policy."""

    revision: str
    upstreams: Mapping[str, Upstream]
    exact: Mapping[str, tuple[Match, ...]]
    prefixes: Mapping[str, tuple[Match, ...]]
    """By prefix without its trailing slash; each tuple from the most to the least specific."""
    bare: Mapping[str, tuple[Match, ...]]
    """By dialect: what takes the provider's own paths."""
    plans: tuple[Plan, ...] = ()

    def match(self, head: Head, path: str) -> list[Match]:
        """Every match that the head permits, the most specific first. Its cost depends on the path's depth, not on
        the number of routes (Gateway API: exact, then the longest prefix, then the most header matches)."""
        found = [m for m in self.exact.get(path, ()) if m.takes_head(head)]
        prefix = path.rstrip("/") if path.endswith("/") else path
        while True:
            for match in self.prefixes.get(prefix, ()):
                if not match.headers or match.takes_head(head):
                    found.append(match)
            if not prefix:
                return found
            prefix = prefix[: prefix.rfind("/")]

    def all_matches(self) -> list[tuple[str, Match]]:
        """Every path with its matches, for reports."""
        found = [(f"= {path}", match) for path, matches in self.exact.items() for match in matches]
        return found + [(path or "/", match) for path, matches in self.prefixes.items() for match in matches]

    def foreign(self) -> list[Candidate]:
        """Candidates that speak another dialect than the agents of their rule."""
        return [c for plan in self.plans for group in plan.groups for c in group if c.foreign]

    def known_routes(self) -> tuple[str, ...]:
        """For the error that names them."""
        return tuple(sorted({p or "/" for p in self.prefixes} | set(self.exact)))
