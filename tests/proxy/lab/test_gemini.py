"""google-genai, pointed straight at the lab, and the framing that it does not use."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from seawall.lab import Lab

from .conftest import Send

FLASH = "gemini-2.5-flash"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather", parameters_json_schema=CITY)]),
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(
                name="get_time",
                parameters=types.Schema(
                    type=types.Type.OBJECT,
                    properties={"city": types.Schema(type=types.Type.STRING)},
                    required=["city"],
                ),
            )
        ]
    ),
]


@pytest.fixture
async def client(lab: Lab) -> AsyncIterator[Any]:
    async with genai.Client(api_key="k", http_options=types.HttpOptions(base_url=lab.url)).aio as made:
        yield made


async def streamed(client: Any, model: str = FLASH, **config: Any) -> list[types.GenerateContentResponse]:
    settings = types.GenerateContentConfig(**config)
    stream = await client.models.generate_content_stream(model=model, contents="hi", config=settings)
    return [chunk async for chunk in stream]


async def test_plain_and_streamed_answers_say_the_same(client: Any) -> None:
    plain = await client.models.generate_content(model=FLASH, contents="hi")
    chunks = await streamed(client)
    assert len(plain.text.split()) == 12
    assert "".join(chunk.text or "" for chunk in chunks) == plain.text
    for answer in (plain, chunks[-1]):
        assert answer.candidates[0].finish_reason is types.FinishReason.STOP
        assert answer.usage_metadata.candidates_token_count == 12
        assert answer.model_version == FLASH
    assert [chunk.candidates[0].finish_reason for chunk in chunks[:-1] if chunk.candidates] == [None] * 12


async def test_the_limit_of_tokens_cuts(client: Any) -> None:
    config = types.GenerateContentConfig(max_output_tokens=3, candidate_count=2)
    answer = await client.models.generate_content(model=FLASH, contents="hi", config=config)
    assert [one.finish_reason for one in answer.candidates] == [types.FinishReason.MAX_TOKENS] * 2


async def test_thoughts_come_first_where_they_are_asked_for(client: Any) -> None:
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    answer = await client.models.generate_content(model=FLASH, contents="hi", config=config)
    assert [bool(part.thought) for part in answer.candidates[0].content.parts] == [True, False]
    assert answer.usage_metadata.thoughts_token_count > 0


@pytest.mark.parametrize(
    ("model", "called"), [(FLASH, ["get_weather"]), ("lab-tools", ["get_weather", "get_time"]), ("lab-no-tools", [])]
)
async def test_function_calls_plain_and_streamed(client: Any, model: str, called: list[str]) -> None:
    config = types.GenerateContentConfig(tools=TOOLS)
    plain = await client.models.generate_content(model=model, contents="hi", config=config)
    for answers in ([plain], await streamed(client, model, tools=TOOLS)):
        calls = [call for answer in answers for call in answer.function_calls or ()]
        assert [call.name for call in calls] == called
        assert all(call.args == {"city": "lab"} for call in calls)


@pytest.mark.parametrize(
    ("mode", "allowed", "called"),
    [("ANY", ["get_time"], ["get_time"]), ("NONE", None, []), ("ANY", None, ["get_weather"])],
)
async def test_what_may_be_called_is_kept_to(
    client: Any, mode: Any, allowed: list[str] | None, called: list[str]
) -> None:
    calling = types.FunctionCallingConfig(mode=mode, allowed_function_names=allowed)
    config = types.GenerateContentConfig(tools=TOOLS, tool_config=types.ToolConfig(function_calling_config=calling))
    answer = await client.models.generate_content(model=FLASH, contents="hi", config=config)
    assert [call.name for call in answer.function_calls or ()] == called


CAPITALS = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}


@pytest.mark.parametrize("form", [{"response_json_schema": CITY}, {"response_schema": CAPITALS}])
async def test_an_answer_by_schema(client: Any, form: dict[str, Any]) -> None:
    config = types.GenerateContentConfig(response_mime_type="application/json", **form)
    answer = await client.models.generate_content(model=FLASH, contents="hi", config=config)
    assert json.loads(answer.text) == {"city": "lab"}


async def test_embeddings_tokens_and_models(client: Any) -> None:
    made = await client.models.embed_content(model="gemini-embedding-001", contents=["a", "b", "a"])
    first, second, third = [one.values for one in made.embeddings]
    assert first == third != second and len(first) == 768
    assert (await client.models.count_tokens(model=FLASH, contents="one two three four")).total_tokens == 4
    assert (await client.models.get(model=FLASH)).name == f"models/{FLASH}"
    assert len(await client.models.list()) >= 3


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [("invalid", 400, "INVALID_ARGUMENT"), ("auth", 400, "INVALID_ARGUMENT"), ("not-found", 404, "NOT_FOUND"),
     ("rate-limit-2", 429, "RESOURCE_EXHAUSTED"), ("quota", 429, "RESOURCE_EXHAUSTED"), ("500", 500, "INTERNAL"),
     ("overloaded", 503, "UNAVAILABLE"), ("timeout", 504, "DEADLINE_EXCEEDED")],
)  # fmt: skip
async def test_errors_are_googles(client: Any, fault: str, code: int, status: str) -> None:
    with pytest.raises(errors.APIError) as caught:
        await client.models.generate_content(model=f"lab-{fault}", contents="hi")
    assert (caught.value.code, caught.value.status) == (code, status)
    details = json.dumps(caught.value.details)
    told = {"rate-limit-2": ["PerMinute", '"2s"'], "quota": ["PerDay"], "auth": ["API_KEY_INVALID"]}
    assert all(words in details for words in told.get(fault, ()))


async def test_a_blocked_prompt_is_no_error_in_any_framing(client: Any, send: Send) -> None:
    answer = await client.models.generate_content(model="lab-filter", contents="hi")
    chunks = await streamed(client, "lab-filter")
    for one in (answer, *chunks):
        assert one.prompt_feedback.block_reason is types.BlockedReason.PROHIBITED_CONTENT
    wire = await send("filter", path=f"/v1beta/models/{FLASH}:streamGenerateContent", body=ASKED)
    assert b'[{"promptFeedback":' in wire.body


ASKED = {"contents": [{"parts": [{"text": "hi"}]}]}


async def test_without_alt_sse_the_stream_is_one_array(send: Send) -> None:
    path = f"/v1beta1/projects/p/locations/l/publishers/google/models/{FLASH}:streamGenerateContent"
    wire = await send(path=path, body=ASKED, headers="accept-encoding: identity\r\n")
    lines = [line for line in wire.body.split(b"\r\n") if line[:1] in (b"[", b"{")]
    chunks = json.loads(b",".join(lines) + b"]")
    assert len(chunks) == 13 and chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert b"content-type: application/json" in wire.head.lower()
    refused = await send("400", path=path, body=ASKED)
    assert json.loads(refused.body)[0]["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_model_of_the_path_is_scripted_and_recorded(lab: Lab, client: Any) -> None:
    lab.script(["503"], model=FLASH)
    with pytest.raises(errors.ServerError):
        await streamed(client)
    [seen] = lab.attempts(model=FLASH)
    assert (seen.dialect, seen.operation, seen.stream, seen.healthy) == ("Gemini", "generate", True, False)


async def test_what_the_provider_refuses_is_refused(client: Any, send: Send) -> None:
    for path, body in (
        (f"models/{FLASH}:generateContent", {"contents": []}),
        (f"models/{FLASH}:generateContent", {"contents": "hi"}),
        (f"models/{FLASH}:generateContent", {**ASKED, "generationConfig": {"candidateCount": 99}}),
        (f"models/{FLASH}:embedContent", {"content": {"parts": []}}),
        (
            f"models/{FLASH}:batchEmbedContents",
            {"requests": [{"model": "models/other", "content": ASKED["contents"][0]}]},
        ),
        ("models/x:somethingNew", {}),
        ("cachedContents", {}),
    ):
        wire = await send(path=f"/v1beta/{path}", body=body)
        assert json.loads(wire.body)["error"]["status"] in ("INVALID_ARGUMENT", "NOT_FOUND")
