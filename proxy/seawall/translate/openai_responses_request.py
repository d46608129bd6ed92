"""Reads a responses request into pydantic-ai's words. Never raises; what cannot be carried is in `unfit`.

Keeping an answer (`store`, the default) is harmless to leave out: nothing in the answer depends on it, and the answer
says that it was not kept. An agent that goes on from one by `previous_response_id` names it in its next request, which
is then bound to an upstream that never had it; that request is refused there, as one is that came too late.
"""

from typing import cast

from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from seawall.translate import openai_settings as settings_
from seawall.translate.openai_parts import Findings, Json, opened, quoted
from seawall.translate.openai_responses_input import items
from seawall.translate.openai_turns import Turns
from seawall.translate.types import Asked
from seawall.types import Facts

CARRIED = frozenset({
    "background", "include", "input", "instructions", "max_output_tokens", "model", "parallel_tool_calls",
    "reasoning", "service_tier", "stream", "stream_options", "temperature", "text", "tool_choice", "tools",
    "top_logprobs", "top_p",
})  # fmt: skip
"""Read below, value by value."""

HARMLESS: dict[str, str] = settings_.HARMLESS | {
    "max_tool_calls": "limits tools that the provider runs, of which there are none",
    "store": "nothing in the answer depends on it, and the answer says that it was not kept",
    "truncation": "a conversation that is too long is refused there, never cut",
}

UNFIT: dict[str, str] = settings_.UNFIT | {
    "access_programs": "granted by OpenAI to the account",
    "context_management": "compaction is done by the account that holds the conversation only",
    "conversation": "known to the account that holds it only",
    "image": "how images are compressed is OpenAI's own matter",
    "previous_response_id": "known to the account that holds the response only",
    "prompt": "a prompt template is known to the account that holds it only",
}

HARMLESS_OF_REASONING: dict[str, str] = {
    "context": "says which reasoning of its own a model reads again",
    "generate_summary": "the older name of summary",
    "summary": "of another provider's reasoning; sent back by the agent, it would not be found under its id",
}

INCLUDED: dict[str, str] = {
    "code_interpreter_call.outputs": "adds to the calls of a tool that the provider runs, of which there are none",
    "computer_call_output.output.image_url": "adds to the calls of a tool that is not carried",
    "file_search_call.results": "adds to the calls of a tool that the provider runs, of which there are none",
    "message.input_image.image_url": "adds to a stored request, and nothing is stored",
    "reasoning.encrypted_content": "no other provider's reasoning can be read by this one, nor the other way round",
    "web_search_call.action.sources": "adds to the calls of a tool that the provider runs, of which there are none",
    "web_search_call.results": "adds to the calls of a tool that the provider runs, of which there are none",
}
"""Of `include`: harmless to leave out, each with the reason."""

_ECHOED = (
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "prompt_cache_key",
    "reasoning", "safety_identifier", "temperature", "text", "tool_choice", "tools", "top_p", "truncation", "user",
)  # fmt: skip


def read(body: bytes, facts: Facts, *, created: int, id_: str) -> Asked:
    """See `AgentSide.read`."""
    found = Findings()
    request = opened(found, body, CARRIED, HARMLESS, UNFIT)
    tools = [one for at, tool in found.objects(request, "tools") if (one := _tool(found, at, tool)) is not None]
    text = found.take(request, "text", dict) or {}
    found.sort("text.", text, ("format", "verbosity"))
    format_ = found.take(text, "format", dict, "text.")
    parameters = settings_.parameters(found, "text.format", format_, settings_.FLAT, tools)
    turns = Turns(created)
    # The API puts them into the context as a system message of their own, before all others.
    if instructions := found.take(request, "instructions", str):
        turns.system([instructions])
    items(found, request.get("input"), turns)
    if not request.get("input"):
        found.refuse("input", "empty")
    return Asked(
        model=settings_.model(found, request, facts),
        stream=found.take(request, "stream", bool) or False,
        messages=turns.messages(),
        settings=_settings(found, request, text, tools),
        parameters=parameters,
        unfit=found.unfit,
        created=created,
        id_=id_,
        echo={name: request[name] for name in _ECHOED if request.get(name) is not None},
    )


def _tool(found: Findings, at: str, tool: Json) -> ToolDefinition | None:
    if tool.get("type") != "function":
        found.refuse(at, f"a tool of type {quoted(tool.get('type'))} cannot be carried")
        return None
    carried = ["type", "name", "description", "parameters", "strict"]
    for name, plain in (("async", False), ("defer_loading", False), ("allowed_callers", ["direct"])):
        if tool.get(name) == plain:
            carried.append(name)
    found.sort(
        f"{at}.", tool, carried, (), dict.fromkeys(("output_schema", *_SPECIAL), "known to OpenAI's models only")
    )
    return settings_.tool(found, f"{at}.", at, tool)


_SPECIAL = ("async", "defer_loading", "allowed_callers")


def _settings(found: Findings, request: Json, text: Json, tools: list[ToolDefinition]) -> ModelSettings:
    settings: dict[str, object] = {}
    settings_.common(found, request, settings)
    settings_.verbosity(found, text, "text.")
    if (limit := found.take(request, "max_output_tokens", int)) is not None:
        settings["max_tokens"] = limit
    if (choice := settings_.choose(found, request.get("tool_choice"), tools, settings_.FLAT)) is not None:
        settings["tool_choice"] = choice
    _reasoning(found, found.take(request, "reasoning", dict) or {}, settings)
    if found.take(request, "background", bool):
        found.refuse("background", "an answer that is fetched later is known to its upstream only")
    # Padding against those who count bytes; a translated stream has its own sizes.
    found.sort("stream_options.", found.take(request, "stream_options", dict) or {}, (), ("include_obfuscation",))
    for one in found.take(request, "include", list) or ():
        if not isinstance(one, str) or one not in INCLUDED:
            found.refuse("include", f"{quoted(one)} is not carried")
    return cast(ModelSettings, settings)


def _reasoning(found: Findings, reasoning: Json, settings: dict[str, object]) -> None:
    found.sort("reasoning.", reasoning, ("effort", "mode"), HARMLESS_OF_REASONING)
    settings_.effort(found, reasoning, "effort", settings, "reasoning.")
    found.choice(reasoning, "mode", ("standard",), "reasoning.")
