"""Streams' events as providers write them, and a dialect's watch to show them to."""

import json

from seawall.dialects import REGISTRY
from seawall.dialects.base import Watch
from seawall.types import Facts, Safety


def watch(operation: str, *, choices: int = 1, safety: Safety = Safety.SAFE_BILLED) -> Watch:
    name = {"messages": "Anthropic", "generic": "Generic"}.get(operation, "OpenAI")
    return REGISTRY[name].watch(Facts(operation, choices=choices, safety=safety))


def event(data: object, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def typed(kind: str, **fields: object) -> bytes:
    return event({"type": kind, **fields}, kind)


def delta(index: int = 0, finish: str | None = None, **fields: object) -> bytes:
    return event({"model": "m-1", "choices": [{"index": index, "delta": fields, "finish_reason": finish}]})
