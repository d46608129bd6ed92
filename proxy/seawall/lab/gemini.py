"""Gemini's generateContent: reads the request, writes the plain answer or its stream, in either framing. Pure."""

import re
from collections.abc import Callable, Iterator
from typing import Any

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
from seawall.lab.plan import Scenario, Status, Trouble

_MOST_CHOICES = 8
_THOUGHT = "Weighing what was asked against what is known."


# -- requests ----------------------------------------------------------------------------------------------------------


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def member(body: Json, name: str) -> Any:
    """A member as ProtoJSON takes it: `likeThis` or `like_this`."""
    value = body.get(name)
    return body.get(_snake(name)) if value is None else value


def section(body: Json, name: str) -> Json:
    value = member(body, name)
    return value if isinstance(value, dict) else {}


def listed(body: Json, name: str) -> list[Json]:
    value = member(body, name) or []
    if not isinstance(value, list):
        raise RejectedError(Trouble.INVALID, f"Invalid value at '{name}': must be a list")
    return [item for item in value if isinstance(item, dict)]


def read(model: str, stream: bool, body: Json) -> Ask:
    """Raises RejectedError as the provider would."""
    contents = listed(body, "contents")
    if not contents:
        raise RejectedError(Trouble.INVALID, "* GenerateContentRequest.contents: contents is not specified")
    last = max((at for at, content in enumerate(contents) if _by_user(content)), default=-1)
    turns = [_calls(content) for content in contents[last + 1 :]]
    config = section(body, "generationConfig")
    words = [section(body, "systemInstruction"), *contents]
    return Ask(
        model=model,
        stream=stream,
        prompt=spoken(contents[last].get("parts")) if last >= 0 else "",
        input_tokens=sum(tokens(spoken(content.get("parts"))) for content in words if content),
        tools=[
            Tool(str(function.get("name")), _parameters(function))
            for tool in listed(body, "tools")
            for function in listed(tool, "functionDeclarations")
        ],
        choice=_choice(section(section(body, "toolConfig"), "functionCallingConfig")),
        rounds=sum(bool(names) for names in turns),
        called={name for names in turns for name in names},
        schema=_schema(config),
        max_tokens=count(config, "maxOutputTokens", count(config, "max_output_tokens")),
    )


def _by_user(content: Json) -> bool:
    """Whether the user speaks, rather than a function's response."""
    parts = listed(content, "parts")
    return content.get("role") != "model" and not any(member(part, "functionResponse") for part in parts)


def _calls(content: Json) -> list[str]:
    calls = [section(part, "functionCall") for part in listed(content, "parts")]
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


def events(chunks: list[bytes]) -> list[bytes]:
    return [b"data: %b\r\n\r\n" % chunk for chunk in chunks]


def array(chunks: list[bytes]) -> list[bytes]:
    return [b"%b%b\n" % (b",\r\n" if at else b"[", chunk) for at, chunk in enumerate(chunks)] + [b"]\n"]


class Generate:
    name = "generate"

    def __init__(self, model: str, framing: Framing | None = None) -> None:
        self._model = model
        self._framing = framing
        self.family = Gemini(array=framing is array)

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        ask = read(self._model, self._framing is not None, body)
        said = decide(ask, scenario, mint.seed)
        config = section(body, "generationConfig")
        choices = count(config, "candidateCount", count(config, "candidate_count", 1)) or 1
        if choices > _MOST_CHOICES:
            raise RejectedError(Trouble.INVALID, f"candidateCount must be between 1 and {_MOST_CHOICES}")
        thinks = member(section(config, "thinkingConfig"), "includeThoughts") is True
        head = {"modelVersion": self._model, "responseId": mint.id("", 23)}
        usage = _usage(ask, said, choices, thinks)
        if self._framing is None:
            thoughts = [_thought()] if thinks else []
            content = {"parts": [*thoughts, *_parts(said, mint)], "role": "model"}
            made = [{"content": content, "finishReason": _finish(said), "index": n} for n in range(choices)]
            return plain({"candidates": made, "usageMetadata": usage, **head})
        chunks = [encode({**chunk, **head}) for chunk in _chunks(ask, said, choices, usage, thinks, mint)]
        kind, terminal = (
            (SSE, choices) if self._framing is events else (b"application/json; charset=UTF-8", choices + 1)
        )
        return Answer(self._framing(chunks), kind, stream=True, terminal=terminal, error_event=self._error_event)

    def _error_event(self, trouble: Trouble, failed: bool, sent: int) -> bytes:
        said = Gemini().error(trouble, Status(), Mint(0, 0, 0))
        if self._framing is events:
            return events([said])[0]
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
