#!/usr/bin/env python3
"""CPU per streamed event in every framing, beside the bare aiohttp floor. Target: at most 1.2 × the floor.

    framings.py [--rounds 3] [--only chat,websocket]

128 connections, 50 content events each, 5 ms apart. Floor and proxy are on the first CPU, load and upstream on the
last, and take turns. Every answer is compared byte by byte; exit code 1 means wrong ones, never slow ones.
"""

import argparse
import statistics
import sys
import time
import urllib.error
import urllib.request

from framed import FRAMINGS
from machine import FIRST_CPU, HERE, LAST_CPU, Broken, Process, Stage, free_ports, said, stage
from run import policy_for

_CONNECTIONS, _SECONDS, _CHUNKS, _GAP = 128, 4, 50, 5


def _policy(where: Stage, origin: str, dialect: str) -> str:
    """bench/policy.yaml for another dialect, whose agents use the provider's own paths."""
    key = where.folder / "key"
    key.write_text("sk-bench")
    auth = f"\n  auth: {{type: APIKey, keyFile: {key}}}"
    text = policy_for(origin, None).replace(f"baseURL: {origin}/v1", f"baseURL: {origin}{auth}")
    text = text.replace("dialect: OpenAI", f"dialect: {dialect}").replace("value: /v1}", "value: /}")
    return text.replace("type: LLM", "type: HTTP") if dialect == "Generic" else text


def _listening(process: Process, port: int) -> None:
    while True:
        process.check()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/none", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return


def _measure(process: Process, port: int, name: str) -> tuple[float, int]:
    """CPU per event in microseconds, and wrong answers."""
    plan = [str(n) for n in (_CONNECTIONS, _SECONDS, _CHUNKS, _GAP)]
    command = [sys.executable, str(HERE / "framings_ends.py"), "load", f"http://127.0.0.1:{port}", name, *plan]
    before = process.cpu_seconds()
    result = said(command)
    used = process.cpu_seconds() - before
    process.check()
    answers, wrong = result["answers"], result["wrong"]
    assert isinstance(answers, int) and isinstance(wrong, int)
    return used * 1e6 / max(1, answers * (_CHUNKS + 2)), wrong


def _compare(name: str, rounds: int) -> int:
    """Print a framing's line; returns wrong answers."""
    framing = FRAMINGS[name]
    with stage() as where:
        upstream, floor, port, admin = free_ports(4)
        origin = f"http://127.0.0.1:{upstream}"
        where.python("upstream", "framings_ends.py", "upstream", str(upstream), cpu=LAST_CPU)
        program = ["floor.py"] if framing.kind else ["framings_ends.py", "floor"]
        bare = where.python("floor", *program, str(floor), origin, cpu=FIRST_CPU)
        proxy = where.seawall(_policy(where, origin, framing.dialect), port, admin)
        sides = {"floor": (bare, floor), "seawall": (proxy, port)}
        for process, at in sides.values():
            _listening(process, at)
        taken: dict[str, list[float]] = {side: [] for side in sides}
        wrong = 0
        for number in range(rounds):
            for side in list(sides) if number % 2 == 0 else list(reversed(sides)):
                cpu, bad = _measure(*sides[side], name)
                taken[side].append(cpu)
                wrong += bad
    bare_us, ours_us = (statistics.median(taken[side]) for side in ("floor", "seawall"))
    print(f"| {name} | {bare_us:.1f} | {ours_us:.1f} | {ours_us / bare_us:.2f} | {wrong} |", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(FRAMINGS), help="framings, with commas between (default: all)")
    arguments = parser.parse_args()
    print("| framing | floor µs | seawall µs | ÷ floor | wrong |\n|---|---|---|---|---|", flush=True)
    try:
        wrong = sum(_compare(name, arguments.rounds) for name in arguments.only.split(","))
    except Broken as broken:
        print(f"bench: {broken}", file=sys.stderr)
        return 2
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
