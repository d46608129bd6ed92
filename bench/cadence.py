#!/usr/bin/env python3
"""Whether a proxy keeps a stream's rhythm: how much later each event arrives than it would in a direct call.

    cadence.py [--streams 100] [--chunks 150] [--gap-ms 20] [--rounds 3] [--tls] [--json FILE]

The upstream writes into each event when it sent it, and the client notes when it arrived, on the same clock. Direct
calls, the floor and seawall take turns. What a direct call takes is the measuring apparatus's own; a proxy's delay is
what comes on top, percentile by percentile. Only events after the commit (the first content) count: what comes before
is held on purpose.

exit codes: 0 whatever the delay; 1 wrong answers; 2 it could not run.
"""

import argparse
import asyncio
import json
import random
import re
import sys
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from answers import question, streamed
from client import Reply, Stopwatch, Target, connect
from machine import Broken, stage
from run import Side, set_up

_STAMP = re.compile(rb',"sent":(\d+)')
_LATE_NS = 5_000_000
"""No event may leave seawall later than this after it arrived."""
_SPREAD = 1.0
"""Seconds over which a round's streams start."""


class Stream:
    """One stream of a round: sends its request, collects the delays of its events in nanoseconds."""

    def __init__(self, target: Target, query: str, chunks: int, delays: "array[float]") -> None:
        self._target = target
        self._query = query
        self._expected = streamed(chunks)
        self._delays = delays
        self._rest = b""
        self._seen = 0
        self._reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    async def run(self, wait: float) -> bool:
        """Whether the whole answer was right."""
        watch = Stopwatch(self._reply.set_result, self._arrived)
        await connect(self._target, watch)
        await asyncio.sleep(wait)
        watch.send(self._target.request(question(900, stream=True), self._query))
        reply = await self._reply
        watch.transport.close()
        return not reply.problem and reply.status == 200 and _STAMP.sub(b"", reply.body) == self._expected

    def _arrived(self, data: bytes, at: int) -> None:
        events, _, self._rest = (self._rest + data).rpartition(b"\n\n")
        for sent in _STAMP.findall(events):
            # The first content is the commit itself.
            if self._seen:
                self._delays.append(at - int(sent))
            self._seen += 1


@dataclass(frozen=True, slots=True)
class Delays:
    """Of one side, all rounds together. Microseconds from the upstream's send to the client's receipt."""

    events: int
    wrong: int
    p50_us: float
    p99_us: float
    max_us: float
    late: int
    """Events that came more than 5 ms later than the median of a direct call."""


async def _round(side: Side, streams: int, chunks: int, gap_ms: float, delays: "array[float]") -> int:
    """Run all streams at once; returns how many were wrong."""
    target = Target.parse(side.url, side.ca)
    query = f"?stamp=1&chunks={chunks}&gap_ms={gap_ms:g}"
    rng = random.Random(streams)
    # Started over a second: streams that begin all at once would measure how long 100 calls take to set up.
    waits = [rng.random() * _SPREAD for _ in range(streams)]
    right = await asyncio.gather(*(Stream(target, query, chunks, delays).run(wait) for wait in waits))
    return right.count(False)


def _delays(samples: "array[float]", wrong: int, direct_median: float) -> Delays:
    ordered = sorted(samples)
    if not ordered:
        raise Broken("no event arrived")
    p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    late = sum(sample > direct_median + _LATE_NS for sample in ordered)
    return Delays(len(ordered), wrong, p50 / 1000, p99 / 1000, ordered[-1] / 1000, late)


def _print(found: dict[str, Delays]) -> None:
    direct = found["direct"]
    columns = ("side", "events", "p50 µs", "p99 µs", "max µs", "added p50", "added p99", "added max", "> 5 ms", "wrong")
    print(f"{columns[0]:8}" + "".join(f"{name:>10}" for name in columns[1:]))
    for name, d in found.items():
        times = [d.p50_us, d.p99_us, d.max_us]
        added = [d.p50_us - direct.p50_us, d.p99_us - direct.p99_us, d.max_us - direct.max_us]
        texts = [f"{time:,.0f}" for time in times] + (
            [f"{time:,.0f}" for time in added] if d is not direct else ["", "", ""]
        )
        print(f"{name:8}{d.events:10,}" + "".join(f"{text:>10}" for text in texts) + f"{d.late:10}{d.wrong:10}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--chunks", type=int, default=150, help="content events per stream")
    parser.add_argument("--gap-ms", type=float, default=20.0, help="between a stream's events")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tls", action="store_true", help="TLS from floor and proxy to the upstream")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    a = parser.parse_args()
    try:
        with stage() as where:
            made = set_up(where, a.tls)
            sides = [made.direct, made.floor, made.seawall]
            samples = {side.name: array("d") for side in sides}
            wrong = dict.fromkeys(samples, 0)
            for _ in range(a.rounds):
                for side in sides:
                    one = _round(side, a.streams, a.chunks, a.gap_ms, samples[side.name])
                    wrong[side.name] += uvloop.run(one)
            ordered = sorted(samples["direct"])
            found = {name: _delays(sample, wrong[name], ordered[len(ordered) // 2]) for name, sample in samples.items()}
    except Broken as broken:
        print(f"cadence: {broken}", file=sys.stderr)
        return 2
    _print(found)
    if a.json:
        a.json.write_text(json.dumps({name: asdict(d) for name, d in found.items()}, indent=1) + "\n")
    return 1 if found["seawall"].wrong else 0


if __name__ == "__main__":
    sys.exit(main())
