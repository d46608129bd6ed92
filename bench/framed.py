"""What streams look like in each framing that seawall knows: requests, and the sends of an answer of so many content
events. For `framings.py`, whose two ends compare bytes.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from answers import MODEL, event, sends

from seawall.dialects.eventstream import encode

_SSE = "text/event-stream; charset=utf-8"
_SAFE = {kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")}


@dataclass(frozen=True, slots=True)
class Framing:
    """sends: of a whole answer with so many content events. body: of the request; "" where there is none."""

    dialect: str
    path: str
    body: dict[str, Any]
    kind: str
    sends: Callable[[int], tuple[bytes, ...]]


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _named(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _json({"type": kind, **fields}))


def _azure(chunks: int) -> tuple[bytes, ...]:
    prompt = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [_SAFE]}
    role, *_, last = sends(chunks)
    tokens = (event({"content": f" wave{n}"}, content_filter_results=_SAFE) for n in range(chunks))
    return b"data: %b\n\n" % _json(prompt) + role, *tokens, last


def _responses(chunks: int) -> tuple[bytes, ...]:
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    response = {"id": "resp_1", "object": "response", "model": MODEL, "output": []}
    deltas = (_named("response.output_text.delta", **at, delta=f" wave{n}", sequence_number=n) for n in range(chunks))
    end = _named("response.completed", response={**response, "status": "completed", "usage": None})
    return _named("response.created", response={**response, "status": "in_progress"}), *deltas, end


def _messages(chunks: int) -> tuple[bytes, ...]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    start = _named("message_start", message={**message, "usage": {"input_tokens": 9, "output_tokens": 1}})
    start += _named("content_block_start", index=0, content_block={"type": "text", "text": ""})
    delta = [
        _named("content_block_delta", index=0, delta={"type": "text_delta", "text": f" wave{n}"}) for n in range(chunks)
    ]
    end = _named("content_block_stop", index=0)
    end += _named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": chunks})
    return start, *delta, end + _named("message_stop")


def _candidate(text: str, **more: Any) -> dict[str, Any]:
    content = {"parts": [{"text": text}], "role": "model"}
    return {"candidates": [{"content": content, "index": 0, **more}], "modelVersion": MODEL}


def _chunks_of(chunks: int) -> list[bytes]:
    return [_json(_candidate(f" wave{n}")) for n in range(chunks)] + [_json(_candidate("", finishReason="STOP"))]


def _gemini(chunks: int) -> tuple[bytes, ...]:
    first, *rest = [b"data: %b\r\n\r\n" % chunk for chunk in _chunks_of(chunks + 1)]
    return first, *rest


def _array(chunks: int) -> tuple[bytes, ...]:
    first, *rest = _chunks_of(chunks + 1)
    return b"[" + first, *(b",\r\n" + chunk for chunk in rest[:-1]), b",\r\n" + rest[-1] + b"]"


def _converse(chunks: int) -> tuple[bytes, ...]:
    def message(kind: str, payload: dict[str, Any]) -> bytes:
        fields = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")]
        return encode(fields, _json(payload))

    deltas = (
        message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": f" wave{n}"}}) for n in range(chunks)
    )
    end = message("contentBlockStop", {"contentBlockIndex": 0}) + message("messageStop", {"stopReason": "end_turn"})
    usage = {
        "usage": {"inputTokens": 9, "outputTokens": chunks, "totalTokens": 9 + chunks},
        "metrics": {"latencyMs": 1},
    }
    return message("messageStart", {"role": "assistant"}), *deltas, end + message("metadata", usage)


def _frames(chunks: int) -> tuple[bytes, ...]:
    """Text messages of a WebSocket, as a realtime API sends them."""
    delta = {"type": "response.output_text.delta", "response_id": "resp_1", "item_id": "item_1", "output_index": 0}
    texts = [_json({**delta, "event_id": f"event_{n}", "delta": f" wave{n}"}) for n in range(chunks + 2)]
    return tuple(struct.pack(">BBH", 0x81, 126, len(text)) + text for text in texts)


_ASKED: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
_TURN: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
_MODEL = f"/v1beta/models/{MODEL}:streamGenerateContent"
FRAMINGS = {
    "chat": Framing("OpenAI", "/v1/chat/completions", _ASKED, _SSE, sends),
    "azure": Framing("AzureOpenAI", f"/openai/deployments/{MODEL}/chat/completions", _ASKED, _SSE, _azure),
    "responses": Framing("OpenAI", "/v1/responses", {"model": MODEL, "input": "hi", "stream": True}, _SSE, _responses),
    "messages": Framing("Anthropic", "/v1/messages", {**_ASKED, "max_tokens": 99}, _SSE, _messages),
    "gemini": Framing("Gemini", f"{_MODEL}?alt=sse", _TURN, _SSE, _gemini),
    "array": Framing("Gemini", _MODEL, _TURN, "application/json; charset=UTF-8", _array),
    "converse": Framing(
        "Bedrock",
        f"/model/{MODEL}/converse-stream",
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
        "application/vnd.amazon.eventstream",
        _converse,
    ),
    "websocket": Framing("Generic", "/realtime", {}, "", _frames),
}


@cache
def whole(name: str, chunks: int) -> bytes:
    return b"".join(FRAMINGS[name].sends(chunks))
