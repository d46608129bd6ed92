"""The separate checking client: answers of every shape, asked for while others put the proxy under load.

Each is compared with what the upstream sends byte for byte: status, fields, body, order and end of a stream's events,
and whether the upstream got the request's body as it was sent.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

import uvloop
from answers import END, PLAIN, body_mark, failed, question, streamed
from client import Caller, Reply, Target

_PARALLEL = 16


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many answers were checked, and what was wrong with those that were."""

    checked: int
    streams: int
    wrong: dict[str, int]


@dataclass(frozen=True, slots=True)
class Case:
    """One request and what must come back."""

    body: bytes
    query: str
    status: int
    expected: bytes
    stream: bool = False

    def fault(self, reply: Reply) -> str:
        """What is wrong with an answer; empty for a right one."""
        fields = reply.headers
        kind = fields.get(b"content-type", b"")
        length = fields.get(b"content-length")
        if reply.problem:
            return reply.problem
        if reply.status != self.status:
            return f"status {reply.status} instead of {self.status}"
        if self.stream and not reply.body.endswith(END):
            return "a stream without its terminal event"
        if reply.body != self.expected:
            return "a body that differs"
        if not kind.startswith(b"text/event-stream" if self.stream else b"application/json"):
            return f"content type {kind.decode('latin-1')!r}"
        if not self.stream and length is not None and int(length) != len(self.expected):
            return "a Content-Length that differs"
        if fields.get(b"x-request-id") != b"req_bench":
            return "the upstream's own field is lost"
        if fields.get(b"x-body") != body_mark(self.body):
            return "the upstream got another request body"
        return ""


def cases(number: int, seed: int = 1) -> list[Case]:
    """Plain answers, streams and errors, in random order and sizes."""
    rng = random.Random(seed)
    made: list[Case] = []
    for at in range(number):
        size = rng.choice((200, 900, 5_000, 70_000, 300_000))
        if at % 2:
            chunks = rng.randrange(1, 80)
            query = f"?mark=1&chunks={chunks}&gap_ms={rng.choice((0, 0, 1, 3))}"
            made.append(Case(question(size, stream=True), query, 200, streamed(chunks), True))
        elif at % 10 == 0:
            # Faults that are the agent's own: passed on as they are, never retried, and nothing to the breaker.
            status = rng.choice((400, 404, 422))
            made.append(Case(question(size, stream=False), f"?mark=1&status={status}", status, failed(status)))
        else:
            query = f"?mark=1&delay_ms={rng.choice((0, 0, 5))}"
            made.append(Case(question(size, stream=False), query, 200, PLAIN))
    rng.shuffle(made)
    return made


async def _check(url: str, number: int) -> Verdict:
    caller, wrong = Caller(Target.parse(url)), Counter[str]()
    todo = cases(number)
    streams = sum(case.stream for case in todo)

    async def work() -> None:
        while todo:
            case = todo.pop()
            fault = case.fault(await caller.call(case.body, case.query))
            if fault:
                wrong[fault] += 1

    await asyncio.gather(*(work() for _ in range(_PARALLEL)))
    caller.close()
    return Verdict(number, streams, dict(wrong))


def check(url: str, number: int = 600) -> Verdict:
    """Ask `number` times, 16 at a time, and compare every answer in full."""
    return uvloop.run(_check(url, number))
