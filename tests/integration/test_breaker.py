"""The circuit breaker over sockets: SEMANTICS §3, and the mistakes of §10 about it."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest
from harness import Running, lab, proxy, route, until, upstream
from peers import CHAT, QUICK, agent, blackhole, chat, raw, wire

from seawall.core.breaker import State
from seawall.lab import Lab
from seawall.policy import evaluate, load_text
from seawall.server import admin_client
from seawall.service import Service

NO_RETRY = "retry: {attempts: 0}\n"


def breaker(more: str = "", *, base: str = "150ms", failures: int = 3, successes: int = 1) -> str:
    """Of an upstream; jitter off, so that openings last as long as they say."""
    return (
        f"circuitBreaker: {{consecutiveFailures: {failures}, open: {{base: {base}, jitterPercent: 0}}, "
        f"halfOpen: {{successes: {successes}}}, rampUp: {{duration: 0s}}{more}}}\n"
    )


def pair(upstreams: Lab, extra: str, rule: str = NO_RETRY) -> str:
    return (
        upstream("a", f"{upstreams.url}/u/a/v1", extra=extra)
        + upstream("b", f"{upstreams.url}/u/b/v1")
        + route("models", "/v1", "a b", rule)
    )


def state(running: Running, name: str = "a", model: str = "gpt") -> State:
    now = time.monotonic()
    return running.upstream(name).breaker(model, now).state(now)


def permits(running: Running) -> int:
    return running.upstream("a").breaker("gpt", 0).snapshot(time.monotonic()).permits_out


async def trip(running: Running, upstreams: Lab, times: int = 3) -> None:
    """Open a's breaker for the model `gpt`, then let its upstream be well again."""
    upstreams.script([], upstream="a", then="500")
    for _ in range(times):
        await wire(running, chat())
    assert state(running) is State.OPEN
    upstreams.script([], upstream="a")
    upstreams.ring.clear()


def tried(upstreams: Lab) -> Counter[str]:
    return Counter(a.upstream for a in upstreams.attempts())


async def test_consecutive_failures_open_it_and_calls_go_elsewhere_at_once(tmp_path: Path) -> None:
    async with (
        lab() as upstreams,
        proxy(pair(upstreams, breaker(base="10s")), tmp_path) as running,
        agent(running) as client,
    ):
        upstreams.script([], upstream="a", then="500")
        for _ in range(8):
            assert (await client.post(CHAT, json=chat())).status_code == 200
        assert tried(upstreams) == {"a": 3, "b": 8}
        assert (await running.call(8)).skipped == ("a: breaker open",)
        moved = running.moves[0]
        assert (moved.key, moved.before, moved.after) == ("gpt", "closed", "open")
        # Of another model nothing is known.
        assert (await client.post(CHAT, json=chat("other"))).headers["x-seawall-upstream"] == "b"
        assert tried(upstreams)["a"] == 4


async def test_half_of_ten_calls_failed_opens_it(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["500", "ok"], upstream="a", repeat=True)
        async with proxy(pair(upstreams, ""), tmp_path) as running, agent(running) as client:
            for _ in range(12):
                await client.post(CHAT, json=chat())
            assert tried(upstreams)["a"] == 10
            assert running.moves[0].reason == "5 of 10 calls failed"


async def test_slow_first_content_opens_it(tmp_path: Path) -> None:
    slow = breaker(", errorRate: {minimumCalls: 4}, slowCall: {duration: 20ms}")
    async with lab() as upstreams:
        upstreams.script([], upstream="a", then="first-token-40ms")
        async with proxy(pair(upstreams, slow), tmp_path) as running, agent(running) as client:
            for _ in range(5):
                assert (await client.post(CHAT, json=chat(stream=True))).text.endswith("[DONE]\n\n")
            assert (tried(upstreams)["a"], running.moves[0].reason) == (4, "4 of 4 calls were slow")


async def test_waiting_for_our_own_limit_makes_no_call_slow(tmp_path: Path) -> None:
    crowded = breaker(", errorRate: {minimumCalls: 4}, slowCall: {duration: 100ms}")
    async with lab() as upstreams:
        upstreams.script([], upstream="a", then="latency-40ms")
        extra = crowded + "concurrency: {maxParallelRequests: 1}\n"
        async with proxy(pair(upstreams, extra), tmp_path) as running, agent(running) as client:
            await asyncio.gather(*(client.post(CHAT, json=chat()) for _ in range(8)))
            assert (tried(upstreams)["a"], running.moves) == (8, [])


