#!/usr/bin/env python3
"""What an outage of one of two upstreams does to agents, and to the upstream that is down.

    outage.py [--rate 200] [--healthy 7] [--outage 20] [--after 16] [--order ORDER …] [--json FILE]

The upstreams are labs; one of each pair answers 503 for a while. Three routes are under the same load at once, each
with a pair of its own: the one that fails is preferred (`primary`), is the reserve (`secondary`), or has half of the
traffic (`shared`). Calls start on time whether or not earlier ones are answered, and their latency counts from when
they were due. Nobody but seawall retries.

exit codes: 0 calls and attempts are as wanted; 1 too many failures, wrong answers or attempts; 2 it could not run.
Latency is printed and judged, but never decides the exit code.
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import uvloop
from aftermath import THRESHOLD, Attempt, Called, Plan, read_log, report
from answers import question
from client import Caller, Reply, Target
from labs import control, until_listening
from machine import FIRST_CPU, LAST_CPU, Broken, Process, Stage, free_ports, stage

_LATENCY = "latency-30ms"
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


def _policy(labs: dict[str, str]) -> str:
    text = ""
    for order, url in labs.items():
        for label in ("bad", "good"):
            text += _UPSTREAM.format(name=f"{order}-{label}", url=url, label=label, threshold=THRESHOLD)
        text += _ROUTE.format(order=order, refs=ORDERS[order])
    return text.removesuffix("---")


def _attempts(url: str) -> list[Attempt]:
    """What a lab saw. Raises Broken when it has forgotten some."""
    seen = control(url, "/_lab/attempts")
    if seen["total"] != len(seen["attempts"]):
        raise Broken("more attempts than the lab remembers: lower --rate, or the times")
    return [
        Attempt(
            datetime.fromisoformat(attempt["received_at"]).timestamp(),
            attempt["upstream"] == "bad" and attempt["status"] == 503,
        )
        for attempt in seen["attempts"]
    ]


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


async def _run(plan: Plan, labs: dict[str, str], proxy: str) -> tuple[float, dict[str, list[Called]]]:
    """Script the labs, make the calls; returns when that began."""
    first = await Caller(Target.parse(next(iter(labs.values())) + "/v1/chat/completions")).call(
        question(900, stream=False)
    )
    expected: str = json.loads(first.body)["choices"][0]["message"]["content"]
    for url in labs.values():
        control(url, "/_lab/script", [
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
        until_listening(where.start(f"lab-{order}", command, LAST_CPU), url)
    proxy, url = where.seawall(_policy(labs), port, admin, FIRST_CPU), f"http://127.0.0.1:{port}"
    until_listening(proxy, url)
    return labs, url, proxy


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
                report(order, plan, began, calls[order], _attempts(lab), read_log(proxy.output, f"{order}-bad"))
                for order, lab in labs.items()
            ]
    except Broken as broken:
        print(f"outage: {broken}", file=sys.stderr)
        return 2
    for one in reports:
        print("\n".join(one.lines()))
    if a.json:
        a.json.write_text(json.dumps([asdict(one) for one in reports], indent=1) + "\n")
    return 0 if all(one.met for one in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
