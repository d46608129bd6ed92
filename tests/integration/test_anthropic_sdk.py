"""The anthropic package through the proxy: what it does with the provider it does here, errors and cancellation
included."""

import time
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from harness import until
from pydantic import BaseModel
from stage import LENIENT, ONE_TRY, QUICK_RETRIES, stage

ASK: list[Any] = [{"role": "user", "content": "What is the weather in Paris and in Rome?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[Any] = [{"name": name, "input_schema": SCHEMA} for name in ("get_weather", "get_time")]


class City(BaseModel):
    name: str
    inhabitants: int


def client(base_url: str, **options: Any) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=base_url, api_key="sk-test", **{"max_retries": 0, **options})


def ask(model: str = "claude", **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 1024, "messages": ASK, **more}


async def read(agent: AsyncAnthropic, **asked: Any) -> list[str]:
    return [event.type async for event in await agent.messages.create(stream=True, **asked)]


async def test_messages_plain_and_streamed(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.anthropic) as agent:
        plain = await agent.messages.create(**ask())
        async with agent.messages.stream(**ask()) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            whole = await stream.get_final_message()
        assert [block.text for block in plain.content if block.type == "text"] == [text] != [""]
        assert whole.usage.output_tokens == plain.usage.output_tokens
        assert (await read(agent, **ask()))[-1] == "message_stop"
        calls = [await at.running.call(n) for n in (1, 2, 3)]
        assert [call.stream for call in calls] == [False, True, True]
        assert all(call.usage and call.usage.output for call in calls)
        assert all(call.operation == "messages" and call.outcome.value == "primary" for call in calls)


@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_tool_calls(tmp_path: Path, streamed: bool) -> None:
    async with stage(tmp_path) as at, client(at.anthropic) as agent:
        asked = ask("lab-tool-get_weather,get_time", tools=TOOLS)
        if streamed:
            async with agent.messages.stream(**asked) as stream:
                content: list[Any] = list((await stream.get_final_message()).content)
        else:
            content = list((await agent.messages.create(**asked)).content)
        assert [b.name for b in content if b.type == "tool_use"] == ["get_weather", "get_time"]


async def test_structured_output_token_counts_and_models(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.anthropic) as agent:
        parsed = await agent.messages.parse(**ask(output_format=City))
        assert isinstance(parsed.parsed_output, City)
        assert (await agent.messages.count_tokens(model="claude", messages=ASK)).input_tokens > 0
        assert [model.id async for model in agent.models.list()]


ERRORS = {
    "lab-invalid": anthropic.BadRequestError,
    "lab-context": anthropic.BadRequestError,
    "lab-quota": anthropic.APIStatusError,
    "lab-auth": anthropic.AuthenticationError,
    "lab-forbidden": anthropic.PermissionDeniedError,
    "lab-not-found": anthropic.NotFoundError,
    "lab-409": anthropic.ConflictError,
    "lab-413": anthropic.APIStatusError,
    "lab-422": anthropic.UnprocessableEntityError,
    "lab-rate-limit-1": anthropic.RateLimitError,
    "lab-500": anthropic.InternalServerError,
    "lab-503": anthropic.InternalServerError,
    "lab-overloaded": anthropic.InternalServerError,
}


def without_id(body: Any) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "request_id"}


@pytest.mark.parametrize("model", ERRORS)
async def test_a_providers_error_is_the_same_as_in_a_direct_call(tmp_path: Path, model: str) -> None:
    async with stage(tmp_path) as at, client(at.lab.url) as direct, client(at.anthropic) as agent:
        with pytest.raises(ERRORS[model]) as wanted:
            await direct.messages.create(**ask(model))
        with pytest.raises(ERRORS[model]) as got:
            await agent.messages.create(**ask(model))
        assert type(got.value) is type(wanted.value)
        assert got.value.status_code == wanted.value.status_code
        assert without_id(got.value.body) == without_id(wanted.value.body)
        assert got.value.request_id and got.value.request_id.startswith("req_")
        assert "x-should-retry" not in got.value.response.headers
        assert got.value.response.headers.get("retry-after") == wanted.value.response.headers.get("retry-after")


@pytest.mark.parametrize("model", ["lab-reset", "lab-close", "lab-garbage", "lab-truncated", "lab-silent"])
async def test_an_unusable_answer_becomes_an_error_with_its_reason(tmp_path: Path, model: str) -> None:
    rule = f"{ONE_TRY}\ntimeouts: {{backendRequest: 200ms}}"
    async with stage(tmp_path, rule) as at, client(at.anthropic) as agent:
        with pytest.raises(anthropic.InternalServerError) as caught:
            await agent.messages.create(**ask(model))
        told: Any = caught.value.body
        assert told["type"] == "error"
        assert told["error"]["type"] == ("timeout_error" if model == "lab-silent" else "api_error")
        assert told["seawall"]["request_id"] == told["request_id"]
        assert caught.value.status_code == (504 if model == "lab-silent" else 502)


