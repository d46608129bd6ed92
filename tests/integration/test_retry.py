"""What happens to a failed attempt at a route with one upstream: SEMANTICS §§1 and 2, over sockets."""

import json
import time
from pathlib import Path

import pytest
from harness import lab, proxy, route, until, upstream
from peers import CHAT, QUICK, agent, chat, closed_port, wire

BAD, IGNORED = 1, 0

# fault, stream?, attempts in all, status that the agent gets, breaker sample, code
ROWS = [
    ("reset", False, 3, 502, BAD, "CONNECTION_LOST"),
    ("close", False, 3, 502, BAD, "CONNECTION_LOST"),
    ("garbage", False, 3, 502, BAD, "PROTOCOL_ERROR"),
    ("endless-headers", False, 3, 502, BAD, "PROTOCOL_ERROR"),
    ("reset-3", False, 3, 502, BAD, "TRUNCATED"),
    ("truncated", False, 3, 502, BAD, "TRUNCATED"),
    ("bad-chunk-3", False, 3, 502, BAD, "TRUNCATED"),
    ("malformed", False, 3, 502, BAD, "TRUNCATED"),
    ("400", False, 1, 400, IGNORED, "INVALID_REQUEST"),
    ("401", False, 1, 401, IGNORED, "UNAUTHORIZED"),
    ("403", False, 1, 403, IGNORED, "FORBIDDEN"),
    ("404", False, 1, 404, IGNORED, "NOT_FOUND"),
    ("413", False, 1, 413, IGNORED, "INVALID_REQUEST"),
    ("422", False, 1, 422, IGNORED, "INVALID_REQUEST"),
    ("filter", False, 1, 400, IGNORED, "CONTENT_POLICY"),
    ("context", False, 1, 400, IGNORED, "CONTEXT_LENGTH"),
    ("408", False, 3, 408, BAD, "UPSTREAM_TIMEOUT"),
    ("409", False, 3, 409, IGNORED, "CONFLICT"),
    ("429; retry-after-ms=20", False, 3, 429, IGNORED, "RATE_LIMITED"),
    ("quota", False, 1, 429, IGNORED, "QUOTA_EXHAUSTED"),
    ("402", False, 1, 402, IGNORED, "QUOTA_EXHAUSTED"),
    ("500", False, 3, 500, BAD, "SERVER_ERROR"),
    ("502", False, 3, 502, BAD, "SERVER_ERROR"),
    ("504", False, 3, 504, BAD, "UPSTREAM_TIMEOUT"),
    ("503", False, 2, 503, BAD, "OVERLOADED"),
    ("529", False, 2, 529, BAD, "OVERLOADED"),
    ("error-body-server", False, 3, 200, BAD, "SERVER_ERROR"),
    ("error-body-overloaded", False, 2, 200, BAD, "OVERLOADED"),
    ("error-body-quota", False, 1, 200, IGNORED, "QUOTA_EXHAUSTED"),
    ("cut-prelude", True, 3, 200, BAD, "TRUNCATED"),
    ("unclean-prelude", True, 3, 200, BAD, "TRUNCATED"),
    ("reset-prelude", True, 3, 200, BAD, "TRUNCATED"),
    ("malformed-prelude", True, 3, 200, BAD, "MALFORMED_EVENT"),
    ("error-prelude-server", True, 3, 200, BAD, "SERVER_ERROR"),
    ("error-prelude-overloaded", True, 2, 200, BAD, "OVERLOADED"),
    ("error-prelude-quota", True, 1, 200, IGNORED, "QUOTA_EXHAUSTED"),
    ("error-prelude-invalid", True, 1, 200, IGNORED, "INVALID_REQUEST"),
]


def one(url: str, rule: str = QUICK, extra: str = "", dialect: str = "OpenAI") -> str:
    return upstream("main", url, dialect, extra) + route("models", "/v1", "main", rule)


@pytest.mark.parametrize(("fault", "stream", "tries", "status", "sample", "code"), ROWS, ids=[r[0] for r in ROWS])
async def test_a_fault_is_retried_and_counted_as_its_row_says(
    tmp_path: Path, fault: str, stream: bool, tries: int, status: int, sample: int, code: str
) -> None:
    async with lab() as upstreams:
        upstreams.script([], then=fault)
        async with proxy(one(f"{upstreams.url}/v1"), tmp_path) as running:
            got = await wire(running, chat(stream=stream))
            call = await running.call()
            assert (len(upstreams.attempts()), call.attempts, call.retries) == (tries, tries, tries - 1)
            assert (got.status, call.fault) == (status, code)
            assert running.upstream("main").breaker("gpt", 0).snapshot(time.monotonic()).consecutive_failures == sample
            # Only after retries of our own is the SDK told not to add its own; a stream's head may have left by then.
            if tries == 1 or not stream:
                assert got.field(b"x-should-retry") == (b"false" if tries > 1 else None)


