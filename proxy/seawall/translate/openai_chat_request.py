"""Reads a chat completions request into pydantic-ai's words. Never raises; what cannot be carried is in `unfit`."""

from typing import cast

from pydantic_ai.messages import ModelResponsePart, TextPart, ThinkingPart, ToolCallPart, UserContent
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from seawall.translate import openai_settings as settings_
from seawall.translate.openai_parts import (
    CACHE_HINT,
    Findings,
    Json,
    audio,
    document,
    image,
    opened,
    quoted,
    text,
    words,
)
from seawall.translate.openai_turns import Turns, joined
from seawall.translate.types import Asked
from seawall.types import Facts

CARRIED = frozenset({
    "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "messages", "modalities",
    "model", "n", "parallel_tool_calls", "presence_penalty", "reasoning_effort", "response_format", "seed",
    "service_tier", "stop", "store", "stream", "stream_options", "temperature", "tool_choice", "tools",
    "top_logprobs", "top_p", "verbosity",
})  # fmt: skip
"""Read below, value by value."""

HARMLESS: dict[str, str] = settings_.HARMLESS | {
    "prediction": "a hint that makes the answer faster, not another one",
}

UNFIT: dict[str, str] = settings_.UNFIT | {
    "audio": "spoken answers cannot be carried",
    "function_call": "the deprecated form of tool_choice",
    "functions": "the deprecated form of tools",
    "web_search_options": "a search that the provider runs",
}

_NAMED = {"name": "other providers do not tell speakers of the same role apart"}
_ASSISTANT = _NAMED | {
    "audio": "an earlier spoken answer is known to the account that holds it only",
    "function_call": "the deprecated form of tool_calls",
    "prefix": "other providers do not go on with an answer",
}
_TEXT = {"text": "text"}
_SAID = {"text": "text", "refusal": "refusal"}


def read(body: bytes, facts: Facts, *, created: int, id_: str) -> Asked:
    """See `AgentSide.read`."""
    found = Findings()
    request = opened(found, body, CARRIED, HARMLESS, UNFIT)
    tools = [one for at, tool in found.objects(request, "tools") if (one := _tool(found, at, tool)) is not None]
    stream = found.take(request, "stream", bool) or False
    options = found.take(request, "stream_options", dict) or {}
    # Padding against those who count bytes; a translated stream has its own sizes.
    found.sort("stream_options.", options, ("include_usage",), ("include_obfuscation",))
    format_ = found.take(request, "response_format", dict)
    turns = Turns(created)
    for at, message in found.objects(request, "messages"):
        _message(found, at, message, turns)
    messages = turns.messages()
    if not messages:
        found.refuse("messages", "empty")
    return Asked(
        model=settings_.model(found, request, facts),
        stream=stream,
        messages=messages,
        settings=_settings(found, request, tools),
        parameters=settings_.parameters(found, "response_format", format_, settings_.NESTED, tools),
        unfit=found.unfit,
        include_usage=found.take(options, "include_usage", bool, "stream_options.") or False,
        created=created,
        id_=id_,
    )


def _tool(found: Findings, at: str, tool: Json) -> ToolDefinition | None:
    # Mistral's client leaves the type of a function out.
    if tool.get("type") not in (None, "function"):
        found.refuse(at, f"a tool of type {quoted(tool['type'])} cannot be carried")
        return None
    found.sort(f"{at}.", tool, ("type", "function"))
    where, spec = settings_.inner(found, at, tool, "function")
    found.sort(where, spec, ("name", "description", "parameters", "strict"))
    return settings_.tool(found, where, at, spec)


def _settings(found: Findings, request: Json, tools: list[ToolDefinition]) -> ModelSettings:
    # Chat keeps nothing unless it is asked to; responses, which may be what answers, would.
    settings: dict[str, object] = {"openai_store": found.take(request, "store", bool) or False}
    settings_.common(found, request, settings)
    settings_.effort(found, request, "reasoning_effort", settings)
    settings_.verbosity(found, request)
    for name, kind in (("presence_penalty", float), ("frequency_penalty", float), ("seed", int)):
        if (value := found.take(request, name, kind)) is not None:
            settings[name] = value
    if (limit := _limit(found, request)) is not None:
        settings["max_tokens"] = limit
    if (stop := _stop(found, request)) is not None:
        settings["stop_sequences"] = stop
    if bias := found.take(request, "logit_bias", dict):
        settings["logit_bias"] = bias
        if not all(isinstance(weight, int) and not isinstance(weight, bool) for weight in bias.values()):
            found.refuse("logit_bias", "a weight is not an integer")
    if (choice := settings_.choose(found, request.get("tool_choice"), tools, settings_.NESTED)) is not None:
        settings["tool_choice"] = choice
    if (found.take(request, "n", int) or 1) != 1:
        found.refuse("n", "other providers give one answer at a time")
    if found.take(request, "logprobs", bool):
        found.refuse("logprobs", "probabilities of tokens are not carried")
    if request.get("modalities") not in (None, ["text"]):
        found.refuse("modalities", "only text is carried")
    return cast(ModelSettings, settings)