async def test_seawalls_own_refusals_say_why(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.anthropic) as agent, client(f"{at.running.url}/nowhere") as lost:
        at.running.service.view.isolate("anthropic", None)
        with pytest.raises(anthropic.InternalServerError) as refused:
            await agent.messages.create(**ask())
        assert refused.value.status_code == 503
        assert refused.value.body["seawall"]["code"] == "BREAKER_OPEN"  # type: ignore[index]
        assert not at.lab.attempts()
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await lost.messages.create(**ask())
        assert unknown.value.body["seawall"]["code"] == "NO_ROUTE"  # type: ignore[index]
        assert "/anthropic" in unknown.value.message


@pytest.mark.parametrize("model", ["lab-500", "lab-reset", "lab-truncated"])
async def test_retries_of_sdk_and_proxy_do_not_multiply(tmp_path: Path, model: str) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at, client(at.anthropic, max_retries=2) as agent:
        with pytest.raises(anthropic.APIError):
            await agent.messages.create(**ask(model))
        assert len(at.lab.attempts()) == 3


async def test_what_the_proxy_did_not_retry_is_left_to_the_sdk(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.anthropic, max_retries=2) as agent:
        fault = {"x-lab-fault": "500; retry-after-ms=1|500; retry-after-ms=1|ok", "x-lab-key": "k"}
        assert (await agent.messages.create(**ask(extra_headers=fault))).content
        assert [attempt.status for attempt in at.lab.attempts()] == [500, 500, 200]


@pytest.mark.parametrize("fault", ["cut-6", "unclean-6", "reset-6", "malformed-6", "error-6", "stall-6"])
async def test_a_stream_that_breaks_raises_in_the_middle(tmp_path: Path, fault: str) -> None:
    rule = f"{QUICK_RETRIES}\ntimeouts: {{streamIdle: 200ms}}"
    async with stage(tmp_path, rule) as at, client(at.anthropic, max_retries=2) as agent:
        with pytest.raises(anthropic.APIError) as caught:
            await read(agent, **ask(f"lab-gap-5ms+{fault}"))
        told: Any = caught.value.body
        assert told["type"] == "error"
        assert fault.startswith("error") or told["seawall"]["code"]
        assert len(at.lab.attempts()) == 1


@pytest.mark.parametrize("fault", ["reset", "cut-2", "error-prelude-server", "malformed-2", "stall-2"])
async def test_a_stream_that_breaks_before_content_is_made_good(tmp_path: Path, fault: str) -> None:
    rule = f"{QUICK_RETRIES}\ntimeouts: {{streamIdle: 200ms}}"
    async with stage(tmp_path, rule) as at, client(at.anthropic) as agent:
        async with agent.messages.stream(
            **ask(extra_headers={"x-lab-fault": f"{fault}|ok", "x-lab-key": "k"})
        ) as stream:
            assert (await stream.get_final_message()).content
        assert (await at.running.call()).outcome.value == "retry"


async def test_cancelling_a_stream_reaches_the_upstream_at_once(tmp_path: Path) -> None:
    extra = "circuitBreaker: {consecutiveFailures: 1}"
    async with stage(tmp_path, QUICK_RETRIES, extra) as at, client(at.anthropic) as agent:
        stream = await agent.messages.create(stream=True, **ask("lab-gap-50ms+tokens-500"))
        await anext(aiter(stream))
        left = time.monotonic()
        await stream.close()
        await until(lambda: at.lab.attempts()[0].gone)
        assert time.monotonic() - left < 1
        call = await at.running.call()
        assert call.fault == "AGENT_GONE" and call.attempts == 1
        assert at.running.moves == []
        [breaker] = [b for u in at.running.service._current().upstreams.values() for b in u.breakers.values()]
        assert breaker.snapshot(time.monotonic()).calls == 0  # neither good nor bad


async def test_an_impatient_agent_gets_its_timeout(tmp_path: Path) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at, client(at.anthropic, timeout=0.2) as agent:
        with pytest.raises(anthropic.APITimeoutError):
            await agent.messages.create(**ask("lab-silent"))
        await until(lambda: at.lab.attempts()[0].gone)
        assert (await at.running.call()).fault == "AGENT_GONE"


async def test_bare_paths_find_their_dialect(tmp_path: Path) -> None:
    async with stage(tmp_path, QUICK_RETRIES, LENIENT) as at, client(at.running.url) as agent:
        assert (await agent.messages.create(**ask())).content
        assert (await agent.messages.count_tokens(model="claude", messages=ASK)).input_tokens
        # OpenAI's path as well: the anthropic-version header tells them apart.
        assert [model.id async for model in agent.models.list()]
        assert {attempt.upstream for attempt in at.lab.attempts()} == {"anthropic"}
        assert at.lab.attempts()[0].path == "/v1/messages"
