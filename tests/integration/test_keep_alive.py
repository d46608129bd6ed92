"""What an agent hears while its stream is held back: nothing that a direct call would not have said already, comments
from then on, and at the end what it would have been told anyway, as well as that can be told in a stream."""

import asyncio
import gc
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import httpx
import pytest
from harness import Running, lab, proxy, route, until, upstream
from leaving import WHOLE as ASKED
from leaving import Heard, chunk, leave, nothing_held, unblamed
from leftovers import sockets
from peers import CHAT, QUICK, Upstream, Wire, always, answer, chat, raw, request_head, serving, wire

from seawall.keep_alive import KeepAlive

TALK = [{"role": "user", "content": "hi"}]
COMMENT = b": keep-alive\n\n"
HELD = "streaming: {commit: Complete, keepAlive: 60ms}\n"
NO_RETRY = "retry: {attempts: 0}\n"
DIALECTS = [
    ("OpenAI", "/v1/chat/completions", {"model": "gpt", "stream": True, "messages": TALK}),
    ("OpenAI", "/v1/responses", {"model": "gpt", "stream": True, "input": "hi"}),
    ("Anthropic", "/v1/messages", {"model": "claude", "stream": True, "max_tokens": 50, "messages": TALK}),
]
TERMINAL = (b"[DONE]", b"response.completed", b"message_stop")
KINDS = pytest.mark.parametrize(("dialect", "path", "body"), DIALECTS, ids=["chat", "responses", "anthropic"])

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
REST = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'


def one(url: str, rule: str, dialect: str = "OpenAI") -> str:
    return upstream("a", url, dialect) + route("models", "/v1", "a", rule)


def pair(first: str, second: str, rule: str, dialect: str = "OpenAI", backends: str = "a b") -> str:
    return upstream("a", first, dialect) + upstream("b", second, dialect) + route("models", "/v1", backends, rule)


