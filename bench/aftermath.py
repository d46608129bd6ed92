"""What an outage's records tell: the calls, the attempts that the dead upstream saw, the proxy's log.

It judges records and measures nothing itself. The upstream's own count of attempts is what decides.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from math import inf
from pathlib import Path

from answers import MODEL

THRESHOLD = 5
"""The breakers' `consecutiveFailures`."""
# A breaker opens for 8 s at least: whatever starts this much later than the opening, in seconds, is no straggler.
_CLEARLY_LATER = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Calls per second and route; seconds before, during and after the outage."""

    rate: float
    healthy: float
    outage: float
    after: float

    @property
    def seconds(self) -> float:
        return self.healthy + self.outage + self.after


@dataclass(frozen=True, slots=True)
class Called:
    """One call: when it was due (wall clock), seconds from then until its answer, and what was wrong with that."""

    due: float
    seconds: float
    problem: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that an upstream got, when (wall clock), and whether it was a dead one's 503."""

    received: float
    dead: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """A breaker's move, when (wall clock)."""

    at: float
    after: str


@dataclass(frozen=True, slots=True)
class Log:
    """What the access log says of one upstream. Lines are in the order in which things were settled.

    before: attempts that failed before the breaker first opened. between: those of them that came before another good
    answer, which starts the count anew. in_flight: attempts that began before it opened and failed afterwards.
    """

    moves: list[Moved]
    before: int = 0
    between: int = 0
    in_flight: int = 0


def read_log(path: Path, upstream: str) -> Log:
    """Read an upstream's story, up to the end of the file."""
    moves: list[Moved] = []
    before = between = in_flight = 0
    opened = inf
    for line in path.read_text().splitlines():
        event = json.loads(line)
        if event.get("upstream") != upstream:
            continue
        at = datetime.fromisoformat(event["ts"]).timestamp()
        match event["event"]:
            case "breaker" if event["key"] == MODEL:
                moves.append(Moved(at, event["after"]))
                if event["after"] == "open" and opened == inf:
                    opened = at
            case "attempt" if opened == inf:
                before += 1
            case "attempt" if at - event["seconds"] < opened + _CLEARLY_LATER:
                in_flight += 1
            case "call" if opened == inf and not event["fault"]:
                between = before
    return Log(moves, before, between, in_flight)


@dataclass(frozen=True, slots=True)
class Report:
    """One order's outcome. Attempts are those that the upstream saw that was down, while it was."""

    order: str
    calls: int
    failures: dict[str, int]
    opened_after_ms: float | None
    until_open: int
    between: int
    in_flight: int
    later: int
    probes_allowed: int
    load_factor: float
    p99_healthy_ms: float
    p99_until_open_ms: float
    p99_open_ms: float
    p99_after_ms: float
    recovered_after_s: float | None

    @property
    def success_percent(self) -> float:
        return 100 * (1 - sum(self.failures.values()) / self.calls)

    def targets(self) -> list[tuple[str, str, str, bool]]:
        """(what, measured, target, met) of everything that is no matter of speed."""
        most = THRESHOLD + self.in_flight + self.between
        stray = f" + {self.between} between good answers" if self.between else ""
        return [
            ("success", f"{self.success_percent:.3f} %", "≥ 99.9 %", self.success_percent >= 99.9),
            ("attempts until the breaker opened", f"{self.until_open}",
             f"≤ {THRESHOLD} + {self.in_flight} in flight{stray}", self.until_open <= most),
            ("attempts afterwards", f"{self.later}", f"≤ {self.probes_allowed} probes",
             self.later <= self.probes_allowed),
            ("attempts per call", f"{self.load_factor:.3f}", "< 1.25", self.load_factor < 1.25),
        ]  # fmt: skip

    @property
    def met(self) -> bool:
        return all(met for *_, met in self.targets())

    def lines(self) -> list[str]:
        """For a terminal."""
        opened = "never opened" if self.opened_after_ms is None else f"opened after {self.opened_after_ms:.0f} ms"
        back = "" if self.recovered_after_s is None else f", closed {self.recovered_after_s:.1f} s after the end"
        speed = f"≤ 2 × {self.p99_healthy_ms:.0f} ms healthy"
        p99 = ("p99 once the breaker was open", f"{self.p99_open_ms:.0f} ms", speed,
               self.p99_open_ms <= 2 * self.p99_healthy_ms)  # fmt: skip
        lines = [f"{self.order}: {self.calls:,} calls; the breaker {opened}{back}"]
        for what, value, target, met in [*self.targets(), p99]:
            lines.append(f"  {what:36}{value:>12}   target {target}{'' if met else '   MISSED'}")
        lines.append(
            f"  p99 until it opened {self.p99_until_open_ms:.0f} ms, after the outage {self.p99_after_ms:.0f} ms"
        )
        return lines + [f"  FAILED: {count} × {text}" for text, count in self.failures.items()]


def report(order: str, plan: Plan, began: float, calls: list[Called], seen: list[Attempt], log: Log) -> Report:
    """Judge one order. `began`: wall clock at the first call."""
    down, up = began + plan.healthy, began + plan.healthy + plan.outage
    opened = next((move.at for move in log.moves if move.after == "open"), None)
    failures: dict[str, int] = {}
    for call in calls:
        if call.problem:
            failures[call.problem] = failures.get(call.problem, 0) + 1
    during = sum(down <= call.due < up for call in calls)
    closed = [move.at for move in log.moves if move.after == "closed" and move.at >= up]
    until_open = log.before + log.in_flight
    return Report(
        order=order,
        calls=len(calls),
        failures=failures,
        opened_after_ms=None if opened is None else (opened - down) * 1000,
        until_open=until_open,
        between=log.between,
        in_flight=log.in_flight,
        later=sum(attempt.dead for attempt in seen) - until_open,
        probes_allowed=sum(move.after == "half_open" for move in log.moves if move.at < up + 0.1),
        load_factor=sum(down <= attempt.received < up for attempt in seen) / max(1, during),
        p99_healthy_ms=_p99(calls, began + 1, down),
        p99_until_open_ms=_p99(calls, down, opened or up),
        p99_open_ms=_p99(calls, opened or down, up),
        p99_after_ms=_p99(calls, up, up + plan.after),
        recovered_after_s=closed[0] - up if closed else None,
    )


def _p99(calls: list[Called], begin: float, end: float) -> float:
    """Milliseconds; 0 for a phase without calls."""
    times = sorted(call.seconds for call in calls if begin <= call.due < end)
    return 1000 * times[len(times) * 99 // 100] if times else 0.0
