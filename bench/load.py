#!/usr/bin/env python3
"""The load: keeps a number of connections busy with the same request for a while, checks every answer byte by byte.

    load.py URL --connections 32 --seconds 4 [--stream --chunks 50 --gap-ms 5] [--body-size 900] [--ca FILE]

Prints one JSON object: answers, wrong ones and why, seconds, answers per second, latency percentiles in microseconds.
It never stops in the middle of an answer: what has begun by the end is finished and counted.
"""

import argparse
import asyncio
import json
import time
from array import array
from collections import Counter
from dataclasses import asdict, dataclass

import uvloop
from answers import PLAIN, question, streamed
from client import Connection, Reply, Target, connect

_AT_ONCE = 200
# After the time is up, what is under way may take so many seconds; the rest is counted as wrong.
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What one run is: `connections` requests at a time for `seconds`; a stream's events come `gap_ms` apart."""

    connections: int
    seconds: float
    stream: bool = False
    chunks: int = 50
    gap_ms: float = 0.0
    body_size: int = 900

    @property
    def query(self) -> str:
        return f"?chunks={self.chunks}&gap_ms={self.gap_ms:g}" if self.stream else ""

    @property
    def units(self) -> int:
        """What one answer counts for: a stream's events, else 1."""
        return self.chunks + 2 if self.stream else 1


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. Latencies, from sending to the whole answer, in microseconds."""

    answers: int
    wrong: int
    why: dict[str, int]
    seconds: float
    per_second: float
    p50_us: float
    p99_us: float


class Run:
    """One load under way."""

    def __init__(self, target: Target, load: Load) -> None:
        self._target = target
        self._load = load
        self._request = target.request(question(load.body_size, stream=load.stream), load.query)
        self._expected = streamed(load.chunks) if load.stream else PLAIN
        self._latencies = array("d")
        self._why: Counter[str] = Counter()
        self._busy = 0
        self._done = asyncio.Event()
        self._end = 0.0

    async def run(self) -> Result:
        lines = [_Line(self) for _ in range(self._load.connections)]
        for at in range(0, len(lines), _AT_ONCE):
            await asyncio.gather(*(connect(self._target, line) for line in lines[at : at + _AT_ONCE]))
        began = time.perf_counter()
        self._end = began + self._load.seconds
        self._busy = len(lines)
        for line in lines:
            line.go()
        try:
            async with asyncio.timeout(self._load.seconds + _PATIENCE):
                await self._done.wait()
        except TimeoutError:
            self._why["no whole answer in time"] += self._busy
        seconds = time.perf_counter() - began
        for line in lines:
            line.transport.abort()
        ordered = sorted(self._latencies) or [0.0]
        answers = len(self._latencies)
        return Result(
            answers, self._why.total(), dict(self._why), seconds, answers / seconds,
            ordered[len(ordered) // 2] * 1e6, ordered[len(ordered) * 99 // 100] * 1e6,
        )  # fmt: skip

    def took(self, line: "_Line", reply: Reply) -> None:
        now = time.perf_counter()
        self._latencies.append(now - line.sent)
        if reply.status != 200 or reply.body != self._expected:
            self._why[reply.problem or f"status {reply.status}, {len(reply.body)} bytes"] += 1
        if now >= self._end or line.closed or line.transport.is_closing():
            # A connection that the server closed is not replaced: benchmarks' servers have no reason to.
            self._busy -= 1
            if not self._busy:
                self._done.set()
        else:
            line.go()

    def request(self) -> bytes:
        return self._request


class _Line(Connection):
    """One connection of the load."""

    def __init__(self, run: Run) -> None:
        super().__init__(self._took)
        self._run = run
        self.sent = 0.0

    def go(self) -> None:
        self.sent = time.perf_counter()
        self.send(self._run.request())

    def _took(self, reply: Reply) -> None:
        self._run.took(self, reply)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--chunks", type=int, default=50)
    parser.add_argument("--gap-ms", type=float, default=0.0)
    parser.add_argument("--body-size", type=int, default=900)
    parser.add_argument("--ca", metavar="FILE", help="certificates (PEM) to trust for an https URL")
    a = parser.parse_args()
    load = Load(a.connections, a.seconds, a.stream, a.chunks, a.gap_ms, a.body_size)

    async def run() -> Result:
        return await Run(Target.parse(a.url, a.ca), load).run()

    print(json.dumps(asdict(uvloop.run(run()))))


if __name__ == "__main__":
    main()
