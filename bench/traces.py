#!/usr/bin/env python3
"""What traces cost: CPU per call with every call traced, with none sampled, and without the switch.

    traces.py [--rounds 5] [--only plain,stream,hit]

The loads are run.py's. The proxies take turns on the first CPU; load, upstream and collector are on the last. Every
answer is compared byte by byte, and every span must have been taken.

exit codes: 0 whatever the times; 1 wrong answers, or spans that are missing; 2 it could not run.
"""

import argparse
import http.server
import re
import statistics
import sys
import time
import urllib.request

from figures import Measured
from machine import FIRST_CPU, LAST_CPU, Broken, free_ports, ready, stage
from run import LOADS, Side, policy_for

_PATH = "/v1/chat/completions"
_SIDES = {"off": "", "unsampled": "0", "traced": "1"}
_SPANS = re.compile(r'^seawall_trace_spans_total\{result="(\w+)"\} (\S+)', re.M)


class _Collector(http.server.BaseHTTPRequestHandler):
    """Takes everything and looks at nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


def _spans(admin: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
        return {result: float(count) for result, count in _SPANS.findall(answer.read().decode())}


def _compare(names: list[str], rounds: int) -> int:
    """Print a line for each load; returns what was wrong."""
    with stage() as where:
        upstream, collector, *ports = free_ports(2 + 2 * len(_SIDES))
        origin = f"http://127.0.0.1:{upstream}"
        ready(where.python("upstream", "upstream.py", str(upstream), cpu=LAST_CPU), origin + _PATH)
        where.python("collector", "traces.py", "--collect", str(collector), cpu=LAST_CPU)
        sides, admins = {}, {}
        for number, (name, ratio) in enumerate(_SIDES.items()):
            port, admins[name] = ports[2 * number], ports[2 * number + 1]
            variables = {
                "SEAWALL_TRACES": "otlp" if ratio else "off",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector}",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": ratio or "0",
                "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
            }
            policy = policy_for(origin, None, cache="hit" in names)
            process = where.seawall(policy, port, admins[name], FIRST_CPU, name, variables)
            ready(process, f"http://127.0.0.1:{port}{_PATH}")
            sides[name] = Side(name, f"http://127.0.0.1:{port}{_PATH}", process)
            print(f"{name}: idle {process.memory()['VmRSS']:.0f} MiB", flush=True)
        wrong = 0
        for load in names:
            taken: dict[str, list[Measured]] = {name: [] for name in sides}
            for number in range(rounds):
                for name in list(sides) if number % 2 == 0 else list(reversed(sides)):
                    measured = sides[name].measure(LOADS[load])
                    taken[name].append(measured)
                    wrong += measured.wrong
            cpu = {name: statistics.median(one.cpu_us for one in found) for name, found in taken.items()}
            late = {name: statistics.median(one.p99_us for one in found) for name, found in taken.items()}
            told = (f"{name} {us:.0f} us ({us / cpu['off']:.2f}), p99 {late[name]:.0f} us" for name, us in cpu.items())
            print(f"{load}: {'  '.join(told)}", flush=True)
        time.sleep(6)
        spans = _spans(admins["traced"])
        print(f"spans: {spans}")
        return wrong + int(spans["failed"] + spans["dropped"]) + (not spans["sent"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="plain,stream")
    parser.add_argument("--collect", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.collect:
        http.server.ThreadingHTTPServer(("127.0.0.1", arguments.collect), _Collector).serve_forever()
    try:
        return 1 if _compare(arguments.only.split(","), arguments.rounds) else 0
    except Broken as broken:
        print(f"bench: {broken}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
