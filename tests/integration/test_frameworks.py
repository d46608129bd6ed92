"""LangChain and the OpenAI Agents SDK run their tool loops through a failover and do not notice: the model asks for two
tools at once, then again, then answers, while the first upstream fails in the middle of it.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import agents
import anthropic
import openai
import pytest
from aws import access_keys
from framework_agents import FRAMEWORKS, Framework, Told, Tool
from harness import Running, lab, proxy, route, until, upstream
from langchain_core.tracers.langchain import wait_for_all_tracers
from stage import LENIENT, QUICK_RETRIES

from seawall.lab import Lab

LOOP = "tools+rounds-2"
"""Three model calls: two tools at once, the same again, the final answer."""
FIRST, SECOND = f"{LOOP}; text=says the first", f"{LOOP}; text=says the second"


def base(at: Lab, name: str, dialect: str) -> str:
    return f"{at.url}/u/{name}" + ("" if dialect == "Anthropic" else "/v1")


@dataclass(frozen=True)
class Spare:
    """The upstream that takes over: its document, and what its backendRef says besides name and priority."""

    document: str
    ref: str = ""


def same_dialect(at: Lab, dialect: str, folder: Path) -> Spare:
    """`dialect`: the agent's. folder: for a key's file, where the document needs one."""
    return Spare(upstream("second", base(at, "second", dialect), dialect, LENIENT))


def other_dialect(at: Lab, dialect: str, folder: Path) -> Spare:
    """Its requests and answers are translated."""
    theirs = "OpenAI" if dialect == "Anthropic" else "Anthropic"
    key = folder / "key"
    key.write_text("sk-spare")
    auth = f"    auth: {{type: APIKey, keyFile: {key}}}\n"
    model = {"OpenAI": "gpt-4o-mini", "Anthropic": "claude-haiku-4-5"}[theirs]
    return Spare(upstream("second", base(at, "second", theirs), theirs, auth + LENIENT), f", model: {model}")


def on_bedrock(at: Lab, dialect: str, folder: Path) -> Spare:
    """Likewise, and they are signed."""
    auth = f"    auth: {{type: AWSSigV4, region: us-east-1, credentialsFile: {access_keys(folder)}}}\n"
    document = upstream("second", f"{at.url}/u/second", "Bedrock", auth + LENIENT)
    return Spare(document, ", model: us.anthropic.claude-haiku-4-5-20251001-v1:0")


SPARES = [same_dialect, other_dialect, on_bedrock]
Take = Callable[[Lab, str, Path], Spare]

every_framework = pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda f: f.name)
every_spare = pytest.mark.parametrize("take", SPARES)
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@dataclass
class Desk:
    """An agent's surroundings: where it calls, its tools, and which of them ran."""

    lab: Lab
    running: Running
    url: str
    framework: Framework
    ran: list[str] = field(default_factory=list)

    @property
    def tools(self) -> list[Tool]:
        async def get_weather(city: str) -> str:
            """The weather in a city."""
            self.ran.append("get_weather")
            return f"18 degrees in {city}"

        async def get_time(zone: str) -> str:
            """The time of day in a zone."""
            self.ran.append("get_time")
            return f"noon in {zone}"

        return [get_weather, get_time]

    async def ask(self, stream: bool) -> Told:
        return await self.framework.run(self.url, self.tools, stream)

    def fails(self, step: int, fault: str, tries: int) -> None:
        """The first upstream fails in the loop's `step`th model call, as often as it is tried."""
        self.lab.script([*[FIRST] * (step - 1), *[f"{LOOP}+{fault}"] * tries], upstream="first", then=FIRST)
        self.lab.script([], upstream="second", then=SECOND)

    async def steps(self) -> list[tuple[str, str]]:
        """Upstream and outcome of the loop's three calls."""
        await until(lambda: len(self.running.calls) == 3)
        return [(call.upstream, call.outcome.value) for call in self.running.calls]

    def tried(self, step: int) -> list[tuple[str, str]]:
        """Upstream and result of every attempt of the loop's `step`th call."""
        call = self.running.calls[step - 1].call_id
        return [(a.upstream, a.result) for a in self.running.attempts if a.call_id == call]


@asynccontextmanager
async def desk(folder: Path, framework: Framework, take: Take, rule: str = "") -> AsyncIterator[Desk]:
    dialect = framework.dialect
    # LangChain keeps its HTTP clients by base URL for the process's life: no two tests may share one.
    prefix = f"/{folder.name}" + ("" if dialect == "Anthropic" else "/v1")
    async with lab() as at:
        spare = take(at, dialect, folder)
        policy = upstream("first", base(at, "first", dialect), dialect, LENIENT) + spare.document
        both = route("loop", prefix, "first second", f"{QUICK_RETRIES}\n{rule}")
        policy += both.replace("priority: 1}", f"priority: 1{spare.ref}}}")
        async with proxy(policy, folder) as running:
            yield Desk(at, running, running.url + prefix, framework)


def whole(told: Told, ran: list[str], stream: bool, says: str) -> None:
    """The framework has the loop's whole history, and every tool call ran once."""
    assert told.text == says
    assert told.streamed == (says if stream else "")
    assert sorted(ran) == ["get_time", "get_time", "get_weather", "get_weather"]
    assert len(told.calls) == len(set(told.calls)) == 4
    assert sorted(told.results) == ["18 degrees in lab"] * 2 + ["noon in lab"] * 2


