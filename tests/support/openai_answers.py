"""Requests that ask for answers, answers of all kinds, and the real client's own ways to read them."""

import json
from typing import Any

from nothing_read import FACTS
from openai import ContentFilterFinishReasonError, LengthFinishReasonError
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from openai_sdk import client_for
from pydantic_ai.messages import ModelResponse, ModelResponsePart, TextPart, ToolCallPart
from pydantic_ai.usage import RequestUsage

from seawall.translate.openai_chat import OpenAIChat
from seawall.translate.openai_responses import OpenAIResponses
from seawall.translate.types import Asked

CHAT, RESPONSES = OpenAIChat(), OpenAIResponses()
USAGE = RequestUsage(
    input_tokens=30, cache_read_tokens=10, cache_write_tokens=5, output_tokens=9, details={"thinking_tokens": 4}
)


def chat(**fields: Any) -> Asked:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return CHAT.read(json.dumps(body).encode(), FACTS, created=1_700_000_000, id_="0123456789")


def responses(**fields: Any) -> Asked:
    body = {"model": "m", "input": "hi", **fields}
    return RESPONSES.read(json.dumps(body).encode(), FACTS, created=1_700_000_000, id_="0123456789")


def said(*parts: ModelResponsePart, **fields: Any) -> ModelResponse:
    return ModelResponse(list(parts), **{"usage": USAGE, "finish_reason": "stop", **fields})


def events(body: bytes) -> list[dict[str, Any]]:
    """The data of a stream of events; the last of a chat's is not JSON."""
    blocks = [block.splitlines()[-1].removeprefix("data: ") for block in body.decode().strip().split("\n\n")]
    return [json.loads(data) for data in blocks if data != "[DONE]"]


async def completed(body: bytes) -> ChatCompletion:
    return await client_for(body).chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])


async def streamed_completion(body: bytes) -> ChatCompletion:
    messages: Any = [{"role": "user", "content": "hi"}]
    async with client_for(body).chat.completions.stream(model="m", messages=messages) as stream:
        try:
            return await stream.get_final_completion()
        except (LengthFinishReasonError, ContentFilterFinishReasonError) as early:
            # So the client tells of an answer that ended early.
            assert early.completion is not None
            return early.completion


async def responded(body: bytes) -> Response:
    return await client_for(body).responses.create(model="m", input="hi")


async def streamed_response(body: bytes) -> Response:
    async with client_for(body).responses.stream(model="m", input="hi") as stream:
        return await stream.get_final_response()


def tools_of(completion: ChatCompletion) -> list[Any]:
    calls: list[Any] = list(completion.choices[0].message.tool_calls or [])
    return [(one.id, one.type, one.function.name, one.function.arguments) for one in calls]


ANSWERS = [
    said(TextPart("Hello")),
    said(TextPart("Hello "), TextPart("there")),
    said(ToolCallPart("look", '{"far": true}', "call_1"), finish_reason="tool_call"),
    said(TextPart("I look."), ToolCallPart("look", {"far": True}, "call_1"), ToolCallPart("leap", None, "call_2")),
    said(TextPart("cut of"), finish_reason="length"),
    said(finish_reason="content_filter", provider_details={"refusal": "I can not."}),
    said(TextPart("so far"), finish_reason="content_filter", provider_details={"refusal": "by policy"}),
    said(finish_reason="content_filter"),
    said(),
]
