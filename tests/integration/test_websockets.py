"""WebSockets through the proxy: bytes both ways, what is tried again before the grant and what never after it, ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from harness import Running, lab, proxy, route, until, upstream
from stage import LENIENT, ONE_TRY, QUICK_RETRIES
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from seawall.lab import Lab
from seawall.policy import evaluate, load_text

RESPONSE = json.dumps({"type": "response.create"})


@dataclass(frozen=True)
class Stage:
    lab: Lab
    running: Running

    def url(self, path: str = "/openai/v1/realtime?model=gpt-realtime") -> str:
        return f"ws://127.0.0.1:{self.running.service.port}{path}"

    @asynccontextmanager
    async def session(
        self, path: str = "/openai/v1/realtime?model=gpt", **options: Any
    ) -> AsyncIterator[ClientConnection]:
        async with connect(self.url(path), **{"proxy": None, "ping_interval": None, **options}) as socket:
            yield socket


@asynccontextmanager
async def stage(folder: Path, rule: str = ONE_TRY, extra: str = LENIENT, backends: str = "a") -> AsyncIterator[Stage]:
    async with lab() as upstreams:
        policy = (
            upstream("a", f"{upstreams.url}/u/a/v1", "OpenAI", extra)
            + upstream("b", f"{upstreams.url}/u/b/v1", "OpenAI", extra)
            + upstream("any", f"{upstreams.url}/u/any", "Generic", extra)
            + route("openai", "/openai/v1", backends, rule)
            + route("any", "/any", "any", rule)
        )
        async with proxy(policy, folder) as running:
            yield Stage(upstreams, running)


async def told(socket: ClientConnection, kind: str) -> list[dict[str, Any]]:
    """Events down to the first of a kind."""
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != kind:
        events.append(json.loads(await socket.recv()))
    return events


# -- passing through ---------------------------------------------------------------------------------------------------


async def test_a_session_is_one_call(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        async with at.session() as socket:
            assert socket.response is not None
            assert socket.response.headers["x-seawall-upstream"] == "a"
            assert socket.response.headers["x-seawall-outcome"] == "primary"
            [created] = await told(socket, "session.created")
            assert created["session"]["model"] == "gpt"
            assert at.running.service.engine.streams == at.running.service.engine.calls == 1
            await socket.send(RESPONSE)
            events = await told(socket, "response.done")
            assert [event["type"] for event in events].count("response.output_text.delta") == 12
            assert at.running.calls == []
        call = await at.running.call()
        assert (call.operation, call.dialect, call.method) == ("websocket", "OpenAI", "GET")
        assert (call.status, call.fault, call.outcome.value, call.attempts) == (101, "", "primary", 1)
        assert (call.upstream, call.model, call.stream) == ("a", "gpt", True)
        assert call.request_bytes > len(RESPONSE) and call.answer_bytes == at.lab.attempts()[0].bytes_out
        assert call.first_content_seconds is not None and call.first_content_seconds <= call.seconds
        assert call.overhead_seconds < 0.1
        [attempt] = at.running.attempts
        assert (attempt.result, attempt.status) == ("ok", 101)


async def test_openais_realtime_client(tmp_path: Path) -> None:
    async with (
        stage(tmp_path) as at,
        openai.AsyncOpenAI(base_url=f"{at.running.url}/openai/v1", api_key="sk-own") as agent,
        agent.realtime.connect(model="gpt-realtime") as socket,
    ):
        await socket.response.create()
        said = ""
        async for event in socket:
            said += event.delta if event.type == "response.output_text.delta" else ""
            if event.type == "response.done":
                break
        assert said
        [seen] = at.lab.attempts()
        assert seen.model == "gpt-realtime" and "Authorization" in seen.header_names


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 1_000_000])
async def test_messages_of_any_size_come_back_as_they_went(tmp_path: Path, size: int) -> None:
    async with stage(tmp_path) as at, at.session("/any/echo", max_size=None) as socket:
        data = bytes(range(256)) * (size // 256 + 1)
        await socket.send(data[:size])
        assert await socket.recv() == data[:size]


async def test_aiohttps_client_with_compression_and_subprotocol(tmp_path: Path) -> None:
    async with (
        stage(tmp_path) as at,
        aiohttp.ClientSession() as session,
        session.ws_connect(at.url("/any/echo"), compress=15, protocols=["realtime"]) as socket,
    ):
        assert socket.protocol == "realtime"
        await socket.ping()
        await socket.send_str("hi")
        assert (await socket.receive(5)).data == "hi"


async def test_many_sessions_at_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:

        async def one(number: int) -> None:
            async with at.session("/any/echo") as socket:
                for turn in range(20):
                    await socket.send(f"{number}/{turn}")
                    assert await socket.recv() == f"{number}/{turn}"

        await asyncio.gather(*map(one, range(50)))
        await until(lambda: len(at.running.calls) == 50)
        assert {call.fault for call in at.running.calls} == {""}


async def test_what_an_agent_sends_before_the_grant_waits_for_it(tmp_path: Path) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at:
        at.lab.script(["503", "first-byte-50ms"], upstream="any")
        reader, writer = await asyncio.open_connection("127.0.0.1", at.running.service.port)
        writer.write(handshake("/any/echo") + masked(b"early"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(7) == b"\x82\x05early"
        writer.close()
        await until(lambda: at.running.calls)


def handshake(path: str, extra: bytes = b"") -> bytes:
    fields = b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    return b"GET %b HTTP/1.1\r\nHost: a\r\n%b%b%b\r\n" % (path.encode(), fields, key, extra)


def masked(data: bytes) -> bytes:
    return bytes((0x82, 0x80 | len(data))) + b"\0\0\0\0" + data


# -- before the grant --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["503", "500", "reset", "close", "garbage", "rate-limit-1"])
async def test_a_handshake_that_fails_goes_to_the_next_upstream(tmp_path: Path, fault: str) -> None:
    async with stage(tmp_path, ONE_TRY, backends="a b") as at:
        at.lab.script([fault], upstream="a")
        async with at.session() as socket:
            assert socket.response is not None and socket.response.headers["x-seawall-outcome"] == "failover"
            await told(socket, "session.created")
        assert [seen.upstream for seen in at.lab.attempts()] == ["a", "b"]
        assert (await at.running.call()).attempts == 2


@pytest.mark.parametrize("fault", ["500", "reset", "silent"])
async def test_a_handshake_is_tried_again(tmp_path: Path, fault: str) -> None:
    async with stage(tmp_path, f"{QUICK_RETRIES}\ntimeouts: {{firstByte: 200ms}}") as at:
        at.lab.script([fault], upstream="a")
        async with at.session() as socket:
            await told(socket, "session.created")
        assert (await at.running.call()).outcome.value == "retry"


async def test_an_upstream_that_cannot_be_reached_is_left_for_the_next(tmp_path: Path) -> None:
    async with lab() as there:
        policy = (
            upstream("a", "http://127.0.0.1:9/v1")
            + upstream("b", f"{there.url}/u/b/v1")
            + route("r", "/v1", "a b", ONE_TRY)
        )
        async with proxy(policy, tmp_path) as running:
            at = Stage(there, running)
            async with at.session("/v1/realtime?model=m") as socket:
                await told(socket, "session.created")
            assert (await running.call()).upstream == "b"


@pytest.mark.parametrize("fault", ["auth", "not-found", "503"])
async def test_a_refusal_is_passed_on_as_it_came(tmp_path: Path, fault: str) -> None:
    async with stage(tmp_path) as at:
        at.lab.script([fault], upstream="a")
        with pytest.raises(InvalidStatus) as refused:
            async with at.session():
                pass
        response = refused.value.response
        assert response.status_code == {"auth": 401, "not-found": 404, "503": 503}[fault]
        assert json.loads(response.body or b"")["error"]["message"]
        assert response.headers["x-seawall-attempts"] == "1"
        call = await at.running.call()
        assert call.status == response.status_code and call.outcome.value == "error"


async def test_an_upstream_that_grants_nothing_answers_as_it_likes(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        with pytest.raises(InvalidStatus) as refused:
            async with at.session("/any/inspect"):
                pass
        assert refused.value.response.status_code == 200


async def test_seawalls_own_refusals_are_those_of_any_call(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        at.running.service.view.isolate("a", None)
        with pytest.raises(InvalidStatus) as refused:
            async with at.session():
                pass
        assert refused.value.response.status_code == 503
        assert json.loads(refused.value.response.body or b"")["seawall"]["code"] == "BREAKER_OPEN"
        with pytest.raises(InvalidStatus) as lost:
            async with at.session("/nowhere"):
                pass
        assert lost.value.response.status_code == 404
        assert at.lab.attempts() == []


async def test_handshakes_that_fail_open_the_breaker_and_one_that_works_closes_it(tmp_path: Path) -> None:
    extra = "circuitBreaker: {consecutiveFailures: 2, open: {base: 100ms, jitterPercent: 0}, halfOpen: {successes: 1}}"
    async with stage(tmp_path, ONE_TRY, extra, backends="a b") as at:
        at.lab.script(["500", "500"], upstream="a")
        for upstreams in ("b", "b", "b"):
            async with at.session() as socket:
                assert socket.response is not None and socket.response.headers["x-seawall-upstream"] == upstreams
        assert [seen.upstream for seen in at.lab.attempts()] == ["a", "b", "a", "b", "b"]
        await asyncio.sleep(0.15)
        async with at.session() as socket:
            assert socket.response is not None and socket.response.headers["x-seawall-upstream"] == "a"
        await until(lambda: [m.after for m in at.running.moves if m.upstream == "a"] == ["open", "half_open", "closed"])


async def test_sessions_take_places(tmp_path: Path) -> None:
    extra = "concurrency: {maxParallelRequests: 1, maxPendingRequests: 0}"
    async with stage(tmp_path, ONE_TRY, extra) as at:
        async with at.session() as socket:
            await told(socket, "session.created")
            with pytest.raises(InvalidStatus) as refused:
                async with at.session():
                    pass
            assert refused.value.response.status_code == 503
        await until(lambda: at.running.upstream("a").limiter.snapshot().active == 0)
        async with at.session():
            pass


async def test_hedging_leaves_sessions_alone(tmp_path: Path) -> None:
    async with lab() as there:
        policy = (
            upstream("a", f"{there.url}/v1")
            + upstream("b", f"{there.url}/v1")
            + route("r", "/v1", "a|b", f"{ONE_TRY}\nhedging: {{maxAttempts: 2, hedgingDelay: 0s}}")
        )
        async with proxy(policy, tmp_path) as running, Stage(there, running).session("/v1/realtime?model=m") as socket:
            await told(socket, "session.created")
            assert len(there.attempts()) == 1


async def test_the_cache_leaves_sessions_alone(tmp_path: Path) -> None:
    async with lab() as there:
        rule = f"{ONE_TRY}\ncache: {{mode: Enabled, ttl: 60s}}"
        policy = upstream("any", there.url, "Generic") + route("any", "/any", "any", rule)
        async with proxy(policy, tmp_path) as running:
            at = Stage(there, running)
            async with at.session("/any/echo") as one, at.session("/any/echo") as other:
                for socket in (one, other):
                    await socket.send("x")
                    assert await socket.recv() == "x"
            assert len(there.attempts()) == 2


# -- what is asked -----------------------------------------------------------------------------------------------------


async def test_another_model_is_asked_for_in_the_query(tmp_path: Path) -> None:
    async with lab() as there:
        policy = upstream("a", f"{there.url}/v1") + route("r", "/v1", "a").replace(
            "{name: a, priority: 0}", "{name: a, modelMap: [{from: gpt*, to: gpt realtime}]}"
        )
        async with proxy(policy, tmp_path) as running:
            at = Stage(there, running)
            async with at.session("/v1/realtime?intent=x&model=gpt-4o&y=1") as socket:
                [created] = await told(socket, "session.created")
            assert created["session"]["model"] == "gpt realtime"
            assert (await running.call()).model == "gpt realtime"


async def test_an_injected_key_replaces_the_agents(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("injected")
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    auth = f"auth: {{type: APIKey, keyFile: {tmp_path}/key}}"
    async with (
        server,
        proxy(upstream("a", f"http://127.0.0.1:{port}", extra=auth) + route("r", "/v1", "a"), tmp_path) as r,
    ):
        protocols: Any = ["realtime", "openai-insecure-api-key.sk-own", "openai-beta.realtime-v1"]
        with pytest.raises(InvalidStatus):
            async with connect(
                f"ws://127.0.0.1:{r.service.port}/v1/realtime?model=m", proxy=None, subprotocols=protocols
            ):
                pass
    [head] = seen
    assert b"authorization: Bearer injected\r\n" in head and b"sk-own" not in head
    assert b"Sec-WebSocket-Protocol: realtime, openai-beta.realtime-v1\r\n" in head
    assert head.lower().count(b"upgrade: websocket\r\n") == head.lower().count(b"connection: upgrade\r\n") == 1


# -- after the grant ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "seen"),
    [
        ("cut-3", "", 1006),
        ("unclean-3", "TRUNCATED", 1006),
        ("reset-3", "CONNECTION_LOST", 1006),
        ("error-3", "SERVER_ERROR", 1011),
    ],
)
async def test_what_breaks_is_broken_for_the_agent_and_never_replayed(
    tmp_path: Path, fault: str, code: str, seen: int
) -> None:
    """An upstream that closes between two messages has broken nothing."""
    async with stage(tmp_path, QUICK_RETRIES, backends="a b") as at:
        at.lab.script([fault], upstream="a")
        async with at.session() as socket:
            await told(socket, "session.created")
            await socket.send(RESPONSE)
            with pytest.raises(ConnectionClosedError) as broken:
                await told(socket, "response.done")
            assert (broken.value.rcvd.code if broken.value.rcvd else 1006) == seen
        assert len(at.lab.attempts()) == 1
        assert (await at.running.call()).fault == code


async def test_sessions_that_break_are_samples_of_the_upstream(tmp_path: Path) -> None:
    async with stage(tmp_path, ONE_TRY, "circuitBreaker: {consecutiveFailures: 3}", backends="a b") as at:
        at.lab.script(["unclean-1", "reset-1", "error-1"], upstream="a")
        for _ in range(3):
            async with at.session() as socket:
                await socket.send(RESPONSE)
                with pytest.raises(ConnectionClosed):
                    await told(socket, "response.done")
        await until(lambda: [move.after for move in at.running.moves] == ["open"])


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_the_agents_end_reaches_the_upstream_at_once(tmp_path: Path, how: str) -> None:
    async with stage(tmp_path) as at:
        async with at.session() as socket:
            await told(socket, "session.created")
            if how == "abort":
                socket.transport.abort()
        await until(lambda: at.lab.attempts()[0].end is not None, 1)
        call = await at.running.call()
        assert call.fault == ("AGENT_GONE" if how == "abort" else "")
        assert at.lab.attempts()[0].gone is (how == "abort")


async def test_an_agent_that_goes_before_the_grant_is_gone(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        at.lab.script(["silent"], upstream="any")
        _, writer = await asyncio.open_connection("127.0.0.1", at.running.service.port)
        writer.write(handshake("/any/echo") + masked(b"x"))
        await until(lambda: at.lab.attempts())
        writer.transport.abort()
        await until(lambda: at.lab.attempts()[0].gone, 1)
        assert (await at.running.call()).fault == "AGENT_GONE"


async def test_a_session_may_be_silent_unless_the_policy_limits_it(tmp_path: Path) -> None:
    async with (
        stage(tmp_path, f"{ONE_TRY}\ntimeouts: {{request: 300ms, backendRequest: 200ms}}") as at,
        at.session() as a,
    ):
        await told(a, "session.created")
        await asyncio.sleep(0.5)
        await a.send(RESPONSE)
        await told(a, "response.done")
    extra = "circuitBreaker: {consecutiveFailures: 1}"
    async with stage(tmp_path, f"{ONE_TRY}\ntimeouts: {{streamIdle: 300ms}}", extra) as at, at.session() as socket:
        for _ in range(4):
            await asyncio.sleep(0.1)
            await socket.send(RESPONSE)
            await told(socket, "response.done")
        with pytest.raises(ConnectionClosed) as ended:
            await told(socket, "never")
        assert ended.value.rcvd is not None
        assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (1001, "seawall: TIMEOUT_STREAM_IDLE")
        assert (await at.running.call()).fault == "TIMEOUT_STREAM_IDLE"
        assert at.running.moves == [], "both were silent"
        await until(lambda: at.lab.attempts()[0].end is not None)


# -- the drain ---------------------------------------------------------------------------------------------------------


async def test_a_drain_waits_for_sessions_and_then_says_goodbye(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.session() as socket, at.session("/any/echo") as other:
        await told(socket, "session.created")
        draining = asyncio.create_task(at.running.service.close(0.5))
        await asyncio.sleep(0.1)
        await other.send("still there")
        assert await other.recv() == "still there"
        await other.close()
        with pytest.raises(ConnectionClosed) as ended:
            await told(socket, "never")
        assert ended.value.rcvd is not None
        assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (1001, "seawall: DRAINING")
        await draining
        assert {call.fault for call in at.running.calls} == {"", "DRAINING"}
        assert not any(seen.gone for seen in at.lab.attempts()), "upstreams are told goodbye too"


async def test_sessions_go_on_through_a_reload(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, at.session() as socket:
        await told(socket, "session.created")
        loaded = evaluate(load_text(upstream("new", "http://127.0.0.1:9/v1") + route("r", "/new", "new"), "p.yaml"))
        assert loaded.policy is not None
        at.running.service.apply(loaded.policy)
        await socket.send(RESPONSE)
        await told(socket, "response.done")
