"""Answers of seawall's own in the Gemini dialect, plain and streamed: for rules that fall back to a fixed text.

Every one is whole, as the provider would have written it, and says that it cost no tokens.
"""

import msgspec

from seawall.dialects._gemini_facts import ARRAY
from seawall.types import Facts

_USAGE = {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}


def static(facts: Facts, text: str, id_: str) -> tuple[bytes, bytes] | None:
    """See `Dialect.static`."""
    if facts.operation != "generate":
        return None
    content = {"parts": [{"text": text}], "role": "model"}
    whole = msgspec.json.encode(
        {
            "candidates": [{"content": content, "finishReason": "STOP", "index": n} for n in range(facts.choices)],
            "usageMetadata": _USAGE,
            "modelVersion": facts.model,
            "responseId": id_,
        }
    )
    if not facts.stream:
        return b"application/json", whole
    if facts.framing == ARRAY:
        return b"application/json", b"[" + whole + b"]"
    return b"text/event-stream", b"data: " + whole + b"\r\n\r\n"