# fault, tries at the first upstream, its code, who takes the call after
ANY = [
    ("500", 3, "SERVER_ERROR", "first"),
    ("429-retry-after-30", 1, "RATE_LIMITED", "second"),
]
PLAIN = [("529", 1, "OVERLOADED", "first"), ("silent", 1, "TIMEOUT_FIRST_BYTE", "first")]
STREAMED = [
    ("503", 1, "OVERLOADED", "first"),
    ("error-prelude-overloaded", 1, "OVERLOADED", "first"),
    ("cut-prelude", 3, "TRUNCATED", "first"),
    ("stall-prelude", 1, "TIMEOUT_FIRST_CONTENT", "first"),
]
ROWS = [(False, *row) for row in ANY + PLAIN] + [(True, *row) for row in ANY + STREAMED]


@every_framework
@every_spare
@pytest.mark.parametrize(
    ("stream", "fault", "tries", "code", "after"), ROWS, ids=[f"{'streamed' if r[0] else 'plain'}-{r[1]}" for r in ROWS]
)
async def test_a_loop_goes_on_elsewhere_when_its_middle_call_fails(
    tmp_path: Path, framework: Framework, take: Take, stream: bool, fault: str, tries: int, code: str, after: str
) -> None:
    tight = {"silent": "timeouts: {firstByte: 500ms}", "stall-prelude": "timeouts: {firstContent: 500ms}"}
    async with desk(tmp_path, framework, take, tight.get(fault, "")) as at:
        at.fails(2, fault, tries)
        whole(await at.ask(stream), at.ran, stream, f"says the {after}")
        last = ("first", "primary") if after == "first" else ("second", "failover")
        assert await at.steps() == [("first", "primary"), ("second", "failover"), last]
        assert {call.stream for call in at.running.calls} == {stream}
        assert at.tried(2) == [("first", code)] * tries + [("second", "ok")]


# The loop's call that breaks, fault, its code, tries where the whole answer is held. The middle call breaks within its
# tool calls, the last one within its text.
BREAKS = [(2, "cut", "TRUNCATED", 3), (3, "cut", "TRUNCATED", 3), (2, "stall", "TIMEOUT_STREAM_IDLE", 1)]
every_break = pytest.mark.parametrize(("step", "fault", "code", "tries"), BREAKS)


@every_framework
@every_break
async def test_a_stream_that_breaks_after_content_raises_and_no_half_call_is_run(
    tmp_path: Path, framework: Framework, step: int, fault: str, code: str, tries: int
) -> None:
    async with desk(tmp_path, framework, same_dialect, "timeouts: {streamIdle: 300ms}") as at:
        at.fails(step, fault, tries)
        with pytest.raises((openai.APIError, anthropic.APIError)) as caught:
            await at.ask(stream=True)
        assert code in str(caught.value)
        assert len(at.ran) == 2 * (step - 1)
        call = await at.running.call(step)
        assert (call.upstream, call.fault, call.outcome.value, call.attempts) == ("first", code, "error", 1)
        assert len(at.lab.attempts()) == step, "somebody asked again"


@every_framework
@every_spare
@every_break
async def test_with_commit_complete_a_broken_stream_is_never_seen(
    tmp_path: Path, framework: Framework, take: Take, step: int, fault: str, code: str, tries: int
) -> None:
    rule = "streaming: {commit: Complete}\ntimeouts: {streamIdle: 300ms}"
    async with desk(tmp_path, framework, take, rule) as at:
        at.fails(step, fault, tries)
        whole(await at.ask(stream=True), at.ran, True, "says the second" if step == 3 else "says the first")
        expected = [("first", "primary")] * 3
        expected[step - 1] = ("second", "failover")
        assert await at.steps() == expected
        assert at.tried(step) == [("first", code)] * tries + [("second", "ok")]


@every_framework
@streamed_or_not
async def test_it_reaches_for_nothing_but_its_base_url(
    tmp_path: Path, framework: Framework, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread and on a loop of its own, where every name it looks up and every address it calls can be seen."""
    reached: set[object] = set()
    connect = socket.socket.connect

    def see_connect(self: socket.socket, address: Any) -> None:
        if threading.current_thread() is not threading.main_thread():  # which is the proxy's
            reached.add(address)
        connect(self, address)

    def see_lookup(host: Any, port: Any, *_: Any, **__: Any) -> Any:
        reached.add((host, port))
        raise socket.gaierror(f"{host} is none of its business")

    def alone(at: Desk) -> Told:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            told = runner.run(at.ask(stream))
        wait_for_all_tracers()
        agents.flush_traces()
        return told

    # With keys, what reports to makers would have something to report with.
    monkeypatch.setenv("OPENAI_API_KEY", "dummy")
    monkeypatch.setenv("LANGSMITH_API_KEY", "dummy")
    async with desk(tmp_path, framework, same_dialect) as at:
        at.fails(2, "503", 1)
        monkeypatch.setattr(socket.socket, "connect", see_connect)
        monkeypatch.setattr(socket, "getaddrinfo", see_lookup)
        whole(await asyncio.to_thread(alone, at), at.ran, stream, "says the first")
        assert reached == {("127.0.0.1", at.running.service.port)}
