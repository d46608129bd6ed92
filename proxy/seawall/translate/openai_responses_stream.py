"""Writes a streamed response: typed, numbered events, each item opened, told and closed in the order of the API.

An item is closed when the next one begins or the answer ends, so that the last one's status is known. One that goes on
after that is opened again: its closing events come a second time, with all of it.
"""

from typing import Any

from pydantic_ai.messages import (
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)

from seawall.translate.answer import ReplacedError, arguments, encoded, refusal, rest, untold
from seawall.translate.openai_responses_answer import Item, Status, beginning, called, finished, last_status, status_of
from seawall.translate.types import Asked


class ResponsesWriter:
    """See `StreamWriter`."""

    __slots__ = ("_asked", "_items", "_model", "_number", "_output")

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._model = ""
        self._number = 0
        self._output: list[Item] = []
        self._items: dict[int, Item] = {}

    def begin(self, model: str) -> bytes:
        self._model = model
        response = beginning(self._asked, model)
        return self._say("response.created", response=response) + self._say("response.in_progress", response=response)

    def event(self, event: ModelResponseStreamEvent) -> bytes:
        match event:
            case PartStartEvent(index=index, part=TextPart(content=content)):
                return self._start(index, content)
            case PartStartEvent(index=index, part=ToolCallPart() as part):
                return self._call(index, part)
            case PartDeltaEvent(index=index, delta=TextPartDelta(content_delta=delta)):
                return self._more(index, delta)
            case PartDeltaEvent(index=index, delta=ToolCallPartDelta() as delta) if index in self._items:
                return self._grow(index, delta)
        return b""

    def end(self, response: ModelResponse) -> bytes:
        written = b"" if self._output else b"".join(map(self.event, untold(response)))
        if words := refusal(response):
            written += self._refuse(words)
        last = last_status(response)
        for one in self._output:
            if one.open:
                written += self._close(one, last if one is self._output[-1] else "completed")
        answer = finished(self._asked, response, self._model, self._output)
        return written + self._say(f"response.{status_of(response)}", response=answer)

    def _refuse(self, words: str) -> bytes:
        one = Item("refusal", words)
        return self._open(one) + self._say("response.refusal.delta", one, content_index=0, delta=words)

    def _start(self, index: int, content: str) -> bytes:
        """An item begins with its first words."""
        one = self._items.setdefault(index, Item("message"))
        return self._more(index, rest(one.text, content))

    def _call(self, index: int, part: ToolCallPart) -> bytes:
        written = b""
        if index not in self._items:
            self._items[index] = called(part)
            written = self._open(self._items[index])
        if isinstance(part.args, str):
            return written + self._more(index, rest(self._items[index].text, part.args))
        self._items[index].held = part.args
        return written

    def _grow(self, index: int, delta: ToolCallPartDelta) -> bytes:
        one = self._items[index]
        one.name += delta.tool_name_delta or ""
        if isinstance(delta.args_delta, dict):
            if not one.open:
                raise ReplacedError
            one.held = (one.held or {}) | delta.args_delta
            return b""
        return self._more(index, delta.args_delta or "")

    def _more(self, index: int, delta: str) -> bytes:
        one = self._items.get(index)
        if one is None or not delta:
            return b""
        written = b"" if one.index >= 0 else self._open(one)
        one.open = True
        one.text += delta
        return written + self._delta(one, delta)

    def _open(self, one: Item) -> bytes:
        written = b"".join(self._close(other, "completed") for other in self._output if other.open)
        one.place(self._asked, len(self._output))
        self._output.append(one)
        written += self._say("response.output_item.added", one, item=one.json("in_progress"))
        if one.kind != "function_call":
            part = one.content() | {"refusal" if one.kind == "refusal" else "text": ""}
            written += self._say("response.content_part.added", one, content_index=0, part=part)
        return written

    def _delta(self, one: Item, delta: str) -> bytes:
        if one.kind == "message":
            return self._say("response.output_text.delta", one, content_index=0, delta=delta, logprobs=[])
        return self._say("response.function_call_arguments.delta", one, delta=delta)

    def _close(self, one: Item, status: Status) -> bytes:
        written = b""
        match one.kind:
            case "message":
                written = self._say("response.output_text.done", one, content_index=0, text=one.text, logprobs=[])
                written += self._say("response.content_part.done", one, content_index=0, part=one.content())
            case "refusal":
                written = self._say("response.refusal.done", one, content_index=0, refusal=one.text)
                written += self._say("response.content_part.done", one, content_index=0, part=one.content())
            case "function_call":
                written = self._arguments(one)
        one.open = False
        return written + self._say("response.output_item.done", one, item=one.json(status))

    def _arguments(self, one: Item) -> bytes:
        written = b""
        if not one.text.strip():
            written = self._delta(one, arguments(one.held))
            one.text += arguments(one.held)
        return written + self._say("response.function_call_arguments.done", one, arguments=one.text)

    def _say(self, kind: str, one: Item | None = None, **fields: Any) -> bytes:
        event: dict[str, Any] = {"type": kind, "sequence_number": self._number}
        self._number += 1
        if one is not None:
            event["output_index"] = one.index
            if "item" not in fields:
                event["item_id"] = one.id_
        return b"event: " + kind.encode() + b"\ndata: " + encoded(event | fields) + b"\n\n"
