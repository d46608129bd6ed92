#!/usr/bin/env python3
"""seawall's cost beside the bare aiohttp floor, in one run on this machine, as a table.

    run.py [--tls] [--rounds 3] [--only plain,stream] [--json FILE] [--write FILE.md ...]

  plain   POST of 1 KB, 0.7 KB JSON back, 32 connections
  one     the same on one connection: added latency over a direct call
  stream  128 connections, 50 content events each, 5 ms apart: CPU per event
  held    1,000 streams open at once: memory
  big     POST of 1 MB (a long context), 16 connections
  hit     as plain, from the cache of a second proxy whose rule has one
  hit-one the same on one connection

The floor and the proxy are on the first CPU, load and upstream on the last. Floor and proxy take turns round by round,
so that a noisy machine disturbs both: trust the ratios. Every answer of the load is compared byte by byte; besides, a
separate client checks hundreds of answers of all shapes under load.

exit codes: 0 whatever the speed; 1 wrong answers; 2 it could not run.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import trustme
from check import Verdict, check
from figures import Figures, Measured, Scenario, table, writable, write
from load import Load
from machine import FIRST_CPU, HERE, LAST_CPU, Broken, Process, Stage, free_ports, ready, said, stage

LOADS = {
    "plain": Load(connections=32, seconds=4),
    "one": Load(connections=1, seconds=3),
    "stream": Load(connections=128, seconds=5, stream=True, gap_ms=5),
    "held": Load(connections=1000, seconds=4, stream=True, gap_ms=100),
    "big": Load(connections=16, seconds=4, body_size=1_000_000),
    "hit": Load(connections=32, seconds=4),
    "hit-one": Load(connections=1, seconds=3),
}
_PATH = "/v1/chat/completions"
_SHIPPED_URL = "http://127.0.0.1:9001/v1"
_CACHE = "\n      cache: {mode: Enabled, ttl: 1h, nondeterministic: Allow}"


@dataclass(slots=True)
class Side:
    """One of those that take turns: direct, floor, seawall."""

    name: str
    url: str
    process: Process
    ca: str | None = None
    rounds: list[Measured] = field(default_factory=list)

    def measure(self, load: Load) -> Measured:
        """One round of a load."""
        command = [sys.executable, str(HERE / "load.py"), self.url]
        command += ["--connections", str(load.connections), "--seconds", f"{load.seconds:g}"]
        command += ["--chunks", str(load.chunks), "--gap-ms", f"{load.gap_ms:g}", "--body-size", str(load.body_size)]
        command += ["--stream"] * load.stream + (["--ca", self.ca] if self.ca else [])
        self.process.forget_peak()
        before = self.process.cpu_seconds()
        result = said(command)
        used = self.process.cpu_seconds() - before
        self.process.check()
        answers, wrong, why = result["answers"], result["wrong"], result["why"]
        assert isinstance(answers, int) and isinstance(wrong, int) and isinstance(why, dict)
        return Measured(
            per_second=_number(result["per_second"]),
            p50_us=_number(result["p50_us"]),
            p99_us=_number(result["p99_us"]),
            cpu_us=used * 1e6 / max(1, answers * load.units),
            peak_mib=self.process.memory()["VmHWM"],
            answers=answers,
            wrong=wrong,
            why=why,
        )


def _number(value: object) -> float:
    assert isinstance(value, (int, float))
    return float(value)


@dataclass(frozen=True, slots=True)
class Sides:
    direct: Side
    floor: Side
    seawall: Side
    cached: Side
    """Under the same policy with a cache."""
    ready_seconds: float
    idle_mib: float


def _certificates(folder: Path) -> tuple[list[str], str]:
    """A certificate for the upstream: its own options, and the file that others trust."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    names = [str(folder / name) for name in ("ca.pem", "upstream.pem", "upstream.key")]
    authority.cert_pem.write_to_path(names[0])
    issued.private_key_pem.write_to_path(names[2])
    for at, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(names[1], append=at > 0)
    return ["--cert", names[1], "--key", names[2]], names[0]


def policy_for(origin: str, ca: str | None, *, cache: bool = False) -> str:
    """bench/policy.yaml with another upstream in it, and perhaps a cache."""
    text = (HERE / "policy.yaml").read_text()
    if _SHIPPED_URL not in text:
        raise Broken(f"bench/policy.yaml does not lead to {_SHIPPED_URL} any more")
    url = f"{origin}/v1"
    if cache:
        text = text.rstrip("\n") + _CACHE + "\n"
    return text.replace(
        f"baseURL: {_SHIPPED_URL}", f"baseURL: {url}\n  tls: {{caFile: {ca}}}" if ca else f"baseURL: {url}"
    )


