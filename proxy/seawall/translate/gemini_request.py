"""A Gemini request in pydantic-ai's words: its settings, the form of its answer and its system prompt;
`gemini_content` reads the turns and `gemini_tools` the tools. It never raises: whatever is invalid or cannot be carried
is named in `Asked.unfit`.
"""

from collections.abc import Mapping
from typing import cast

import msgspec
from pydantic_ai.messages import InstructionPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings

from seawall.translate.gemini_content import Conversation, texts
from seawall.translate.gemini_fields import GeminiFields
from seawall.translate.gemini_schema import Schema, is_object, json_schema
from seawall.translate.gemini_tools import choose, tools
from seawall.translate.openai_parts import quoted
from seawall.translate.schemas import has_free_objects
from seawall.translate.thinking import effort_of
from seawall.translate.types import Asked
from seawall.types import Facts

LEFT_OUT: Mapping[str, str] = {
    "labels": "labels for the account's own bills",
    "store": "asks about the account's own log of requests",
}
"""Fields of a request that are harmless to leave out, each with the reason."""

JSON_MODE = "Answer with one JSON value and nothing else, not even a Markdown fence."
"""What a model is told where any JSON is asked for: other providers' own modes know objects only."""

_OFF = frozenset({"BLOCK_NONE", "OFF"})
_TIERS = {"STANDARD": "default", "FLEX": "flex", "PRIORITY": "priority"}
_LEVELS = frozenset({"MINIMAL", "LOW", "MEDIUM", "HIGH"})
_DETAILS = {"MEDIA_RESOLUTION_LOW": "low", "MEDIA_RESOLUTION_HIGH": "high"}


def read(body: bytes, facts: Facts, *, created: int, id_: str) -> Asked:
    """See `AgentSide.read`."""
    unfit: list[str] = []
    try:
        given = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        unfit.append("body: is no JSON object")
        given = {}
    top = GeminiFields(given, "", unfit)
    # The path decides, as in the API.
    top.take("model", str)
    config = top.inner("generationConfig") or GeminiFields({}, "generationConfig", unfit)
    settings = _settings(top, config)
    conversation = Conversation(detail=_detail(config))
    for turn in top.each("contents"):
        conversation.add(turn)
    conversation.finish(top)
    parameters = _parameters(top, config, settings)
    thoughts = _thinking(config, settings)
    config.close()
    _account(top)
    top.close(LEFT_OUT)
    return Asked(
        facts.model,
        facts.stream,
        conversation.messages,
        cast(ModelSettings, settings),
        parameters,
        tuple(unfit),
        created=created,
        id_=id_,
        thoughts=thoughts,
        framing=facts.framing,
    )


def _settings(top: GeminiFields, config: GeminiFields) -> dict[str, object]:
    numbers = {
        "temperature": config.number("temperature"),
        "top_p": config.number("topP"),
        "top_k": config.whole_number("topK"),
        "max_tokens": config.whole_number("maxOutputTokens"),
        "seed": config.whole_number("seed"),
        "presence_penalty": config.number("presencePenalty"),
        "frequency_penalty": config.number("frequencyPenalty"),
    }
    settings: dict[str, object] = {name: number for name, number in numbers.items() if number is not None}
    if stop := config.strings("stopSequences"):
        settings["stop_sequences"] = stop
    if (config.whole_number("candidateCount") or 1) != 1:
        config.refuse("candidateCount", "other providers give one answer at a time")
    for name in config.strings("responseModalities") or ():
        if name.upper() not in ("TEXT", "MODALITY_UNSPECIFIED"):
            config.refuse("responseModalities", "only text is carried")
    config.off("responseLogprobs", "probabilities of tokens are not carried")
    config.off("audioTimestamp", "other providers have none")
    config.off("enableAffectiveDialog", "other providers have none")
    config.off("enableEnhancedCivicAnswers", "other providers have none")
    if (tier := top.word("serviceTier")) is not None:
        if tier in _TIERS:
            settings["service_tier"] = _TIERS[tier]
        else:
            top.refuse("serviceTier", f"{quoted(tier)} is unknown")
    return settings


def _detail(config: GeminiFields) -> str | None:
    """How finely images are looked at; the resolution between the two is what every model does anyway."""
    return _DETAILS.get(config.word("mediaResolution") or "")


def _thinking(config: GeminiFields, settings: dict[str, object]) -> bool:
    """Whether thoughts are to be told. That alone does not ask for any: models that think do."""
    given = config.inner("thinkingConfig")
    if given is None:
        return False
    budget, level = given.whole_number("thinkingBudget"), given.word("thinkingLevel")
    if budget is not None and level is not None:
        given.refuse("thinkingLevel", "contradicts thinkingBudget")
    elif budget is not None and budget < -1:
        given.refuse("thinkingBudget", "is no number of tokens")
    elif budget is not None:
        settings["thinking"] = effort_of(budget) if budget > 0 else budget < 0
    elif level in _LEVELS:
        settings["thinking"] = level.lower()
    elif level is not None:
        given.refuse("thinkingLevel", f"{quoted(level)} is unknown")
    thoughts = given.take("includeThoughts", bool)
    given.close()
    return bool(thoughts)


def _parameters(top: GeminiFields, config: GeminiFields, settings: dict[str, object]) -> ModelRequestParameters:
    prompts = []
    if (system := top.inner("systemInstruction")) is not None:
        system.take("role", str)
        prompts = texts(system)
        system.close()
    offered = tools(top)
    if (choice := choose(top, offered)) is not None:
        settings["tool_choice"] = choice
    parameters = ModelRequestParameters(function_tools=offered)
    schema = _output(config, prompts)
    if schema is not None:
        # Gemini keeps to the schema, so others must be told to.
        parameters.output_object = OutputObjectDefinition(json_schema=schema, strict=True)
        parameters.output_mode = "native"
    if prompts:
        parameters.instruction_parts = [InstructionPart(content=prompt) for prompt in prompts]
    return parameters


def _output(config: GeminiFields, prompts: list[str]) -> Schema | None:
    """The schema of the answer. Where any JSON will do, a prompt is added."""
    kind = (config.take("responseMimeType", str) or "text/plain").lower()
    own = config.inner("responseSchema")
    plain: Schema | None = config.take("responseJsonSchema", dict)
    name = "responseJsonSchema" if own is None else "responseSchema"
    if own is not None and plain is not None:
        config.refuse("responseJsonSchema", "contradicts responseSchema")
    schema = plain if own is None else json_schema(own)
    if kind not in ("text/plain", "application/json"):
        config.refuse("responseMimeType", f"{quoted(kind)} is not known to other providers")
        return None
    if schema is None:
        if kind == "application/json":
            prompts.append(JSON_MODE)
        return None
    if kind == "text/plain":
        config.refuse(name, "is for the type application/json")
    elif not is_object(schema):
        config.refuse(name, "other providers' answers by schema are objects")
    elif has_free_objects(schema):
        config.refuse(name, "other providers keep to no schema with objects whose fields are not listed")
    return schema


def _account(top: GeminiFields) -> None:
    """What the account holds, and how Google filters for it. There is no such filter elsewhere to be turned off."""
    if top.take("cachedContent", str):
        top.refuse("cachedContent", "is known to the account that holds it only")
    for setting in top.each("safetySettings"):
        setting.take("category", str)
        setting.take("method", str)
        threshold = setting.word("threshold")
        if threshold is not None and threshold not in _OFF:
            setting.refuse("threshold", "other providers have no such filter")
        setting.close()
