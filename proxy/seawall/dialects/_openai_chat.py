"""Watches for streamed chat completions and legacy completions, of OpenAI and of all who speak its protocol.

One decode per event, of the few fields that tell content, finish, error and usage. Fields that come as something else
than expected make an event an unknown one, never an error.
"""

import msgspec

from seawall.dialects._classify import Said, fault_of, is_something, said
from seawall.dialects._json import model_name
from seawall.dialects._openai_providers import FAILED, FILTERED, WORDS
from seawall.dialects._openai_words import usage_of
from seawall.dialects.sse import EventWatch
from seawall.faults import Code, Fault

_NOTHING = msgspec.Raw(b"")


class _Delta(msgspec.Struct, gc=False):
    """Everything that carries an answer's substance; `role` alone does not. Texts, lists or objects, by provider."""

    content: object = None
    reasoning_content: object = None
    reasoning: object = None
    reasoning_details: object = None
    tool_calls: object = None
    function_call: object = None
    refusal: object = None
    audio: object = None
    images: object = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    finish_reason: str | None = None
    index: int | None = None
    text: object = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    model: object = None
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    x_groq: msgspec.Raw = _NOTHING


class _Groq(msgspec.Struct, gc=False):
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


_CHUNK = msgspec.json.Decoder(_Chunk)
_GROQ = msgspec.json.Decoder(_Groq)


def _substance(delta: _Delta) -> bool:
    """Whether there is any, besides `content`."""
    return bool(
        delta.reasoning_content
        or delta.reasoning
        or delta.tool_calls
        or delta.reasoning_details
        or delta.function_call
        or delta.refusal
        or delta.audio
        or delta.images
    )


class ChatWatch(EventWatch):
    """Terminal is `[DONE]`, or a finish reason for each choice: as many as were asked for, or as have been seen if
    those are more (SEMANTICS §5)."""

    __slots__ = ("_choices", "_filtered", "_finished", "_others")

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
            if data.startswith(b"[DONE]"):
                self.terminal = True
                return True
            return self._odd(name, data)
        if chunk.choices:
            for choice in chunk.choices:
                delta = choice.delta
                if (delta is not None and (delta.content or _substance(delta))) or choice.text:
                    self.content = True
                    self.progress += 1
                if choice.index:
                    self._others.add(choice.index)
                if choice.finish_reason:
                    self._finish(choice.index or 0, choice.finish_reason)
        if not self.model:
            self.model = model_name(chunk.model)
        # The rest is absent or null (four bytes) in nearly all events.
        usage = chunk.usage
        if (
            (usage is not _NOTHING and len(usage) > 4)
            or chunk.error is not _NOTHING
            or chunk.x_groq is not _NOTHING
            or name == b"error"
        ):
            self._rare(name, data, chunk)
        return True

    def _rare(self, name: bytes, data: bytes, chunk: _Chunk) -> None:
        errors, usages = [chunk.error], [chunk.usage]
        if is_something(chunk.x_groq):
            try:
                groq = _GROQ.decode(chunk.x_groq)
            except (ValueError, RecursionError):
                groq = _Groq()
            errors.append(groq.error)
            usages.append(groq.usage)
        for usage in usages:
            self.usage = usage_of(usage) or self.usage
        error = next((error for error in errors if is_something(error)), None)
        if error is not None:
            # More exact than the finish reason that may come with it.
            self.fault = fault_of(WORDS, said(error) or Said())
        elif name == b"error":
            self.fault = self.fault or fault_of(WORDS, said(data) or Said())

    def _finish(self, index: int, reason: str) -> None:
        if reason in FAILED:
            self.fault = self.fault or Fault(FAILED[reason], f"finish_reason {reason}")
        self._finished.add(index)
        if reason == FILTERED:
            self._filtered.add(index)
        if len(self._finished) >= max(self._choices, 1 + len(self._others)):
            self.terminal = True
            # Of several choices those that are left can be used.
            if self._filtered == self._finished:
                self.fault = self.fault or Fault(Code.CONTENT_POLICY, f"finish_reason {FILTERED}")
