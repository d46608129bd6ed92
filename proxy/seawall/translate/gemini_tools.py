"""A Gemini request's tools and the choice among them. Those that the provider itself runs do not fit."""

from collections.abc import Mapping, Sequence

from pydantic_ai.settings import ToolChoice, ToolOrOutput
from pydantic_ai.tools import ToolDefinition

from seawall.translate.gemini_fields import GeminiFields
from seawall.translate.gemini_schema import Schema, json_schema
from seawall.translate.openai_parts import quoted

LEFT_OUT: Mapping[str, str] = {
    "retrievalConfig": "is for tools that the provider runs, of which there are none",
    "includeServerSideToolInvocations": "is for tools that the provider runs, of which there are none",
}
"""Fields of `toolConfig` that are harmless to leave out, each with the reason."""

LEFT_OUT_OF_CALLING: Mapping[str, str] = {
    "streamFunctionCallArguments": "changes in what pieces the arguments are streamed, not what they are",
}
"""Likewise of its `functionCallingConfig`."""


def tools(top: GeminiFields) -> list[ToolDefinition]:
    """All functions, of however many tools."""
    found = []
    for each in top.each("tools"):
        found += [tool for one in each.each("functionDeclarations") if (tool := _function(one)) is not None]
        each.close(why="is run by the provider itself")
    return found


def _function(given: GeminiFields) -> ToolDefinition | None:
    name = given.need("name", str, "")
    description = given.take("description", str)
    schema = _schema(given, "parameters", "parametersJsonSchema")
    result = _schema(given, "response", "responseJsonSchema")
    if (behavior := given.word("behavior")) not in (None, "BLOCKING"):
        given.refuse("behavior", f"{quoted(behavior)}: other providers wait for a result")
    given.close()
    if not name:
        return None
    return ToolDefinition(
        name=name,
        # A function without parameters takes an empty object.
        parameters_json_schema={"type": "object", "properties": {}} if schema is None else schema,
        description=description,
        return_schema=result or None,
        include_return_schema=bool(result) or None,
    )


def _schema(given: GeminiFields, own: str, plain: str) -> Schema | None:
    """A schema in either of its two forms."""
    ours = given.inner(own)
    theirs: Schema | None = given.take(plain, dict)
    if ours is not None and theirs is not None:
        given.refuse(plain, f"contradicts {own}")
    return json_schema(ours) if ours is not None else theirs


def choose(top: GeminiFields, offered: Sequence[ToolDefinition]) -> ToolChoice:
    """The choice among the functions. `VALIDATED` is `AUTO` with calls that keep to their schemas: other providers see
    to that where a schema is one that they can keep to, and need no word for it."""
    given = top.inner("toolConfig")
    calling = None if given is None else given.inner("functionCallingConfig")
    if given is not None:
        given.close(LEFT_OUT)
    if calling is None:
        return None
    mode, names = calling.word("mode") or "AUTO", calling.strings("allowedFunctionNames") or []
    calling.close(LEFT_OUT_OF_CALLING)
    _known(calling, names, offered)
    match mode:
        case "AUTO" | "NONE":
            if names:
                calling.refuse("allowedFunctionNames", f"are not for the mode {mode}")
            return "auto" if mode == "AUTO" else "none"
        case "ANY":
            if not offered:
                calling.refuse("mode", "asks for a call where there are no functions")
            return names or "required"
        case "VALIDATED":
            return ToolOrOutput(function_tools=names) if names else "auto"
    calling.refuse("mode", f"{quoted(mode)} is unknown")
    return None


def _known(calling: GeminiFields, names: Sequence[str], offered: Sequence[ToolDefinition]) -> None:
    known = {tool.name for tool in offered}
    for name in names:
        if name not in known:
            calling.refuse("allowedFunctionNames", "name a function that is not there")
