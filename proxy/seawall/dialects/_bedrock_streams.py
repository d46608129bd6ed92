"""Watches for Bedrock's streams: Converse's events, and the chunks of invoked models, each in its maker's own form.

One decode per event, of the few fields that tell content, end and usage.
"""

import binascii
from base64 import b64decode

import msgspec

from seawall.dialects._bedrock_words import STOPPED, WORDS, told, usage_of
from seawall.dialects._classify import fault_of
from seawall.dialects._json import Count, is_strict, model_name, read
from seawall.dialects.eventstream import FrameWatch
from seawall.faults import Code, Fault
from seawall.types import Usage

_NOTHING = msgspec.Raw(b"")


class _Reasoning(msgspec.Struct, gc=False, rename="camel"):
    """A signature alone is not content."""

    text: object = None
    redacted_content: object = None


class _ToolUse(msgspec.Struct, gc=False):
    input: object = None


class _Delta(msgspec.Struct, gc=False, rename="camel"):
    text: object = None
    reasoning_content: _Reasoning | None = None
    tool_use: _ToolUse | None = None
    tool_result: object = None
    citation: object = None
    image: object = None


class _Event(msgspec.Struct, gc=False, rename="camel"):
    """The payload of any event of ConverseStream."""

    delta: _Delta | None = None
    start: object = None
    stop_reason: object = None
    usage: msgspec.Raw = _NOTHING


_EVENT = msgspec.json.Decoder(_Event)


class _Framed(FrameWatch):
    """What both kinds of streams share: exceptions, and how an answer stopped."""

    __slots__ = ()

    def _exception(self, name: str, payload: bytes, words: str) -> None:
        self.fault = self.fault or fault_of(WORDS, told(name, payload, words))

    def _stopped(self, reason: object) -> None:
        self.terminal = True
        code = STOPPED.get(reason) if isinstance(reason, str) else None
        if code is not None:
            self.fault = self.fault or Fault(code, f"stopReason {reason}")

    def _malformed(self, payload: bytes) -> bool:
        """Whether a payload that was not decoded is malformed: JSON of an unknown form is not."""
        return not is_strict(payload)

    def _bears(self) -> None:
        self.content = True
        self.progress += 1


class ConverseWatch(_Framed):
    """Terminal is `messageStop`; `metadata`, which tells the usage, comes behind it. A tool call is content from its
    block's start, since its input may be empty."""

    __slots__ = ()

    def _event(self, kind: str, payload: bytes) -> bool:
        event = read(_EVENT, payload)
        if event is None:
            return not self._malformed(payload)
        match kind:
            case "contentBlockDelta":
                if event.delta is not None and _substance(event.delta):
                    self._bears()
            case "contentBlockStart":
                if event.start:
                    self._bears()
            case "messageStop":
                self._stopped(event.stop_reason)
            case "metadata":
                self.usage = usage_of(event.usage) or self.usage
        return True

    def _oversized(self, kind: str) -> None:
        if kind == "messageStop":
            # Fields that the agent asked the model for may come along with it.
            self.terminal = True
        elif kind != "metadata":
            super()._oversized(kind)


def _substance(delta: _Delta) -> bool:
    reasoning, tool = delta.reasoning_content, delta.tool_use
    return bool(
        delta.text
        or (tool is not None and tool.input)
        or (reasoning is not None and (reasoning.text or reasoning.redacted_content))
        or delta.citation
        or delta.tool_result
        or delta.image
    )


class _Chunk(msgspec.Struct, gc=False):
    data: str = msgspec.field(default="", name="bytes")


class _Metrics(msgspec.Struct, gc=False, rename="camel"):
    input_token_count: Count | None = None
    output_token_count: Count | None = None
    cache_read_input_token_count: Count | None = None
    cache_write_input_token_count: Count | None = None


class _Message(msgspec.Struct, gc=False):
    model: object = None


class _Part(msgspec.Struct, gc=False, rename="camel"):
    """What is told of models' own stream events: Anthropic's `type`, Nova's keys of Converse."""

    type: object = None
    message: _Message | None = None
    message_start: object = None
    content_block_stop: object = None
    message_stop: _Event | None = None
    metadata: object = None
    metrics: _Metrics | None = msgspec.field(default=None, name="amazon-bedrock-invocationMetrics")


_CHUNK = msgspec.json.Decoder(_Chunk)
_PART = msgspec.json.Decoder(_Part)

# Events that bear nothing, of the models whose events have a name.
_EMPTY = frozenset({"message_start", "content_block_start", "content_block_stop", "message_delta", "ping"})


class InvokeWatch(_Framed):
    """Chunks of JSON as a model's maker writes it. Terminal is what Bedrock adds to the last one of any model (its
    metrics), and Anthropic's and Nova's own ends. A stream that shows neither form has no contract: it ends where it
    ends."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        super().__init__()
        self._known = False

    def _event(self, kind: str, payload: bytes) -> bool:
        chunk = read(_CHUNK, payload)
        if chunk is None:
            return not self._malformed(payload)
        try:
            data = b64decode(chunk.data)
        except (ValueError, binascii.Error):
            return False
        part = read(_PART, data)
        if part is None:
            self._bears()
            return True
        self._part(part)
        return True

    def _part(self, part: _Part) -> None:
        named = isinstance(part.type, str)
        self._known |= named or part.message_start is not None
        if part.message is not None:
            self.model = self.model or model_name(part.message.model)
        if part.message_stop is not None:
            self._stopped(part.message_stop.stop_reason)
        elif part.type == "message_stop":
            self.terminal = True
        elif (
            not (named and part.type in _EMPTY)
            and part.message_start is part.content_block_stop is part.metadata is None
        ):
            self._bears()
        if part.metrics is not None:
            self.terminal = True
            self.usage = _counted(part.metrics)

    def end(self) -> bytes:
        rest = super().end()
        if self.fault is None and self.content and not self._known:
            self.terminal = True
        return rest


def _counted(metrics: _Metrics) -> Usage:
    cached = metrics.cache_read_input_token_count or 0
    written = metrics.cache_write_input_token_count or 0
    return Usage((metrics.input_token_count or 0) + cached + written, metrics.output_token_count or 0, cached)


class UnknownWatch(_Framed):
    """A stream without a contract: any event is content, and a clean end is an end."""

    __slots__ = ()

    def _event(self, kind: str, payload: bytes) -> bool:
        self._bears()
        return True

    def end(self) -> bytes:
        rest = super().end()
        self.terminal = self.terminal or self.fault is None
        return rest


def broken_name(code: Code) -> str:
    """The exception that tells an agent's SDK of a fault within a stream."""
    match code:
        case Code.RATE_LIMITED | Code.QUOTA_EXHAUSTED:
            return "throttlingException"
        case Code.OVERLOADED:
            return "serviceUnavailableException"
        case Code.INTERNAL:
            return "internalServerException"
        case _:
            # "An error occurred while streaming the response. Retry your request."
            return "modelStreamErrorException"
