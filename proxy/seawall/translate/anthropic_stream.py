"""A streamed answer as Anthropic's events: one content block after the other, each started with its first content and
stopped before the next.

A block's arguments are streamed as they come where they are JSON text; where the provider gives them as an object, they
follow whole at the part's end. A signature is sent once, when it is final.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic_ai.messages import (
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.usage import RequestUsage

from seawall.translate.anthropic_answer import ending, is_redacted, message, signature, usage
from seawall.translate.calls import fitting
from seawall.translate.types import Asked


@dataclass(slots=True)
class _Block:
    """A content block that was started. argued: some of its arguments have been sent."""

    index: int
    stopped: bool = False
    argued: bool = False


class MessagesStream:
    """See `StreamWriter`."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._blocks: dict[int, _Block] = {}
        """By the index of pydantic-ai's part. Parts that say nothing have none."""

    def begin(self, model: str) -> bytes:
        """`message_start`. What the input counts is known at the end only, and told by `message_delta`."""
        empty = message(self._asked, model, [], usage(RequestUsage()))
        return _event({"type": "message_start", "message": empty})

    def event(self, event: ModelResponseStreamEvent) -> bytes:
        """See `StreamWriter.event`."""
        match event:
            case PartStartEvent():
                return self._start(event.index, event.part)
            case PartDeltaEvent(delta=TextPartDelta() as delta):
                return self._text(event.index, delta.content_delta)
            case PartDeltaEvent(delta=ThinkingPartDelta() as delta):
                return self._thinking(event.index, delta.content_delta)
            case PartDeltaEvent(delta=ToolCallPartDelta() as delta):
                return self._arguments(event.index, delta.args_delta)
            case PartEndEvent():
                return self._end(event.index, event.part)
            case _:
                return b""

    def end(self, response: ModelResponse) -> bytes:
        """`message_delta` with reason and usage, and `message_stop`."""
        rest = b"".join(self._end(index, part) for index, part in enumerate(response.parts))
        delta = {"type": "message_delta", "delta": ending(response), "usage": usage(response.usage)}
        return rest + _event(delta) + _event({"type": "message_stop"})

    def _start(self, index: int, part: ModelResponsePart) -> bytes:
        match part:
            case TextPart():
                return self._text(index, part.content)
            case ThinkingPart():
                return self._thinking(index, part.content)
            case ToolCallPart():
                block = {"type": "tool_use", "id": fitting(part.tool_call_id), "name": part.tool_name, "input": {}}
                return self._open(index, block) + self._arguments(index, part.args)
            case _:
                return b""

    def _text(self, index: int, text: str | None) -> bytes:
        if not text:
            return b""
        opened = self._open(index, {"type": "text", "text": "", "citations": None})
        return opened + self._delta(index, {"type": "text_delta", "text": text})

    def _thinking(self, index: int, text: str | None) -> bytes:
        if not text:
            return b""
        opened = self._open(index, {"type": "thinking", "thinking": "", "signature": ""})
        return opened + self._delta(index, {"type": "thinking_delta", "thinking": text})

    def _arguments(self, index: int, arguments: object) -> bytes:
        if not arguments or not isinstance(arguments, str):
            return b""
        self._blocks[index].argued = True
        return self._delta(index, {"type": "input_json_delta", "partial_json": arguments})

    def _end(self, index: int, part: ModelResponsePart) -> bytes:
        """What is known only when a part is complete; nothing where its block is stopped already."""
        block = self._blocks.get(index)
        if block is not None and block.stopped:
            return b""
        rest = b""
        if isinstance(part, ThinkingPart) and is_redacted(part):
            rest = self._open(index, {"type": "redacted_thinking", "data": part.signature})
        elif isinstance(part, ThinkingPart) and (signed := signature(part)):
            rest = self._open(index, {"type": "thinking", "thinking": "", "signature": ""})
            rest += self._delta(index, {"type": "signature_delta", "signature": signed})
        elif isinstance(part, ToolCallPart) and block is not None and not block.argued and part.args:
            rest = self._delta(index, {"type": "input_json_delta", "partial_json": part.args_as_json_str()})
        return rest + self._stop(index)

    def _open(self, index: int, block: dict[str, Any]) -> bytes:
        """Start a part's block, unless it is started."""
        if index in self._blocks:
            return b""
        before = b"".join(self._stop(other) for other in self._blocks)
        self._blocks[index] = started = _Block(len(self._blocks))
        return before + _event({"type": "content_block_start", "index": started.index, "content_block": block})

    def _delta(self, index: int, delta: dict[str, Any]) -> bytes:
        """A late piece of a part, behind its block's stop, still names its block: clients join them by the index."""
        return _event({"type": "content_block_delta", "index": self._blocks[index].index, "delta": delta})

    def _stop(self, index: int) -> bytes:
        block = self._blocks.get(index)
        if block is None or block.stopped:
            return b""
        block.stopped = True
        return _event({"type": "content_block_stop", "index": block.index})


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), msgspec.json.encode(data))
