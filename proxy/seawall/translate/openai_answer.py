"""What the answers of chat completions and of responses have in common, taken from a finished `ModelResponse`."""

import msgspec
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.usage import RequestUsage

# Where pydantic-ai's models leave the count that providers name differently.
_REASONING = ("reasoning_tokens", "thoughts_tokens", "thinking_tokens")

_encode = msgspec.json.Encoder().encode


def encoded(value: object) -> bytes:
    return _encode(value)


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