def set_up(where: Stage, tls: bool) -> Sides:
    """Start upstream, floor and proxy, and wait until each has answered."""
    upstream_port, floor_port, port, admin, cached_port, cached_admin = free_ports(6)
    options, ca = _certificates(where.folder) if tls else ([], None)
    origin = f"https://localhost:{upstream_port}" if tls else f"http://127.0.0.1:{upstream_port}"
    upstream = where.python("upstream", "upstream.py", str(upstream_port), *options, cpu=LAST_CPU)
    ready(upstream, origin + _PATH, cafile=ca)
    trust = ["--ca", ca] if ca else []
    floor = where.python("floor", "floor.py", str(floor_port), origin, *trust, cpu=FIRST_CPU)
    floor_url = f"http://127.0.0.1:{floor_port}{_PATH}"
    ready(floor, floor_url)
    proxy = where.seawall(policy_for(origin, ca), port, admin)
    url = f"http://127.0.0.1:{port}{_PATH}"
    ready_seconds = ready(proxy, url)
    idle = proxy.memory()["VmRSS"]
    cached = where.seawall(policy_for(origin, ca, cache=True), cached_port, cached_admin, name="cached")
    cached_url = f"http://127.0.0.1:{cached_port}{_PATH}"
    ready(cached, cached_url)
    return Sides(
        Side("direct", origin + _PATH, upstream, ca),
        Side("floor", floor_url, floor),
        Side("seawall", url, proxy),
        Side("seawall", cached_url, cached),
        ready_seconds,
        idle,
    )


def measure(sides: Sides, name: str, rounds: int) -> Scenario:
    """A scenario's rounds, in turns; who begins changes from round to round."""
    load = LOADS[name]
    own = sides.cached if name.startswith("hit") else sides.seawall
    taking_part = [sides.floor, own] + ([sides.direct] if name == "one" else [])
    results: dict[str, list[Measured]] = {side.name: [] for side in taking_part}
    for number in range(rounds):
        for side in taking_part if number % 2 == 0 else reversed(taking_part):
            results[side.name].append(side.measure(load))
    return Scenario(name, load.stream, {side: _median(measured) for side, measured in results.items()})


def _median(rounds: list[Measured]) -> Measured:
    """The median of each figure over the rounds; wrong answers are added up."""
    why: dict[str, int] = {}
    for one in rounds:
        for text, count in one.why.items():
            why[text] = why.get(text, 0) + count
    return Measured(
        per_second=statistics.median(r.per_second for r in rounds),
        p50_us=statistics.median(r.p50_us for r in rounds),
        p99_us=statistics.median(r.p99_us for r in rounds),
        cpu_us=statistics.median(r.cpu_us for r in rounds),
        peak_mib=max(r.peak_mib for r in rounds),
        answers=sum(r.answers for r in rounds),
        wrong=sum(r.wrong for r in rounds),
        why=why,
    )


def check_under_load(sides: Sides) -> Verdict:
    """The separate client's answers, while plain and streamed load goes on."""
    command = [sys.executable, str(HERE / "load.py"), sides.seawall.url, "--seconds", "8"]
    loads = [[*command, "--connections", "4"], [*command, "--connections", "32", "--stream", "--gap-ms", "5"]]
    running = [subprocess.Popen(one, stdout=subprocess.DEVNULL) for one in loads]
    try:
        return check(sides.seawall.url)
    finally:
        for one in running:
            one.kill()
            one.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tls", action="store_true", help="TLS from floor and proxy to the upstream")
    parser.add_argument("--rounds", type=int, default=3, help="per scenario and side (default: 3)")
    parser.add_argument("--only", default=",".join(LOADS), help="scenarios, with commas between (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--write", type=Path, nargs="+", default=[], metavar="FILE", help="update these pages' tables")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(LOADS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if pages := [str(page) for page in arguments.write if not writable(page, arguments.tls)]:
        parser.error(f"no section for figures in {', '.join(pages)}")
    try:
        with stage() as where:
            sides = set_up(where, arguments.tls)
            print(f"ready after {sides.ready_seconds:.2f} s, idle {sides.idle_mib:.0f} MiB", flush=True)
            figures = Figures(arguments.tls, arguments.rounds, sides.ready_seconds, sides.idle_mib)
            for name in names:
                figures.scenarios.append(measure(sides, name, arguments.rounds))
                print(table(figures.scenarios[-1:]), flush=True)
            figures.verdict = check_under_load(sides)
    except Broken as broken:
        print(f"bench: {broken}", file=sys.stderr)
        return 2
    print("\n".join(figures.summary()))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(figures), indent=1) + "\n")
    for page in arguments.write:
        write(page, figures)
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
