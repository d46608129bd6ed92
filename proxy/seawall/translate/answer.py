"""What the writers of all dialects have in common, taken from pydantic-ai's answers and their events."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from pydantic_ai.messages import (
    INVALID_JSON_KEY,
    FinishReason,
    ModelResponse,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    ToolCallPart,
)
from pydantic_ai.usage import RequestUsage
from pydantic_core import from_json

_encode = msgspec.json.Encoder().encode

# Where pydantic-ai's models leave the count that providers name differently.
_REASONING = ("reasoning_tokens", "thoughts_tokens", "thinking_tokens")


def encoded(value: object) -> bytes:
    try:
        return _encode(value)
    except UnicodeEncodeError:
        # A provider cut within a character: the half is passed on as the escape that it came as.
        return json.dumps(value, separators=(",", ":")).encode()


class ReplacedError(ValueError):
    """A part was replaced after it had been told; what the agent has of it can not be taken back."""


def rest(told: str, content: str) -> str:
    """What is still to be told of a part that starts anew. Raises ReplacedError where it now says something else."""
    if not content.startswith(told):
        raise ReplacedError
    return content[len(told) :]


def arguments(args: object) -> str:
    """A tool call's arguments as JSON text. Agents decode it, so a call without any gets an empty object."""
    if isinstance(args, str):
        return args if args.strip() else "{}"
    return encoded(args).decode() if args else "{}"


def arguments_object(args: object) -> dict[str, Any]:
    """A tool call's arguments as an object. Those of an answer that was cut off end where it did, as Anthropic's SDK
    reads them in a stream."""
    if isinstance(args, dict):
        return args
    if not isinstance(args, str) or not args.strip():
        return {}
    try:
        found = from_json(args, allow_partial=True)
    except ValueError:
        found = args
    # No object at all: so that the agent's own check of the arguments tells what the model said.
    return found if isinstance(found, dict) else {INVALID_JSON_KEY: args}


def finish(response: ModelResponse) -> FinishReason | None:
    """Why the answer ended. A reason that pydantic-ai does not know may be that it was cut off, and counts as `error`;
    None: the provider gave none."""
    if response.finish_reason is None and (response.provider_details or {}).get("finish_reason"):
        return "error"
    return response.finish_reason


def refusal(response: ModelResponse) -> str:
    """The model's own words for not answering; "" where it said anything else, or gave no words."""
    said = (response.provider_details or {}).get("refusal")
    if not isinstance(said, str) or any(isinstance(part, TextPart | ToolCallPart) for part in response.parts):
        return ""
    return said


def reasoning_tokens(usage: RequestUsage) -> int:
    return usage.output_reasoning_tokens or next((usage.details[n] for n in _REASONING if usage.details.get(n)), 0)


def measured(usage: RequestUsage) -> bool:
    """Whether the provider told any counts."""
    return not usage.unmeasured_requests


def untold(response: ModelResponse) -> Iterator[PartStartEvent | PartEndEvent]:
    """The events of an answer that came without any."""
    for index, part in enumerate(response.parts):
        yield PartStartEvent(index=index, part=part)
        yield PartEndEvent(index=index, part=part)
