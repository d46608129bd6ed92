"""A streamed answer as Anthropic's events: one content block after the other, each started with its first content and
stopped before the next.

A block's arguments are streamed as they come where they are JSON text; where the provider gives them as an object, they
follow whole at the part's end. So does thinking, which without its signature is not told at all.
"""

from dataclasses import dataclass
from typing import Any

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
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.usage import RequestUsage

from seawall.translate.answer import arguments, encoded, rest, untold
from seawall.translate.anthropic_answer import ending, is_redacted, message, signature, usage
from seawall.translate.calls import fitting
from seawall.translate.types import Asked


@dataclass(slots=True)
class _Block:
    """A content block that was started. told: its text, or its arguments, so far."""

    index: int
    stopped: bool = False
    told: str = ""


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
            case PartDeltaEvent(delta=ToolCallPartDelta() as delta):
                return self._arguments(event.index, delta.args_delta)
            case PartEndEvent():
                return self._end(event.index, event.part)
            case _:
                return b""

    def end(self, response: ModelResponse) -> bytes:
        """`message_delta` with reason and usage, and `message_stop`."""
        written = b"" if self._blocks else b"".join(map(self.event, untold(response)))
        written += b"".join(self._end(index, part) for index, part in enumerate(response.parts))
        delta = {"type": "message_delta", "delta": ending(response), "usage": usage(response.usage)}
        return written + _event(delta) + _event({"type": "message_stop"})

    def _start(self, index: int, part: ModelResponsePart) -> bytes:
        block = self._blocks.get(index)
        told = "" if block is None else block.told
        match part:
            case TextPart():
                return self._text(index, rest(told, part.content))
            case ToolCallPart():
                call = {"type": "tool_use", "id": fitting(part.tool_call_id), "name": part.tool_name, "input": {}}
                more = rest(told, part.args) if isinstance(part.args, str) else None
                return self._open(index, call) + self._arguments(index, more)
            case _:
                return b""

    def _text(self, index: int, text: str) -> bytes:
        if not text:
            return b""
        opened = self._open(index, {"type": "text", "text": "", "citations": None})
        return opened + self._delta(index, {"type": "text_delta", "text": text}, text)

    def _arguments(self, index: int, text: object) -> bytes:
        if not isinstance(text, str) or not (text.strip() or self._blocks[index].told):
            return b""
        return self._delta(index, {"type": "input_json_delta", "partial_json": text}, text)

    def _end(self, index: int, part: ModelResponsePart) -> bytes:
        """What is known only when a part is complete; nothing where its block is stopped already."""
        block = self._blocks.get(index)
        if block is not None and block.stopped:
            return b""
        written = b""
        if isinstance(part, ThinkingPart) and is_redacted(part):
            written = self._open(index, {"type": "redacted_thinking", "data": part.signature})
        elif isinstance(part, ThinkingPart) and (signed := signature(part)):
            written = self._open(index, {"type": "thinking", "thinking": "", "signature": ""})
            if part.content:
                written += self._delta(index, {"type": "thinking_delta", "thinking": part.content})
            written += self._delta(index, {"type": "signature_delta", "signature": signed})
        elif isinstance(part, ToolCallPart) and block is not None and not block.told and part.args:
            written = self._arguments(index, arguments(part.args))
        return written + self._stop(index)

    def _open(self, index: int, block: dict[str, Any]) -> bytes:
        """Start a part's block, unless it is started."""
        if index in self._blocks:
            return b""
        before = b"".join(self._stop(other) for other in self._blocks)
        self._blocks[index] = started = _Block(len(self._blocks))
        return before + _event({"type": "content_block_start", "index": started.index, "content_block": block})

    def _delta(self, index: int, delta: dict[str, Any], told: str = "") -> bytes:
        """A late piece of a part, behind its block's stop, still names its block: clients join them by the index."""
        block = self._blocks[index]
        block.told += told
        return _event({"type": "content_block_delta", "index": block.index, "delta": delta})

    def _stop(self, index: int) -> bytes:
        block = self._blocks.get(index)
        if block is None or block.stopped:
            return b""
        block.stopped = True
        return _event({"type": "content_block_stop", "index": block.index})


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), encoded(data))
