"""Answers of seawall's own in the OpenAI dialect, plain and streamed: for rules that fall back to a fixed text.

Every one is whole, as the provider would have written it, and says that it cost no tokens.
"""

from collections.abc import Iterable

import msgspec

from seawall.types import Facts

_JSON, _SSE = b"application/json", b"text/event-stream"
_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def static(facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
    """See `Dialect.static`."""
    match facts.operation:
        case "chat":
            return _chat(facts, text, id_, created)
        case "completions":
            return _completion(facts, text, id_, created)
        case "responses" if facts.model:
            return _response(facts, text, id_, created)
    return None


def _chat(facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes]:
    base = {"id": f"chatcmpl-{id_}", "created": created, "model": facts.model}
    numbers = range(facts.choices)
    if not facts.stream:
        message = {"role": "assistant", "content": text, "refusal": None}
        choices = [{"index": n, "message": message, "logprobs": None, "finish_reason": "stop"} for n in numbers]
        return _JSON, _encode({**base, "object": "chat.completion", "choices": choices, "usage": _USAGE})
    chunk: dict[str, object] = {**base, "object": "chat.completion.chunk"}
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": text}, None), ({}, "stop")]
    events = [
        {**chunk, "choices": [{"index": n, "delta": delta, "finish_reason": finish}]}
        for n in numbers
        for delta, finish in deltas
    ]
    return _SSE, b"".join(b"data: %b\n\n" % _encode(event) for event in events) + b"data: [DONE]\n\n"


def _completion(facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes]:
    choices = [{"index": n, "text": text, "logprobs": None, "finish_reason": "stop"} for n in range(facts.choices)]
    base = {"id": f"cmpl-{id_}", "object": "text_completion", "created": created, "model": facts.model}
    whole = _encode({**base, "choices": choices})
    if facts.stream:
        return _SSE, b"data: %b\n\ndata: [DONE]\n\n" % whole
    return _JSON, _encode({**base, "choices": choices, "usage": _USAGE})


def _response(facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes]:
    part: dict[str, object] = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"type": "message", "id": f"msg_{id_}", "role": "assistant"}
    done: dict[str, object] = {**item, "status": "completed", "content": [part]}
    whole = _response_object(facts, id_, created, "completed", [done])
    if not facts.stream:
        return _JSON, _encode(whole)
    begun = _response_object(facts, id_, created, "in_progress", [])
    at = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    events: list[dict[str, object]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0,
         "item": {**item, "status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **at, "delta": text, "logprobs": []},
        {"type": "response.output_text.done", **at, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": whole},
    ]  # fmt: skip
    return _SSE, b"".join(_numbered(events))


def _response_object(
    facts: Facts, id_: str, created: int, status: str, output: list[dict[str, object]]
) -> dict[str, object]:
    usage = {
        "input_tokens": 0, "output_tokens": 0, "total_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    return {
        "id": f"resp_{id_}", "object": "response", "created_at": created, "status": status, "model": facts.model,
        "output": output, "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "parallel_tool_calls": True, "temperature": None, "tool_choice": "auto", "tools": [], "top_p": None,
        "usage": usage if status == "completed" else None,
    }  # fmt: skip


def _numbered(events: Iterable[dict[str, object]]) -> Iterable[bytes]:
    for number, event in enumerate(events):
        kind = str(event["type"]).encode()
        yield b"event: %b\ndata: %b\n\n" % (kind, _encode({**event, "sequence_number": number}))


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value)
