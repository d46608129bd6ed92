"""Reads a Gemini request's facts: operation and model from the path, and what a second sending would do (SEMANTICS §1).

Where the answer is not certain, the careful one is taken: `unsafe`, and pinned to the upstream.
"""

import re
from urllib.parse import parse_qsl, unquote

import msgspec

from seawall.dialects._gemini_json import filled, members
from seawall.dialects._json import model_name
from seawall.types import Facts, Head, Safety, header

CALL = re.compile(r"(.*/|)(models|tunedModels|endpoints)/([^/?]+):([A-Za-z]+)")
"""A method of a model: what comes before, the collection, the model and the method."""

ARRAY = "array"
"""The framing of a stream that is one JSON array."""

_OPERATIONS = {
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "embedContent": "embeddings",
    "batchEmbedContents": "embeddings",
    "countTokens": "count_tokens",
    "computeTokens": "count_tokens",
    "predict": "predict",
}
"""POST only; nothing of theirs stays behind that a second one would double, except on the bill. `predict` is how Vertex
AI makes embeddings and images. Everything else begins something that lasts, or is unknown."""

# Tools that the agent itself runs. Any other, known or new, runs at the provider: googleSearch, codeExecution,
# urlContext, fileSearch, googleMaps, retrieval, mcpServers, …
_HARMLESS_TOOLS = frozenset({"functionDeclarations", "computerUse"})

# A file of the account; quotes within a JSON string are escaped, so text can not look like it.
_FILE = re.compile(rb'"file_?[uU]ri"\s*:\s*"[^"\\]*/v\d\w*/files/')
# Where predictions are written to, and so overwrite.
_STORED = re.compile(rb'"(?:storageUri|storage_uri|outputGcsUri)"\s*:')

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Of all that can be read only models are not an account's own.
_MODELS = re.compile(r"(?:.*/)?models(?:/[^/:]+)?")
# Sessions of the Live API, whose model stands in their first message.
_LIVE = "/ws/"
_MOST_CHOICES = 64

_TOOLS = msgspec.json.Decoder(list[msgspec.Raw] | None)


def for_google(head: Head) -> bool:
    """Whether a path that other providers have as well is meant for Gemini: by its method, or by its kind of key."""
    call = head.method == "POST" and head.path.startswith("/v1/models/") and ":" in head.path
    return call or header(head.headers, b"x-goog-api-key") is not None


def read(head: Head, path: str, body: bytes) -> Facts:
    """See `Dialect.read`."""
    path, _, query = path.partition("?")
    path = path.rstrip("/")
    if head.method in _SAFE_METHODS:
        return Facts("other", safety=Safety.SAFE, pinned=_MODELS.fullmatch(path) is None and _LIVE not in path)
    call = CALL.fullmatch(path)
    operation = _OPERATIONS.get(call[4]) if call is not None and head.method == "POST" else None
    if call is None or operation is None:
        return Facts("other", "" if call is None else _model(call), pinned=True)
    stream = call[4] == "streamGenerateContent"
    framing = ARRAY if stream and not _is_sse(query) else ""
    # A model that was tuned belongs to an account.
    owned = call[2] != "models"
    request = members(body)
    if operation == "generate" and not request:
        return Facts(operation, _model(call), stream, pinned=owned, framing=framing)
    unsafe = (operation == "generate" and _hosted_tools(request)) or (
        operation == "predict" and (not body or _STORED.search(body) is not None)
    )
    return Facts(
        operation,
        _model(call),
        stream,
        Safety.UNSAFE if unsafe else Safety.SAFE_BILLED,
        pinned=owned or filled(request, "cachedContent") or _FILE.search(body) is not None,
        choices=_choices(request),
        framing=framing,
    )


def _model(call: "re.Match[str]") -> str:
    name = unquote(call[3])
    return model_name(name if call[2] == "models" else f"{call[2]}/{name}")


def _is_sse(query: str) -> bool:
    """`alt=sse`; Google's own clients write `$alt=sse;enum-encoding=int` as well."""
    return any(name in ("alt", "$alt") and value.startswith("sse") for name, value in parse_qsl(query))


def _hosted_tools(request: dict[str, msgspec.Raw]) -> bool:
    if not filled(request, "tools"):
        return False
    try:
        tools = _TOOLS.decode(request["tools"]) or []
    except (ValueError, RecursionError):
        return True
    return any(filled(tool, name) for tool in map(members, tools) for name in tool if name not in _HARMLESS_TOOLS)


def _choices(request: dict[str, msgspec.Raw]) -> int:
    raw = members(request.get("generationConfig", b"")).get("candidateCount", b"")
    text = bytes(raw)
    return min(max(1, int(text)), _MOST_CHOICES) if text.isdigit() and len(text) < 4 else 1
