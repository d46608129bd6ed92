"""Which failures move a call to another upstream, when, and what stays where it is: SEMANTICS §§1, 2 and 8."""

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from harness import Running, lab, proxy, route, upstream
from peers import CHAT, QUICK, agent, always, answer, chat, closed_port, serving, wire

from seawall.lab import Lab

# fault at the first of two upstreams, stream?, attempts at the first, attempts at the second
ROWS = [
    ("reset", False, 3, 1),
    ("close", False, 3, 1),
    ("garbage", False, 3, 1),
    ("truncated", False, 3, 1),
    ("408", False, 3, 1),
    ("409", False, 3, 1),
    ("500", False, 3, 1),
    ("502", False, 3, 1),
    ("504", False, 3, 1),
    ("503", False, 1, 1),
    ("529", False, 1, 1),
    ("429", False, 1, 1),
    ("429-retry-after-30", False, 1, 1),
    ("quota", False, 1, 1),
    ("402", False, 1, 1),
    ("400", False, 1, 0),
    ("401", False, 1, 0),
    ("403", False, 1, 0),
    ("404", False, 1, 0),
    ("413", False, 1, 0),
    ("422", False, 1, 0),
    ("filter", False, 1, 0),
    ("error-body-server", False, 3, 1),
    ("error-body-overloaded", False, 1, 1),
    ("error-body-quota", False, 1, 1),
    ("error-body-invalid", False, 1, 0),
    ("cut-prelude", True, 3, 1),
    ("malformed-prelude", True, 3, 1),
    ("error-prelude-server", True, 3, 1),
    ("error-prelude-overloaded", True, 1, 1),
    ("error-prelude-rate-limit", True, 1, 1),
    ("error-prelude-quota", True, 1, 1),
    ("error-prelude-invalid", True, 1, 0),
]


def two(upstreams: Lab, rule: str = QUICK, extra: str = "", other: str = "") -> str:
    """Upstreams a and b, in this order of priority. extra: of a's document; other: of b's."""
    return (
        upstream("a", f"{upstreams.url}/u/a/v1", extra=extra)
        + upstream("b", f"{upstreams.url}/u/b/v1", extra=other)
        + route("models", "/v1", "a b", rule)
    )


def tried(upstreams: Lab) -> list[str]:
    return [attempt.upstream for attempt in upstreams.attempts()]


async def ask(running: Running, **fields: Any) -> str:
    """One call; the name of the upstream that answered."""
    async with agent(running) as client:
        return (await client.post(CHAT, json=chat(**fields))).headers["x-seawall-upstream"]


@pytest.mark.parametrize(("fault", "stream", "first", "second"), ROWS, ids=[r[0] for r in ROWS])
async def test_a_fault_moves_the_call_as_its_row_says(
    tmp_path: Path, fault: str, stream: bool, first: int, second: int
) -> None:
    async with lab() as upstreams:
        upstreams.script([], upstream="a", then=fault)
        async with proxy(two(upstreams), tmp_path) as running:
            got = await wire(running, chat(stream=stream))
            assert tried(upstreams) == ["a"] * first + ["b"] * second
            call = await running.call()
            if second:
                assert (got.status, got.whole, call.fault) == (200, True, "")
                assert (call.upstream, call.outcome.value, call.service_level.value) == ("b", "failover", "degraded")
                assert got.field(b"x-seawall-attempts") == b"%d" % (first + second)
            else:
                assert (call.upstream, call.outcome.value) == ("a", "error")


