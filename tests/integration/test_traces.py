"""Spans of calls, as a collector gets them: one for each call and one for each attempt, within the agent's trace and
around the upstream's, with no word of what was asked or answered."""

import asyncio
from pathlib import Path

import httpx
import openai
import pytest
from harness import lab, proxy, route, until, upstream
from otlp import Taken
from stage import ONE_TRY, QUICK_RETRIES
from tee import tee
from traced import ASK, PARENT, SAMPLED, TRACE, UNSAMPLED, Stage, traced
from websockets.asyncio.client import connect

CACHE = "cache: {mode: Enabled, ttl: 1m}\nretry: {attempts: 0}\n"


async def one(at: Stage, number: int = 1) -> tuple[Taken, list[Taken]]:
    """The `number`th call's span, and those of its attempts."""
    call = (await at.spans.calls(number))[number - 1]
    return call, at.spans.attempts(call)


def carried(span: Taken) -> str:
    """The field by which an attempt's upstream knows of it."""
    return f"00-{span.trace_id}-{span.span_id}-01"


async def test_a_call_has_a_span_and_its_attempt_one_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        answer = await at.chat(model="gpt-4o")
        call, attempts = await one(at)
        (attempt,) = attempts
        assert call.service["service.name"] == "seawall" and call.service["service.version"]
        assert (call.name, call.parent_id, call.failed) == ("POST chat", "", False)
        assert (call["url.path"], call["http.response.status_code"]) == ("/v1/chat/completions", 200)
        assert (call["seawall.outcome"], call["seawall.upstream"], call["seawall.attempts"]) == ("primary", "a", 1)
        assert (call["seawall.route"], call["seawall.rule"]) == ("chat", "main")
        assert call["seawall.request_id"] == at.running.calls[0].call_id
        assert attempt.trace_id == call.trace_id
        assert (attempt.name, attempt.failed) == ("chat gpt-4o", False)
        assert (attempt["gen_ai.operation.name"], attempt["gen_ai.provider.name"]) == ("chat", "openai")
        assert (attempt["gen_ai.request.model"], attempt["gen_ai.response.model"]) == ("gpt-4o", answer.model)
        assert attempt["gen_ai.usage.input_tokens"] == answer.usage.prompt_tokens
        assert attempt["gen_ai.usage.output_tokens"] == answer.usage.completion_tokens
        assert attempt["server.address"] == "127.0.0.1" and attempt["http.request.resend_count"] is None
        assert not any(name.startswith("gen_ai.") for name in call.attributes)
        assert call.seconds >= attempt.seconds > 0
        assert at.asked.traceparents == [carried(attempt)]


async def test_a_stream_is_measured_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        assert await at.stream(extra_headers={"x-lab-fault": "gap-20ms"})
        call, (attempt,) = await one(at)
        first = attempt["gen_ai.response.time_to_first_chunk"]
        assert isinstance(first, float) and attempt.seconds > first + 0.05
        assert attempt["gen_ai.request.stream"] and call["seawall.stream"]
        assert attempt["gen_ai.usage.output_tokens"]


async def test_what_was_asked_and_answered_is_in_no_span(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        answer = await at.chat(model="sk-abcdefghijklmnop", extra_query={"key": "hidden-key"})
        with pytest.raises(openai.BadRequestError):
            await at.chat(extra_headers={"x-lab-fault": "400"})
        await at.spans.calls(2)
        sent = b"".join(at.spans.bodies)
        for text in (
            b"a secret question",
            answer.choices[0].message.content.encode(),
            b"sk-",
            b"hidden-key",
            b"hi lab",
        ):
            assert text not in sent
        assert b"[redacted]" in sent


async def test_a_retry_is_a_span_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch, QUICK_RETRIES) as at:
        at.lab.script(["503", "ok"])
        await at.chat()
        call, (failed, good) = await one(at)
        assert (failed.failed, failed["error.type"], failed["http.response.status_code"]) == (True, "OVERLOADED", 503)
        assert str(failed["seawall.next"]).startswith("retry in")
        assert (good.failed, good["error.type"], good["http.request.resend_count"]) == (False, None, 1)
        assert (call.failed, call["seawall.outcome"], call["seawall.retries"]) == (False, "retry", 1)
        assert at.asked.traceparents == [carried(failed), carried(good)]


async def test_a_failover_names_both_upstreams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch, backends="a b") as at:
        at.lab.script(["500"], upstream="a", repeat=True)
        await at.chat()
        call, attempts = await one(at)
        assert [span["seawall.upstream"] for span in attempts] == ["a", "b"]
        assert call["seawall.outcome"] == "failover"


async def test_a_call_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        at.lab.script(["500"], repeat=True)
        with pytest.raises(openai.InternalServerError):
            await at.chat()
        call, (attempt,) = await one(at)
        assert call.failed and attempt.failed
        assert call["error.type"] == attempt["error.type"] == "SERVER_ERROR"


