"""The openai SDK, pointed straight at the lab."""

import json
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionToolParam
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCall
from pydantic import BaseModel

from seawall.lab import Lab


@pytest.fixture
async def client(lab: Lab) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{lab.url}/v1", api_key="sk-lab", max_retries=0, timeout=10) as made:
        yield made


class Weather(BaseModel):
    city: str
    degrees: float
    days: list[int]


def tool(name: str) -> ChatCompletionToolParam:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    }
    return {"type": "function", "function": {"name": name, "parameters": schema}}


async def chat(client: AsyncOpenAI, model: str = "gpt") -> str:
    answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
    return answer.choices[0].message.content or ""


async def test_a_plain_chat_has_text_usage_and_request_id(client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="gpt", messages=[{"role": "user", "content": "hi"}]
    )
    answer = raw.parse()
    assert answer.choices[0].finish_reason == "stop"
    assert len((answer.choices[0].message.content or "").split()) == 12
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["openai-version"] == "2020-10-01"


async def test_a_streamed_chat_says_what_the_plain_one_says(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="gpt",
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == await chat(client)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12


async def test_several_choices_stream_side_by_side(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="gpt", messages=[{"role": "user", "content": "hi"}], stream=True, n=3
    )
    finished = [choice.index async for chunk in stream for choice in chunk.choices if choice.finish_reason]
    assert finished == [0, 1, 2]


async def test_max_tokens_cuts_with_the_reason_length(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="gpt", messages=[{"role": "user", "content": "hi"}], max_completion_tokens=3
    )
    assert answer.choices[0].finish_reason == "length"
    assert len((answer.choices[0].message.content or "").split()) == 3


@pytest.mark.parametrize(
    ("model", "prompt", "called"),
    [
        ("gpt", "what now?", ["get_weather"]),
        ("gpt", "use get_time please", ["get_time"]),
        ("lab-tools", "what now?", ["get_weather", "get_time"]),
        ("lab-tool-get_time", "what now?", ["get_time"]),
        ("lab-no-tools", "what now?", []),
    ],
)
async def test_the_scenario_names_the_tools(client: AsyncOpenAI, model: str, prompt: str, called: list[str]) -> None:
    answer = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        tools=[tool("get_weather"), tool("get_time")],
    )
    calls = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls if call.type == "function"] == called
    assert all("city" in json.loads(call.function.arguments) for call in calls if call.type == "function")
    assert answer.choices[0].finish_reason == ("tool_calls" if called else "stop")


async def test_parallel_tool_calls_stream_in_pieces(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="lab-tools",
        messages=[{"role": "user", "content": "hi"}],
        tools=[
            {"type": "function", "function": {**tool("a")["function"], "strict": True}},
            {"type": "function", "function": {**tool("b")["function"], "strict": True}},
        ],
    ) as stream:
        final = await stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == ["a", "b"]
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "lab"}] * 2


async def test_a_chat_parses_into_a_model(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.parse(
        model="gpt", messages=[{"role": "user", "content": "hi"}], response_format=Weather
    )
    assert isinstance(answer.choices[0].message.parsed, Weather)


async def test_a_response_has_text_and_usage(client: AsyncOpenAI) -> None:
    answer = await client.responses.create(model="gpt", input="hi")
    assert len(answer.output_text.split()) == 12
    assert answer.status == "completed"
    assert answer.usage is not None
    assert answer.usage.output_tokens == 12


async def test_a_streamed_response_ends_with_the_whole(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model="gpt", input="hi") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") == 12
    assert final.output_text == (await client.responses.create(model="gpt", input="hi")).output_text


async def test_a_response_calls_tools_in_parallel_and_then_answers(client: AsyncOpenAI) -> None:
    schema: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools: list[FunctionToolParam] = [
        {"type": "function", "name": name, "parameters": schema, "strict": False} for name in ("a", "b")
    ]
    async with client.responses.stream(model="lab-tools", input="hi", tools=tools) as stream:
        first = await stream.get_final_response()
    calls = [item for item in first.output if isinstance(item, ResponseFunctionToolCall)]
    assert [call.name for call in calls] == ["a", "b"]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "fine"} for call in calls]
    second = await client.responses.create(
        model="lab-tools",
        input=[{"role": "user", "content": "hi"}, *[call.model_dump() for call in calls], *results],  # type: ignore[list-item]
        tools=tools,
    )
    assert second.output_text


