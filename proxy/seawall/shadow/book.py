"""The counts of what would have been done beside what was, and what all that follows a call has in common."""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection
from functools import wraps
from typing import Literal, ParamSpec, TypeVar

from msgspec import UNSET, UnsetType

from seawall.call import Call
from seawall.clock import Clock, Rng
from seawall.runtime import Candidate, PlanShadow
from seawall.types import Observer

About = Literal["offline", "admission", "place", "timeout", "hedge", "failure", "answer"]
Key = tuple[str, str, About, str, str]
"""(route, upstream, about, would, did); `upstream` "" where it is about none."""

# Differences told of one call in its line of the log.
_MOST_TOLD = 8

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


class Shadows:
    """What lasts: the counts. One per process; the machines belong to their upstreams."""

    def __init__(self, clock: Clock, rng: Rng, observe: Observer) -> None:
        self.clock = clock
        self.rng = rng
        self.observe = observe
        self.counts: defaultdict[Key, int] = defaultdict(int)
        self.broken = False
        """A bug was met, and told; no further call is followed until the next policy."""

    def keep(self, routes: Collection[str], upstreams: Collection[str]) -> None:
        """A new policy: counts of routes and upstreams that it no longer has go away."""
        self.broken = False
        for key in [key for key in self.counts if key[0] not in routes or (key[1] and key[1] not in upstreams)]:
            del self.counts[key]


class Part:
    """What is told of a call by those who handle it, and must not disturb them."""

    __slots__ = ("shadows",)

    def __init__(self, shadows: Shadows) -> None:
        self.shadows = shadows


def harmless(method: Callable[P, R]) -> Callable[P, R | None]:
    """Of a Part: whatever goes wrong in it is a bug of ours and no agent's trouble. It is told once, and None returned
    to the call."""

    @wraps(method)
    def guarded(*args: P.args, **more: P.kwargs) -> R | None:
        try:
            return method(*args, **more)
        except Exception:
            part = args[0]
            assert isinstance(part, Part)
            if not part.shadows.broken:
                log.exception("a bug: shadow policies are not evaluated until the next reload; calls are unharmed")
                part.shadows.broken = True
            return None

    return guarded


class Comparison(Part):
    """One call beside what would have become of it. deadline: that it would have had, on the clock."""

    __slots__ = ("_told", "apart", "call", "deadline", "plan")

    def __init__(self, shadows: Shadows, call: Call, plan: PlanShadow) -> None:
        super().__init__(shadows)
        self.call = call
        self.plan = plan
        self.deadline = call.deadline if plan.request is None else call.received + plan.request
        self.apart = False
        """The call has gone another way than it would have: nothing further can be compared."""
        self._told: list[str] = []

    @property
    def told(self) -> tuple[str, ...] | UnsetType:
        """The differences, for the call's line in the log."""
        return tuple(self._told) or UNSET

    def compare(self, about: About, candidate: Candidate | None, would: str, did: str, *, go_on: bool = False) -> None:
        """Count what would have been done beside what was. go_on: a difference does not part their ways."""
        if self.apart:
            return
        name = "" if candidate is None else candidate.upstream.name
        self.shadows.counts[self.call.plan.route, name, about, would, did] += 1
        if would != did:
            self.apart = not go_on
            if len(self._told) < _MOST_TOLD:
                self._told.append(f"{name or self.call.plan.route}: {about} {would} instead of {did}")
