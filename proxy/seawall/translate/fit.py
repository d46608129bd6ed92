"""What a provider's model can be asked, checked before anything is sent: pydantic-ai leaves out, caps or downloads much
without a word, and here nothing that an agent asked for is dropped silently.

What a provider's API takes is in `limits`; what differs from model to model is read from pydantic-ai's profiles.
"""

from collections.abc import Iterator, Mapping

from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelRequest,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
    UploadedFile,
    UserPromptPart,
    VideoUrl,
)
from pydantic_ai.models import Model
from pydantic_ai.profiles.anthropic import ANTHROPIC_THINKING_BUDGET_MAP

from seawall.translate.limits import Limits
from seawall.translate.schemas import has_free_objects
from seawall.translate.types import Asked

# Values that say the same as saying nothing.
_NOTHING: Mapping[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "temperature": (1,),
    "top_p": (1,),
    "logit_bias": ({},),
    "parallel_tool_calls": (True,),
    "stop_sequences": ([],),
}


_LEAST_TOP_P = 0.95
_BUDGETS: Mapping[object, int] = dict(ANTHROPIC_THINKING_BUDGET_MAP.items())

# Settings that only one provider's models read, by how their names begin; and those that are said in a common one too.
_OWNERS = ("anthropic_", "google_", "openai_")
_TWICE = frozenset({"anthropic_thinking", "anthropic_effort"})


def misfits(model: Model, limits: Limits, asked: Asked) -> tuple[str, ...]:
    """What of a request this model cannot be asked, each as `field: why`."""
    given: dict[str, object] = {**asked.settings}
    said = {name: value for name, value in given.items() if value not in _NOTHING.get(name, ())}
    profile: Mapping[str, object] = {**model.profile}
    return (
        *_settings(model, limits, profile, said),
        *(_of_anthropic(limits, profile, said) if _is_claude(limits, profile) else ()),
        *_calls(limits, profile, said, asked),
        *_output(model, limits, asked),
        *_messages(limits, asked),
    )


def _settings(model: Model, limits: Limits, profile: Mapping[str, object], said: Mapping[str, object]) -> Iterator[str]:
    unknown = {*model.unsupported_settings, *_names(profile.get("openai_unsupported_model_settings"))}
    for name, value in said.items():
        foreign = name.startswith(_OWNERS) and not name.startswith(limits.own) and name not in _TWICE
        if name in unknown or (foreign and value):
            yield f"{_asked_as(name)}: the provider has none"
    for name, most in limits.most.items():
        value = said.get(name)
        size = len(value) if isinstance(value, list) else value
        if isinstance(size, int | float) and size > most:
            yield f"{name}: the provider takes at most {most:g}"
    if limits.top_k and "top_k" in said and not profile.get(limits.top_k):
        yield "top_k: the model takes none"
    if (tier := said.get("service_tier")) is not None and tier not in limits.tiers:
        yield f"service_tier: the provider has no {tier}"
    if said.get("thinking") and not profile.get("supports_thinking") and not profile.get("thinking_always_enabled"):
        yield "thinking: the model has none"
    elif said.get("thinking") and limits.effort and not profile.get(limits.effort):
        yield "thinking: the model cannot be told how much"
    if _ignores_sampling(limits, profile, said):
        for name in limits.sampling:
            if name in said:
                yield f"{name}: the model takes none"


def _asked_as(name: str) -> str:
    """A setting's name as agents know it."""
    owner = next((one for one in _OWNERS if name.startswith(one)), "")
    return name.removeprefix(owner)


def _is_claude(limits: Limits, profile: Mapping[str, object]) -> bool:
    return bool(limits.budgeted) and (not limits.claude or profile.get(limits.claude) == "anthropic")


def _calls(limits: Limits, profile: Mapping[str, object], said: Mapping[str, object], asked: Asked) -> Iterator[str]:
    """What not all models of a provider can be told about the calling of tools."""
    choice = said.get("tool_choice")
    if limits.forced and not profile.get(limits.forced) and (choice == "required" or isinstance(choice, list)):
        yield "tool_choice: the model cannot be made to call a tool"
    if limits.kept_from and not profile.get(limits.kept_from) and choice == "none":
        parts = (part for m in asked.messages if isinstance(m, ModelResponse) for part in m.parts)
        if any(isinstance(part, ToolCallPart) for part in parts):
            yield "tool_choice: the model cannot be kept from calling tools that it has called before"


