"""An Anthropic messages request in pydantic-ai's words: its settings, tools and system prompt; `anthropic_content`
reads the turns. It never raises: whatever is invalid or cannot be carried is named in `Asked.unfit`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Union, get_args

import msgspec
from pydantic_ai.messages import InstructionPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.profiles.anthropic import AnthropicEffort
from pydantic_ai.tools import ToolDefinition

from seawall.translate.anthropic_content import HARMLESS, Conversation, texts
from seawall.translate.fields import Fields
from seawall.translate.thinking import effort_of
from seawall.translate.types import Asked

if TYPE_CHECKING:
    # Not at run time: these bring in an SDK that an agent's side does not need.
    from anthropic.types.beta import BetaThinkingConfigAdaptiveParam, BetaThinkingConfigEnabledParam
    from pydantic_ai.models.anthropic import AnthropicModelSettings

LEFT_OUT: Mapping[str, str] = {
    **HARMLESS,
    "metadata": "tells the provider who asks, for its own abuse detection",
    "diagnostics": "asks about the provider's own prompt cache",
}
"""Fields of a request that are harmless to leave out, each with the reason."""

LEFT_OUT_OF_TOOLS: Mapping[str, str] = {
    **HARMLESS,
    "eager_input_streaming": "changes in what pieces the arguments are streamed, not what they are",
}
"""Likewise of a tool's definition."""

_Thinking = Union["BetaThinkingConfigAdaptiveParam", "BetaThinkingConfigEnabledParam"]

_EFFORTS: Mapping[str, AnthropicEffort] = {effort: effort for effort in get_args(AnthropicEffort)}


def read(body: bytes, *, created: int, id_: str) -> Asked:
    """See `AgentSide.read`."""
    unfit: list[str] = []
    try:
        given = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        unfit.append("body: is no JSON object")
        given = {}
    top = Fields(given, "", unfit)
    model, stream = top.need("model", str, ""), top.take("stream", bool) or False
    settings = _settings(top)
    conversation = Conversation()
    for turn in top.each("messages"):
        conversation.add(turn)
    conversation.finish(top)
    parameters = _parameters(top, settings)
    top.close(LEFT_OUT)
    return Asked(model, stream, conversation.messages, settings, parameters, tuple(unfit), created=created, id_=id_)


def _settings(top: Fields) -> "AnthropicModelSettings":
    settings: AnthropicModelSettings = {}
    limit = top.need("max_tokens", int, 1)
    if limit < 1:
        top.refuse("max_tokens", "asks for no answer, but to fill the provider's own cache")
    settings["max_tokens"] = limit
    if (temperature := top.number("temperature")) is not None:
        settings["temperature"] = temperature
    if (top_p := top.number("top_p")) is not None:
        settings["top_p"] = top_p
    if (top_k := top.take("top_k", int)) is not None:
        settings["top_k"] = top_k
    if stop := top.strings("stop_sequences"):
        settings["stop_sequences"] = stop
    _tier(top, settings)
    _thinking(top, settings)
    if (speed := top.take("speed", str)) is not None and speed != "standard":
        top.refuse("speed", f"{speed} is a mode of the provider's own")
    if top.take("mcp_servers", list):
        top.refuse("mcp_servers", "are called by the provider itself")
    return settings


def _tier(top: Fields, settings: "AnthropicModelSettings") -> None:
    match top.take("service_tier", str):
        case None:
            pass
        case "auto":
            settings["service_tier"] = "auto"
        case "standard_only":
            settings["service_tier"] = "default"
        case tier:
            top.refuse("service_tier", f"{tier} is unknown")


def _thinking(top: Fields, settings: "AnthropicModelSettings") -> None:
    """Thinking is said twice: in pydantic-ai's word for any provider, an effort, and as it came for Anthropic's models
    wherever they are served."""
    given = top.inner("thinking")
    if given is None:
        return
    match given.kind:
        case "disabled":
            settings["thinking"] = False
            settings["anthropic_thinking"] = {"type": "disabled"}
        case "adaptive":
            settings["thinking"] = True
            settings["anthropic_thinking"] = _shown(given, {"type": "adaptive"})
        case "enabled":
            budget = given.need("budget_tokens", int, 1024)
            settings["thinking"] = effort_of(budget)
            settings["anthropic_thinking"] = _shown(given, {"type": "enabled", "budget_tokens": budget})
        case kind:
            given.refuse("type", f"{kind} is a mode of the provider's own")
    given.close()


