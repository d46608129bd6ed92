"""The real openai client and pydantic-ai's own OpenAI models over a transport that answers with given bytes."""

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import httpx2
from openai import AsyncOpenAI
from pydantic_ai import direct
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ModelResponseStreamEvent
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider

from seawall.translate.types import AgentSide, Asked

Json = dict[str, Any]

# A model that takes whatever its API has, and whose schemas are sent as they are.
_PROFILE = OpenAIModelProfile(
    json_schema_transformer=None,
    supports_inline_system_prompts=True,
    supports_thinking=True,
    supports_json_object_output=True,
    supports_json_schema_output=True,
    openai_chat_supports_allowed_tools=True,
    openai_chat_supports_file_urls=True,
    openai_chat_supports_max_reasoning_effort=True,
    openai_responses_supports_max_reasoning_effort=True,
    openai_supports_reasoning_effort_none=True,
    openai_supports_encrypted_reasoning_content=True,
)

_CHAT: Json = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
}
_RESPONSE: Json = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "completed",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


def client_for(body: bytes, seen: list[Json] | None = None) -> AsyncOpenAI:
    """A client whose every request is answered with `body`; what it sends is added to `seen`."""
    kind = "text/event-stream" if body.startswith((b"data:", b"event:")) else "application/json"

    def answer(request: httpx2.Request) -> httpx2.Response:
        if seen is not None:
            seen.append(json.loads(request.content))
        return httpx2.Response(200, headers={"content-type": kind}, content=body)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    return AsyncOpenAI(api_key="-", base_url="http://upstream.test/v1", http_client=http, max_retries=0)


async def rendered(operation: str, asked: Asked) -> Json:
    """What pydantic-ai's own model of that operation sends for a request that was read."""
    seen: list[Json] = []
    model: OpenAIChatModel | OpenAIResponsesModel
    if operation == "chat":
        provider = OpenAIProvider(openai_client=client_for(json.dumps(_CHAT).encode(), seen))
        model = OpenAIChatModel(asked.model, provider=provider, profile=_PROFILE)
    else:
        provider = OpenAIProvider(openai_client=client_for(json.dumps(_RESPONSE).encode(), seen))
        model = OpenAIResponsesModel(asked.model, provider=provider, profile=_PROFILE)
    # As agents of pydantic-ai do; `direct` alone leaves it out.
    messages = model.prepare_messages(asked.messages, asked.parameters)
    await direct.model_request(
        model, messages, model_settings=asked.settings, model_request_parameters=asked.parameters
    )
    return seen[0]


def streamed(side: AgentSide, asked: Asked, events: Iterable[ModelResponseStreamEvent], end: ModelResponse) -> bytes:
    """A whole stream as it is written."""
    writer = side.stream(asked)
    return writer.begin("other-model") + b"".join(map(writer.event, events)) + writer.end(end)


async def spoken(
    deltas: Sequence[str | Json | DeltaToolCalls],
) -> tuple[list[ModelResponseStreamEvent], ModelResponse]:
    """pydantic-ai's own events for a model that says this piece by piece."""

    async def say(messages: object, info: AgentInfo) -> AsyncIterator[Any]:
        for delta in deltas:
            yield delta

    asked: list[ModelMessage] = [ModelRequest.user_text_prompt("hello")]
    async with direct.model_request_stream(FunctionModel(stream_function=say), asked) as stream:
        events = [event async for event in stream]
        return events, stream.get()


def call(index: int, name: str | None, args: str, id_: str | None = None) -> DeltaToolCalls:
    return {index: DeltaToolCall(name=name, json_args=args, tool_call_id=id_)}
