"""Watches for Gemini's streams: whole answers in small, each as a server-sent event or as an element of one array.

One decode per chunk, of the few fields that tell content, end, error and usage.
"""

import re

import msgspec

from seawall.dialects._classify import is_something
from seawall.dialects._gemini_words import FILTERED, Feedback, reason, told, usage_of
from seawall.dialects._json import model_name
from seawall.dialects.json_array import ArrayWatch
from seawall.dialects.sse import EventWatch
from seawall.faults import Code, Fault

_NOTHING = msgspec.Raw(b"")

# Found in the ends of a chunk too large to be held, an image's say. Quotes within a text are escaped.
_FINISH = re.compile(rb'"finishReason"\s*:\s*"([A-Z_]{1,64})"')
_USAGE = re.compile(rb'"usageMetadata"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')


class _Part(msgspec.Struct, gc=False, rename="camel"):
    """Everything that carries an answer's substance; a thought's signature alone does not."""

    text: object = None
    function_call: msgspec.Raw = _NOTHING
    inline_data: msgspec.Raw = _NOTHING
    executable_code: msgspec.Raw = _NOTHING
    code_execution_result: msgspec.Raw = _NOTHING
    file_data: msgspec.Raw = _NOTHING
    tool_call: msgspec.Raw = _NOTHING
    tool_response: msgspec.Raw = _NOTHING


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    content: _Content | None = None
    finish_reason: object = None
    index: int | None = None


class _Chunk(msgspec.Struct, gc=False, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: msgspec.Raw = _NOTHING
    model_version: object = None
    error: msgspec.Raw = _NOTHING


_CHUNK = msgspec.json.Decoder(_Chunk)
_OBJECTS = ("function_call", "inline_data", "executable_code", "code_execution_result", "file_data", "tool_call",
            "tool_response")  # fmt: skip


def _substance(content: _Content | None) -> bool:
    if content is None or not content.parts:
        return False
    parts = content.parts
    return bool(parts[0].text) or any(
        part.text or any(getattr(part, name) is not _NOTHING for name in _OBJECTS) for part in parts
    )


class EventChunks(EventWatch):
    """What chunks mean, and a stream of them with `alt=sse`. Terminal is a finish reason for each candidate: as many as
    were asked for, or as have been seen if those are more; or a prompt that is blocked, which has none."""

    # No slots, so that the other framing can be mixed in.

    def __init__(self, choices: int) -> None:
        super().__init__()
        self._choices = choices
        self._others: set[int] = set()  # indices seen besides 0
        self._finished: set[int] = set()
        self._filtered: set[int] = set()

    def _event(self, name: bytes, data: bytes) -> bool:
        try:
            chunk = _CHUNK.decode(data)
        except (ValueError, RecursionError):
            return self._odd(name, data)
        for candidate in chunk.candidates or ():
            index = candidate.index or 0
            if index:
                self._others.add(index)
            if _substance(candidate.content):
                self.content = True
                self.progress += 1
                if self._finished and not candidate.finish_reason:
                    # Some servers tell of a finish with each chunk: it was none.
                    self._finished.discard(index)
                    self.terminal = False
            if candidate.finish_reason:
                self._finish(index, reason(candidate.finish_reason))
        if not self.model:
            self.model = model_name(chunk.model_version)
        if chunk.usage_metadata is not _NOTHING:
            self.usage = usage_of(chunk.usage_metadata) or self.usage
        if chunk.prompt_feedback is not None and (blocked := reason(chunk.prompt_feedback.block_reason)):
            self.terminal = True
            self.fault = self.fault or Fault(Code.CONTENT_POLICY, f"blockReason {blocked}")
        if chunk.error is not _NOTHING and is_something(chunk.error):
            self.fault = told(chunk.error)
        return True

    def _finish(self, index: int, why: str) -> None:
        if not why:
            return
        self._finished.add(index)
        if why in FILTERED:
            self._filtered.add(index)
        if len(self._finished) >= max(self._choices, 1 + len(self._others)):
            self.terminal = True
            # Of several candidates those that are left can be used.
            if self._filtered >= self._finished:
                self.fault = self.fault or Fault(Code.CONTENT_POLICY, f"finishReason {why}")

    def _oversized(self, name: bytes, head: bytes, tail: bytes) -> None:
        """One candidate's, as far as can be known."""
        self.content = True
        self.progress += 1
        if found := _FINISH.findall(tail):
            self._finish(0, reason(found[-1].decode("ascii")))
        if counted := _USAGE.findall(tail):
            self.usage = usage_of(msgspec.Raw(counted[-1])) or self.usage


class ArrayChunks(EventChunks, ArrayWatch):
    """A stream without it: one array."""
