"""Answers of seawall's own in the Anthropic dialect, plain and streamed: for rules that fall back to a fixed text.

Every one is whole, as the provider would have written it, and says that it cost no tokens.
"""

import msgspec

from seawall.types import Facts

_USAGE = {"input_tokens": 0, "output_tokens": 0}


def static(facts: Facts, text: str, id_: str) -> tuple[bytes, bytes] | None:
    """See `Dialect.static`."""
    if facts.operation != "messages":
        return None
    message: dict[str, object] = {
        "id": f"msg_{id_}", "type": "message", "role": "assistant", "model": facts.model,
        "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None, "usage": _USAGE,
    }  # fmt: skip
    if not facts.stream:
        return b"application/json", msgspec.json.encode(message)
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[dict[str, object]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 0}},
        {"type": "message_stop"},
    ]
    lines = [b"event: %b\ndata: %b\n\n" % (str(e["type"]).encode(), msgspec.json.encode(e)) for e in events]
    return b"text/event-stream", b"".join(lines)
