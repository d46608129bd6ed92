"""Faults laid over recorded streams: what breaks before the first content is made good, what breaks after it is never
passed off as whole (SEMANTICS §5)."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from harness import Running, until
from recorded import ABSENT, WIRE, Recording
from replay_server import Break, Gate, Message, Tee, ask, replay
from wired import ONE_TRY, RECORDED, RUNS, dialect_of, wired

from seawall.dialects import REGISTRY
from seawall.dialects.base import Watch
from seawall.dialects.eventstream import encode
from seawall.types import Facts

pytestmark = pytest.mark.skipif(not WIRE.is_dir(), reason=ABSENT)

SPOKEN = [r for r in RECORDED if r.stream and not r.failed and dialect_of(r.host) != "Generic"]
GROUPS = {
    "openai": [r for r in SPOKEN if r.host == "api.openai.com"],
    "compatible": [r for r in SPOKEN if r.host != "api.openai.com" and dialect_of(r.host) == "OpenAI"],
    "anthropic": [r for r in SPOKEN if r.host == "api.anthropic.com"],
    "bedrock": [r for r in SPOKEN if dialect_of(r.host) == "Bedrock"],
    "google": [r for r in SPOKEN if dialect_of(r.host) == "Gemini"],
    "snowflake": [r for r in SPOKEN if dialect_of(r.host) == "Snowflake"],
}
RETRY = "retry: {attempts: 2, backoff: {base: 1ms, max: 1ms}}"
STALLED = f"{RETRY}\ntimeouts: {{streamIdle: 300ms}}"
# So that what one recording meets does not decide about the next.
LENIENT = """\
    circuitBreaker: {consecutiveFailures: 0, errorRate: {percent: 0}}
    retryConstraint: {budget: {percent: 100}, minRetryRate: {count: 100000, interval: 1s}}
"""


@pytest.fixture(scope="module")
def replay_port() -> Iterator[int]:
    with replay() as port:
        yield port


@pytest.fixture(scope="module")
def gzip_port() -> Iterator[int]:
    with replay(gzip=True) as port:
        yield port


@dataclass(frozen=True)
class Layout:
    """A recorded stream: its events, and which of them is the first with content, and the first terminal one."""

    recording: Recording
    events: list[bytes]
    content: int
    terminal: int

    def upto(self, event: int) -> int:
        """Bytes before an event."""
        return sum(map(len, self.events[:event]))

    @property
    def framed(self) -> bool:
        """Whether its events are messages of an AWS event stream."""
        return dialect_of(self.recording.host) == "Bedrock"

    @property
    def garbage(self) -> bytes:
        """An event that is none."""
        if self.framed:
            return self.events[0][:-1] + bytes([self.events[0][-1] ^ 1])
        return b'data: {"oops": \n\n'

    @property
    def operation(self) -> str:
        path = self.recording.target
        if self.framed:
            return "converse"
        if "GenerateContent" in path:
            return "generate"
        return "messages" if "messages" in path else "responses" if "responses" in path else "chat"

    def error(self, kind: str = "server_error") -> bytes:
        """The provider's own error event."""
        if self.framed:
            headers = [(":exception-type", "internalServerException"), (":message-type", "exception")]
            return encode(headers, b'{"message": "The system encountered an unexpected error."}')
        if self.operation == "generate":
            error = {"code": 500, "message": "An internal error has occurred.", "status": "INTERNAL"}
            return b"data: " + json.dumps({"error": error}).encode() + b"\r\n\r\n"
        said = {"type": "error", "error": {"type": kind, "code": kind, "message": "The server had an error."}}
        name = b"event: error\n" if self.operation != "chat" else b""
        return name + b"data: " + json.dumps(said).encode() + b"\n\n"

    @property
    def repeatable(self) -> bool:
        """Whether a second sending does no harm: no conversation state, nothing that runs at the provider."""
        asked: dict[str, Any] = self.recording.json
        local = {None, "function", "custom", "tool_search", "tool_search_tool_regex", "tool_search_tool_bm25"}
        kinds = {tool.get("type") for tool in asked.get("tools") or []}
        if self.operation == "generate":
            kinds = {
                "function" if kind == "functionDeclarations" else kind for t in asked.get("tools", []) for kind in t
            }
        kinds = {kind if kind is None else kind.removesuffix("_20251119") for kind in kinds}
        state = ("previous_response_id", "conversation", "background", "plugins", "mcp_servers")
        hosted = b'"systemTool"' in self.recording.body
        return (
            not hosted
            and not any(asked.get(name) for name in state)
            and kinds <= local
            and self.recording.method == "POST"
        )


def watch_for(recording: Recording, operation: str) -> Watch:
    return REGISTRY[dialect_of(recording.host)].watch(Facts(operation))


async def layout_of(target: int, recording: Recording) -> Layout:
    whole = await ask(target, recording.request(f"run {next(RUNS)}"))
    found = Layout(recording, whole.pieces, -1, -1)
    watch = watch_for(recording, found.operation)
    content = terminal = -1
    for number, event in enumerate(whole.pieces):
        watch.feed(event)
        content = number if watch.content and content < 0 else content
        terminal = number if watch.terminal and terminal < 0 else terminal
    assert content >= 0 and terminal > 0
    return Layout(recording, whole.pieces, content, terminal)