def at(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def stream(*events: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return SSE + b"".join(map(chunk, events)) + end


def slowly(*pieces: bytes, seconds: float = 0.25) -> Upstream:
    """Answers with these pieces, a pause before each but the first, and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        for number, piece in enumerate(pieces):
            await asyncio.sleep(seconds if number else 0)
            writer.write(piece)

    return handle


def comments(got: Wire) -> int:
    """How many there are; all of them at the beginning."""
    number, rest = 0, got.body
    while rest.startswith(COMMENT):
        number, rest = number + 1, rest[len(COMMENT) :]
    assert COMMENT not in rest
    return number


def error_of(got: Wire) -> dict[str, Any]:
    assert got.body.endswith(b"\n\n")
    event: dict[str, Any] = json.loads(got.body.rpartition(b"data: ")[2])
    return event


@KINDS
async def test_a_held_stream_is_waited_for_with_comments_and_comes_whole(
    tmp_path: Path, dialect: str, path: str, body: Any
) -> None:
    async with lab() as upstreams:
        upstreams.script(["ok", "first-token-300ms"])
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD, dialect), tmp_path) as running:
            at_once = await wire(running, body, path=path)
            got = await wire(running, body, path=path)
            assert (got.status, got.whole, got.field(b"content-type")) == (200, True, b"text/event-stream")
            said = comments(got)
            assert 2 <= said <= 5
            assert len(got.body) - said * len(COMMENT) == len(at_once.body)
            # What was not known when it was opened comes behind it.
            call = await running.call(2)
            assert got.field(b"x-seawall-request-id") == call.call_id.encode()
            assert got.field(b"x-seawall-outcome") is None
            assert got.trailers[b"x-seawall-outcome"] == b"primary"
            assert got.trailers[b"x-seawall-upstream"] == b"a"
            assert set(got.trailers) == set((got.field(b"trailer") or b"").split(b", "))
            assert (call.status, call.outcome.value, call.stream, call.opened) == (200, "primary", True, True)
            assert (call.keep_alives, call.answer_bytes) == (said, len(got.body))
            assert call.first_content_seconds is not None and call.first_content_seconds > 0.25


async def test_an_answer_that_comes_in_time_is_what_it_was_without(tmp_path: Path) -> None:
    async with serving(always(stream(ROLE, REST))) as port:
        heard = []
        for rule in ("streaming: {keepAlive: 0s}\n", "", HELD):
            async with proxy(one(at(port), QUICK + rule), tmp_path) as running:
                got = await wire(running, chat(stream=True))
                call = await running.call()
                heard.append(got.data.replace(call.call_id.encode(), b"-"))
                assert not call.opened and not call.keep_alives
        assert heard[0] == heard[1] == heard[2]
        assert b"trailer" not in heard[0]


async def test_without_an_interval_a_held_agent_hears_nothing(tmp_path: Path) -> None:
    async with serving(slowly(SSE + chunk(ROLE), chunk(REST) + b"0\r\n\r\n")) as port:
        async with proxy(one(at(port), QUICK + "streaming: {commit: Complete, keepAlive: 0s}\n"), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, comments(got), got.field(b"x-seawall-outcome")) == (True, 0, b"primary")


async def test_before_an_upstream_has_begun_well_the_status_is_kept_for_its_error(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["first-byte-200ms+503", "first-byte-200ms+400"])
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.status, got.field(b"x-seawall-attempts")) == (400, b"2")
            assert not (await running.call()).opened


async def test_a_head_that_comes_late_with_its_content_is_passed_on_as_it_is(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["first-byte-300ms"])
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, comments(got), got.field(b"server")) == (True, 0, b"seawall-lab")


async def test_a_held_prelude_and_an_upstreams_own_pings_are_waited_for_too(tmp_path: Path) -> None:
    pieces = [SSE + chunk(ROLE), *[chunk(b": ping\n\n")] * 3, chunk(REST), chunk(b": late\n\n"), b"0\r\n\r\n"]
    async with serving(slowly(*pieces, seconds=0.1)) as port:
        rule = QUICK + "streaming: {keepAlive: 60ms}\n"
        async with proxy(one(at(port), rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert got.whole
            assert comments(got) >= 3
            # From the commit on the upstream speaks for itself, however long it is silent.
            assert got.body.endswith(ROLE + b": ping\n\n" * 3 + REST + b": late\n\n")


async def test_an_opened_answer_is_not_committed_and_the_next_attempt_answers(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["first-token-150ms+cut-6", "503", "first-token-100ms"])
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.status, got.whole, b"error" in got.body) == (200, True, False)
            assert comments(got) >= 2
            assert got.body.count(b'"role"') == got.body.count(b"[DONE]") == 1
            assert (got.trailers[b"x-seawall-outcome"], got.trailers[b"x-seawall-attempts"]) == (b"retry", b"3")


async def test_comments_go_on_while_an_opened_call_waits_for_its_next_attempt(tmp_path: Path) -> None:
    rule = "retry: {attempts: 0}\n" + HELD
    async with lab() as upstreams:
        upstreams.script(["first-token-100ms+cut-6"], upstream="a")
        upstreams.script(["first-byte-300ms"], upstream="b")
        urls = [f"{upstreams.url}/u/{name}/v1" for name in "ab"]
        async with proxy(pair(*urls, rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, got.trailers[b"x-seawall-outcome"]) == (True, b"failover")
            assert comments(got) >= 4


@KINDS
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("cut-5", "TRUNCATED"), ("reset-5", "TRUNCATED"), ("malformed-5", "MALFORMED_EVENT"),
        ("stall-5", "TIMEOUT_STREAM_IDLE"),
    ],
)  # fmt: skip
async def test_a_fault_after_opening_is_told_as_an_event_and_with_an_unclean_end(
    tmp_path: Path, dialect: str, path: str, body: Any, fault: str, code: str
) -> None:
    rule = NO_RETRY + HELD + "timeouts: {streamIdle: 200ms}\n"
    async with lab() as upstreams:
        upstreams.script([], then=f"first-token-100ms+{fault}")
        async with proxy(one(f"{upstreams.url}/v1", rule, dialect), tmp_path) as running:
            got = await wire(running, body, path=path)
            assert (got.status, got.whole, comments(got) > 0) == (200, False, True)
            assert not any(end in got.body for end in TERMINAL)
            # Nothing of the broken answer has been let out.
            assert got.body.count(b"data: ") == 1
            assert error_of(got)["seawall"]["code"] == code
            call = await running.call()
            assert (call.status, call.outcome.value, call.fault, call.opened) == (200, "error", code, True)
            assert call.first_content_seconds is not None
            machine = running.upstream("a").breaker(body["model"], 0).snapshot(time.monotonic())
            assert machine.consecutive_failures == 1


@KINDS
@pytest.mark.parametrize(("second", "code"), [("invalid", "INVALID_REQUEST"), ("429", "RATE_LIMITED")])
async def test_an_upstreams_own_error_after_opening_is_told_in_its_own_words(
    tmp_path: Path, dialect: str, path: str, body: Any, second: str, code: str
) -> None:
    words = f"{second}; message=Not today, thank you."
    async with lab() as upstreams:
        upstreams.script(["first-token-150ms+cut-5"], then=words)
        rule = "retry: {attempts: 1, backoff: {base: 1ms, max: 1ms}}\n" + HELD
        async with proxy(one(f"{upstreams.url}/v1", rule, dialect), tmp_path) as running:
            got = await wire(running, body, path=path)
            assert (got.status, got.whole, comments(got) > 0) == (200, False, True)
            error = error_of(got)
            assert (error["error"]["message"], error["seawall"]["code"]) == ("Not today, thank you.", code)
            assert error["seawall"]["attempts"] == 2
            call = await running.call()
            assert (call.status, call.fault, call.outcome.value) == (200, code, "error")


async def test_a_plain_answer_after_opening_is_told_as_an_error_and_blames_nobody(tmp_path: Path) -> None:
    plain = answer(b'{"id":"c","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}')
    async with serving(slowly(SSE + chunk(ROLE), b"", b"")) as first, serving(always(plain)) as second:
        rule = NO_RETRY + "streaming: {commit: Complete, keepAlive: 60ms}\n"
        async with proxy(pair(at(first), at(second), rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, error_of(got)["seawall"]["code"]) == (False, "PROTOCOL_ERROR")
            call = await running.call()
            assert (call.outcome.value, call.upstream) == ("error", "b")
            assert running.upstream("b").breaker("gpt", 0).snapshot(time.monotonic()).calls == 0


@KINDS
@pytest.mark.parametrize("status", [200, 503])
async def test_a_fallback_after_opening_is_a_stream_or_an_event(
    tmp_path: Path, dialect: str, path: str, body: Any, status: int
) -> None:
    rule = NO_RETRY + HELD + f"fallback: [{{type: StaticResponse, status: {status}, text: 'Later, {{model}}.'}}]\n"
    async with lab() as upstreams:
        upstreams.script([], then="first-token-100ms+cut-5")
        async with proxy(one(f"{upstreams.url}/v1", rule, dialect), tmp_path) as running:
            got = await wire(running, body, path=path)
            assert (got.status, got.whole, comments(got) > 0) == (200, status == 200, True)
            assert f"Later, {body['model']}.".encode() in got.body
            if status == 200:
                assert any(end in got.body for end in TERMINAL)
                assert got.trailers[b"x-seawall-outcome"] == b"static"
            else:
                assert error_of(got)["seawall"]["code"] == "TRUNCATED"
            call = await running.call()
            assert (call.status, call.outcome.value, call.service_level.value) == (200, "static", "offline")


CODINGS = [("gzip", gzip.compress), ("br", brotli.compress)]


def packed(coding: str, body: bytes) -> bytes:
    return SSE.replace(b"\r\n\r\n", f"\r\ncontent-encoding: {coding}\r\n\r\n".encode()) + chunk(body) + b"0\r\n\r\n"


@pytest.mark.parametrize("commit", ["Complete", "FirstContent"])
@pytest.mark.parametrize(("coding", "pack"), CODINGS, ids=[c[0] for c in CODINGS])
async def test_a_compressed_answer_after_opening_is_unpacked(
    tmp_path: Path, coding: str, pack: Callable[[bytes], bytes], commit: str
) -> None:
    rule = NO_RETRY + f"streaming: {{commit: {commit}, keepAlive: 60ms}}\n"
    broken = packed(coding, pack(ROLE + REST[:60]))
    async with (
        serving(slowly(SSE + chunk(ROLE), b"")) as first,
        serving(always(packed(coding, pack(ROLE + REST)))) as second,
        serving(always(broken)) as cut,
    ):
        async with proxy(pair(at(first), at(second), rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, comments(got) > 0, got.field(b"content-encoding")) == (True, True, None)
            assert got.body.replace(COMMENT, b"") == ROLE + REST
            assert got.trailers[b"x-seawall-upstream"] == b"b"
        async with proxy(pair(at(first), at(cut), rule), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, error_of(got)["seawall"]["code"]) == (False, "TRUNCATED")


async def test_a_compressed_stream_is_opened_and_unpacked_as_it_comes(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["first-token-200ms+gap-5ms+gzip", "first-token-200ms+gap-5ms+gzip+cut-7"])
        rule = NO_RETRY + "streaming: {keepAlive: 60ms}\nhedging: {hedgingDelay: 30s}\n"
        policy = pair(f"{upstreams.url}/v1", f"{upstreams.url}/v1", rule)
        async with proxy(policy, tmp_path) as running:
            got = await wire(running, chat(stream=True), headers="accept-encoding: gzip\r\nconnection: close\r\n")
            assert (got.whole, comments(got) > 0, got.body.endswith(b"data: [DONE]\n\n")) == (True, True, True)
            got = await wire(running, chat(stream=True), headers="accept-encoding: gzip\r\nconnection: close\r\n")
            assert (got.whole, error_of(got)["seawall"]["code"]) == (False, "TRUNCATED")
            assert got.body.count(b'"content"') > 1


async def test_a_stream_in_a_coding_that_nobody_knows_is_never_opened(tmp_path: Path) -> None:
    head = SSE.replace(b"\r\n\r\n", b"\r\ncontent-encoding: x-own\r\n\r\n")
    async with serving(slowly(head, chunk(b"\x00\x01") + b"0\r\n\r\n")) as port:
        async with proxy(one(at(port), NO_RETRY + HELD), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, got.body, got.field(b"content-encoding")) == (True, b"\x00\x01", b"x-own")


async def test_a_route_whose_clients_may_fail_on_comments_gets_none(tmp_path: Path) -> None:
    async with serving(slowly(SSE + chunk(ROLE), chunk(REST) + b"0\r\n\r\n")) as port:
        async with proxy(one(at(port), NO_RETRY + HELD, "Generic"), tmp_path) as running:
            got = await wire(running, chat(stream=True))
            assert (got.whole, got.body) == (True, ROLE + REST)


async def test_an_http_1_0_agent_is_kept_waiting_and_a_break_is_a_reset(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["first-token-150ms", "first-token-150ms+cut-5"])
        async with proxy(one(f"{upstreams.url}/v1", NO_RETRY + HELD), tmp_path) as running:
            whole = await wire(running, chat(stream=True), version="1.0")
            assert (whole.end, comments(whole) > 0, whole.body.endswith(b"[DONE]\n\n")) == ("eof", True, True)
            assert (whole.field(b"transfer-encoding"), whole.field(b"trailer")) == (None, None)
            assert (await wire(running, chat(stream=True), version="1.0")).end == "reset"


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_agent_that_leaves_while_comments_flow_ends_everything_at_once(tmp_path: Path, how: str) -> None:
    heard = Heard(SSE + chunk(ROLE))
    async with serving(heard) as port, proxy(one(at(port), QUICK + HELD), tmp_path) as running:
        ingress = running.service._ingress
        assert ingress is not None
        before = sockets()

        def commented() -> bool:
            exchanges = [line._current for line in ingress._lines]
            return any(e is not None and e.sent_bytes >= 3 * len(COMMENT) for e in exchanges)

        await leave(how, ASKED, port=running.service.port, when=commented)
        await until(lambda: heard.left == 1 and ingress.connections == 0 and nothing_held(running), 1.0)
        await until(lambda: sockets() == before)
        call = await running.call()
        assert (call.fault, call.status, call.opened) == ("AGENT_GONE", 200, True)
        assert call.keep_alives and call.keep_alives >= 3
        assert unblamed(running)


async def test_a_drain_tells_an_opened_stream_that_it_ends(tmp_path: Path) -> None:
    async with serving(Heard(SSE + chunk(ROLE))) as port, proxy(one(at(port), QUICK + HELD), tmp_path) as running:
        async with raw(running, chat(stream=True)) as (reader, _):
            await reader.readuntil(COMMENT)
            closing = asyncio.create_task(running.service.close(0.1))
            rest = await reader.read()
            while part := await reader.read():
                rest += part
            await closing
        assert b'"code":"DRAINING"' in rest
        assert not rest.endswith(b"0\r\n\r\n")
        call = await running.call()
        assert (call.fault, call.status) == ("DRAINING", 200)


def kept() -> int:
    gc.collect()
    return sum(isinstance(thing, KeepAlive) for thing in gc.get_objects())


async def test_a_hundred_held_calls_leave_nothing_behind(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script([], then="first-token-400ms")
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD), tmp_path) as running:
            await wire(running, chat(stream=True))
            tasks, open_before, objects = len(asyncio.all_tasks()), sockets(), len(gc.get_objects())
            for _ in range(2):
                every = await asyncio.gather(*(wire(running, chat(stream=True)) for _ in range(100)))
                assert all(got.whole and comments(got) for got in every)
            await until(lambda: running.service.engine.calls == 0 and len(running.calls) == 201)
            del every
            running.events.clear()
            await until(lambda: len(asyncio.all_tasks()) == tasks)
            # What a timer that is still armed would hold on to.
            assert kept() == 0
            await running.service._pool.close()
            await until(lambda: sockets() <= open_before)
            assert len(gc.get_objects()) < objects + 2000


async def metrics(running: Running) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"{running.admin_url}/metrics")).text


async def test_opened_answers_and_comments_are_counted(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["ok", "first-token-150ms"])
        async with proxy(one(f"{upstreams.url}/v1", QUICK + HELD), tmp_path) as running:
            await wire(running, chat(stream=True))
            await running.call()
            assert "seawall_answers_opened_total{" not in await metrics(running)
            said = comments(await wire(running, chat(stream=True)))
            await running.call(2)
            text = await metrics(running)
            assert 'seawall_answers_opened_total{route="models"} 1.0' in text
            assert f'seawall_keep_alives_total{{route="models"}} {float(said)}' in text


async def test_a_plain_call_and_a_stream_that_is_not_held_get_no_comments(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["latency-200ms", "first-token-200ms"])
        rule = NO_RETRY + "streaming: {keepAlive: 60ms}\n"
        async with proxy(one(f"{upstreams.url}/v1", rule), tmp_path) as running:
            assert (await wire(running, chat())).field(b"content-type") == b"application/json"
            # No other attempt is possible, so nothing is held: the upstream's own head is there at once.
            got = await wire(running, chat(stream=True), path=CHAT)
            assert (got.whole, comments(got), got.field(b"server")) == (True, 0, b"seawall-lab")