def _limit(found: Findings, request: Json) -> int | None:
    new, old = (found.take(request, name, int) for name in ("max_completion_tokens", "max_tokens"))
    if new is not None and old is not None and new != old:
        found.refuse("max_tokens", "contradicts max_completion_tokens")
    limit: int | None = old if new is None else new
    return limit


def _stop(found: Findings, request: Json) -> list[str] | None:
    stop = request.get("stop")
    if stop is None:
        return None
    sequences = [stop] if isinstance(stop, str) else stop
    if not isinstance(sequences, list) or not all(isinstance(one, str) for one in sequences):
        found.refuse("stop", "neither a text nor a list of texts")
        return None
    return sequences


def _message(found: Findings, at: str, message: Json, turns: Turns) -> None:
    content = message.get("content")
    match message.get("role"):
        case "system" | "developer":
            found.sort(f"{at}.", message, ("role", "content"), (), _NAMED)
            turns.system(words(found, f"{at}.content", content, _TEXT))
        case "user":
            found.sort(f"{at}.", message, ("role", "content"), (), _NAMED)
            turns.user(content if isinstance(content, str) else _user(found, at, message))
        case "assistant":
            _assistant(found, at, message, turns)
        case "tool":
            # A tool's name stands with its call.
            found.sort(f"{at}.", message, ("role", "content", "tool_call_id"), ("name",))
            texts = words(found, f"{at}.content", content, _TEXT)
            turns.result(found, f"{at}.tool_call_id", message.get("tool_call_id"), joined(texts))
        case role:
            found.refuse(f"{at}.role", f"{quoted(role)} cannot be carried")


def _user(found: Findings, at: str, message: Json) -> list[UserContent]:
    content: list[UserContent] = []
    if message.get("content") is None:
        found.refuse(f"{at}.content", "missing")
    for where, part in found.objects(message, "content", f"{at}."):
        one = _part(found, where, part)
        if one is not None:
            content.append(one)
    return content


def _part(found: Findings, at: str, part: Json) -> UserContent | None:
    match part.get("type"):
        case "text":
            return text(found, at, part)
        case "image_url":
            found.sort(f"{at}.", part, ("type", "image_url"), (CACHE_HINT,))
            # Mistral's client sends the bare address.
            bare = part.get("image_url")
            where, spec = (
                (at, {"url": bare}) if isinstance(bare, str) else settings_.inner(found, at, part, "image_url")
            )
            found.sort(where, spec, ("url", "detail"))
            return image(found, where.rstrip("."), spec.get("url"), spec.get("detail"))
        case "input_audio":
            return audio(found, at, part)
        case "file":
            found.sort(f"{at}.", part, ("type", "file"), (CACHE_HINT,))
            where, spec = settings_.inner(found, at, part, "file")
            found.sort(where, spec, ("file_data", "file_id", "filename"))
            return document(found, where.rstrip("."), spec)
        case kind:
            found.refuse(at, f"content of type {quoted(kind)} cannot be carried")
            return None


def _assistant(found: Findings, at: str, message: Json, turns: Turns) -> None:
    """A refusal is carried as what the model said. Citations stay behind; the reasoning that some servers add does
    not."""
    carried = ["role", "content", "refusal", "tool_calls", "reasoning", "reasoning_content"]
    if message.get("prefix") is False:
        # So Mistral's client says that there is nothing to go on with.
        carried.append("prefix")
    found.sort(f"{at}.", message, carried, ("annotations",), _ASSISTANT)
    parts: list[ModelResponsePart] = []
    for field in ("reasoning", "reasoning_content"):
        if thought := found.take(message, field, str, f"{at}."):
            parts.append(ThinkingPart(thought))
            break  # servers that send both send the same
    if message.get("content") is not None:
        parts += [TextPart(one) for one in words(found, f"{at}.content", message["content"], _SAID)]
    if refusal := found.take(message, "refusal", str, f"{at}."):
        parts.append(TextPart(refusal))
    for where, call in found.objects(message, "tool_calls", f"{at}."):
        if (part := _call(found, where, call)) is not None:
            parts.append(part)
    turns.assistant(*parts)
    turns.close()


def _call(found: Findings, at: str, call: Json) -> ToolCallPart | None:
    if call.get("type") not in (None, "function"):
        found.refuse(at, f"a call of type {quoted(call['type'])} cannot be carried")
        return None
    # Clients that kept a stream's calls send their index back.
    found.sort(f"{at}.", call, ("type", "id", "function"), ("index",))
    where, spec = settings_.inner(found, at, call, "function")
    found.sort(where, spec, ("name", "arguments"))
    name, id_ = found.take(spec, "name", str, where), found.take(call, "id", str, f"{at}.")
    if not name or not id_:
        found.refuse(at, "a call without name or id")
        return None
    return ToolCallPart(name, found.take(spec, "arguments", str, where), id_)