async def broken_by(running: Running, between: Tee, layout: Layout, *breaks: Break, start: int = 0) -> Message:
    run = f"run {next(RUNS)}"
    between.breaks[run] = list(breaks)
    gate = between.gates[run] = Gate(start or 2**40)
    request = layout.recording.request(run, f"/at/{layout.recording.host}")
    return await ask(running.service.port, request, gate.take)


Check = Callable[[Running, Tee, Layout], Awaitable[None]]


async def for_all(target: int, folder: Path, rule: str, chosen: list[Recording], check: Check) -> None:
    limit = asyncio.Semaphore(8)
    assert chosen
    async with wired(target, folder, rule, extra=LENIENT) as (running, between):

        async def one(recording: Recording) -> None:
            async with limit:
                await check(running, between, await layout_of(target, recording))

        async with asyncio.TaskGroup() as tasks:
            for recording in chosen:
                tasks.create_task(one(recording))


def before_content(layout: Layout) -> list[Break]:
    here = layout.upto(layout.content)
    half = here + len(layout.events[layout.content]) // 2
    cuts = [Break(keep, then) for keep in (0, here, here + 3, half) for then in ("end", "close")]
    return [*cuts, Break(here, "rest", layout.garbage), Break(here, "end", layout.error())]


@pytest.mark.parametrize("group", GROUPS)
async def test_what_breaks_before_content_is_retried(group: str, replay_port: int, tmp_path: Path) -> None:
    async def check(running: Running, between: Tee, layout: Layout) -> None:
        for broken in before_content(layout):
            answer = await broken_by(running, between, layout, broken)
            assert answer.clean and answer.body == b"".join(layout.events), (layout.recording, broken)
            assert answer.header(b"x-seawall-outcome") == b"retry"
            assert answer.header(b"x-seawall-attempts") == b"2"

    async def none_unsafe(running: Running, between: Tee, layout: Layout) -> None:
        if layout.repeatable:
            await check(running, between, layout)

    await for_all(replay_port, tmp_path, RETRY, GROUPS[group], none_unsafe)


async def test_what_runs_at_the_provider_is_never_sent_twice(replay_port: int, tmp_path: Path) -> None:
    seen: list[Recording] = []

    async def check(running: Running, between: Tee, layout: Layout) -> None:
        if layout.repeatable or layout.recording.method == "GET":
            return
        seen.append(layout.recording)
        for broken in before_content(layout):
            answer = await broken_by(running, between, layout, broken)
            assert answer.header(b"x-seawall-attempts") == b"1"
            if broken.insert == layout.error():
                assert answer.clean and answer.body.endswith(broken.insert)
            else:
                told_of_the_break(layout, answer, b"".join(layout.events)[: broken.keep])

    await for_all(replay_port, tmp_path, RETRY, SPOKEN, check)
    assert len(seen) > 5


async def test_what_breaks_every_time_is_told_by_the_last_attempt(replay_port: int, tmp_path: Path) -> None:
    """Which is not held back, since nothing can follow it."""

    async def check(running: Running, between: Tee, layout: Layout) -> None:
        if not layout.repeatable:
            return
        for broken in before_content(layout):
            answer = await broken_by(running, between, layout, broken, broken, broken)
            assert answer.header(b"x-seawall-attempts") == b"3"
            if broken.insert == layout.error():
                assert answer.body.endswith(broken.insert)
            else:
                told_of_the_break(layout, answer, b"".join(layout.events)[: broken.keep])

    await for_all(replay_port, tmp_path, RETRY, SPOKEN, check)


async def test_a_stream_that_is_held_whole_is_never_seen_broken(replay_port: int, tmp_path: Path) -> None:
    async def check(running: Running, between: Tee, layout: Layout) -> None:
        if not layout.repeatable:
            return
        after, late = layout.upto(layout.content + 1), layout.upto(layout.terminal)
        cuts = [Break(keep, then) for keep in (after, after + 3, late, late + 5) for then in ("end", "close")]
        for broken in [*cuts, Break(after, "rest", layout.garbage), Break(late, "end", layout.error())]:
            answer = await broken_by(running, between, layout, broken)
            assert answer.clean and answer.body == b"".join(layout.events), broken
            assert answer.header(b"x-seawall-outcome") == b"retry"

    await for_all(replay_port, tmp_path, f"{RETRY}\nstreaming: {{commit: Complete}}", SPOKEN, check)


def told_of_the_break(layout: Layout, answer: Message, kept: bytes) -> None:
    """Whole events as they came, then one error event of seawall's, no terminal event, an unclean end."""
    assert not answer.clean
    whole = b"".join(event for n, event in enumerate(layout.events) if layout.upto(n + 1) <= len(kept))
    assert answer.body.startswith(whole)
    told = answer.body[len(whole) :]
    if layout.framed:
        buffer = EventStreamBuffer()
        buffer.add_data(told)
        [message] = list(buffer)
        assert message.headers[":message-type"] == "exception"
        data = message.payload
    else:
        assert told.endswith(b"\n\n") and told.count(b"\n\n") == 1, told
        data = told.removeprefix(b"event: error\n").removeprefix(b"data: ")
    error = json.loads(data)
    assert error.get("error", error)["message"] and error["seawall"]["code"]
    watch = watch_for(layout.recording, layout.operation)
    watch.feed(answer.body)
    assert watch.fault is not None and not watch.terminal


