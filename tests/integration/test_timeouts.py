"""Every kind of timeout: when it fires, what it is called, and where the call goes then: SEMANTICS §§1 and 2."""

import json
import time
from pathlib import Path

import pytest
from harness import lab, proxy, route, upstream
from peers import QUICK, always, blackhole, chat, serving, wire


def pair(first: str, second: str, rule: str, dialect: str = "OpenAI") -> str:
    return upstream("a", first, dialect) + upstream("b", second, dialect) + route("models", "/v1", "a b", rule)


@pytest.mark.parametrize(
    ("fault", "stream", "timeouts", "code"),
    [
        ("silent", False, "{firstByte: 80ms}", "TIMEOUT_FIRST_BYTE"),
        ("silent", True, "{firstContent: 80ms}", "TIMEOUT_FIRST_CONTENT"),
        ("first-token-2s", True, "{firstContent: 80ms}", "TIMEOUT_FIRST_CONTENT"),
        ("stall-prelude", True, "{firstContent: 80ms}", "TIMEOUT_FIRST_CONTENT"),
        ("stall-prelude", True, "{streamIdle: 80ms}", "TIMEOUT_STREAM_IDLE"),
        ("silent", False, "{backendRequest: 80ms}", "TIMEOUT_ATTEMPT"),
        ("stall-3", False, "{backendRequest: 80ms}", "TIMEOUT_ATTEMPT"),
        ("drip-1-50ms", False, "{backendRequest: 80ms}", "TIMEOUT_ATTEMPT"),
    ],
)
async def test_what_comes_too_late_is_not_waited_for_again_while_another_upstream_is_left(
    tmp_path: Path, fault: str, stream: bool, timeouts: str, code: str
) -> None:
    async with lab() as upstreams:
        upstreams.script([], upstream="a", then=fault)
        policy = pair(f"{upstreams.url}/u/a/v1", f"{upstreams.url}/v1", f"timeouts: {timeouts}\n{QUICK}")
        async with proxy(policy, tmp_path) as running:
            got = await wire(running, chat(stream=stream))
            assert (got.status, got.field(b"x-seawall-upstream")) == (200, b"b")
            assert [(a.upstream, a.result) for a in running.attempts] == [("a", code), ("b", "ok")]
            assert running.upstream("a").breaker("gpt", 0).snapshot(time.monotonic()).consecutive_failures == 1
            assert (await running.call()).seconds < 1


@pytest.mark.parametrize(
    ("fault", "stream", "timeouts", "code", "tries"),
    [
        ("silent", False, "{firstByte: 50ms}", "TIMEOUT_FIRST_BYTE", 3),
        ("silent", True, "{firstContent: 50ms}", "TIMEOUT_FIRST_CONTENT", 3),
        ("silent", False, "{backendRequest: 50ms}", "TIMEOUT_ATTEMPT", 3),
        ("silent", False, "{request: 120ms}", "TIMEOUT_REQUEST", 1),
        ("silent", True, "{request: 120ms}", "TIMEOUT_REQUEST", 1),
        ("stall-3", False, "{request: 120ms}", "TIMEOUT_REQUEST", 1),
    ],
)
async def test_a_timeout_without_another_upstream_is_told_with_its_code(
    tmp_path: Path, fault: str, stream: bool, timeouts: str, code: str, tries: int
) -> None:
    async with lab() as upstreams:
        upstreams.script([], then=fault)
        policy = upstream("a", f"{upstreams.url}/v1") + route("models", "/v1", "a", f"timeouts: {timeouts}\n{QUICK}")
        async with proxy(policy, tmp_path) as running:
            got = await wire(running, chat(stream=stream))
            told = json.loads(got.body)
            assert (got.status, told["seawall"]["code"], told["seawall"]["category"]) == (504, code, "timeout")
            assert (len(upstreams.attempts()), told["error"]["type"]) == (tries, "timeout_error")
            assert got.field(b"proxy-status") == b"seawall; error=http_response_timeout"


async def test_a_connection_that_hangs_is_given_up_and_the_call_moves_on(tmp_path: Path) -> None:
    rule = "timeouts: {connect: 300ms}\n" + QUICK
    async with lab() as upstreams:
        with blackhole() as port:
            policy = pair(f"http://127.0.0.1:{port}/v1", f"{upstreams.url}/v1", rule)
            async with proxy(policy, tmp_path) as running:
                assert (await wire(running, chat())).field(b"x-seawall-upstream") == b"b"
                assert [a.result for a in running.attempts] == ["CONNECT_TIMEOUT"] * 3 + ["ok"]
                transport = running.upstream("a").transport.snapshot(time.monotonic())
                assert transport.consecutive_failures == 1


async def test_an_unsafe_request_that_got_no_connection_in_an_attempts_time_was_never_sent(tmp_path: Path) -> None:
    rule = "timeouts: {backendRequest: 50ms}\n" + QUICK
    async with lab() as upstreams:
        with blackhole() as port:
            policy = pair(f"http://127.0.0.1:{port}", upstreams.url, rule, "Generic")
            async with proxy(policy, tmp_path) as running:
                got = await wire(running, {"name": "nightly"}, path="/v1/warehouse/jobs")
                assert (got.status, got.field(b"x-seawall-upstream")) == (201, b"b")


async def test_the_whole_request_ends_in_time_with_retries_and_waits(tmp_path: Path) -> None:
    rule = "timeouts: {request: 300ms}\nretry: {attempts: 10, backoff: {base: 100ms}}\n"
    async with lab() as upstreams:
        upstreams.script([], then="500+latency-60ms")
        policy = upstream("a", f"{upstreams.url}/v1") + route("models", "/v1", "a", rule)
        async with proxy(policy, tmp_path) as running:
            got = await wire(running, chat())
            assert got.status in (500, 504)
            assert (await running.call()).seconds < 0.45


@pytest.mark.parametrize("head", [b"content-length: 900", b"transfer-encoding: chunked"])
async def test_an_error_whose_body_stalls_does_not_hold_a_stream_for_ever(tmp_path: Path, head: bytes) -> None:
    stuck = b"HTTP/1.1 500 No\r\ncontent-type: application/json\r\n" + head + b"\r\n\r\n"
    async with lab() as upstreams, serving(always(stuck, hang=True)) as port:
        rule = "timeouts: {firstContent: 80ms}\nretry: {attempts: 0}\n"
        policy = pair(f"http://127.0.0.1:{port}/v1", f"{upstreams.url}/v1", rule)
        async with proxy(policy, tmp_path) as running:
            assert (await wire(running, chat(stream=True))).field(b"x-seawall-upstream") == b"b"