async def test_what_an_agent_gets_wrong_is_no_error_of_the_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        with pytest.raises(openai.NotFoundError):
            await at.agent.with_options(base_url=f"{at.running.url}/nowhere").models.list()
        call, attempts = await one(at)
        assert (call.name, call.failed, call["error.type"], attempts) == ("GET", False, "NO_ROUTE", [])


async def test_a_races_loser_is_a_span_that_did_not_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = "hedging: {hedgingDelay: 0s}\nretry: {attempts: 0}\n"
    async with traced(tmp_path, monkeypatch, rule, backends="a|b") as at:
        at.lab.script(["latency-3s"], upstream="a", repeat=True)
        await at.chat()
        await until(lambda: len(at.spans.spans) == 3)
        call, attempts = await one(at)
        by = {str(span["seawall.upstream"]): span for span in attempts}
        assert (by["a"]["seawall.result"], by["a"].failed, by["a"]["error.type"]) == ("cancelled", False, None)
        assert by["b"]["seawall.result"] == "ok"
        assert [span["seawall.hedge"] for span in attempts] == [None, True]
        assert sorted(at.asked.traceparents) == sorted(map(carried, attempts))
        assert call["seawall.attempts"] == 2


async def test_a_stream_that_breaks_ends_both_spans_with_its_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        with pytest.raises(openai.APIError):
            await at.stream(extra_headers={"x-lab-fault": "cut-4"})
        call, (attempt,) = await one(at)
        assert call.failed and attempt.failed
        assert call["error.type"] == attempt["error.type"] == at.running.calls[0].fault != ""
        assert (call["http.response.status_code"], attempt["http.response.status_code"]) == (200, 200)


async def test_an_agent_that_leaves_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        asked = asyncio.ensure_future(at.chat(extra_headers={"x-lab-fault": "latency-5s"}))
        await until(lambda: at.lab.attempts())
        asked.cancel()
        call, (attempt,) = await one(at)
        assert (call["error.type"], call.failed) == ("AGENT_GONE", False)
        assert (attempt["seawall.result"], attempt.failed) == ("AGENT_GONE", False)
        assert at.asked.traceparents == [carried(attempt)]


async def test_the_agents_trace_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        await at.chat(extra_headers={**SAMPLED, "tracestate": "other=1"})
        call, (attempt,) = await one(at)
        assert (call.trace_id, call.parent_id) == (TRACE, PARENT)
        assert call.span.trace_state == attempt.span.trace_state == "other=1"
        assert at.asked.traceparents == [f"00-{TRACE}-{attempt.span_id}-01"]
        assert at.asked.tracestates == ["other=1"]


async def test_a_parent_that_is_not_sampled_passes_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        await at.chat(extra_headers={**UNSAMPLED, "tracestate": "other=1"})
        await at.chat()
        call, _ = await one(at)
        assert at.asked.traceparents[0] == UNSAMPLED["traceparent"]
        assert call.trace_id != TRACE and len(at.spans.spans) == 2
        assert at.running.calls[0].trace_id != TRACE


async def test_without_a_parent_the_sampler_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    async with traced(tmp_path, monkeypatch, **never) as at:
        await at.chat()
        await at.chat(extra_headers=SAMPLED)
        call, _ = await one(at)
        assert call.trace_id == TRACE and len(at.spans.spans) == 2
        # Who is not traced sends what it was given, and no field more.
        assert len(at.asked.traceparents) == 1


@pytest.mark.parametrize(
    "fields", [{"traceparent": "00-0-0-01"}, {"traceparent": f"00-{'0' * 32}-{PARENT}-01", "tracestate": "a=1"}]
)
async def test_what_is_no_parent_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]
) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        await at.chat(extra_headers=fields)
        call, (attempt,) = await one(at)
        assert call.parent_id == "" and call.trace_id != TRACE
        assert at.asked.traceparents == [carried(attempt)] and at.asked.tracestates == []


async def test_a_kept_answer_has_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch, CACHE) as at:
        for _ in range(2):
            await at.chat(temperature=0)
        miss, first = await one(at, 1)
        hit, second = await one(at, 2)
        assert (miss["seawall.cache"], len(first)) == ("miss", 1)
        assert (hit["seawall.cache"], hit["seawall.outcome"], second) == ("hit", "cache", [])


async def test_a_shared_answer_points_at_the_call_that_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch, CACHE) as at:
        at.lab.script(["latency-300ms"])
        await asyncio.gather(*(at.chat(temperature=0) for _ in range(2)))
        by = {str(span["seawall.cache"]): span for span in await at.spans.calls(2)}
        (link,) = by["coalesced"].span.links
        assert link.span_id.hex() == by["miss"].span_id and link.trace_id.hex() == by["miss"].trace_id
        assert at.spans.attempts(by["coalesced"]) == [] and len(at.spans.attempts(by["miss"])) == 1


