"""The Gemini operations: generateContent, plain and streamed in both framings, embeddings, countTokens, models. Pure.

The model and whether an answer streams stand in the path, of the Gemini API's form or of Vertex AI's.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from seawall.lab.answer import (
    Answer,
    Ask,
    Json,
    Mint,
    RejectedError,
    Said,
    Tool,
    count,
    decide,
    encode,
    plain,
    spoken,
    tokens,
)
from seawall.lab.chat import SSE
from seawall.lab.families import Gemini
from seawall.lab.openai_other import vector
from seawall.lab.plan import Scenario, Status, Trouble

_CALL = re.compile(r"(?:.*/)?models/([^/]+):([A-Za-z]+)")
_OWN = re.compile(r"/(?:(?:upload|download)/)?v1(?:alpha|beta)\d*/|/v1/(?:projects|publishers)/|/v1/models/[^/]+:")
_MODELS = re.compile(r"/v1(?:alpha|beta)\d*/models(?:/([^/:]+))?")
_DIMENSIONS = 768
_MOST_CHOICES = 8
_THOUGHT = "Weighing what was asked against what is known."


def owns(path: str) -> bool:
    """Whether a path is of this API, known or not."""
    return _OWN.match(path) is not None


def called(path: str) -> tuple[str, bool]:
    """The model that a path names, and whether it asks for a stream; "" where it names none."""
    call = _CALL.fullmatch(path) if owns(path) else None
    return ("", False) if call is None else (unquote(call[1]), call[2] == "streamGenerateContent")


def operation(method: str, path: str, target: str) -> "Generate | Embed | CountTokens | Models | None":
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
            return Generate(model, _events if alt == "sse" else _array)
        case "embedContent" | "batchEmbedContents":
            return Embed(model, several=call[2] == "batchEmbedContents")
        case "countTokens":
            return CountTokens(model)
    return None


# -- requests ----------------------------------------------------------------------------------------------------------


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def member(body: Json, name: str) -> Any:
    """A member as ProtoJSON takes it: `likeThis` or `like_this`."""
    value = body.get(name)
    return body.get(_snake(name)) if value is None else value


def _section(body: Json, name: str) -> Json:
    value = member(body, name)
    return value if isinstance(value, dict) else {}


def _listed(body: Json, name: str) -> list[Json]:
    value = member(body, name) or []
    if not isinstance(value, list):
        raise RejectedError(Trouble.INVALID, f"Invalid value at '{name}': must be a list")
    return [item for item in value if isinstance(item, dict)]


def read(model: str, stream: bool, body: Json) -> Ask:
    """Raises RejectedError as the provider would."""
    contents = _listed(body, "contents")
    if not contents:
        raise RejectedError(Trouble.INVALID, "* GenerateContentRequest.contents: contents is not specified")
    last = max((at for at, content in enumerate(contents) if _by_user(content)), default=-1)
    turns = [_calls(content) for content in contents[last + 1 :]]
    config = _section(body, "generationConfig")
    words = [_section(body, "systemInstruction"), *contents]
    return Ask(
        model=model,
        stream=stream,
        prompt=spoken(contents[last].get("parts")) if last >= 0 else "",
        input_tokens=sum(tokens(spoken(content.get("parts"))) for content in words if content),
        tools=[
            Tool(str(function.get("name")), _parameters(function))
            for tool in _listed(body, "tools")
            for function in _listed(tool, "functionDeclarations")
        ],
        choice=_choice(_section(_section(body, "toolConfig"), "functionCallingConfig")),
        rounds=sum(bool(names) for names in turns),
        called={name for names in turns for name in names},
        schema=_schema(config),
        max_tokens=count(config, "maxOutputTokens", count(config, "max_output_tokens")),
    )


def _by_user(content: Json) -> bool:
    """Whether the user speaks, rather than a function's response."""
    parts = _listed(content, "parts")
    return content.get("role") != "model" and not any(member(part, "functionResponse") for part in parts)


def _calls(content: Json) -> list[str]:
    calls = [_section(part, "functionCall") for part in _listed(content, "parts")]
    return [str(call.get("name")) for call in calls if call]


def _choice(config: Json) -> str:
    names = member(config, "allowedFunctionNames")
    match config.get("mode"):
        case "ANY":
            return f"={names[0]}" if isinstance(names, list) and len(names) == 1 else "required"
        case "NONE":
            return "none"
    return "auto"


def _parameters(function: Json) -> Any:
    schema = member(function, "parametersJsonSchema")
    return _lowered(function.get("parameters") or {"type": "object"}) if schema is None else schema


def _schema(config: Json) -> Any:
    schema = member(config, "responseJsonSchema")
    if schema is not None:
        return schema
    if (schema := member(config, "responseSchema")) is not None:
        return _lowered(schema)
    if member(config, "responseMimeType") == "application/json":
        return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    return None


