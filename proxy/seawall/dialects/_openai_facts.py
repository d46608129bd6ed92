"""Reads an OpenAI request's facts: operation, model, and what a second sending of it would do (SEMANTICS §1).

Where the answer is not certain, the careful one is taken: `unsafe`, and pinned to the upstream.
"""

import re

import msgspec

from seawall.dialects._form import form_model
from seawall.dialects._json import model_name
from seawall.dialects._json import read as read_json
from seawall.dialects.splice import model_in_query
from seawall.types import Facts, Head, Safety, header

_NOTHING = msgspec.Raw(b"")

_OPERATIONS = {
    "chat/completions": "chat",
    "responses": "responses",
    "completions": "completions",
    # Mistral's: the middle of a text, answered as a chat.
    "fim/completions": "chat",
    "embeddings": "embeddings",
    "moderations": "moderations",
    "responses/input_tokens": "count_tokens",
}
"""POST only; nothing of theirs stays behind that a second one would double, except on the bill. A stored answer
(`store`, the default of responses) does stay, but nobody will ask for it."""

_STATELESS_PREFIXES = {"audio/": "audio", "images/": "images"}

# Tools that the agent itself runs, and those that only choose among tools given in the request. Any other type, known
# or new, runs at the provider: web_search, file_search, code_interpreter, mcp, computer_use, image_generation, …
_HARMLESS_TOOLS = frozenset({"function", "custom", "namespace", "tool_search", "local_shell", "apply_patch"})

# Where openai-python offers an `idempotency_key` argument (3.52: agent sessions, their events, environments). It sets
# no such header elsewhere, and no other endpoint's reference speaks of one.
_KEYED = re.compile(r"agents/(?:sessions|sessions/[^/]+/events|environments)")

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# References to what only this account holds. Quotes within a JSON string are escaped, so text can not look like it, and
# a tool's parameter of this name has a schema for a value. Each begins with a literal, which makes the search quick.
_FILE = re.compile(rb'"file_id"\s*:\s*"file-')
_HELD_FOR_TOOLS = re.compile(rb'"vector_store_ids"\s*:\s*\[\s*"|"container"\s*:\s*"')


class _Request(msgspec.Struct, gc=False):
    model: object = None
    stream: object = None
    n: object = None
    background: object = None
    previous_response_id: object = None
    conversation: object = None
    web_search_options: object = None
    plugins: msgspec.Raw = _NOTHING
    tools: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING


class _Tool(msgspec.Struct, gc=False):
    type: str | None = None
    function: msgspec.Raw = _NOTHING


_REQUEST = msgspec.json.Decoder(_Request)
_TOOLS = msgspec.json.Decoder(list[_Tool] | None)
_PROMPTS = msgspec.json.Decoder(list[msgspec.Raw])


def below_version(path: str) -> str:
    """`/v1/chat/completions?x=y` and `/chat/completions` → `chat/completions`; what comes before `/v1/` is dropped."""
    path = path.partition("?")[0]
    return path.rpartition("/v1/")[2].strip("/")


def read(head: Head, path: str, body: bytes) -> Facts:
    """See `Dialect.read`."""
    resource = below_version(path)
    if head.method in _SAFE_METHODS:
        return _safe(head, resource)
    operation = _OPERATIONS.get(resource) if head.method == "POST" else None
    if operation is None and head.method == "POST":
        operation = next((name for prefix, name in _STATELESS_PREFIXES.items() if resource.startswith(prefix)), None)
        if operation is not None and (not body or body.startswith(b"--")):
            # A form, or too large to be read.
            return Facts(operation, form_model(body), safety=Safety.SAFE_BILLED)
    if operation is None:
        keyed = _KEYED.fullmatch(resource) and header(head.headers, b"idempotency-key")
        return Facts("other", _model(body), safety=Safety.KEYED if keyed else Safety.UNSAFE, pinned=True)
    request = read_json(_REQUEST, body)
    return Facts(operation) if request is None else _generation(operation, request, body)


def _safe(head: Head, resource: str) -> Facts:
    """Reads. All but the list of models are of things that only the upstream which made them has."""
    first = resource.partition("/")[0]
    query = head.target.partition("?")[2]
    if first == "realtime":
        # A session is begun anew, unless it is to be one that is going on.
        return Facts("other", model_name(model_in_query(query)), safety=Safety.SAFE, pinned="call_id=" in query)
    operation = "responses" if first == "responses" and head.method == "GET" and "/" in resource else "other"
    stream = operation == "responses" and "stream=true" in query.lower().split("&")
    return Facts(operation, "", stream, Safety.SAFE, pinned=first != "models")


def _model(body: bytes) -> str:
    if body.startswith(b"--"):
        return form_model(body)
    request = read_json(_REQUEST, body)
    return "" if request is None else model_name(request.model)


def _generation(operation: str, request: _Request, body: bytes) -> Facts:
    appends = bool(request.previous_response_id or request.conversation)
    hosted = _hosted_tools(request)
    unsafe = bool(request.background) or appends or hosted
    return Facts(
        operation,
        model_name(request.model),
        request.stream is True,
        Safety.UNSAFE if unsafe else Safety.SAFE_BILLED,
        pinned=appends or bool(request.background) or _owned(operation, request, body, hosted),
        choices=_choices(operation, request),
    )


def _owned(operation: str, request: _Request, body: bytes, hosted: bool) -> bool:
    """Files, items, vector stores, containers and stored prompts are known to the account that made them only."""
    return (
        b'"item_reference"' in body
        or _FILE.search(body) is not None
        or (hosted and _HELD_FOR_TOOLS.search(bytes(request.tools)) is not None)
        or (operation == "responses" and bytes(request.prompt)[:1] == b"{")
    )


def _hosted_tools(request: _Request) -> bool:
    if request.web_search_options is not None or len(request.plugins) > 4:
        return True
    if not len(request.tools):
        return False
    try:
        tools = _TOOLS.decode(request.tools) or []
    except (ValueError, RecursionError):
        return True
    # Mistral's client leaves the type of a function out.
    return any((tool.type or ("function" if tool.function else "")) not in _HARMLESS_TOOLS for tool in tools)


def _choices(operation: str, request: _Request) -> int:
    """`n`, and for legacy completions times the number of prompts."""
    count = request.n if isinstance(request.n, int) and 1 <= request.n <= 1024 else 1
    if operation == "completions" and bytes(request.prompt)[:1] == b"[":
        try:
            prompts = _PROMPTS.decode(request.prompt)
        except (ValueError, RecursionError):
            return count
        # Texts or lists of tokens; a flat list of tokens is one prompt.
        if prompts and bytes(prompts[0])[:1] in (b'"', b"["):
            count *= len(prompts)
    return count