async def test_a_fault_that_passes_is_healed_by_a_retry(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["500", "reset"])
        async with proxy(one(f"{upstreams.url}/v1"), tmp_path) as running, agent(running) as client:
            got = await client.post(CHAT, json=chat())
            assert (got.status_code, got.headers["x-seawall-outcome"]) == (200, "retry")
            assert got.headers["x-seawall-attempts"] == "3"
            assert "x-should-retry" not in got.headers
            assert {a.body_sha256 for a in upstreams.attempts()} == {upstreams.attempts()[0].body_sha256}


@pytest.mark.parametrize("fault", ["500", "503", "429", "reset", "close", "truncated", "408"])
async def test_an_unsafe_request_is_not_sent_twice(tmp_path: Path, fault: str) -> None:
    async with lab() as upstreams:
        upstreams.script([], then=fault)
        policy = (
            upstream("a", f"{upstreams.url}/u/a", "Generic")
            + upstream("b", f"{upstreams.url}/u/b", "Generic")
            + route("warehouse", "/wh", "a b", QUICK)
        )
        async with proxy(policy, tmp_path) as running:
            got = await wire(running, {"name": "nightly"}, path="/wh/warehouse/jobs")
            assert got.status >= 400 or not got.whole
            assert len(upstreams.attempts()) == 1
            assert got.field(b"x-should-retry") is None


async def test_an_unsafe_request_that_was_never_sent_is_retried(tmp_path: Path) -> None:
    policy = upstream("main", f"http://127.0.0.1:{closed_port()}", "Generic") + route("wh", "/wh", "main", QUICK)
    async with proxy(policy, tmp_path) as running:
        got = await wire(running, {"name": "nightly"}, path="/wh/warehouse/jobs")
        assert (got.status, (await running.call()).attempts) == (502, 3)
        error = json.loads(got.body)["seawall"]
        assert (error["code"], error["category"], error["attempts"]) == ("CONNECT_FAILED", "network", 3)
        assert running.upstream("main").transport.snapshot(time.monotonic()).consecutive_failures == 1
        assert running.upstream("main").breaker("", 0).snapshot(time.monotonic()).consecutive_failures == 0


async def test_a_name_that_does_not_resolve_is_told_as_such(tmp_path: Path) -> None:
    async with proxy(one("http://upstream.invalid/v1"), tmp_path) as running:
        got = await wire(running, chat())
        assert (got.status, json.loads(got.body)["seawall"]["code"]) == (502, "DNS_FAILED")
        assert (await running.call()).attempts == 3


async def test_a_keyed_request_is_repeated_at_the_same_upstream_only(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["500", "reset"], upstream="a")
        policy = (
            upstream("a", f"{upstreams.url}/u/a", "Generic")
            + upstream("b", f"{upstreams.url}/u/b", "Generic")
            + route("warehouse", "/wh", "a b", QUICK)
        )
        async with proxy(policy, tmp_path) as running, agent(running) as client:
            key = {"idempotency-key": "nightly-1"}
            got = await client.post("/wh/warehouse/jobs", json={"name": "nightly"}, headers=key)
            assert got.json()["status"] == "QUEUED"
            upstreams.script([], upstream="a", then="500")
            refused = await client.post("/wh/warehouse/jobs", json={"name": "nightly"}, headers=key)
            assert refused.status_code == 500
            assert [a.upstream for a in upstreams.attempts()] == ["a"] * 6


@pytest.mark.parametrize(
    ("fault", "least", "most"),
    [
        ("429; retry-after-ms=60", 0.06, 0.5),
        ("503; retry-after-ms=60", 0.06, 0.5),
        ("429; retry-after=1; retry-after-ms=60", 0.06, 0.5),
        ("429-retry-after-1", 1.0, 1.9),
        ("503; retry-after=-5", 0.0, 0.1),
        ("503; retry-after=nan", 0.0, 0.1),
        ("503; retry-after=99999999999", 0.0, 0.1),
        ("503; retry-after-ms=-1", 0.0, 0.1),
        ("500; retry-after-ms=800", 0.0, 0.1),
    ],
)
async def test_the_wait_is_what_the_upstream_asks_for(tmp_path: Path, fault: str, least: float, most: float) -> None:
    """Jittered upwards only; absurd hints are as good as none."""
    async with lab() as upstreams:
        upstreams.script([fault])
        async with proxy(one(f"{upstreams.url}/v1"), tmp_path) as running, agent(running) as client:
            assert (await client.post(CHAT, json=chat())).headers["x-seawall-outcome"] == "retry"
            first, second = upstreams.attempts()
            assert least <= second.received - (first.end or 0) < most