async def test_a_websocket_is_one_attempt_to_the_sessions_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch) as at:
        url = f"ws://127.0.0.1:{at.running.service.port}/v1/realtime?model=gpt"
        async with connect(url, proxy=None, additional_headers=SAMPLED) as socket:
            await socket.recv()
        call, (attempt,) = await one(at)
        assert (call.trace_id, call["http.response.status_code"]) == (TRACE, 101)
        assert (attempt.name, attempt["seawall.result"]) == ("GET", "ok")
        assert at.asked.traceparents == [f"00-{TRACE}-{attempt.span_id}-01"]


async def test_the_log_says_where_a_call_is_among_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(tmp_path, monkeypatch, QUICK_RETRIES) as at:
        at.lab.script(["503", "ok"])
        await at.chat()
        call, attempts = await one(at)
        ended = at.running.calls[0]
        assert (ended.trace_id, ended.span_id) == (call.trace_id, call.span_id)
        assert [one.span_id for one in at.running.attempts] == [span.span_id for span in attempts]


async def test_a_translated_request_is_in_the_trace_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("sk-other")
    there = upstream("claude", "{lab}/u/claude", "Anthropic", f"auth: {{type: APIKey, keyFile: {tmp_path}/key}}")
    rule = route("other", "/other/v1", "claude", f"dialect: OpenAI\n{ONE_TRY}")
    more = there + rule.replace("{name: claude, priority: 0}", "{name: claude, model: claude-haiku-4-5}")
    async with traced(tmp_path, monkeypatch, more=more) as at:
        agent = at.agent.with_options(base_url=f"{at.running.url}/other/v1")
        await agent.chat.completions.create(model="gpt", messages=ASK, extra_headers={**SAMPLED, "tracestate": "a=1"})
        call, (attempt,) = await one(at)
        assert (call.trace_id, call.parent_id) == (TRACE, PARENT)
        assert (attempt.name, attempt["gen_ai.provider.name"]) == ("chat claude-haiku-4-5", "anthropic")
        assert attempt["gen_ai.usage.output_tokens"]
        assert at.asked.traceparents == [f"00-{TRACE}-{attempt.span_id}-01"] and at.asked.tracestates == ["a=1"]


async def test_what_an_agent_has_signed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;traceparent, Signature=0"
    async with traced(tmp_path, monkeypatch) as at:
        await at.chat(extra_headers={**SAMPLED, "authorization": signature})
        call, (attempt,) = await one(at)
        assert at.asked.traceparents == [SAMPLED["traceparent"]]
        assert call.trace_id == attempt.trace_id == TRACE


async def test_what_is_fetched_behind_an_agents_back_is_in_its_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = "cache: {mode: Enabled, ttl: 100ms, staleWhileRevalidate: 1m}\nretry: {attempts: 0}\n"
    async with traced(tmp_path, monkeypatch, rule) as at:
        await at.chat(temperature=0)
        await asyncio.sleep(0.15)
        await at.chat(temperature=0)
        stale, _ = await one(at, 2)
        await until(lambda: at.spans.attempts(stale))
        (renewal,) = at.spans.attempts(stale)
        assert (stale["seawall.cache"], stale["seawall.attempts"]) == ("stale", 0)
        assert renewal.trace_id == stale.trace_id and renewal["seawall.result"] == "ok"


async def test_without_traces_the_agents_own_passes_as_it_came(tmp_path: Path) -> None:
    async with lab() as upstreams, tee(upstreams.url) as asked:
        policy = upstream("a", f"{asked.url}/v1") + route("chat", "/v1", "a")
        async with (
            proxy(policy, tmp_path) as running,
            openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="k", max_retries=0) as agent,
        ):
            await agent.chat.completions.create(model="gpt", messages=ASK, extra_headers=SAMPLED)
            await agent.chat.completions.create(model="gpt", messages=ASK)
    assert asked.traceparents == [SAMPLED["traceparent"]]


async def test_latencies_point_at_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"accept": "application/openmetrics-text; version=1.0.0"}
    async with traced(tmp_path, monkeypatch) as at, httpx.AsyncClient(trust_env=False) as http:
        await at.chat(extra_headers=SAMPLED)
        await at.chat(extra_headers=UNSAMPLED)
        await until(lambda: len(at.running.calls) == 2)
        text = (await http.get(f"{at.running.admin_url}/metrics", headers=wanted)).text
        plain = (await http.get(f"{at.running.admin_url}/metrics")).text
    exemplars = [line for line in text.splitlines() if " # {" in line]
    assert {line.partition("_bucket")[0] for line in exemplars} == {
        "seawall_request_duration_seconds",
        "seawall_first_content_seconds",
        "seawall_overhead_seconds",
    }
    assert all(f'# {{trace_id="{TRACE}"}}' in line for line in exemplars)
    assert "trace_id" not in plain
