#!/usr/bin/env python3
"""What an outage of one of two upstreams does to agents, and to the upstream that is down.

    outage.py [--rate 200] [--healthy 7] [--outage 20] [--after 16] [--order ORDER …] [--json FILE]

The upstreams are labs; one of each pair answers 503 for a while. Three routes are under the same load at once, each with
a pair of its own: the one that fails is preferred (`primary`), is the reserve (`secondary`), or has half of the traffic
(`shared`). Calls start on time whether or not earlier ones are answered, and their latency counts from when they were
due. Nobody but seawall retries.

exit codes: 0 all calls answered as wanted; 1 too many failures, wrong answers, or too many attempts; 2 it could not run.
Latency is printed and judged, but never decides the exit code.
"""

import argparse
import asyncio
import json
import sys
import time
import urllib.request
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import uvloop
from answers import MODEL, question
from client import Caller, Reply, Target
from machine import FIRST_CPU, LAST_CPU, Broken, Process, Stage, free_ports, stage

THRESHOLD = 5
_LATENCY = "latency-30ms"
_BURST_MARGIN = 0.1
"""Seconds after the breaker's opening in which attempts that were on their way may still arrive."""
ORDERS = {
    "primary": "[{name: primary-bad, priority: 0}, {name: primary-good, priority: 1}]",
    "secondary": "[{name: secondary-good, priority: 0}, {name: secondary-bad, priority: 1}]",
    "shared": "[{name: shared-bad, weight: 1}, {name: shared-good, weight: 1}]",
}
_UPSTREAM = """
apiVersion: seawall.dev/v1alpha1
kind: Upstream
metadata: {{name: {name}}}
spec:
  type: LLM
  dialect: OpenAI
  baseURL: {url}/u/{label}/v1
  circuitBreaker: {{consecutiveFailures: {threshold}}}
---"""
_ROUTE = """
apiVersion: seawall.dev/v1alpha1
kind: AgentRoute
metadata: {{name: {order}}}
spec:
  rules:
    - matches: [{{path: {{type: PathPrefix, value: /{order}/v1}}}}]
      backendRefs: {refs}
---"""


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
    """One call: when it was due (wall clock), seconds until its answer, and what was wrong with that."""

    due: float
    seconds: float
    problem: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an upstream saw. Times on the wall clock."""

    received: float
    end: float
    bad_upstream: bool
    failed: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """A breaker's move."""

    at: float
    after: str


@dataclass(frozen=True, slots=True)
class Report:
    """One order's outcome. Times in milliseconds; attempts are those on the upstream that was down, while it was."""

    order: str
    calls: int
    failures: dict[str, int]
    opened_after_ms: float | None
    until_open: int
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

    def targets(self) -> list[tuple[str, str, str, bool, bool]]:
        """(what, measured, target, met, decides the exit code)."""
        most = THRESHOLD + self.in_flight
        return [
            ("success", f"{self.success_percent:.3f} %", "≥ 99.9 %", self.success_percent >= 99.9, True),
            ("attempts until the breaker opened", f"{self.until_open}", f"≤ {THRESHOLD} + {self.in_flight} in flight",
             self.until_open <= most, True),
            ("attempts afterwards", f"{self.later}", f"≤ {self.probes_allowed} probes",
             self.later <= self.probes_allowed, True),
            ("attempts per call", f"{self.load_factor:.3f}", "< 1.25", self.load_factor < 1.25, True),
            ("p99 with the breaker open", f"{self.p99_open_ms:.0f} ms", f"≤ 2 × {self.p99_healthy_ms:.0f} ms",
             self.p99_open_ms <= 2 * self.p99_healthy_ms, False),
        ]  # fmt: skip


def _policy(labs: dict[str, str]) -> str:
    text = ""
    for order, url in labs.items():
        for label in ("bad", "good"):
            text += _UPSTREAM.format(name=f"{order}-{label}", url=url, label=label, threshold=THRESHOLD)
        text += _ROUTE.format(order=order, refs=ORDERS[order])
    return text.removesuffix("---")


