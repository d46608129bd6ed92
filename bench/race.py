#!/usr/bin/env python3
"""What a race is worth, and what it costs: time to first content of one upstream, and of two that are raced.

    race.py [--calls 4000] [--rate 120] [--median-ms 50] [--sigma 1.5] [--json FILE]

The upstreams are labs whose answers begin after a lognormal time. The same load goes over four routes in turn: one
upstream; two, raced by the 95th percentile, after a fixed delay, and all at once. Calls start on time whether or not
earlier ones are answered. Then fast upstreams show what racing adds to a call that needs none.

exit codes: 0 whatever the times; 1 wrong answers; 2 it could not run.
"""

import argparse
import asyncio
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from answers import question
from client import Reply, Stopwatch, Target, connect
from labs import control, until_listening
from machine import FIRST_CPU, LAST_CPU, Broken, free_ports, stage

_WARM = 400
"""Calls before the measured ones, so that the percentile is known."""
_ROUTES = {
    "single": ("[{name: a}]", ""),
    "P95": ("[{name: a}, {name: b}]", "hedging: {hedgingDelay: P95}"),
    "fixed": ("[{name: a}, {name: b}]", "hedging: {hedgingDelay: 500ms}"),
    "at once": ("[{name: a}, {name: b}]", "hedging: {hedgingDelay: 0s}"),
}
_SILENT = "against silence"
_UPSTREAM = """
apiVersion: seawall.dev/v1alpha1
kind: Upstream
metadata: {{name: {name}}}
spec:
  type: LLM
  dialect: OpenAI
  baseURL: {url}/u/{name}/v1
  circuitBreaker: {{consecutiveFailures: 0, errorRate: {{percent: 0}}}}
---"""
_ROUTE = """
apiVersion: seawall.dev/v1alpha1
kind: AgentRoute
metadata: {{name: route-{number}}}
spec:
  rules:
    - matches: [{{path: {{type: PathPrefix, value: /{number}/v1}}}}]
      backendRefs: {refs}
      {hedging}
---"""


@dataclass(frozen=True, slots=True)
class Times:
    """Of one route. Milliseconds from when a call was due to its first content."""

    route: str
    calls: int
    wrong: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    extra_percent: float
    """Attempts beyond one per call."""


def _policy(lab: str, silent: str) -> str:
    text = "".join(_UPSTREAM.format(name=name, url=lab) for name in "ab")
    text += _UPSTREAM.format(name="silent", url=silent)
    against_silent = "[{name: a}, {name: silent}]", "hedging: {hedgingDelay: 0s}"
    for number, (refs, hedging) in enumerate([*_ROUTES.values(), against_silent]):
        text += _ROUTE.format(number=number, refs=refs, hedging=hedging)
    return text.removesuffix("---")


async def _call(target: Target, body: bytes, due: float) -> tuple[float, bool]:
    """Seconds from `due` to the first content, and whether the answer was whole."""
    done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    first: list[float] = []

    def arrived(data: bytes, at: int) -> None:
        if not first and b'"content":"' in data:
            first.append(time.monotonic())

    watch = Stopwatch(done.set_result, arrived)
    await connect(target, watch)
    watch.send(target.request(body))
    reply = await done
    watch.transport.close()
    return (first[0] if first else time.monotonic()) - due, reply.status == 200 and b"data: [DONE]" in reply.body


async def _load(url: str, calls: int, rate: float) -> list[tuple[float, bool]]:
    target, body, began = Target.parse(url), question(200, stream=True), time.monotonic()
    tasks = []
    for number in range(calls):
        due = began + number / rate
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(_call(target, body, due)))
    return await asyncio.gather(*tasks)


async def _one_by_one(url: str, calls: int) -> list[tuple[float, bool]]:
    target, body = Target.parse(url), question(200, stream=True)
    return [await _call(target, body, time.monotonic()) for _ in range(calls)]


def _attempts(lab: str) -> int:
    return int(control(lab, "/_lab/attempts?model=none")["total"])


