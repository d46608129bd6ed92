"""The openai package through the proxy: what it does with a provider it does here, errors and cancellation included."""

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from harness import until
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.chat import ChatCompletionMessage
from pydantic import BaseModel
from stage import LENIENT, ONE_TRY, QUICK_RETRIES, stage

ASK: list[Any] = [{"role": "user", "content": "What is the weather in Paris and in Rome?"}]
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TIME: dict[str, Any] = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}
TOOLS: list[Any] = [{"type": "function", "function": tool} for tool in (WEATHER, TIME)]


class City(BaseModel):
    name: str
    inhabitants: int


def client(base_url: str, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=base_url, api_key="sk-test", **{"max_retries": 0, **options})


async def test_chat_plain_and_streamed(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.openai) as agent:
        plain = await agent.chat.completions.create(model="gpt", messages=ASK)
        stream = await agent.chat.completions.create(
            model="gpt", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert text == plain.choices[0].message.content != ""
        assert chunks[-1].usage == plain.usage
        calls = [await at.running.call(1), await at.running.call(2)]
        assert [call.stream for call in calls] == [False, True]
        assert all(call.usage and call.usage.output for call in calls)
        assert at.lab.attempts()[0].body_sha256 and all(a.healthy for a in at.lab.attempts())


async def test_responses_plain_and_streamed(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.openai) as agent:
        plain = await agent.responses.create(model="gpt", input="hi")
        async with agent.responses.stream(model="gpt", input="hi") as stream:
            kinds = [event.type async for event in stream]
            whole = await stream.get_final_response()
        assert whole.output_text == plain.output_text != ""
        assert kinds[0] == "response.created" and kinds[-1] == "response.completed"


@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_tool_calls(tmp_path: Path, streamed: bool) -> None:
    async with stage(tmp_path) as at, client(at.openai) as agent:
        model = "lab-tool-get_weather,get_time"
        if streamed:
            async with agent.chat.completions.stream(model=model, messages=ASK, tools=TOOLS) as stream:
                message: ChatCompletionMessage = (await stream.get_final_completion()).choices[0].message
        else:
            plain = await agent.chat.completions.create(model=model, messages=ASK, tools=TOOLS)
            message = plain.choices[0].message
        called = [call.function.name for call in message.tool_calls or [] if call.type == "function"]
        assert called == ["get_weather", "get_time"]
        tools: list[Any] = [{"type": "function", "strict": False, **tool} for tool in (WEATHER, TIME)]
        response = await agent.responses.create(model=model, input="hi", tools=tools)
        assert [item.type for item in response.output] == ["function_call", "function_call"]


async def test_structured_output(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.openai) as agent:
        chat = await agent.chat.completions.parse(model="gpt", messages=ASK, response_format=City)
        assert isinstance(chat.choices[0].message.parsed, City)
        response = await agent.responses.parse(model="gpt", input="hi", text_format=City)
        assert isinstance(response.output_parsed, City)


async def test_embeddings_completions_and_models(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.openai) as agent:
        assert len((await agent.embeddings.create(model="e", input=["a", "b"])).data) == 2
        assert (await agent.completions.create(model="gpt", prompt="hi")).choices[0].text
        assert [model.id async for model in agent.models.list()]


async def test_an_uploaded_file_arrives_byte_for_byte(tmp_path: Path) -> None:
    sent: list[bytes] = []

    async def note(request: httpx2.Request) -> None:
        sent.append(await request.aread())

    http = DefaultAsyncHttpxClient(event_hooks={"request": [note]})
    body = '{"id": "file-1", "object": "file", "bytes": 1, "created_at": 1, "filename": "f", "purpose": "batch"}'
    async with stage(tmp_path) as at, client(at.openai, http_client=http) as agent:
        file = await agent.files.create(
            file=("f.jsonl", b"\x00\xff\r\n" * 300_000),
            purpose="batch",
            extra_headers={"x-lab-fault": f"200; body={body}"},
        )
        assert file.id == "file-1"
        [seen] = at.lab.attempts()
        assert seen.bytes_in == len(sent[0]) > 1_200_000
        assert seen.body_sha256 == hashlib.sha256(sent[0]).hexdigest()


ERRORS = {
    "lab-invalid": openai.BadRequestError,
    "lab-context": openai.BadRequestError,
    "lab-auth": openai.AuthenticationError,
    "lab-forbidden": openai.PermissionDeniedError,
    "lab-not-found": openai.NotFoundError,
    "lab-409": openai.ConflictError,
    "lab-413": openai.APIStatusError,
    "lab-422": openai.UnprocessableEntityError,
    "lab-rate-limit-1": openai.RateLimitError,
    "lab-quota": openai.RateLimitError,
    "lab-500": openai.InternalServerError,
    "lab-503-retry-after-2": openai.InternalServerError,
}


@pytest.mark.parametrize("model", ERRORS)
async def test_a_providers_error_is_the_same_as_in_a_direct_call(tmp_path: Path, model: str) -> None:
    async with stage(tmp_path) as at, client(f"{at.lab.url}/v1") as direct, client(at.openai) as agent:
        with pytest.raises(ERRORS[model]) as wanted:
            await direct.chat.completions.create(model=model, messages=ASK)
        with pytest.raises(ERRORS[model]) as got:
            await agent.chat.completions.create(model=model, messages=ASK)
        assert type(got.value) is type(wanted.value)
        assert got.value.status_code == wanted.value.status_code
        assert got.value.body == wanted.value.body
        assert "x-should-retry" not in got.value.response.headers
        for name in ("retry-after", "x-ratelimit-remaining-requests"):
            assert got.value.response.headers.get(name) == wanted.value.response.headers.get(name)


@pytest.mark.parametrize("model", ["lab-reset", "lab-close", "lab-garbage", "lab-truncated", "lab-silent"])
async def test_an_unusable_answer_becomes_an_error_with_its_reason(tmp_path: Path, model: str) -> None:
    rule = f"{ONE_TRY}\ntimeouts: {{backendRequest: 200ms}}"
    async with stage(tmp_path, rule) as at, client(at.openai) as agent:
        with pytest.raises(openai.InternalServerError) as caught:
            await agent.chat.completions.create(model=model, messages=ASK)
        told: Any = caught.value.body
        assert told["seawall"]["code"] == told["code"]
        assert told["seawall"]["recoverable"] is True
        assert caught.value.status_code == (504 if model == "lab-silent" else 502)


async def test_seawalls_own_refusals_say_why(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.openai) as agent, client(f"{at.running.url}/nowhere") as lost:
        at.running.service.view.isolate("openai", None)
        with pytest.raises(openai.InternalServerError) as refused:
            await agent.chat.completions.create(model="gpt", messages=ASK)
        assert refused.value.status_code == 503
        assert refused.value.body["seawall"]["code"] == "BREAKER_OPEN"  # type: ignore[index]
        assert not at.lab.attempts()
        with pytest.raises(openai.NotFoundError) as unknown:
            await lost.chat.completions.create(model="gpt", messages=ASK)
        assert unknown.value.body["seawall"]["code"] == "NO_ROUTE"  # type: ignore[index]
        assert "/openai/v1" in unknown.value.message


@pytest.mark.parametrize("model", ["lab-500", "lab-reset", "lab-truncated"])
async def test_retries_of_sdk_and_proxy_do_not_multiply(tmp_path: Path, model: str) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at, client(at.openai, max_retries=2) as agent:
        with pytest.raises(openai.APIError):
            await agent.chat.completions.create(model=model, messages=ASK)
        assert len(at.lab.attempts()) == 3


async def test_what_the_proxy_did_not_retry_is_left_to_the_sdk(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.openai, max_retries=2) as agent:
        fault = {"x-lab-fault": "500; retry-after-ms=1|500; retry-after-ms=1|ok", "x-lab-key": "k"}
        answer = await agent.chat.completions.create(model="gpt", messages=ASK, extra_headers=fault)
        assert answer.choices[0].message.content
        assert [attempt.status for attempt in at.lab.attempts()] == [500, 500, 200]


@pytest.mark.parametrize("fault", ["cut-5", "unclean-5", "reset-5", "malformed-5", "error-5", "stall-5"])
async def test_a_stream_that_breaks_raises_in_the_middle(tmp_path: Path, fault: str) -> None:
    rule = f"{QUICK_RETRIES}\ntimeouts: {{streamIdle: 200ms}}"
    async with stage(tmp_path, rule) as at, client(at.openai, max_retries=2) as agent:
        chat = await agent.chat.completions.create(model=f"lab-gap-5ms+{fault}", messages=ASK, stream=True)
        with pytest.raises(openai.APIError) as caught:
            async for _ in chat:
                pass
        assert type(caught.value) is openai.APIError
        responses = await agent.responses.create(model=f"lab-gap-5ms+{fault}", input="hi", stream=True)
        if fault == "error-5":
            # The provider's own event has its fields at the top level, where this SDK does not look.
            assert [event.type async for event in responses][-1] == "error"
            return
        with pytest.raises(openai.APIError) as caught:
            async for _ in responses:
                pass
        assert type(caught.value) is openai.APIError
        assert caught.value.body["seawall"]["code"]  # type: ignore[index]


@pytest.mark.parametrize("fault", ["reset", "cut-1", "error-prelude", "malformed-1", "stall-1"])
async def test_a_stream_that_breaks_before_content_is_made_good(tmp_path: Path, fault: str) -> None:
    rule = f"{QUICK_RETRIES}\ntimeouts: {{streamIdle: 200ms}}"
    async with stage(tmp_path, rule) as at, client(at.openai) as agent:
        headers = {"x-lab-fault": f"{fault}|ok", "x-lab-key": "k"}
        async with agent.chat.completions.stream(model="gpt", messages=ASK, extra_headers=headers) as stream:
            whole = await stream.get_final_completion()
        assert whole.choices[0].message.content
        assert (await at.running.call()).outcome.value == "retry"


async def test_cancelling_a_stream_reaches_the_upstream_at_once(tmp_path: Path) -> None:
    extra = "circuitBreaker: {consecutiveFailures: 1}"
    async with stage(tmp_path, QUICK_RETRIES, extra) as at, client(at.openai) as agent:
        stream = await agent.chat.completions.create(model="lab-gap-50ms+tokens-500", messages=ASK, stream=True)
        await anext(aiter(stream))
        left = time.monotonic()
        await stream.close()
        await until(lambda: at.lab.attempts()[0].gone)
        assert time.monotonic() - left < 1
        call = await at.running.call()
        assert call.fault == "AGENT_GONE" and call.attempts == 1
        assert at.running.moves == []
        upstreams = at.running.service._current().upstreams.values()
        [breaker] = [b for u in upstreams for b in u.breakers.values()]
        assert breaker.snapshot(time.monotonic()).calls == 0  # neither good nor bad


@pytest.mark.parametrize("model", ["lab-silent", "lab-first-token-5s"])
async def test_an_impatient_agent_gets_its_timeout(tmp_path: Path, model: str) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at, client(at.openai, timeout=0.2) as agent:
        with pytest.raises(openai.APITimeoutError):
            await agent.chat.completions.create(model=model, messages=ASK, stream=True)
        await until(lambda: at.lab.attempts()[0].gone)
        assert (await at.running.call()).fault == "AGENT_GONE"


async def test_bare_paths_find_their_dialect(tmp_path: Path) -> None:
    async with stage(tmp_path, QUICK_RETRIES, LENIENT) as at, client(f"{at.running.url}/v1") as agent:
        answers = await asyncio.gather(
            agent.chat.completions.create(model="gpt", messages=ASK),
            agent.responses.create(model="gpt", input="hi"),
            agent.embeddings.create(model="e", input="a"),
        )
        assert len(answers) == 3
        assert [model.id async for model in agent.models.list()]
        assert {attempt.upstream for attempt in at.lab.attempts()} == {"openai"}
        assert {attempt.path for attempt in at.lab.attempts(operation="chat")} == {"/v1/chat/completions"}
