"""Recorded answers of real providers, through pydantic-ai and every dialect's writer to the real SDKs.

The recordings lie beside the checkout and are not part of it; without them these tests are skipped.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import yaml
from anthropic import AsyncAnthropic
from asking import MODELS
from gemini_forms import SIDE, asked
from google.genai.types import Candidate, Content, GenerateContentResponse
from nothing_read import FACTS
from openai_answers import chat, completed, responded, responses, streamed_completion, streamed_response, tools_of
from openai_sdk import streamed
from pydantic_ai import direct
from pydantic_ai.messages import ModelRequest, ModelResponse, ModelResponseStreamEvent, TextPart
from recorded import WIRE

from seawall.translate.anthropic_messages import AnthropicMessages
from seawall.translate.openai_chat import OpenAIChat
from seawall.translate.openai_responses import OpenAIResponses
from seawall.translate.rows import ROWS

pytestmark = pytest.mark.skipif(not (WIRE / "cassettes").is_dir(), reason="no recordings beside the checkout")

ENDS = {"/chat/completions": "OpenAI", "/messages": "Anthropic", "enerateContent": "Gemini"}
# They report an error within the stream, or are no answers at all, which the wire finds before pydantic-ai does.
FAILED = ("test_tool_use_failed_error_streaming", "test_openrouter_stream_error", "test_text_response")
HI: list[Any] = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Answer:
    name: str
    dialect: str
    kind: str
    body: bytes

    @property
    def streams(self) -> bool:
        return "event-stream" in self.kind


@cache
def answers() -> tuple[Answer, ...]:
    return tuple(answer for file in sorted(WIRE.glob("cassettes/**/*.yaml")) for answer in _of(file))


def _of(file: Path) -> Iterator[Answer]:
    if file.name.endswith(".xai.yaml") or file.name.startswith(FAILED):
        return
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for number, entry in enumerate(yaml.load(file.read_bytes(), Loader=loader)["interactions"]):
        answered = entry["response"]
        path = urlsplit(entry["request"].get("uri", "")).path
        dialect = next((ENDS[end] for end in ENDS if path.endswith(end)), None)
        if dialect is None or answered["status"]["code"] != 200:
            continue
        kinds = [
            value for name, given in answered["headers"].items() if name.lower() == "content-type" for value in given
        ]
        body = answered.get("parsed_body")
        text = json.dumps(body) if body is not None else (answered.get("body") or {}).get("string") or ""
        yield Answer(f"{file.stem}:{number}", dialect, kinds[0], text if isinstance(text, bytes) else text.encode())


async def heard(answer: Answer) -> tuple[ModelResponse, list[ModelResponseStreamEvent]]:
    headers = {"content-type": answer.kind}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=answer.body))
    model = ROWS[answer.dialect].build(
        "http://upstream.test/v1", MODELS[answer.dialect], httpx2.AsyncClient(transport=transport)
    )
    messages = [ModelRequest.user_text_prompt("hi")]
    if not answer.streams:
        return await direct.model_request(model, messages, model_settings={"max_tokens": 9}), []
    async with direct.model_request_stream(model, messages, model_settings={"max_tokens": 9}) as stream:
        events = [event async for event in stream]
        return stream.get(), events


def meant(response: ModelResponse) -> tuple[str, list[Any], int, int]:
    calls = [(part.tool_call_id, part.tool_name, part.args_as_dict()) for part in response.tool_calls]
    text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
    return text, calls, response.usage.input_tokens, response.usage.output_tokens


@pytest.mark.parametrize("answer", answers() if (WIRE / "cassettes").is_dir() else (), ids=lambda one: one.name)
async def test_a_recorded_answer_says_the_same_in_every_dialect(answer: Answer) -> None:
    response, told = await heard(answer)
    wanted = meant(response)
    await _chat(response, told, wanted)
    await _responses(response, told, wanted)
    await _messages(response, told, wanted)
    _generate(response, told, wanted)


async def _chat(response: ModelResponse, told: list[ModelResponseStreamEvent], wanted: object) -> None:
    asked = chat(stream=True, stream_options={"include_usage": True})
    plain = await completed(OpenAIChat().whole(asked, response, "m"))
    stream = await streamed_completion(streamed(OpenAIChat(), asked, told, response))
    assert stream.choices[0].finish_reason == plain.choices[0].finish_reason
    for one in (plain, stream):
        calls = [(id_, name, json.loads(args)) for id_, _, name, args in tools_of(one)]
        assert one.usage is not None
        assert (
            one.choices[0].message.content or "",
            calls,
            one.usage.prompt_tokens,
            one.usage.completion_tokens,
        ) == wanted


async def _responses(response: ModelResponse, told: list[ModelResponseStreamEvent], wanted: object) -> None:
    asked = responses(stream=True)
    found = [await responded(OpenAIResponses().whole(asked, response, "m"))]
    if found[0].status == "completed":
        found.append(await streamed_response(streamed(OpenAIResponses(), asked, told, response)))
    for one in found:
        items = [item for item in one.output if item.type == "function_call"]
        calls = [(item.call_id, item.name, json.loads(item.arguments)) for item in items]
        assert one.usage is not None
        assert (one.output_text, calls, one.usage.input_tokens, one.usage.output_tokens) == wanted


async def _messages(response: ModelResponse, told: list[ModelResponseStreamEvent], wanted: object) -> None:
    side = AnthropicMessages()
    asked = side.read(json.dumps({"model": "m", "max_tokens": 9, "messages": HI}).encode(), FACTS, created=1, id_="01")
    plain = await _client(side.whole(asked, response, "m"), "application/json").messages.create(
        model="m", max_tokens=9, messages=HI
    )
    events = _client(streamed(side, asked, told, response), "text/event-stream")
    async with events.messages.stream(model="m", max_tokens=9, messages=HI) as stream:
        joined = await stream.get_final_message()
    assert joined.stop_reason == plain.stop_reason
    for one in (plain, joined):
        text = "".join(block.text for block in one.content if block.type == "text")
        calls = [(block.id, block.name, block.input) for block in one.content if block.type == "tool_use"]
        cached = (one.usage.cache_read_input_tokens or 0) + (one.usage.cache_creation_input_tokens or 0)
        assert (text, calls, one.usage.input_tokens + cached, one.usage.output_tokens) == wanted


def _generate(response: ModelResponse, told: list[ModelResponseStreamEvent], wanted: object) -> None:
    plain = GenerateContentResponse.model_validate_json(SIDE.whole(asked(), response, "m"))
    stream = streamed(SIDE, asked(stream=True, framing="array"), told, response)
    pieces = [GenerateContentResponse.model_validate(piece) for piece in json.loads(stream)]
    ends = set()
    for one in ([plain], pieces):
        parts = [part for piece in one for part in (_candidate(piece).content or Content()).parts or ()]
        text = "".join(part.text or "" for part in parts)
        calls = [(call.id, call.name, call.args) for part in parts if (call := part.function_call)]
        usage = one[-1].usage_metadata
        assert usage is not None
        output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        assert (text, calls, usage.prompt_token_count, output) == wanted
        ends.add(_candidate(one[-1]).finish_reason)
    assert len(ends) == 1 and None not in ends


def _candidate(answer: GenerateContentResponse) -> Candidate:
    [candidate] = answer.candidates or ()
    return candidate


def _client(body: bytes, kind: str) -> AsyncAnthropic:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers={"content-type": kind}, content=body))
    return AsyncAnthropic(api_key="k", http_client=httpx2.AsyncClient(transport=transport), max_retries=0)