def _times(route: str, found: list[tuple[float, bool]], attempts: int, all_calls: int) -> Times:
    ordered = sorted(seconds * 1000 for seconds, _ in found)
    p50, p95, p99 = (ordered[len(ordered) * share // 100] for share in (50, 95, 99))
    extra = 100 * (attempts - all_calls) / all_calls
    return Times(route, len(found), sum(not whole for _, whole in found), p50, p95, p99, extra)


def _measure(lab: str, proxy: str, a: argparse.Namespace) -> list[Times]:
    """The same load over each route, on upstreams that are slow at times."""
    slow = f"latency-lognormal-{a.median_ms:g}ms-{a.sigma:g}"
    control(lab, "/_lab/script", [{"upstream": name, "steps": [], "then": slow} for name in "ab"])
    rows = []
    for number, route in enumerate(_ROUTES):
        url = f"{proxy}/{number}/v1/chat/completions"
        uvloop.run(_load(url, _WARM, a.rate))
        before = _attempts(lab)
        found = uvloop.run(_load(url, a.calls, a.rate))
        rows.append(_times(route, found, _attempts(lab) - before, a.calls))
    return rows


def _cost(lab: str, proxy: str, rounds: int = 10, calls: int = 100) -> dict[str, float]:
    """The median time of a call that no other need help, in milliseconds; the routes take turns. The last one races
    an upstream that only accepts: the lab would do a loser's work on the CPU that the winner's needs."""
    control(lab, "/_lab/script", [{"upstream": name, "steps": [], "then": "latency-2ms"} for name in "ab"])
    samples: dict[str, list[float]] = {"single": [], "P95": [], _SILENT: []}
    routes = [*_ROUTES, _SILENT]
    for _ in range(rounds):
        for route, seen in samples.items():
            url = f"{proxy}/{routes.index(route)}/v1/chat/completions"
            seen += [seconds * 1000 for seconds, _ in uvloop.run(_one_by_one(url, calls))]
    return {route: sorted(seen)[len(seen) // 2] for route, seen in samples.items()}


def _print(rows: list[Times], cost: dict[str, float]) -> None:
    single = rows[0]
    print(f"{'route':8}{'calls':>8}{'wrong':>7}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'p99 ratio':>11}{'extra':>9}")
    for row in rows:
        times = "".join(f"{ms:9.0f}" for ms in (row.p50_ms, row.p95_ms, row.p99_ms))
        ratio = f"{row.p99_ms / single.p99_ms:11.2f}"
        print(f"{row.route:8}{row.calls:8}{row.wrong:7}{times}{ratio}{row.extra_percent:8.1f}%")
    for route, median in cost.items():
        print(f"added to a fast call, {route:15} {median - cost['single']:+.3f} ms (median {median:.3f} ms)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=4000, help="measured calls per route")
    parser.add_argument("--rate", type=float, default=120.0, help="calls per second")
    parser.add_argument("--median-ms", type=float, default=50.0, help="of the upstreams' time to first content")
    parser.add_argument("--sigma", type=float, default=1.5, help="of its logarithm")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    a = parser.parse_args()
    try:
        with stage() as where:
            lab_port, port, admin = free_ports(3)
            lab, proxy = f"http://127.0.0.1:{lab_port}", f"http://127.0.0.1:{port}"
            command = [sys.executable, "-m", "seawall.cli", "lab", "--listen", f"127.0.0.1:{lab_port}"]
            until_listening(where.start("lab", command, LAST_CPU), lab)
            with socket.create_server(("127.0.0.1", 0), backlog=4096) as nobody:
                silent = f"http://127.0.0.1:{nobody.getsockname()[1]}"
                process = where.seawall(_policy(lab, silent), port, admin, FIRST_CPU)
                until_listening(process, proxy)
                rows = _measure(lab, proxy, a)
                cost = _cost(lab, proxy)
                process.check()
    except Broken as broken:
        print(f"race: {broken}", file=sys.stderr)
        return 2
    _print(rows, cost)
    if a.json:
        a.json.write_text(json.dumps({"routes": [asdict(row) for row in rows], "added_ms": cost}, indent=1) + "\n")
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
