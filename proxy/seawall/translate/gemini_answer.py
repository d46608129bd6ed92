"""An answer as Gemini's API gives it: one candidate with its parts, the reason why it finished, and its usage.

Thoughts are told where the agent asked for them: the API takes them back without a signature of its own. Calls it does
not, and so they carry the word by which Google lets calls in that its models did not make.
"""

import base64
from typing import Any

from pydantic_ai.messages import ModelResponse, ModelResponsePart, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.usage import RequestUsage

from seawall.translate.answer import arguments_object, encoded, finish, measured, reasoning_tokens, refusal
from seawall.translate.calls import fitting
from seawall.translate.types import Asked

NOT_GEMINIS = base64.b64encode(b"skip_thought_signature_validator").decode()
"""`thoughtSignature` of a call that another model made. Source: the FAQ of the Gemini API's page on thought signatures;
of a turn's calls the first needs one."""

_REASONS = {"length": "MAX_TOKENS", "content_filter": "SAFETY", "error": "OTHER"}
"""Where an answer ended early."""

Json = dict[str, Any]


def whole(asked: Asked, response: ModelResponse, model: str) -> bytes:
    """See `AgentSide.whole`."""
    parts: list[Json] = []
    called = False
    for part in response.parts:
        if (one := told(asked, part, first=not called)) is not None:
            parts.append(one)
            called = called or "functionCall" in one
    return encoded(chunk(asked, model, parts) | ended(response, parts))


def chunk(asked: Asked, model: str, parts: list[Json]) -> Json:
    """An answer, or a piece of one, that has not ended."""
    return {"candidates": [candidate(parts)], "modelVersion": model, "responseId": asked.id_}


def candidate(parts: list[Json]) -> Json:
    return {"content": {"parts": parts, "role": "model"} if parts else {"role": "model"}, "index": 0}


def ended(response: ModelResponse, parts: list[Json]) -> Json:
    """The candidate with these (last) parts and its end, and the usage, as far as the provider has told any."""
    reason = _REASONS.get(finish(response) or "", "STOP")
    last = candidate(parts) | {"finishReason": "SAFETY" if refusal(response) else reason}
    if words := refusal(response):
        last["finishMessage"] = words
    counts = {"usageMetadata": _usage(response.usage)} if measured(response.usage) else {}
    return {"candidates": [last], **counts}


def told(asked: Asked, part: ModelResponsePart, *, first: bool) -> Json | None:
    """A whole part of the answer; None where it says nothing. first: no call was told before it."""
    match part:
        case TextPart() if part.content:
            return {"text": part.content}
        case ThinkingPart() if part.content and asked.thoughts:
            return thought(part.content)
        case ToolCallPart():
            call = {
                "id": fitting(part.tool_call_id),
                "name": part.tool_name,
                "args": arguments_object(part.args),
            }
            return {"functionCall": call} | ({"thoughtSignature": NOT_GEMINIS} if first else {})
        case _:
            return None


def thought(text: str) -> Json:
    return {"text": text, "thought": True}


def _usage(usage: RequestUsage) -> Json:
    """Gemini counts thoughts beside what the candidates say, pydantic-ai within it."""
    thoughts = min(reasoning_tokens(usage), usage.output_tokens)
    counts = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - thoughts,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if thoughts:
        counts["thoughtsTokenCount"] = thoughts
    if usage.cache_read_tokens:
        counts["cachedContentTokenCount"] = usage.cache_read_tokens
    return counts