async def test_a_response_parses_into_a_model(client: AsyncOpenAI) -> None:
    answer = await client.responses.parse(model="gpt", input="hi", text_format=Weather)
    assert isinstance(answer.output_parsed, Weather)


async def test_completions_plain_and_streamed(client: AsyncOpenAI) -> None:
    plain = await client.completions.create(model="gpt", prompt="hi")
    stream = await client.completions.create(model="gpt", prompt="hi", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == plain.choices[0].text


async def test_embeddings_are_unit_vectors_and_the_same_for_the_same_text(client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="text-embedding-3-small", input=["a", "b", "a"])
    one, other, again = (item.embedding for item in answer.data)
    assert len(one) == 1536
    assert sum(value * value for value in one) == pytest.approx(1.0, abs=1e-4)
    assert one == again != other
    short = await client.embeddings.create(model="e", input="a", dimensions=8, encoding_format="float")
    assert len(short.data[0].embedding) == 8


async def test_models_are_listed(client: AsyncOpenAI) -> None:
    assert "lab-429-retry-after-2" in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve("gpt-x")).id == "gpt-x"


@pytest.mark.parametrize(
    ("model", "raised"),
    [
        ("lab-400", openai.BadRequestError),
        ("lab-401", openai.AuthenticationError),
        ("lab-403", openai.PermissionDeniedError),
        ("lab-404", openai.NotFoundError),
        ("lab-409", openai.ConflictError),
        ("lab-422", openai.UnprocessableEntityError),
        ("lab-429-retry-after-2", openai.RateLimitError),
        ("lab-quota", openai.RateLimitError),
        ("lab-500", openai.InternalServerError),
        ("lab-overloaded", openai.InternalServerError),
        ("lab-reset", openai.APIConnectionError),
        ("lab-close", openai.APIConnectionError),
        ("lab-garbage", openai.APIConnectionError),
        ("lab-mistyped", openai.NotFoundError),
    ],
)
async def test_faults_raise_the_sdks_exceptions(
    client: AsyncOpenAI, model: str, raised: type[openai.OpenAIError]
) -> None:
    with pytest.raises(raised):
        await chat(client, model)


async def test_silence_times_out(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        await chat(client.with_options(timeout=0.2), "lab-silent")


@pytest.mark.parametrize("model", ["lab-error-5-overloaded", "lab-malformed-4", "lab-unclean-4"])
async def test_broken_streams_raise(client: AsyncOpenAI, model: str) -> None:
    stream = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hi"}], stream=True
    )
    with pytest.raises((openai.APIError, ValueError, *_transport_errors())):
        async for _ in stream:
            pass


def _transport_errors() -> tuple[type[Exception], ...]:
    import httpx
    import httpx2

    return httpx.TransportError, httpx2.TransportError


async def test_the_sdk_retries_through_a_failing_start(lab: Lab, client: AsyncOpenAI) -> None:
    lab.script(["503", "429; retry-after-ms=10"], upstream="east")
    east = client.with_options(base_url=f"{lab.url}/u/east/v1", max_retries=2)
    assert await chat(east)
    assert [attempt.status for attempt in lab.attempts(upstream="east")] == [503, 429, 200]


async def test_ids_are_the_same_for_the_same_seed_and_number(client: AsyncOpenAI) -> None:
    from seawall.lab import start_lab

    answer = await client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "hi"}])
    other = await start_lab(seed=7)
    try:
        again = await client.with_options(base_url=f"{other.url}/v1").chat.completions.create(
            model="gpt", messages=[{"role": "user", "content": "hi"}]
        )
    finally:
        await other.close()
    assert again.id == answer.id
    assert again.choices == answer.choices


@pytest.mark.parametrize("body", [{}, {"model": "x"}, {"model": "x", "messages": "hi"}, {"model": 3, "messages": []}])
async def test_bad_requests_are_refused_as_such(client: AsyncOpenAI, body: dict[str, object]) -> None:
    with pytest.raises(openai.BadRequestError):
        await client.post("/chat/completions", body=body, cast_to=object)
