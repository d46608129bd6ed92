"""What the answers of chat completions and of responses have in common, taken from a finished `ModelResponse`."""

from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.usage import RequestUsage

from seawall.translate.answer import ReplacedError as ReplacedError

# Where pydantic-ai's models leave the count that providers name differently.
_REASONING = ("reasoning_tokens", "thoughts_tokens", "thinking_tokens")


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
