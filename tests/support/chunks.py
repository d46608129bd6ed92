"""Gemini's chunks, errors and answers as it writes them, and its dialect's watches to show them to."""

import json
from typing import Any

from seawall.dialects import REGISTRY
from seawall.dialects.base import Watch
from seawall.types import Facts, Headers, Safety

GEMINI = REGISTRY["Gemini"]
GENERATE = Facts("generate", "g", safety=Safety.SAFE_BILLED)
JSON: Headers = [(b"content-type", b"application/json; charset=UTF-8")]
RPC = "type.googleapis.com/google.rpc."


def error(status: int, name: str, message: str = "x", *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": name, "details": list(details)}}


def candidate(finish: str | None = "STOP", *parts: dict[str, Any], index: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": index}
    return {**made, "finishReason": finish} if finish else made


def event(data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\r\n\r\n"


def sse(choices: int = 1) -> Watch:
    return GEMINI.watch(Facts("generate", stream=True, choices=choices))


def array(choices: int = 1) -> Watch:
    return GEMINI.watch(Facts("generate", stream=True, choices=choices, framing="array"))
