"""An answer as an Anthropic message: its content blocks, the reason why it stopped, and its usage.

Thinking is told where it is Anthropic's own. Of others' it could not be: agents send it back, and the API refuses a
conversation with thinking that it has not signed itself.
"""

from typing import Any

from pydantic_ai.messages import (
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.usage import RequestUsage

from seawall.translate.answer import arguments_object, encoded, finish
from seawall.translate.anthropic_content import REDACTED
from seawall.translate.calls import fitting
from seawall.translate.types import Asked

_OWN_REASONS = frozenset(
    {"end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"}
)
_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_call": "tool_use",
    # The dialect has no word for an error but this one, which does not pass for whole.
    "error": "max_tokens",
}

# Who makes signatures that Anthropic's models take back.
_SIGNERS = frozenset({"anthropic", "amazon-bedrock", "bedrock"})


def whole(asked: Asked, response: ModelResponse, model: str) -> bytes:
    """See `AgentSide.whole`."""
    content = [block for part in response.parts if (block := _block(part)) is not None]
    ended = ending(response)
    return encoded(message(asked, model, content, usage(response.usage)) | ended)


def message(asked: Asked, model: str, content: list[dict[str, Any]], counts: dict[str, Any]) -> dict[str, Any]:
    """A message object that has not ended."""
    return {
        "id": f"msg_{asked.id_}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": counts,
    }


def ending(response: ModelResponse) -> dict[str, Any]:
    """Why the answer stopped: the fields that a stream's `message_delta` has as well. Which stop sequence it was is not
    told by pydantic-ai, nor by most providers: it stays null."""
    details = response.provider_details or {}
    reason = _stop_reason(response, details.get("finish_reason"))
    told = details.get("refusal")
    refusal = {"type": "refusal", "category": None, "explanation": told if isinstance(told, str) else None}
    return {
        "stop_reason": reason,
        "stop_sequence": None,
        "stop_details": refusal if reason == "refusal" else None,
    }


def usage(counted: RequestUsage) -> dict[str, Any]:
    """Anthropic counts what its cache read and wrote beside `input_tokens`, pydantic-ai within them."""
    read, written = counted.cache_read_tokens, counted.cache_write_tokens
    counts: dict[str, Any] = {
        "input_tokens": max(0, counted.input_tokens - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": counted.output_tokens,
    }
    if thinking := counted.output_reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": thinking}
    return counts


def signature(part: ThinkingPart) -> str:
    """The signature that an agent sends back with this thinking; "" unless it is one that Anthropic's models take."""
    return part.signature or "" if part.provider_name in _SIGNERS else ""


def is_redacted(part: ThinkingPart) -> bool:
    return part.id == REDACTED and bool(signature(part))


def _stop_reason(response: ModelResponse, own: object) -> str:
    calls = any(isinstance(part, ToolCallPart) for part in response.parts)
    if own in _OWN_REASONS and isinstance(own, str):
        return own
    reason = _REASONS[finish(response) or "stop"]
    # With a forced call OpenAI says `stop`; agents look for calls only where the reason tells of them.
    if reason in ("end_turn", "tool_use"):
        return "tool_use" if calls else "end_turn"
    return reason


def _block(part: ModelResponsePart) -> dict[str, Any] | None:
    """The content block for one part; None where it says nothing. No hosted tool and no image was asked for, so parts
    of these do not come."""
    match part:
        case TextPart() if part.content:
            return {"type": "text", "text": part.content, "citations": None}
        case ThinkingPart() if is_redacted(part):
            return {"type": "redacted_thinking", "data": part.signature}
        case ThinkingPart() if signature(part):
            return {"type": "thinking", "thinking": part.content, "signature": signature(part)}
        case ToolCallPart():
            return {
                "type": "tool_use",
                "id": fitting(part.tool_call_id),
                "name": part.tool_name,
                "input": arguments_object(part.args),
            }
        case _:
            return None
