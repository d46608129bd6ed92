"""What both of OpenAI's requests say beside the messages: tools, the choice among them, the output's form, settings.

Pure: fields in, pydantic-ai's words out; what has no such word is refused by name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ToolChoice, ToolOrOutput
from pydantic_ai.tools import ToolDefinition

from seawall.translate.openai_parts import Findings, Json, quoted
from seawall.types import Facts

TIERS = frozenset({"auto", "default", "flex", "priority"})
"""Of `service_tier`: those that pydantic-ai has for every provider."""

JSON_MODE = "Answer with one JSON object and nothing else, not even a Markdown fence. Its schema: {schema}"
"""What a model is told in JSON mode."""

EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"})

HARMLESS: dict[str, str] = {
    "metadata": "labels for the account's own dashboard",
    "user": "tells the account's end users apart for the provider",
    "safety_identifier": "tells the account's end users apart for the provider",
    "prompt_cache_key": "a hint for caching, which changes the price and not the answer",
    "prompt_cache_options": "a hint for caching, which changes the price and not the answer",
    "prompt_cache_retention": "a hint for caching, which changes the price and not the answer",
}
"""Request fields that no answer depends on, each with the reason."""

UNFIT: dict[str, str] = {
    "moderation": "other providers do not report it",
}
"""Request fields that are known and that no other provider can be asked for, each with the reason."""


@dataclass(frozen=True, slots=True)
class Form:
    """Where chat and responses keep the same thing: nested under a name, or (an empty name) flat."""

    tool: str
    schema: str
    allowed: str


NESTED = Form(tool="function", schema="json_schema", allowed="allowed_tools")
FLAT = Form(tool="", schema="", allowed="")


def inner(found: Findings, at: str, value: Json, name: str) -> tuple[str, Json]:
    """What is nested under `name`, with where it stands; the value itself where the form is flat."""
    if not name:
        return f"{at}.", value
    nested = value.get(name)
    if isinstance(nested, dict):
        return f"{at}.{name}.", nested
    found.refuse(f"{at}.{name}", "not an object")
    return f"{at}.{name}.", {}


def tool(found: Findings, at: str, where: str, spec: Json) -> ToolDefinition | None:
    """A function's definition. at: where its fields stand; where: the tool itself."""
    name = found.take(spec, "name", str, at)
    if not name:
        found.refuse(where, "a function without a name")
        return None
    schema = found.take(spec, "parameters", dict, at)
    return ToolDefinition(
        name=name,
        # A function without parameters takes an empty object.
        parameters_json_schema={"type": "object", "properties": {}} if schema is None else schema,
        description=found.take(spec, "description", str, at),
        strict=found.take(spec, "strict", bool, at),
    )


def choose(found: Findings, value: object, tools: Iterable[ToolDefinition], form: Form) -> ToolChoice:
    """A `tool_choice`. Only functions of this request can be named."""
    names = [one.name for one in tools]
    match value:
        case None:
            return None
        case "auto" | "none":
            return "auto" if value == "auto" else "none"
        case "required" if names:
            return "required"
        case "required":
            found.refuse("tool_choice", "requires a tool, and there is none")
        # Hugging Face's client leaves the type out.
        case {"type": "function"} | {"function": {"name": _}}:
            return _named(found, [value], names, form)
        case {"type": "allowed_tools"}:
            _, allowed = inner(found, "tool_choice", cast(Json, value), form.allowed)
            given = allowed.get("tools")
            chosen = _named(found, given if isinstance(given, list) else [], names, form)
            mode = found.choice(allowed, "mode", ("auto", "required"), "tool_choice.")
            return ToolOrOutput(function_tools=chosen) if mode == "auto" else chosen
        case {"type": kind}:
            found.refuse("tool_choice", f"{quoted(kind)} cannot be carried")
        case _:
            found.refuse("tool_choice", f"{quoted(value)} is not known")
    return None


def _named(found: Findings, given: Sequence[Any], names: Sequence[str], form: Form) -> list[str]:
    chosen: list[str] = []
    for one in given:
        holder = one.get(form.tool) if form.tool and isinstance(one, dict) else one
        name = holder.get("name") if isinstance(holder, dict) and one.get("type", "function") == "function" else None
        if name in names:
            chosen.append(str(name))
        else:
            found.refuse("tool_choice", f"{quoted(name)} is not a function of this request")
    if not given:
        found.refuse("tool_choice", "names no function")
    return chosen


def parameters(
    found: Findings, at: str, format_: Json | None, form: Form, tools: list[ToolDefinition]
) -> ModelRequestParameters:
    """`ModelRequestParameters` for the tools and the form that the output shall have.

    A schema is the provider's own structured output, never a tool or a prompt. A `json_object` is JSON mode where the
    provider has one, and is told to the model in words as well, since some providers have none.
    """
    kind = "text" if format_ is None else format_.get("type")
    match kind:
        case "text":
            found.sort(f"{at}.", format_ or {}, ("type",))
            return ModelRequestParameters(function_tools=tools)
        case "json_object":
            found.sort(f"{at}.", format_ or {}, ("type",))
            return ModelRequestParameters(
                function_tools=tools,
                output_mode="prompted",
                output_object=OutputObjectDefinition(json_schema={"type": "object"}),
                prompted_output_template=JSON_MODE,
            )
        case "json_schema":
            output = _schema(found, at, format_ or {}, form)
            return ModelRequestParameters(function_tools=tools, output_mode="native", output_object=output)
    found.refuse(f"{at}.type", f"{quoted(kind)} is not known to other providers")
    return ModelRequestParameters(function_tools=tools)


def _schema(found: Findings, at: str, format_: Json, form: Form) -> OutputObjectDefinition:
    if form.schema:
        found.sort(f"{at}.", format_, ("type", form.schema))
    where, spec = inner(found, at, format_, form.schema)
    carried = ("name", "schema", "description", "strict")
    found.sort(where, spec, carried if form.schema else (*carried, "type"))
    schema = found.take(spec, "schema", dict, where)
    if schema is None:
        found.refuse(f"{where}schema", "missing")
    return OutputObjectDefinition(
        json_schema=schema or {},
        name=found.take(spec, "name", str, where),
        description=found.take(spec, "description", str, where),
        strict=found.take(spec, "strict", bool, where),
    )


def model(found: Findings, request: Json, facts: Facts) -> str:
    """Azure's agents may name theirs in the path alone."""
    named: str = found.take(request, "model", str) or facts.model
    if not named:
        found.refuse("model", "missing")
    return named


def common(found: Findings, request: Json, settings: dict[str, object]) -> None:
    """The settings that both requests name alike."""
    for name in ("temperature", "top_p"):
        _set(settings, name, found.take(request, name, float))
    _set(settings, "parallel_tool_calls", found.take(request, "parallel_tool_calls", bool))
    _set(settings, "service_tier", found.choice(request, "service_tier", TIERS))
    if found.take(request, "top_logprobs", int):
        found.refuse("top_logprobs", "probabilities of tokens are not carried")


def effort(found: Findings, value: Json, name: str, settings: dict[str, object], at: str = "") -> None:
    """How much to think. `none` turns thinking off."""
    word = found.choice(value, name, EFFORTS, at)
    if word is not None:
        settings["thinking"] = False if word == "none" else word


def verbosity(found: Findings, value: Json, at: str = "") -> None:
    """`medium` is what every model does anyway; the others are OpenAI's alone."""
    found.choice(value, "verbosity", ("medium",), at)


def _set(settings: dict[str, object], name: str, value: object) -> None:
    if value is not None:
        settings[name] = value