def _of_anthropic(limits: Limits, profile: Mapping[str, object], said: Mapping[str, object]) -> Iterator[str]:
    """What Anthropic's API refuses of settings together. Source: its documentation of extended thinking."""
    if "temperature" in said and "top_p" in said:
        yield "top_p: the provider takes it or temperature"
    thinking = said.get("thinking")
    if not thinking:
        return
    for name in ("temperature", "top_k"):
        if name in said:
            yield f"{name}: the model takes none while it thinks"
    top_p = said.get("top_p")
    if isinstance(top_p, int | float) and top_p < _LEAST_TOP_P:
        yield f"top_p: the model takes at least {_LEAST_TOP_P:g} while it thinks"
    if profile.get(limits.budgeted):
        return
    own = said.get("anthropic_thinking") if limits.own == "anthropic_" else None
    budget = own.get("budget_tokens") if isinstance(own, dict) else _BUDGETS.get(thinking)
    most = said.get("max_tokens")
    if isinstance(most, int) and isinstance(budget, int) and most <= budget:
        yield f"max_tokens: the model thinks for {budget} before it answers"
    if said.get("tool_choice") == "required" or isinstance(said.get("tool_choice"), list):
        yield "tool_choice: the model cannot be made to call a tool while it thinks"


def _ignores_sampling(limits: Limits, profile: Mapping[str, object], said: Mapping[str, object]) -> bool:
    """Whether pydantic-ai would leave sampling settings out, as such models refuse them."""
    if any(profile.get(flag) for flag in limits.no_sampling):
        return True
    if not limits.reasoning or not profile.get(limits.reasoning):
        return False
    efforts = profile.get("openai_reasoning_efforts")
    can_rest = "none" in efforts if isinstance(efforts, list | tuple | set | frozenset) else False
    if not (can_rest or profile.get("openai_supports_reasoning_effort_none")):
        return True
    thinking = said.get("thinking")
    return bool(profile.get("thinking_enabled_by_default") if thinking is None else thinking)


def _output(model: Model, limits: Limits, asked: Asked) -> Iterator[str]:
    if asked.parameters.function_tools and not model.profile.get("supports_tools", True):
        yield "tools: the model calls none"
    output = asked.parameters.output_object
    if asked.parameters.output_mode != "native" or output is None:
        return
    profile: Mapping[str, object] = {**model.profile}
    if not profile.get("supports_json_schema_output"):
        yield "output schema: the model keeps to none"
    elif asked.parameters.function_tools and not profile.get(
        limits.schema_beside_tools, not limits.schema_beside_tools
    ):
        yield "output schema: the model keeps to none while it has tools"
    elif limits.closed and has_free_objects(output.json_schema):
        # pydantic-ai would forbid all fields of such an object, and the answer to it would be `{}`.
        yield "output schema: the provider knows no object whose fields are not listed"
    else:
        yield from _unprepared(model, asked)


def _unprepared(model: Model, asked: Asked) -> Iterator[str]:
    """What pydantic-ai finds in a schema that it brings to the provider's form."""
    try:
        model.prepare_request(asked.settings.copy(), asked.parameters)
    except UserError as error:
        why = str(error).partition("\n")[0][:200]
        yield f"output schema: {why}"
    except ValueError:
        yield "output schema: the provider does not know its form"


def _messages(limits: Limits, asked: Asked) -> Iterator[str]:
    if limits.goes_on and asked.messages and isinstance(asked.messages[-1], ModelResponse):
        yield "messages: ends with the assistant's words, which the provider would go on with"
    for item in _items(asked):
        if isinstance(item, BinaryContent):
            if not item.media_type.startswith(limits.files):
                yield f"messages: the provider takes no {item.media_type}"
        elif isinstance(item, ImageUrl | DocumentUrl | AudioUrl | VideoUrl):
            if item.force_download or not _links(limits, item):
                yield f"messages: the provider takes no {item.kind}"
        elif isinstance(item, UploadedFile):
            yield "messages: an uploaded file is another provider's"


def _links(limits: Limits, item: ImageUrl | DocumentUrl | AudioUrl | VideoUrl) -> bool:
    if item.kind in limits.urls:
        return True
    try:
        return f"{item.kind} {item.media_type}" in limits.urls
    except ValueError:
        # A link that does not tell what it leads to.
        return False


def _items(asked: Asked) -> Iterator[object]:
    """All that users and tools sent."""
    for message in asked.messages:
        for part in message.parts if isinstance(message, ModelRequest) else ():
            if isinstance(part, UserPromptPart) and not isinstance(part.content, str):
                yield from part.content
            elif isinstance(part, ToolReturnPart):
                yield from part.content_items()


def _names(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, tuple | list | set | frozenset) else ()
