"""When comments are written, and when they must not be: by the clock, before an agent that is played here."""

import asyncio
from dataclasses import dataclass, field
from textwrap import dedent

import pytest
from asking import tasks_gone
from harness import until

from seawall.call import Buffers, Call, Replay
from seawall.clock import SystemClock
from seawall.compile import compile_policy
from seawall.dialects.sse import COMMENT
from seawall.faults import Fault
from seawall.keep_alive import KeepAlive
from seawall.policy import evaluate, load_text
from seawall.types import Facts, Head, Headers

CLOCK = SystemClock()
POLICY = """\
apiVersion: seawall.dev/v1alpha1
kind: Upstream
metadata: {name: a}
spec: {dialect: OpenAI, baseURL: "https://a/v1"}
---
apiVersion: seawall.dev/v1alpha1
kind: AgentRoute
metadata: {name: r}
spec: {rules: [{backendRefs: [{name: a}]}]}
"""


@dataclass
class Listener:
    """An agent's side that only remembers."""

    congested: bool = False
    heads: list[tuple[int, Headers]] = field(default_factory=list)
    written: list[bytes] = field(default_factory=list)
    cut: bool = False
    sent_bytes: int = 0
    unsent_bytes: int = 0

    def inform(self, status: int, headers: Headers) -> None: ...
    def start(self, status: int, headers: Headers, *, reason: bytes = b"") -> None:
        self.heads.append((status, headers))

    def write(self, data: bytes) -> None:
        self.written.append(data)

    async def drain(self) -> None: ...
    def end(self, trailers: Headers | None = None) -> None: ...
    def abort(self) -> None: ...
    def drop(self) -> None: ...


class Nothing:
    at_end = True

    async def read(self) -> bytes:
        return b""

    def close(self) -> None: ...


def call() -> Call:
    loaded = evaluate(load_text(dedent(POLICY), "p.yaml"))
    assert loaded.policy is not None
    (plan,) = compile_policy(loaded.policy, None, CLOCK).runtime.plans
    body = Replay(Nothing(), [], Buffers())
    return Call("sw_1", Head("POST", "/", []), Facts("chat", stream=True), plan, "/", False, body, False, 0.0, None)


@pytest.fixture
def agent() -> Listener:
    return Listener()


def kept(agent: Listener, seconds: float = 0.02) -> KeepAlive:
    return KeepAlive(call(), agent, CLOCK, seconds)


async def test_nothing_is_said_before_a_stream_is_held_and_nothing_after_the_commit(agent: Listener) -> None:
    keep_alive = kept(agent, 0.01)
    await asyncio.sleep(0.04)
    assert not keep_alive.opened
    keep_alive.held()
    await until(lambda: keep_alive.comments >= 3)
    assert [status for status, _ in agent.heads] == [200]
    assert set(agent.written) == {COMMENT}
    said = keep_alive.comments
    keep_alive.commit()
    # A loser of a race that comes to its head too late.
    keep_alive.held()
    await asyncio.sleep(0.04)
    assert keep_alive.comments == said


async def test_an_agent_that_does_not_read_gets_no_comment_until_it_reads_again(agent: Listener) -> None:
    keep_alive, agent.congested = kept(agent, 0.01), True
    keep_alive.held()
    await asyncio.sleep(0.05)
    assert (agent.heads, agent.written, keep_alive.opened) == ([], [], False)
    agent.congested = False
    await until(lambda: keep_alive.opened)
    keep_alive.close()


async def test_lanes_of_a_race_share_one_timer(agent: Listener) -> None:
    keep_alive = kept(agent, 0.05)
    for _ in range(10):
        keep_alive.held()
    began = CLOCK.now()
    await until(lambda: keep_alive.comments == 2)
    assert CLOCK.now() - began >= 0.09
    keep_alive.close()


async def test_within_an_event_nothing_is_written_and_between_two_each_silence_is_counted_anew(
    agent: Listener,
) -> None:
    keep_alive = kept(agent, 0.1)
    keep_alive.commit()
    watch = keep_alive._watch = call().plan.dialect.watch(Facts("chat", stream=True))

    async def after(seconds: float) -> bytes | Fault:
        await asyncio.sleep(seconds)
        return b"x"

    for _ in range(6):
        await keep_alive._awaited(lambda: after(0.03))
    assert keep_alive.comments == 0
    # The relay has the word now.
    await asyncio.sleep(0.15)
    assert keep_alive.comments == 0
    watch.feed(b'data: "' + b"x" * 70_000)
    assert watch.midway
    await keep_alive._awaited(lambda: after(0.25))
    assert keep_alive.comments == 0
    watch.feed(b'"\n\n')
    await keep_alive._awaited(lambda: after(1.0))
    assert keep_alive.comments >= 2
    assert agent.heads == []
    keep_alive.close()
    await tasks_gone()
