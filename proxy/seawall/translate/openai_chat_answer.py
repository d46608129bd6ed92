"""Writes chat completions: the plain object, or its stream of chunks in the form and order that the API sends.

Reasoning is left out: the dialect has no place for it, and a field of our own would come back in the agent's next
request, which the API itself would then refuse.
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
from pydantic_ai.usage import RequestUsage

from seawall.translate.answer import (
    arguments,
    encoded,
    finish,
    measured,
    reasoning_tokens,
    refusal,
    rest,
    untold,
)
from seawall.translate.calls import fitting
from seawall.translate.types import Asked

_FINISH = {"length": "length", "content_filter": "content_filter", "error": "length"}
"""Where an answer ended early. The dialect has no word for an error but this one, which does not pass for whole."""


def whole(asked: Asked, response: ModelResponse, model: str) -> bytes:
    """See `AgentSide.whole`."""
    texts = [part.content for part in response.parts if isinstance(part, TextPart)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": refusal(response) or None,
        "annotations": [],
    }
    calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
    if calls:
        message["tool_calls"] = [
            {
                "id": fitting(call.tool_call_id),
                "type": "function",
                "function": {"name": call.tool_name, "arguments": arguments(call.args)},
            }
            for call in calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(response)}
    answer = _head(asked, "chat.completion", model) | {"choices": [choice], "usage": _usage(response.usage)}
    return encoded(answer)


def _head(asked: Asked, kind: str, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{asked.id_}",
        "object": kind,
        "created": asked.created,
        "model": model,
        "system_fingerprint": None,
    }


def _finish(response: ModelResponse) -> str:
    """Providers that end a turn of tool calls with a plain stop are common; agents go by this word."""
    if refusal(response):
        return "stop"
    early = _FINISH.get(finish(response) or "")
    if early:
        return early
    return "tool_calls" if any(isinstance(part, ToolCallPart) for part in response.parts) else "stop"


def _usage(usage: RequestUsage) -> dict[str, Any] | None:
    if not measured(usage):
        return None
    prompt = {"cached_tokens": usage.cache_read_tokens, "audio_tokens": usage.input_audio_tokens}
    if usage.cache_write_tokens:
        prompt["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": reasoning_tokens(usage),
            "audio_tokens": usage.output_audio_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class _Call:
    """A tool call of a stream. held: arguments that came as an object, which may still grow."""

    __slots__ = ("held", "index", "told")

    def __init__(self, index: int) -> None:
        self.index = index
        self.told = ""
        self.held: dict[str, Any] | None = None


class ChatWriter:
    """See `StreamWriter`. The role comes with the first content, as the API sends it."""

    __slots__ = ("_asked", "_calls", "_head", "_started", "_texts")

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._head: dict[str, Any] = {}
        self._started = False
        self._texts: dict[int, str] = {}
        self._calls: dict[int, _Call] = {}

    def begin(self, model: str) -> bytes:
        self._head = _head(self._asked, "chat.completion.chunk", model)
        return b""

    def event(self, event: ModelResponseStreamEvent) -> bytes:
        match event:
            case PartStartEvent(index=index, part=TextPart(content=content)):
                return self._text(index, rest(self._texts.get(index, ""), content))
            case PartDeltaEvent(index=index, delta=TextPartDelta(content_delta=delta)) if delta:
                return self._text(index, delta)
            case PartStartEvent(index=index, part=ToolCallPart() as part):
                return self._call(index, part)
            case PartDeltaEvent(index=index, delta=ToolCallPartDelta() as delta) if index in self._calls:
                return self._more(self._calls[index], delta)
        return b""

    def end(self, response: ModelResponse) -> bytes:
        written = b"" if self._texts or self._calls else b"".join(map(self.event, untold(response)))
        for call in self._calls.values():
            if not call.told.strip():
                written += self._arguments(call, arguments(call.held))
        if words := refusal(response):
            written += self._delta({"refusal": words})
        if not self._started:
            written += self._delta({"content": ""})
        written += self._chunk([_choice({}, _finish(response))])
        if self._asked.include_usage and (usage := _usage(response.usage)) is not None:
            written += self._chunk([], usage)
        return written + b"data: [DONE]\n\n"

    def _text(self, index: int, content: str) -> bytes:
        if not content:
            return b""
        self._texts[index] = self._texts.get(index, "") + content
        return self._delta({"content": content})

    def _call(self, index: int, part: ToolCallPart) -> bytes:
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = _Call(len(self._calls))
            function = {"name": part.tool_name, "arguments": ""}
            told = self._tool(
                {"index": call.index, "id": fitting(part.tool_call_id), "type": "function", "function": function}
            )
        else:
            told = b""
        if isinstance(part.args, str):
            return told + self._arguments(call, rest(call.told, part.args))
        call.held = part.args
        return told

    def _more(self, call: _Call, delta: ToolCallPartDelta) -> bytes:
        told = b""
        if delta.tool_name_delta:
            told = self._tool({"index": call.index, "function": {"name": delta.tool_name_delta}})
        if isinstance(delta.args_delta, dict):
            call.held = (call.held or {}) | delta.args_delta
        elif delta.args_delta:
            told += self._arguments(call, delta.args_delta)
        return told

    def _arguments(self, call: _Call, text: str) -> bytes:
        if not text:
            return b""
        call.told += text
        return self._tool({"index": call.index, "function": {"arguments": text}})

    def _tool(self, call: dict[str, Any]) -> bytes:
        return self._delta({"tool_calls": [call]})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        if self._started:
            return self._chunk([_choice(delta)])
        self._started = True
        if "content" in delta:
            first = {"role": "assistant", "content": "", "refusal": None}
            more = self._chunk([_choice(delta)]) if delta["content"] else b""
            return self._chunk([_choice(first)]) + more
        return self._chunk([_choice({"role": "assistant", "content": None, "refusal": None} | delta)])

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        chunk = self._head | {"choices": choices}
        if self._asked.include_usage:
            chunk["usage"] = usage
        return b"data: " + encoded(chunk) + b"\n\n"


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
