"""What the writers of all dialects have in common, taken from pydantic-ai's answers and their events."""

import json
from collections.abc import Iterator

import msgspec
from pydantic_ai.messages import FinishReason, ModelResponse, PartEndEvent, PartStartEvent

_encode = msgspec.json.Encoder().encode


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


def finish(response: ModelResponse) -> FinishReason | None:
    """Why the answer ended. A reason that pydantic-ai does not know may be that it was cut off, and counts as `error`;
    None: the provider gave none."""
    if response.finish_reason is None and (response.provider_details or {}).get("finish_reason"):
        return "error"
    return response.finish_reason


def untold(response: ModelResponse) -> Iterator[PartStartEvent | PartEndEvent]:
    """The events of an answer that came without any."""
    for index, part in enumerate(response.parts):
        yield PartStartEvent(index=index, part=part)
        yield PartEndEvent(index=index, part=part)