def _control(url: str, path: str, document: object = None) -> Any:
    """Talk to a lab's control endpoint."""
    body = None if document is None else json.dumps(document).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, body), timeout=10) as answer:
        return json.loads(answer.read())


def _await(process: Process, url: str) -> None:
    """Until it listens."""
    while True:
        process.check()
        try:
            _control(url, "")
        except OSError as error:
            if getattr(error, "code", None) is not None:
                return
            if time.perf_counter() - process.began > 30:
                raise Broken(f"{process.name} does not listen: {error}") from None
            time.sleep(0.02)
        else:
            return


def _problem(reply: Reply, expected: str) -> str:
    if reply.problem or reply.status != 200:
        return reply.problem or f"status {reply.status}"
    try:
        content = json.loads(reply.body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return "an answer that is not a chat completion"
    return "" if content == expected else "another answer's content"


async def _drive(url: str, plan: Plan, expected: str, began: float) -> list[Called]:
    """Make one route's calls, each when it is due."""
    caller, body = Caller(Target.parse(url)), question(900, stream=False)
    done: list[Called] = []

    async def one(due: float) -> None:
        reply = await caller.call(body)
        done.append(Called(due, time.time() - due, _problem(reply, expected)))

    async with asyncio.TaskGroup() as group:
        for number in range(int(plan.rate * plan.seconds)):
            due = began + number / plan.rate
            if (wait := due - time.time()) > 0:
                await asyncio.sleep(wait)
            group.create_task(one(due))
    caller.close()
    return done


def _attempts(url: str) -> list[Attempt]:
    """What a lab saw. Raises Broken when it has forgotten some."""
    seen = _control(url, "/_lab/attempts")
    if seen["total"] != len(seen["attempts"]):
        raise Broken("more attempts than the lab remembers: lower --rate, or the times")
    found = []
    for attempt in seen["attempts"]:
        received = datetime.fromisoformat(attempt["received_at"]).timestamp()
        lasted = (attempt["end"] or attempt["received"]) - attempt["received"]
        found.append(Attempt(received, received + lasted, attempt["upstream"] == "bad", attempt["status"] == 503))
    return found


def _moves(log: Path, upstream: str) -> list[Moved]:
    """A breaker's moves, from the access log."""
    moves = []
    for line in log.read_text().splitlines():
        if '"event":"breaker"' in line:
            event = json.loads(line)
            if event["upstream"] == upstream and event["key"] == MODEL:
                moves.append(Moved(datetime.fromisoformat(event["ts"]).timestamp(), event["after"]))
    return moves


def _p99(calls: list[Called], begin: float, end: float) -> float:
    """Milliseconds; 0 for a phase without calls."""
    times = sorted(call.seconds for call in calls if begin <= call.due < end)
    return 1000 * times[len(times) * 99 // 100] if times else 0.0


def _report(
    order: str, plan: Plan, began: float, calls: list[Called], seen: list[Attempt], moves: list[Moved]
) -> Report:
    down, up = began + plan.healthy, began + plan.healthy + plan.outage
    opened = next((move.at for move in moves if move.after == "open"), None)
    last = opened + _BURST_MARGIN if opened is not None else up
    dead = [attempt for attempt in seen if attempt.bad_upstream and attempt.failed]
    failures: dict[str, int] = {}
    for call in calls:
        if call.problem:
            failures[call.problem] = failures.get(call.problem, 0) + 1
    during = [call for call in calls if down <= call.due < up]
    closed = [move.at for move in moves if move.after == "closed" and move.at >= up]
    return Report(
        order=order,
        calls=len(calls),
        failures=failures,
        opened_after_ms=None if opened is None else (opened - down) * 1000,
        until_open=sum(attempt.received <= last for attempt in dead),
        in_flight=sum(opened is not None and attempt.received <= last and attempt.end > opened for attempt in dead),
        later=sum(attempt.received > last for attempt in dead),
        probes_allowed=sum(move.after == "half_open" for move in moves if move.at < up + 0.1),
        load_factor=sum(down <= attempt.received < up for attempt in seen) / max(1, len(during)),
        p99_healthy_ms=_p99(calls, began + 1, down),
        p99_until_open_ms=_p99(calls, down, opened or up),
        p99_open_ms=_p99(calls, opened or down, up),
        p99_after_ms=_p99(calls, up, up + plan.after),
        recovered_after_s=closed[0] - up if closed else None,
    )


async def _run(plan: Plan, labs: dict[str, str], proxy: str) -> tuple[float, dict[str, list[Called]]]:
    """Script the labs, make the calls; returns when that began."""
    first = await Caller(Target.parse(next(iter(labs.values())) + "/v1/chat/completions")).call(
        question(900, stream=False)
    )
    expected: str = json.loads(first.body)["choices"][0]["message"]["content"]
    for url in labs.values():
        _control(url, "/_lab/script", [
            {"upstream": "good", "steps": [], "then": _LATENCY},
            {"upstream": "bad", "then": _LATENCY, "windows": [
                {"fault": f"{_LATENCY}+503", "start": plan.healthy, "end": plan.healthy + plan.outage}]},
        ])  # fmt: skip
    began = time.time()
    routes = [_drive(f"{proxy}/{order}/v1/chat/completions", plan, expected, began) for order in labs]
    return began, dict(zip(labs, await asyncio.gather(*routes), strict=True))


def _start(where: Stage, orders: list[str]) -> tuple[dict[str, str], str, Process]:
    """A lab per order, and the proxy before them."""
    *lab_ports, port, admin = free_ports(len(orders) + 2)
    labs = {order: f"http://127.0.0.1:{lab_port}" for order, lab_port in zip(orders, lab_ports, strict=True)}
    for order, url in labs.items():
        command = [sys.executable, "-m", "seawall.cli", "lab", "--listen", url.removeprefix("http://")]
        _await(where.start(f"lab-{order}", command, LAST_CPU), url)
    proxy, url = where.seawall(_policy(labs), port, admin, FIRST_CPU), f"http://127.0.0.1:{port}"
    _await(proxy, url)
    return labs, url, proxy


def _print(report: Report) -> None:
    opened = "never opened" if report.opened_after_ms is None else f"opened after {report.opened_after_ms:.0f} ms"
    back = "" if report.recovered_after_s is None else f", closed {report.recovered_after_s:.1f} s after the end"
    print(f"\n{report.order}: {report.calls:,} calls; the breaker {opened}{back}")
    for what, value, target, met, _ in report.targets():
        print(f"  {what:36}{value:>12}   target {target:20}{'' if met else 'MISSED'}".rstrip())
    phases = (report.p99_healthy_ms, report.p99_until_open_ms, report.p99_open_ms, report.p99_after_ms)
    print("  p99 healthy {:.0f}, until it opened {:.0f}, open {:.0f}, after the outage {:.0f} ms".format(*phases))
    for text, count in report.failures.items():
        print(f"  FAILED: {count} × {text}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0, help="calls per second and route")
    parser.add_argument("--healthy", type=float, default=7.0, metavar="SECONDS", help="before the outage")
    parser.add_argument("--outage", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--after", type=float, default=16.0, metavar="SECONDS", help="after the outage")
    parser.add_argument("--order", nargs="+", choices=list(ORDERS), default=list(ORDERS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    a = parser.parse_args()
    plan = Plan(a.rate, a.healthy, a.outage, a.after)
    try:
        with stage() as where:
            labs, url, proxy = _start(where, a.order)
            began, calls = uvloop.run(_run(plan, labs, url))
            proxy.check()
            time.sleep(0.2)  # for the log's writer
            reports = [
                _report(order, plan, began, calls[order], _attempts(lab), _moves(proxy.output, f"{order}-bad"))
                for order, lab in labs.items()
            ]
    except Broken as broken:
        print(f"outage: {broken}", file=sys.stderr)
        return 2
    for report in reports:
        _print(report)
    if a.json:
        a.json.write_text(json.dumps([asdict(report) for report in reports], indent=1) + "\n")
    met = all(ok for report in reports for _, _, _, ok, decides in report.targets() if decides)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
