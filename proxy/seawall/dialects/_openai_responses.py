"""The watch for streams of the responses API: a lifecycle of typed events around deltas.

`response.completed` repeats the whole answer and so may be larger than an event that is held back; then its ends are
looked at, so that a long answer is not taken for a truncated one.
"""

import re

import msgspec

from seawall.dialects._classify import Said, fault_of, is_something, said
from seawall.dialects._json import model_name, read
from seawall.dialects._openai_providers import FILTERED, WORDS
from seawall.dialects._openai_words import Reason, usage_of
from seawall.dialects.sse import EventWatch
from seawall.faults import Code, Fault

_NOTHING = msgspec.Raw(b"")

_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.done"})
_BEGINNING = frozenset({"response.created", "response.in_progress", "response.queued"})
_ITEM = frozenset({"response.output_item.added", "response.output_item.done"})
_PARTIAL = "response.image_generation_call.partial_image"

_TYPE = re.compile(rb'"type"\s*:\s*"([a-z_.]{1,80})"')
_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')


class _Item(msgspec.Struct, gc=False):
    type: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: object = None
    item: _Item | None = None
    response: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


class _Response(msgspec.Struct, gc=False):
    model: object = None
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    incomplete_details: Reason | None = None


_EVENT = msgspec.json.Decoder(_Event)
_RESPONSE = msgspec.json.Decoder(_Response)


def _response(raw: msgspec.Raw) -> _Response:
    return read(_RESPONSE, raw) or _Response()


class ResponsesWatch(EventWatch):
    """Terminal is `response.completed`, `.incomplete` or `.failed`; also `[DONE]`, with which compatible servers end.

    poll: the stream is of an earlier, background response. That one may have failed without a fault of this call.
    """

    __slots__ = ("_poll",)

    def __init__(self, *, poll: bool = False) -> None:
        super().__init__()
        self._poll = poll

    def _event(self, name: bytes, data: bytes) -> bool:
        try:
            event = _EVENT.decode(data)
        except (ValueError, RecursionError):
            if data.startswith(b"[DONE]"):
                self.terminal = True
                return True
            return self._odd(name, data)
        kind = event.type or name.decode("latin-1")
        if event.delta or kind == _PARTIAL:
            self.content = True
            self.progress += 1
        elif kind in _ITEM:
            # A tool call is content from its first event; of a message or a reasoning the deltas are.
            if event.item is not None and event.item.type is not None and event.item.type.endswith("_call"):
                self.content = True
                self.progress += 1
        elif kind in _TERMINAL:
            self._finish(kind, event.response)
        elif kind in _BEGINNING and not self.model:
            self._name(_response(event.response))
        if kind == "error" or name == b"error" or (event.error is not _NOTHING and is_something(event.error)):
            self._error(data, event.error)
        return True

    def _finish(self, kind: str, raw: msgspec.Raw) -> None:
        self.terminal = True
        response = _response(raw)
        self._name(response)
        self.usage = usage_of(response.usage) or self.usage
        if self._poll:
            return
        why = response.incomplete_details
        if kind == "response.failed":
            error = said(response.error) if is_something(response.error) else None
            self.fault = self.fault or fault_of(WORDS, error or Said())
        elif why is not None and why.reason == FILTERED:
            self.fault = self.fault or Fault(Code.CONTENT_POLICY, f"incomplete {FILTERED}")

    def _name(self, response: _Response) -> None:
        self.model = model_name(response.model) or self.model

    def _error(self, data: bytes, error: msgspec.Raw) -> None:
        if is_something(error):
            self.fault = fault_of(WORDS, said(error) or Said())
            return
        top = said(data) or Said()
        # `type` is the event's own here.
        top.type = None
        self.fault = self.fault or fault_of(WORDS, top)

    def _oversized(self, name: bytes, head: bytes, tail: bytes) -> None:
        match = _TYPE.search(head)
        kind = (name or (match[1] if match is not None else b"")).decode("latin-1")
        if kind in _TERMINAL:
            self.terminal = True
            found = _USAGE.findall(tail)
            self.usage = (usage_of(msgspec.Raw(found[-1])) if found else None) or self.usage
            if kind == "response.failed" and not self._poll:
                self.fault = self.fault or Fault(Code.SERVER_ERROR, "response.failed")
        elif kind not in _BEGINNING:
            self.content = True
            self.progress += 1
