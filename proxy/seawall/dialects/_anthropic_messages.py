"""The watch for streams of Anthropic's messages: a message, its content blocks and their deltas, as named events.

One decode per event, of the few fields that tell content, end, error and usage.
"""

import msgspec

from seawall.dialects._anthropic_words import REFUSED, WORDS, Counts, counts_of, message_of, total
from seawall.dialects._classify import Said, fault_of, is_something, said
from seawall.dialects._json import model_name
from seawall.dialects.sse import EventWatch
from seawall.faults import Code, Fault

_NOTHING = msgspec.Raw(b"")


class _Delta(msgspec.Struct, gc=False):
    """A signature alone, and what a message_delta brings (its stop_reason), is not content."""

    stop_reason: object = None
    text: object = None
    partial_json: object = None
    thinking: object = None
    citation: object = None
    content: object = None


class _Block(msgspec.Struct, gc=False):
    type: str | None = None
    text: object = None
    thinking: object = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: msgspec.Raw = _NOTHING
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


_EVENT = msgspec.json.Decoder(_Event)


class MessagesWatch(EventWatch):
    """Terminal is `message_stop`. A tool call is content from its block's start, since its input may be empty."""

    __slots__ = ("_counted", "_refused")

    def __init__(self) -> None:
        super().__init__()
        self._counted = Counts()
        self._refused = False

    def _event(self, name: bytes, data: bytes) -> bool:
        try:
            event = _EVENT.decode(data)
        except (ValueError, RecursionError):
            if name == b"error":
                # The SDK raises it, whatever its data are.
                self._error(data)
                return True
            # The SDK skips events without data; a compatible server may end as OpenAI does.
            return not data or data.startswith(b"[DONE]") or self._odd(name, data)
        # The SDK goes by the event's name.
        match "error" if name == b"error" else event.type or name.decode("latin-1"):
            case "content_block_delta":
                delta = event.delta
                if delta is not None and (
                    delta.text or delta.partial_json or delta.thinking or delta.citation or delta.content
                ):
                    self.content = True
                    self.progress += 1
            case "content_block_start":
                block = event.content_block
                if block is not None and (block.type not in ("text", "thinking") or block.text or block.thinking):
                    self.content = True
                    self.progress += 1
            case "message_stop":
                self.terminal = True
                if self._refused:
                    self.fault = self.fault or Fault(Code.CONTENT_POLICY, f"stop_reason {REFUSED}")
            case "message_start":
                message = message_of(event.message)
                self.model = model_name(message.model)
                self._count(message.usage)
            case "message_delta":
                self._count(event.usage)
                self._refused = event.delta is not None and event.delta.stop_reason == REFUSED
            case "error":
                self._error(event.error if is_something(event.error) else data)
        return True

    def _count(self, raw: msgspec.Raw) -> None:
        """The counts of a message_delta are totals, which replace those before; one that is absent leaves its own."""
        counts = counts_of(raw)
        if counts is None:
            return
        for field in Counts.__struct_fields__:
            value = getattr(counts, field)
            if value is not None:
                setattr(self._counted, field, value)
        self.usage = total(self._counted)

    def _error(self, raw: bytes | msgspec.Raw) -> None:
        self.fault = self.fault or fault_of(WORDS, said(raw) or Said())