async def test_each_candidate_gets_one_first_try_and_the_retries_that_are_left(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script([], then="500")
        async with proxy(two(upstreams), tmp_path) as running:
            got = await wire(running, chat())
            assert tried(upstreams) == ["a", "a", "a", "b"]
            assert (got.status, got.field(b"x-should-retry")) == (500, b"false")


async def test_an_unsafe_request_that_was_never_sent_goes_elsewhere(tmp_path: Path) -> None:
    async with lab() as upstreams:
        policy = (
            upstream("a", f"http://127.0.0.1:{closed_port()}", "Generic")
            + upstream("b", upstreams.url, "Generic")
            + route("warehouse", "/wh", "a b", QUICK)
        )
        async with proxy(policy, tmp_path) as running:
            got = await wire(running, {"name": "nightly"}, path="/wh/warehouse/jobs")
            assert (got.status, got.field(b"x-seawall-outcome")) == (201, b"failover")


async def test_a_spent_retry_budget_does_not_stop_failover(tmp_path: Path) -> None:
    none = "retryConstraint: {budget: {percent: 0}, minRetryRate: {count: 0}}\n"
    async with lab() as upstreams:
        upstreams.script([], upstream="a", then="500")
        async with proxy(two(upstreams, extra=none), tmp_path) as running:
            assert [await ask(running) for _ in range(3)] == ["b"] * 3
            assert tried(upstreams) == ["a", "b"] * 3


async def test_exhausted_quota_parks_the_credential_and_later_calls_pass_it_over(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script([], upstream="a", then="quota")
        async with proxy(two(upstreams), tmp_path) as running, agent(running) as client:
            mine, other = {"authorization": "Bearer one"}, {"authorization": "Bearer two"}
            for _ in range(3):
                assert (await client.post(CHAT, json=chat(), headers=mine)).headers["x-seawall-upstream"] == "b"
            assert tried(upstreams) == ["a", "b", "b", "b"]
            assert (await running.call(2)).skipped == ("a: cooling down",)
            upstreams.script([], upstream="a")
            # Another agent's credential is another account.
            assert (await client.post(CHAT, json=chat(), headers=other)).headers["x-seawall-upstream"] == "a"


async def test_a_sole_candidate_without_quota_is_asked_all_the_same(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["quota"])
        policy = upstream("a", f"{upstreams.url}/v1") + route("models", "/v1", "a", QUICK)
        async with proxy(policy, tmp_path) as running:
            assert [(await wire(running, chat())).status for _ in range(2)] == [429, 200]


async def test_a_throttled_model_rests_and_the_other_upstream_is_preferred(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["429; retry-after-ms=800"], upstream="a")
        async with proxy(two(upstreams), tmp_path) as running:
            assert await ask(running) == "b"
            assert await ask(running) == "b"
            assert await ask(running, model="another") == "a"
            assert running.upstream("a").breaker("gpt", 0).snapshot(time.monotonic()).calls == 0
            while await ask(running) == "b":
                pass
            throttled, *_, again = upstreams.attempts(upstream="a", model="gpt")
            assert 0.8 <= again.received - throttled.received < 3


async def test_a_model_override_changes_the_models_bytes_and_nothing_else(tmp_path: Path) -> None:
    body = b'{ "n":1.0,"model" :\t"gpt", "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9"}], "x": 1e2 }'
    wanted = body.replace(b'"gpt"', b'"b-model"')
    seen: list[bytes] = []

    async def record(reader: Any, writer: Any) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(await reader.readexactly(len(wanted)))
        assert f"content-length: {len(wanted)}".encode() in head.lower()
        writer.write(answer(b'{"choices": []}'))

    async with lab() as upstreams, serving(record) as port:
        upstreams.script([], then="503")
        policy = upstream("a", f"{upstreams.url}/v1") + upstream("b", f"http://127.0.0.1:{port}/v1")
        policy += route("models", "/v1", "a", QUICK).replace(
            "priority: 0}", "priority: 0}\n      - {name: b, priority: 1, model: b-model}"
        )
        async with proxy(policy, tmp_path) as running, agent(running) as client:
            got = await client.post(CHAT, content=body, headers={"content-type": "application/json"})
            assert (got.headers["x-seawall-upstream"], got.headers["x-seawall-model"]) == ("b", "b-model")
            assert seen == [wanted]


@pytest.mark.parametrize(("window", "answered"), [(200_000, "b"), (8_000, "a"), (4_000, "a")])
async def test_a_context_length_error_moves_to_a_larger_window_only(tmp_path: Path, window: int, answered: str) -> None:
    async with lab() as upstreams:
        upstreams.script([], upstream="a", then="context")
        small, other = (f"models: [{{name: gpt, contextTokens: {n}}}]\n" for n in (8_000, window))
        async with proxy(two(upstreams, extra=small, other=other), tmp_path) as running:
            assert await ask(running) == answered


async def test_a_refusal_that_the_route_lists_moves_on(tmp_path: Path) -> None:
    async with lab() as upstreams:
        upstreams.script(["401", "404"], upstream="a")
        async with proxy(two(upstreams, QUICK + "fallbackOn: [Unauthorized]\n"), tmp_path) as running:
            assert [await ask(running), await ask(running)] == ["b", "a"]
            assert [a.result for a in running.attempts] == ["UNAUTHORIZED", "ok", "NOT_FOUND"]


async def test_conversation_state_stays_with_its_upstream(tmp_path: Path) -> None:
    async with lab() as upstreams:
        pair = "matches: [{path: {type: PathPrefix, value: /v1}}]\n    backendRefs: [{name: a}, {name: b}]"
        policy = two(upstreams).partition("matches:")[0] + pair + "\n"
        async with proxy(policy, tmp_path) as running, agent(running) as client:
            turn = {"model": "gpt", "input": "and then?", "previous_response_id": "resp_1"}
            for _ in range(20):
                got = await client.post("/v1/responses", json=turn)
                assert (got.headers["x-seawall-upstream"], got.headers["x-seawall-outcome"]) == ("a", "primary")
            upstreams.script([], upstream="a", then="503")
            assert (await client.post("/v1/responses", json=turn)).status_code == 503
            assert set(tried(upstreams)) == {"a"}


@pytest.mark.parametrize("coding", ["plain", "gzip"])
@pytest.mark.parametrize("stream", [False, True])
async def test_conversation_state_goes_back_to_the_upstream_that_made_it(
    tmp_path: Path, stream: bool, coding: str
) -> None:
    async with lab() as upstreams:
        if coding == "gzip":
            upstreams.script([], then="gzip")
        refs = "backendRefs: [{name: a, weight: 1}, {name: b, weight: 1}]"
        policy = two(upstreams).partition("backendRefs:")[0] + refs + "\n"
        async with proxy(policy, tmp_path) as running, agent(running) as client:
            made: set[str] = set()
            for _ in range(24):
                first = await client.post("/v1/responses", json={"model": "m", "input": "hi", "stream": stream})
                owner = first.headers["x-seawall-upstream"]
                made.add(owner)
                found = re.search(r'"id":\s*"(resp_[^"]+)"', first.text)
                assert found is not None
                turn = {"model": "m", "input": "go on", "previous_response_id": found[1]}
                second = await client.post("/v1/responses", json=turn)
                assert (second.status_code, second.headers["x-seawall-upstream"]) == (200, owner)
                assert second.headers["x-seawall-outcome"] == "primary"
            assert made == {"a", "b"}


FILTERED = (
    b'{"model":"gpt-9","choices":[{"index":0,"message":{"role":"assistant","content":""},'
    b'"finish_reason":"content_filter"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'
)


async def test_an_answer_that_the_provider_withheld_is_passed_on_billed_and_no_error(tmp_path: Path) -> None:
    async with serving(always(answer(FILTERED))) as port:
        policy = upstream("a", f"http://127.0.0.1:{port}/v1") + route("chat", "/v1", "a", QUICK)
        async with proxy(policy, tmp_path) as running, agent(running) as client:
            got = await client.post(CHAT, json=chat())
            assert (got.status_code, got.content, got.headers["x-seawall-outcome"]) == (200, FILTERED, "primary")
            call = await running.call()
            assert (call.fault, call.outcome.value, call.attempts) == ("CONTENT_POLICY", "primary", 1)
            assert call.usage is not None
            assert (call.usage.input, call.usage.output) == (7, 3)


async def test_an_answer_that_the_provider_withheld_moves_on_where_the_route_lists_it(tmp_path: Path) -> None:
    async with lab() as upstreams, serving(always(answer(FILTERED))) as port:
        policy = (
            upstream("a", f"http://127.0.0.1:{port}/v1")
            + upstream("b", f"{upstreams.url}/u/b/v1")
            + route("chat", "/v1", "a b", QUICK + "fallbackOn: [ContentPolicy]\n")
        )
        async with proxy(policy, tmp_path) as running:
            assert await ask(running) == "b"


async def test_weights_share_the_calls_of_one_priority(tmp_path: Path) -> None:
    async with lab() as upstreams:
        refs = "backendRefs: [{name: a, weight: 1}, {name: b, weight: 3}]"
        policy = two(upstreams).partition("backendRefs:")[0] + refs + "\n"
        async with proxy(policy, tmp_path) as running, agent(running) as client:
            for _ in range(200):
                assert (await client.post(CHAT, json=chat())).headers["x-seawall-service-level"] == "full"
            shares = Counter(tried(upstreams))
            # Six standard deviations of a fair draw.
            assert 13 <= shares["a"] <= 87


async def test_what_is_passed_on_is_the_last_upstreams_own_word(tmp_path: Path) -> None:
    """Neither another upstream's Retry-After nor its body."""
    async with lab() as upstreams:
        upstreams.script([], upstream="a", then="429-retry-after-30")
        upstreams.script([], upstream="b", then="500; message=b is down")
        async with proxy(two(upstreams), tmp_path) as running:
            got = await wire(running, chat())
            assert (got.status, got.field(b"retry-after"), got.field(b"x-seawall-upstream")) == (500, None, b"b")
            assert b"b is down" in got.body
