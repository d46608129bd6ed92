"""A kept connection that turns out to be dead at its reuse: who may be sent again, at what cost, and who never is."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from harness import Running, proxy, route, upstream
from peers import QUICK, Recorder, answer, request_head, serving, wire

NO_RETRY = "retry: {attempts: 0}\n"


class Forgetful:
    """Takes each connection's second request after `seconds`, and closes without a word."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.requests = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        self.requests += 1
        writer.write(answer(b"{}"))
        await request_head(reader)
        self.requests += 1
        await asyncio.sleep(self.seconds)


def failures(running: Running) -> int:
    now = time.monotonic()
    return running.upstream("a").breaker("", now).snapshot(now).consecutive_failures


def alone(port: int) -> str:
    return upstream("a", f"http://127.0.0.1:{port}", "Generic") + route("wh", "/wh", "a", NO_RETRY)


async def test_a_safe_request_on_a_dead_connection_is_sent_again_at_once_and_for_free(tmp_path: Path) -> None:
    forgetful = Forgetful()
    async with serving(forgetful) as port, proxy(alone(port), tmp_path) as running:
        for number in (1, 2):
            assert (await wire(running, path="/wh/x")).status == 200
            await running.call(number)
        assert [a.result for a in running.attempts] == ["ok", "STALE_CONNECTION", "ok"]
        assert running.calls[1].retries == failures(running) == 0
        assert running.calls[1].seconds < 0.3
        assert running.upstream("a").budget.snapshot(time.monotonic()).withdrawn == 0


async def test_after_a_restart_of_the_upstream_dead_connections_cost_no_call_its_answer(tmp_path: Path) -> None:
    forgetful = Forgetful()
    async with serving(forgetful) as port, proxy(alone(port), tmp_path) as running:
        await asyncio.gather(*[wire(running, path="/wh/x") for _ in range(8)])
        await running.call(8)
        assert running.service._pool.connections > 3
        assert (await wire(running, path="/wh/x")).status == 200


@pytest.mark.parametrize("seconds", [0.0, 1.1])
async def test_an_unsafe_request_on_a_dead_connection_is_sent_once_and_told_so(tmp_path: Path, seconds: float) -> None:
    """However dead the connection looks: the upstream may have begun before it closed."""
    forgetful, other = Forgetful(seconds), Recorder()
    async with serving(forgetful) as port, serving(other) as second:
        policy = (
            upstream("a", f"http://127.0.0.1:{port}", "Generic")
            + upstream("b", f"http://127.0.0.1:{second}", "Generic")
            + route("wh", "/wh", "a b")
        )
        async with proxy(policy, tmp_path) as running:
            assert (await wire(running, path="/wh/x")).status == 200
            got = await wire(running, {"name": "nightly"}, path="/wh/jobs")
            assert (got.status, forgetful.requests, other.heads) == (502, 2, [])
            code = "CONNECTION_LOST" if seconds else "STALE_CONNECTION"
            assert json.loads(got.body)["seawall"]["code"] == code
            assert (await running.call(2)).attempts == 1


async def test_a_connection_lost_some_time_after_its_reuse_is_the_upstreams_failure(tmp_path: Path) -> None:
    forgetful = Forgetful(1.1)
    async with serving(forgetful) as port, proxy(alone(port), tmp_path) as running:
        assert (await wire(running, path="/wh/x")).status == 200
        assert (await wire(running, path="/wh/x")).status == 502
        assert (forgetful.requests, failures(running)) == (2, 1)


async def test_a_keyed_request_that_one_upstream_may_have_begun_never_goes_to_another(tmp_path: Path) -> None:
    """Though its second try did not even get a connection: only the first upstream knows the key."""

    async def departing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        server.close()
        writer.write(answer(b"{}", status=500, extra="connection: close\r\n"))
        writer.close()

    server = await asyncio.start_server(departing, "127.0.0.1", 0)
    port, other = server.sockets[0].getsockname()[1], Recorder()
    async with serving(other) as second:
        policy = (
            upstream("a", f"http://127.0.0.1:{port}", "Generic")
            + upstream("b", f"http://127.0.0.1:{second}", "Generic")
            + route("wh", "/wh", "a b", QUICK)
        )
        async with proxy(policy, tmp_path) as running:
            keyed = "idempotency-key: nightly-1\r\nconnection: close\r\n"
            got = await wire(running, {"name": "nightly"}, path="/wh/jobs", headers=keyed)
            assert [a.result for a in running.attempts] == ["SERVER_ERROR", "CONNECT_FAILED", "CONNECT_FAILED"]
            assert (got.status, other.heads) == (500, [])