def _shown(given: Fields, thinking: _Thinking) -> _Thinking:
    """`display`: thinking is shown as a summary, which is what other providers show if anything."""
    match given.take("display", str):
        case None:
            pass
        case "summarized":
            thinking["display"] = "summarized"
        case display:
            given.refuse("display", f"{display}: other providers show what they show")
    return thinking


def _parameters(top: Fields, settings: "AnthropicModelSettings") -> ModelRequestParameters:
    parameters = ModelRequestParameters()
    prompts = texts(top.blocks("system"))
    if prompts:
        parameters.instruction_parts = [InstructionPart(content=prompt) for prompt in prompts]
    parameters.function_tools = [tool for each in top.each("tools") if (tool := _tool(each)) is not None]
    _choice(top, settings, {tool.name for tool in parameters.function_tools})
    schema = _output(top, settings)
    if schema is not None:
        # Anthropic keeps to the schema, so others must be told to.
        parameters.output_object = OutputObjectDefinition(json_schema=schema, strict=True)
        parameters.output_mode = "native"
    return parameters


def _tool(given: Fields) -> ToolDefinition | None:
    if (kind := given.take("type", str)) not in (None, "custom"):
        given.refuse("type", f"{kind} is a tool of the provider's own")
        return None
    name, schema = given.need("name", str, ""), given.need("input_schema", dict, {})
    description, strict = given.take("description", str), given.take("strict", bool)
    if given.take("defer_loading", bool):
        given.refuse("defer_loading", "needs the provider's own search for tools")
    if given.strings("allowed_callers") not in (None, ["direct"]):
        given.refuse("allowed_callers", "name server tools")
    given.close(LEFT_OUT_OF_TOOLS)
    return ToolDefinition(name=name, parameters_json_schema=schema, description=description, strict=strict or False)


def _choice(top: Fields, settings: "AnthropicModelSettings", tools: set[str]) -> None:
    given = top.inner("tool_choice")
    if given is None:
        return
    match given.kind:
        case "auto":
            settings["tool_choice"] = "auto"
        case "any":
            settings["tool_choice"] = "required"
            if not tools:
                given.refuse("type", "asks for a call where there are no tools")
        case "tool":
            name = given.need("name", str, "")
            settings["tool_choice"] = [name]
            if name not in tools:
                given.refuse("name", "is none of the tools")
        case "none":
            settings["tool_choice"] = "none"
        case kind:
            given.refuse("type", f"{kind} is unknown")
    if (single := given.take("disable_parallel_tool_use", bool)) is not None:
        settings["parallel_tool_calls"] = not single
    given.close()


def _output(top: Fields, settings: "AnthropicModelSettings") -> dict[str, object] | None:
    """`output_config`: the effort goes into `settings`, the schema of structured output is returned. The beta's
    `output_format` is the same schema in its earlier place."""
    schema = _schema(top.inner("output_format"))
    given = top.inner("output_config")
    if given is None:
        return schema
    schema = _schema(given.inner("format")) or schema
    if (effort := given.take("effort", str)) is not None:
        if (known := _EFFORTS.get(effort)) is None:
            given.refuse("effort", f"{effort} is unknown")
        else:
            _effort(settings, known)
    given.close()
    return schema


def _schema(given: Fields | None) -> dict[str, object] | None:
    if given is None:
        return None
    if given.kind != "json_schema":
        given.refuse("type", f"{given.kind} is unknown")
    schema = given.need("schema", dict, {})
    given.close()
    return schema


def _effort(settings: "AnthropicModelSettings", effort: AnthropicEffort) -> None:
    """How much a model is to think, unless the request turns its thinking off."""
    settings["anthropic_effort"] = effort
    if settings.get("thinking") is not False:
        settings["thinking"] = effort