async def test_impatient_agents_do_not_hide_a_black_hole(tmp_path: Path) -> None:
    slow = breaker(", errorRate: {minimumCalls: 4}, slowCall: {duration: 20ms}")
    async with lab() as upstreams:
        upstreams.script([], upstream="a", then="silent")
        async with proxy(pair(upstreams, slow), tmp_path) as running:
            for number in range(1, 5):
                async with raw(running, chat()):
                    await until(lambda: len(upstreams.attempts()) == number)  # noqa: B023
                    await asyncio.sleep(0.03)
                await running.call(number)
            assert state(running) is State.OPEN
            assert {call.fault for call in running.calls} == {"AGENT_GONE"}


async def test_a_call_counts_once_however_often_it_was_retried(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script([], then="500")
        policy = upstream("a", f"{upstreams.url}/v1", extra=breaker(failures=2)) + route("m", "/v1", "a", QUICK)
        async with proxy(policy, tmp_path) as running:
            await wire(running, chat())
            assert (len(upstreams.attempts()), state(running)) == (3, State.CLOSED)


async def test_transport_faults_count_for_the_origin_and_not_for_a_model(tmp_path: Path) -> None:
    with blackhole() as port:
        policy = upstream("a", f"http://127.0.0.1:{port}/v1", extra=breaker(base="10s"))
        policy += route("m", "/v1", "a", NO_RETRY + "timeouts: {connect: 20ms}\n")
        async with proxy(policy, tmp_path) as running:
            for model in ("one", "two", "three"):
                await wire(running, chat(model))
            assert running.upstream("a").transport.state(time.monotonic()) is State.OPEN
            assert [state(running, model=m) for m in ("one", "two", "three")] == [State.CLOSED] * 3
            assert running.moves[0].key == f"http://127.0.0.1:{port}"


async def test_of_a_hundred_calls_at_half_open_exactly_one_reaches_the_upstream(tmp_path: Path) -> None:
    async with (
        lab() as upstreams,
        proxy(pair(upstreams, breaker(successes=2)), tmp_path) as running,
        agent(running) as client,
    ):
        await trip(running, upstreams)
        upstreams.script(["silent"], upstream="a")
        await until(lambda: state(running) is State.HALF_OPEN)
        calls = [asyncio.create_task(client.post(CHAT, json=chat())) for _ in range(100)]
        await until(lambda: sum(call.done() for call in calls) == 99)
        assert tried(upstreams) == {"a": 1, "b": 99}
        next(call for call in calls if not call.done()).cancel()
        await until(lambda: permits(running) == 0)
        for _ in range(2):
            await client.post(CHAT, json=chat())
        assert [m.after for m in running.moves] == ["open", "half_open", "closed"]


async def test_a_failed_probe_opens_it_for_twice_as_long(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(pair(upstreams, breaker(), QUICK), tmp_path) as running:
        await trip(running, upstreams)
        upstreams.script([], upstream="a", then="500")
        await until(lambda: state(running) is State.HALF_OPEN)
        assert (await wire(running, chat())).field(b"x-seawall-upstream") == b"b"
        # A probe is not retried on its upstream.
        assert tried(upstreams)["a"] == 1
        assert [round(m.until_seconds or 0, 2) for m in running.moves if m.after == "open"] == [0.15, 0.3]


async def test_an_agent_that_goes_away_during_a_probe_gives_the_permit_back(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(pair(upstreams, breaker()), tmp_path) as running:
        await trip(running, upstreams)
        upstreams.script(["silent"], upstream="a")
        await until(lambda: state(running) is State.HALF_OPEN)
        async with raw(running, chat()):
            await until(lambda: permits(running) == 1 and upstreams.attempts())
        await until(lambda: permits(running) == 0)
        assert state(running) is State.HALF_OPEN
        assert (await wire(running, chat())).field(b"x-seawall-upstream") == b"a"
        assert state(running) is State.CLOSED
        await until(lambda: upstreams.attempts()[0].gone)


async def test_a_streaming_probe_lets_the_next_go_once_its_content_flows(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(pair(upstreams, breaker(successes=2)), tmp_path) as running:
        await trip(running, upstreams)
        upstreams.script(["gap-40ms"], upstream="a")
        await until(lambda: state(running) is State.HALF_OPEN)
        async with raw(running, chat(stream=True)) as (reader, _):
            await reader.readuntil(b"data: ")
            assert permits(running) == 0
            assert (await wire(running, chat())).field(b"x-seawall-upstream") == b"a"
            assert state(running) is State.HALF_OPEN
            await reader.readuntil(b"[DONE]")
        await until(lambda: state(running) is State.CLOSED)


async def test_a_success_from_before_the_trip_does_not_close_it(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(pair(upstreams, breaker()), tmp_path) as running:
        upstreams.script(["latency-350ms", "500", "500", "500"], upstream="a")
        early = asyncio.create_task(wire(running, chat()))
        await until(upstreams.attempts)
        for _ in range(3):
            await wire(running, chat())
        await until(lambda: state(running) is State.HALF_OPEN)
        assert (await early).field(b"x-seawall-upstream") == b"a"
        await running.call(4)
        assert [m.after for m in running.moves] == ["open"]


async def test_a_sole_upstream_still_gets_a_tenth_of_the_calls(tmp_path: Path) -> None:
    async with lab() as upstreams:
        policy = upstream("a", f"{upstreams.url}/u/a/v1", extra=breaker(base="60s"))
        async with proxy(policy + route("m", "/v1", "a", NO_RETRY), tmp_path) as running, agent(running) as client:
            await trip(running, upstreams)
            answers = [await client.post(CHAT, json=chat()) for _ in range(400)]
            through = tried(upstreams)["a"]
            assert 10 <= through <= 80  # five standard deviations around 40
            assert Counter(a.status_code for a in answers) == {200: through, 503: 400 - through}
            refused = next(a for a in answers if a.status_code == 503)
            assert refused.json()["seawall"]["code"] == "BREAKER_OPEN"
            # An opening lasts 30 s at most for it.
            assert 1 <= int(refused.headers["retry-after"]) <= 30
            assert state(running) is State.OPEN


async def test_breakers_are_moved_by_hand_over_the_admin_socket(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(pair(upstreams, breaker()), tmp_path) as running, agent(running) as client:
        steps: list[tuple[admin_client.Action, str]]
        steps = [("isolate", "isolated"), ("force-close", "forced_closed"), ("reset", "closed")]
        for action, wanted in steps:
            done = await asyncio.to_thread(admin_client.breaker, running.socket, action, "a")
            assert done["upstream"] == "a"
            got = await client.post(CHAT, json=chat())
            assert got.headers["x-seawall-upstream"] == ("b" if action == "isolate" else "a")
            assert state(running).value == wanted
        await asyncio.to_thread(admin_client.breaker, running.socket, "force-close", "a", "gpt")
        upstreams.script([], upstream="a", then="500")
        for _ in range(6):
            await client.post(CHAT, json=chat())
        assert state(running) is State.FORCED_CLOSED
        with pytest.raises(admin_client.AdminError, match="no upstream"):
            await asyncio.to_thread(admin_client.breaker, running.socket, "reset", "nobody")
        # Over TCP nothing can be changed.
        assert (await client.post(f"{running.admin_url}/actions/breakers/a/reset")).status_code == 403


def take(service: Service, policy: str) -> None:
    loaded = evaluate(load_text(policy, "policy.yaml"))
    assert loaded.policy is not None, "\n".join(map(str, loaded.issues))
    service.apply(loaded.policy)


async def test_an_open_breaker_survives_a_reload_that_changes_its_settings(tmp_path: Path) -> None:
    async with lab() as upstreams, proxy(pair(upstreams, breaker(base="10s")), tmp_path) as running:
        await trip(running, upstreams)
        before = running.upstream("a").breaker("gpt", 0)
        take(running.service, pair(upstreams, breaker(base="1s", failures=7)))
        assert running.upstream("a").breaker("gpt", 0) is before
        assert (await wire(running, chat())).field(b"x-seawall-upstream") == b"b"
        assert (state(running), tried(upstreams)) == (State.OPEN, {"b": 1})
        before.reset(time.monotonic())
        upstreams.script([], upstream="a", then="500")
        for number in range(1, 8):
            await wire(running, chat())
            assert (state(running) is State.OPEN) == (number == 7)