@pytest.mark.parametrize("group", GROUPS)
async def test_what_breaks_after_content_is_told_and_never_whole(group: str, replay_port: int, tmp_path: Path) -> None:
    async def check(running: Running, between: Tee, layout: Layout) -> None:
        after = layout.upto(layout.content + 1)
        late = layout.upto(layout.terminal)
        if layout.content >= layout.terminal:
            return
        event = layout.events[layout.content + 1]
        # Behind "\r\n\r" an event is over, whatever comes.
        whole = after + len(event.rstrip(b"\r\n"))
        inside = [after + 3, after + len(event) // 2, whole, whole + 1]
        cuts = [Break(keep, then) for keep in (after, *inside, late, late + 5) for then in ("end", "close")]
        for broken in [*cuts, Break(after, "rest", layout.garbage), Break(late, "rest", layout.garbage)]:
            if layout.content + 1 == layout.terminal and (broken.keep in inside or after < broken.keep < late + 5):
                continue  # without its last line end it may be whole
            answer = await broken_by(running, between, layout, broken, start=after)
            assert answer.header(b"x-seawall-attempts") == b"1"
            told_of_the_break(layout, answer, b"".join(layout.events)[: broken.keep])

    await for_all(replay_port, tmp_path, RETRY, GROUPS[group], check)


async def test_a_compressed_stream_that_breaks_ends_unclean_and_unchanged(gzip_port: int, tmp_path: Path) -> None:
    async with wired(gzip_port, tmp_path, ONE_TRY, extra=LENIENT) as (running, between):
        # The replay server compresses text only.
        for recording in (r for r in SPOKEN if dialect_of(r.host) != "Bedrock"):
            for then in ("end", "close"):
                run = f"run {next(RUNS)}"
                request = recording.request(run, f"/at/{recording.host}", encoding="gzip")
                whole = await ask(gzip_port, recording.request(f"direct {run}", encoding="gzip"))
                # Some have no more than two.
                keep = sum(map(len, whole.pieces[: min(2, len(whole.pieces) - 1)]))
                between.breaks[run] = [Break(keep, then)]
                answer = await ask(running.service.port, request)
                assert answer.header(b"content-encoding") == b"gzip"
                assert answer.body == whole.body[:keep]
                assert not answer.clean


async def test_an_error_event_of_the_provider_after_content_is_passed_on(replay_port: int, tmp_path: Path) -> None:
    async def check(running: Running, between: Tee, layout: Layout) -> None:
        after = layout.upto(layout.content + 1)
        answer = await broken_by(running, between, layout, Break(after, "end", layout.error()), start=after)
        assert answer.body == b"".join(layout.events)[:after] + layout.error()
        assert answer.clean
        told = answer.header(b"x-seawall-request-id") or b""
        await until(lambda: [c for c in running.calls if c.call_id.encode() == told and c.fault == "SERVER_ERROR"])

    await for_all(replay_port, tmp_path, RETRY, SPOKEN, check)


async def test_a_stall_is_retried_before_content_and_told_after_it(replay_port: int, tmp_path: Path) -> None:
    async def check(running: Running, between: Tee, layout: Layout) -> None:
        here, after = layout.upto(layout.content), layout.upto(layout.content + 1)
        if layout.repeatable:
            answer = await broken_by(running, between, layout, Break(here + 5, "stall"))
            assert answer.clean and answer.body == b"".join(layout.events)
        if layout.content < layout.terminal:
            answer = await broken_by(running, between, layout, Break(after + 5, "stall"), start=after)
            told_of_the_break(layout, answer, b"".join(layout.events)[: after + 5])
            assert b"TIMEOUT_STREAM_IDLE" in answer.body

    await for_all(replay_port, tmp_path, STALLED, SPOKEN, check)


async def test_without_a_contract_an_unclean_end_stays_unclean(replay_port: int, tmp_path: Path) -> None:
    def generic(host: str) -> str:
        return "Generic"

    async with wired(replay_port, tmp_path, RETRY, extra=LENIENT, dialect=generic) as (running, between):
        for recording in SPOKEN[::5]:
            whole = await ask(replay_port, recording.request(f"run {next(RUNS)}"))
            layout = Layout(recording, whole.pieces, 0, 0)
            for keep in (1, layout.upto(1), len(whole.body) - 3):
                answer = await broken_by(running, between, layout, Break(keep, "close"))
                assert not answer.clean
                assert whole.body[:keep].startswith(answer.body), "nothing is added"
                assert answer.header(b"x-seawall-attempts") == b"1"
            answer = await broken_by(running, between, layout, Break(layout.upto(1), "end"))
            assert answer.clean and answer.body == whole.pieces[0]