@pytest.mark.parametrize("limit", ["retry: {retryAfterMax: 1s}\n", "timeouts: {request: 1s}\n"])
async def test_a_hint_beyond_what_may_be_waited_is_passed_on_at_once(tmp_path: Path, limit: str) -> None:
    async with lab() as upstreams:
        upstreams.script(["429-retry-after-3"])
        async with proxy(one(f"{upstreams.url}/v1", limit), tmp_path) as running, agent(running) as client:
            got = await client.post(CHAT, json=chat())
            assert (got.status_code, got.headers["retry-after"], len(upstreams.attempts())) == (429, "3", 1)
            assert got.elapsed.total_seconds() < 0.5


@pytest.mark.parametrize(("earlier", "tries"), [(0, 3), (1, 2), (2, 1), (7, 1)])
async def test_the_retries_of_an_sdk_lower_ours(tmp_path: Path, earlier: int, tries: int) -> None:
    async with lab() as upstreams:
        upstreams.script([], then="500")
        async with proxy(one(f"{upstreams.url}/v1"), tmp_path) as running, agent(running) as client:
            got = await client.post(CHAT, json=chat(), headers={"x-stainless-retry-count": str(earlier)})
            assert len(upstreams.attempts()) == tries
            assert got.headers.get("x-should-retry") == ("false" if tries > 1 else None)


async def test_an_outage_is_met_with_less_than_a_quarter_more_load(tmp_path: Path) -> None:
    """200 calls while everything fails, with the breaker out of the way: the retry budget alone bounds the storm."""
    loose = "circuitBreaker: {consecutiveFailures: 0, errorRate: {percent: 0}}\n"
    async with lab() as upstreams:
        upstreams.script([], then="500")
        async with proxy(one(f"{upstreams.url}/v1", QUICK, loose), tmp_path) as running, agent(running) as client:
            # The floor of one retry per second is part of the budget, and its whole interval of 10 s is there at once.
            for _ in range(300):
                assert (await client.post(CHAT, json=chat())).status_code == 500
            assert len(upstreams.attempts()) < 300 * 1.25
            assert len(upstreams.attempts()) >= 300 * 1.19
            budget = running.upstream("main").budget.snapshot(time.monotonic())
            assert budget.balance < 1


async def test_the_policys_codes_replace_the_tables_choice(tmp_path: Path) -> None:
    async with lab() as upstreams:
        rule = "retry: {codes: [404], backoff: {base: 1ms, max: 2ms}}\n"
        async with proxy(one(f"{upstreams.url}/v1", rule), tmp_path) as running, agent(running) as client:
            for model, tries in (("lab-404", 3), ("lab-500", 1)):
                await client.post(CHAT, json=chat(model))
                assert len(upstreams.attempts(model=model)) == tries


async def test_a_body_above_the_replay_buffer_streams_through_and_is_not_replayed(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["500"])
        rule = QUICK + "limits: {replayBuffer: 64Ki}\n"
        async with proxy(one(f"{upstreams.url}/v1", rule), tmp_path) as running, agent(running) as client:
            large = chat(user="x" * 300_000)
            assert (await client.post(CHAT, json=large)).status_code == 500
            assert len(upstreams.attempts()) == 1
            got = await client.post(CHAT, json=large)
            assert (got.status_code, got.headers["x-seawall-outcome"]) == (200, "primary")
            assert upstreams.attempts()[1].bytes_in == len(got.request.content)
            assert running.upstream("main").budget.snapshot(time.monotonic()).withdrawn == 0


async def test_calls_stream_through_when_the_buffer_budget_is_spent(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["500", "ok", "ok"])
        policy = one(f"{upstreams.url}/v1")
        async with proxy(policy, tmp_path, buffer_budget=16) as running, agent(running) as client:
            assert (await client.post(CHAT, json=chat())).status_code == 500
            assert (await client.post(CHAT, json=chat())).status_code == 200
            streamed = await client.post(CHAT, json=chat(stream=True))
            assert streamed.text.endswith("data: [DONE]\n\n")
            assert len(upstreams.attempts()) == 3
            await until(lambda: len(running.calls) == 3)