def _lowered(schema: Any) -> Any:
    """An OpenAPI schema of the API's own, whose types are written in capitals, as a JSON schema."""
    if isinstance(schema, list):
        return [_lowered(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _lowered(value) for name, value in schema.items()}
    if isinstance(made.get("type"), str):
        made["type"] = made["type"].lower()
    return made


# -- answers -----------------------------------------------------------------------------------------------------------

Framing = Callable[[list[bytes]], list[bytes]]
"""Chunks as they leave."""


def _events(chunks: list[bytes]) -> list[bytes]:
    return [b"data: %b\r\n\r\n" % chunk for chunk in chunks]


def _array(chunks: list[bytes]) -> list[bytes]:
    return [b"%b%b\n" % (b",\r\n" if at else b"[", chunk) for at, chunk in enumerate(chunks)] + [b"]\n"]


class Generate:
    name = "generate"

    def __init__(self, model: str, framing: Framing | None = None) -> None:
        self._model = model
        self._framing = framing
        self.family = Gemini(array=framing is _array)

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        ask = read(self._model, self._framing is not None, body)
        said = decide(ask, scenario, mint.seed)
        config = _section(body, "generationConfig")
        choices = count(config, "candidateCount", count(config, "candidate_count", 1)) or 1
        if choices > _MOST_CHOICES:
            raise RejectedError(Trouble.INVALID, f"candidateCount must be between 1 and {_MOST_CHOICES}")
        thinks = member(_section(config, "thinkingConfig"), "includeThoughts") is True
        head = {"modelVersion": self._model, "responseId": mint.id("", 23)}
        usage = _usage(ask, said, choices, thinks)
        if self._framing is None:
            thoughts = [_thought()] if thinks else []
            content = {"parts": [*thoughts, *_parts(said, mint)], "role": "model"}
            made = [{"content": content, "finishReason": _finish(said), "index": n} for n in range(choices)]
            return plain({"candidates": made, "usageMetadata": usage, **head})
        chunks = [encode({**chunk, **head}) for chunk in _chunks(ask, said, choices, usage, thinks, mint)]
        kind, terminal = (
            (SSE, choices) if self._framing is _events else (b"application/json; charset=UTF-8", choices + 1)
        )
        return Answer(self._framing(chunks), kind, stream=True, terminal=terminal, error_event=self._error_event)

    def _error_event(self, trouble: Trouble, failed: bool, sent: int) -> bytes:
        said = Gemini().error(trouble, Status(), Mint(0, 0, 0))
        if self._framing is _events:
            return _events([said])[0]
        return b"%b%b\n]\n" % (b",\r\n" if sent else b"[", said)


def _thought() -> dict[str, object]:
    return {"text": _THOUGHT, "thought": True}


def _finish(said: Said) -> str:
    return "MAX_TOKENS" if said.cut else "STOP"


def _parts(said: Said, mint: Mint) -> list[dict[str, object]]:
    return [{"text": said.text}] if not said.calls else list(_function_calls(said, mint))


def _function_calls(said: Said, mint: Mint) -> Iterator[dict[str, object]]:
    for call in said.calls:
        yield {"functionCall": {"id": mint.id("", 8), "name": call.name, "args": _object(call.arguments)}}


def _object(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}


def _usage(ask: Ask, said: Said, choices: int, thinks: bool) -> dict[str, object]:
    thoughts = tokens(_THOUGHT) if thinks else 0
    written = said.tokens * choices
    usage: dict[str, object] = {
        "promptTokenCount": ask.input_tokens,
        "candidatesTokenCount": written,
        "totalTokenCount": ask.input_tokens + written + thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": ask.input_tokens}],
    }
    return {**usage, "thoughtsTokenCount": thoughts} if thoughts else usage


def _chunks(ask: Ask, said: Said, choices: int, usage: Json, thinks: bool, mint: Mint) -> Iterator[dict[str, object]]:
    """A stream's chunks. The last one of each candidate has no words, and says why it ended."""
    so_far = {"promptTokenCount": ask.input_tokens, "totalTokenCount": ask.input_tokens}
    parts = [_thought()] if thinks else []
    parts += list(_function_calls(said, mint)) if said.calls else [{"text": piece} for piece in said.pieces]
    for part in parts:
        for index in range(choices):
            content = {"parts": [part], "role": "model"}
            yield {"candidates": [{"content": content, "index": index}], "usageMetadata": so_far}
    for index in range(choices):
        content = {"parts": [{"text": ""}], "role": "model"}
        ended = {"content": content, "finishReason": _finish(said), "index": index}
        yield {"candidates": [ended], "usageMetadata": usage}


class Embed:
    name = "embeddings"
    family = Gemini()

    def __init__(self, model: str, *, several: bool) -> None:
        self._model = model
        self._several = several

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        requests = _listed(body, "requests") if self._several else [body]
        if not requests or len(requests) > 100:
            raise RejectedError(Trouble.INVALID, "* BatchEmbedContentsRequest.requests: 1 to 100 must be given")
        for request in requests:
            named = request.get("model")
            if isinstance(named, str) and named.rpartition("/")[2] != self._model:
                raise RejectedError(Trouble.INVALID, "The model of a request does not match the path's")
        made = [{"values": _values(request, mint)} for request in requests]
        return plain({"embeddings": made} if self._several else {"embedding": made[0]})


def _values(request: Json, mint: Mint) -> object:
    text = spoken(_section(request, "content").get("parts"))
    if not text:
        raise RejectedError(Trouble.INVALID, "* EmbedContentRequest.content: content is empty")
    size = member(request, "outputDimensionality") or _DIMENSIONS
    if not isinstance(size, int) or not 1 <= size <= 4096:
        raise RejectedError(Trouble.INVALID, "outputDimensionality must be between 1 and 4096")
    return vector(f"{mint.seed}/{text}", size, packed=False)


class CountTokens:
    name = "count_tokens"
    family = Gemini()

    def __init__(self, model: str) -> None:
        self._model = model

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        total = read(self._model, False, _section(body, "generateContentRequest") or body).input_tokens
        return plain({"totalTokens": total, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": total}]})


class Models:
    name = "models"
    family = Gemini()
    names = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-embedding-001")

    def __init__(self, only: str | None) -> None:
        self._only = only

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        return plain(_model(self._only) if self._only else {"models": [_model(name) for name in self.names]})


def _model(name: str) -> dict[str, object]:
    methods = ["generateContent", "countTokens", "embedContent"]
    limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods, **limits}
