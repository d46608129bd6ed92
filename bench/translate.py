#!/usr/bin/env python3
"""What translation costs: a call that is carried to another dialect beside one that speaks it natively.

    translate.py [--calls 300] [--rounds 5] [--json FILE]

One connection at a time, one call after the other, to a lab. Each pair asks the same upstream the same question, once
in its own dialect and once in another one; they take turns. Memory is that of the process with translation in use.

exit codes: 0 whatever the times; 1 wrong answers; 2 it could not run.
"""

import argparse
import http.client
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from labs import control, until_listening
from machine import FIRST_CPU, LAST_CPU, Broken, Process, free_ports, stage

_TEXT = "The sea is blue. " * 20
_POLICY = """
apiVersion: seawall.dev/v1alpha1
kind: Upstream
metadata: {{name: openai}}
spec: {{dialect: OpenAI, baseURL: {lab}/u/openai/v1, auth: {{type: APIKey, keyFile: {key}}}}}
---
apiVersion: seawall.dev/v1alpha1
kind: Upstream
metadata: {{name: anthropic}}
spec: {{dialect: Anthropic, baseURL: {lab}/u/anthropic, auth: {{type: APIKey, keyFile: {key}}}}}
---
apiVersion: seawall.dev/v1alpha1
kind: AgentRoute
metadata: {{name: native}}
spec:
  rules:
    - matches: [{{path: {{value: /native/openai/v1}}}}]
      backendRefs: [{{name: openai}}]
    - matches: [{{path: {{value: /native/anthropic}}}}]
      backendRefs: [{{name: anthropic}}]
---
apiVersion: seawall.dev/v1alpha1
kind: AgentRoute
metadata: {{name: translated}}
spec:
  rules:
    - matches: [{{path: {{value: /translated/openai/v1}}}}]
      dialect: OpenAI
      backendRefs: [{{name: anthropic, model: claude-haiku-4-5}}]
    - matches: [{{path: {{value: /translated/anthropic}}}}]
      dialect: Anthropic
      backendRefs: [{{name: openai, model: gpt-4o}}]
"""
_MESSAGES = [{"role": "user", "content": _TEXT}]
_CHAT = ("openai/v1/chat/completions", {"model": "gpt-4o", "messages": _MESSAGES, "max_tokens": 500})
_RESPONSES = ("openai/v1/responses", {"model": "gpt-4o", "input": _TEXT, "max_output_tokens": 500})
_CLAUDE = ("anthropic/v1/messages", {"model": "claude-haiku-4-5", "messages": _MESSAGES, "max_tokens": 500})
_PAIRS = {
    "chat -> Anthropic": (_CLAUDE, _CHAT),
    "responses -> Anthropic": (_CLAUDE, _RESPONSES),
    "messages -> OpenAI": (_CHAT, _CLAUDE),
}
"""What is asked natively, and what is translated to the same upstream."""


@dataclass(frozen=True, slots=True)
class Row:
    """Medians. ms: of a call's latency; cpu_us: of the proxy, per plain call or per streamed event."""

    pair: str
    stream: bool
    native_ms: float
    translated_ms: float
    native_cpu_us: float
    translated_cpu_us: float
    wrong: int

    @property
    def added_ms(self) -> float:
        return self.translated_ms - self.native_ms


class Asker:
    """One connection to the proxy."""

    def __init__(self, proxy: str) -> None:
        url = urlsplit(proxy)
        self._connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)

    def ask(self, path: str, body: bytes) -> tuple[float, bytes]:
        """Seconds, and the answer; b"" for one that is not good."""
        began = time.perf_counter()
        headers = {"content-type": "application/json", "authorization": "Bearer sk-bench"}
        self._connection.request("POST", path, body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        return time.perf_counter() - began, data if answer.status == 200 else b""


def _measure(proxy: str, process: Process, a: argparse.Namespace) -> list[Row]:
    asker, rows = Asker(proxy), []
    for pair, asked in _PAIRS.items():
        for stream in (False, True):
            times: tuple[list[float], list[float]] = ([], [])
            cpu, events, wrong = [0.0, 0.0], 0, 0
            for turn in range(a.rounds + 1):
                for which, (path, question) in enumerate(asked):
                    way = ("native", "translated")[which]
                    body = json.dumps({**question, "stream": stream}).encode()
                    before = process.cpu_seconds()
                    for _ in range(a.calls):
                        seconds, data = asker.ask(f"/{way}/{path}", body)
                        wrong += b"blue" not in data
                        if turn:
                            times[which].append(seconds * 1000)
                        events = data.count(b"\n\n") if which else events
                    if turn:  # the first one warms up
                        cpu[which] += process.cpu_seconds() - before
            per = 1e6 / (a.rounds * a.calls * (max(events, 1) if stream else 1))
            native, translated = (statistics.median(one) for one in times)
            rows.append(Row(pair, stream, native, translated, cpu[0] * per, cpu[1] * per, wrong))
    return rows


def _print(rows: list[Row], memory: float) -> None:
    print(f"{'':24}{'':8}{'native':>9}{'translated':>12}{'added':>9}{'CPU native':>13}{'translated':>12}{'wrong':>7}")
    for row in rows:
        kind, per = ("stream", "event") if row.stream else ("plain", "call")
        times = f"{row.native_ms:6.2f} ms{row.translated_ms:9.2f} ms{row.added_ms:6.2f} ms"
        cpu = f"{row.native_cpu_us:10.0f} us{row.translated_cpu_us:9.0f} us"
        print(f"{row.pair:24}{kind:8}{times}{cpu}{row.wrong:7}  CPU per {per}")
    print(f"memory with translation in use: {memory:.0f} MiB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300, help="calls of each kind per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    a = parser.parse_args()
    try:
        with stage() as where:
            lab_port, port, admin = free_ports(3)
            lab, proxy = f"http://127.0.0.1:{lab_port}", f"http://127.0.0.1:{port}"
            command = [sys.executable, "-m", "seawall.cli", "lab", "--listen", f"127.0.0.1:{lab_port}"]
            until_listening(where.start("lab", command, LAST_CPU), lab)
            then = f"ok; text={_TEXT}"
            control(lab, "/_lab/script", [{"upstream": u, "steps": [], "then": then} for u in ("openai", "anthropic")])
            key = where.folder / "key"
            key.write_text("sk-bench")
            process = where.seawall(_POLICY.format(lab=lab, key=key), port, admin, FIRST_CPU)
            until_listening(process, proxy)
            rows = _measure(proxy, process, a)
            memory = process.memory()["VmRSS"]
            process.check()
    except Broken as broken:
        print(f"translate: {broken}", file=sys.stderr)
        return 2
    _print(rows, memory)
    if a.json:
        figures = [{**asdict(row), "added_ms": row.added_ms} for row in rows]
        a.json.write_text(json.dumps({"rows": figures, "memory_mib": memory}, indent=1) + "\n")
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
