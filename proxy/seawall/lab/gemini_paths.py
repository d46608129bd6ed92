"""Gemini's paths, which say the model and whether its answer streams: the Gemini API's, and Vertex AI's."""

import re
from urllib.parse import parse_qsl, unquote

from seawall.lab.gemini import Generate, array, events
from seawall.lab.gemini_other import CountTokens, Embed, Models

_CALL = re.compile(r"(?:.*/)?models/([^/]+):([A-Za-z]+)")
_OWN = re.compile(r"/(?:(?:upload|download)/)?v1(?:alpha|beta)\d*/|/v1/(?:projects|publishers)/|/v1/models/[^/]+:")
_MODELS = re.compile(r"/v1(?:alpha|beta)\d*/models(?:/([^/:]+))?")


def owns(path: str) -> bool:
    """Whether a path is of this API, known or not."""
    return _OWN.match(path) is not None


def called(path: str) -> tuple[str, bool]:
    """The model that a path names, and whether it asks for a stream; "" where it names none."""
    call = _CALL.fullmatch(path) if owns(path) else None
    return ("", False) if call is None else (unquote(call[1]), call[2] == "streamGenerateContent")


def operation(method: str, path: str, target: str) -> Generate | Embed | CountTokens | Models | None:
    """What answers a request; None for what the lab does not know."""
    listed = _MODELS.fullmatch(path) if method == "GET" else None
    if listed is not None:
        return Models(listed[1])
    call = _CALL.fullmatch(path)
    if call is None or method != "POST":
        return None
    model = unquote(call[1])
    match call[2]:
        case "generateContent":
            return Generate(model)
        case "streamGenerateContent":
            alt = dict(parse_qsl(target.partition("?")[2])).get("alt")
            return Generate(model, events if alt == "sse" else array)
        case "embedContent" | "batchEmbedContents":
            return Embed(model, several=call[2] == "batchEmbedContents")
        case "countTokens":
            return CountTokens(model)
    return None
