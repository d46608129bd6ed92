"""Answers of seawall's own in the Bedrock dialect, plain and streamed: for rules that fall back to a fixed text.

Every one is whole, as Converse would have written it, and says that it cost no tokens. An invoked model's answer has
its maker's form, which is not known here.
"""

import msgspec

from seawall.dialects.eventstream import CONTENT_TYPE, encode
from seawall.types import Facts

_USAGE = {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
_METRICS = {"latencyMs": 0}


def static(facts: Facts, text: str) -> tuple[bytes, bytes] | None:
    """See `Dialect.static`."""
    if facts.operation != "converse":
        return None
    if not facts.stream:
        message = {"role": "assistant", "content": [{"text": text}]}
        answer = {
            "output": {"message": message}, "stopReason": "end_turn", "usage": _USAGE, "metrics": _METRICS,
        }  # fmt: skip
        return b"application/json", msgspec.json.encode(answer)
    events: list[tuple[str, object]] = [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": _USAGE, "metrics": _METRICS}),
    ]
    return CONTENT_TYPE, b"".join(_frame(kind, payload) for kind, payload in events)


def _frame(kind: str, payload: object) -> bytes:
    headers = ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event"))
    return encode(headers, msgspec.json.encode(payload))
