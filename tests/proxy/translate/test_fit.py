"""What a provider cannot be asked is known before anything is sent, by name."""

from dataclasses import replace
from typing import Any

import pytest
from asking import MODELS, STREAMED, Upstream, asked, at, formed, good
from peers import closed_port, serving
from pydantic_ai.messages import (
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelResponse,
    TextPart,
    ThinkingPart,
)

from seawall.faults import Code, Fault
from seawall.translate.provider import ask
from seawall.translate.rows import missing
from seawall.translate.types import Asked
from seawall.upstream.pool import Pool

FREE = "output schema: the provider knows no object whose fields are not listed"
COLOUR = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "type": {"type": "object", "properties": {"a": {"enum": ["object"]}}}},
    "required": ["name"],
    "additionalProperties": True,
}


def continued() -> Asked:
    return replace(asked(), messages=[*asked().messages, ModelResponse([TextPart("The sea is")])])


PDF = DocumentUrl("https://sea.test/a", media_type="application/pdf")


@pytest.mark.parametrize(
    ("dialect", "request_", "why"),
    [
        ("OpenAI", asked(PDF), "messages: the provider takes no document-url"),
        ("OpenAI", asked(top_k=3), "top_k: the provider has none"),
        ("OpenAI", asked(stop_sequences=list("abcde")), "stop_sequences: the provider takes at most 4"),
        ("OpenAI", asked(thinking="high"), "thinking: the model has none"),
        ("Anthropic", asked(openai_store=True), "store: the provider has none"),
        ("Anthropic", asked(seed=1), "seed: the provider has none"),
        ("Anthropic", asked(temperature=1.5), "temperature: the provider takes at most 1"),
        ("Anthropic", asked(service_tier="flex"), "service_tier: the provider has no flex"),
        ("Anthropic", asked(BinaryContent(b"a", media_type="audio/wav")), "messages: the provider takes no audio/wav"),
        (
            "Anthropic",
            asked(thinking="low", max_tokens=5000, temperature=0.5),
            "temperature: the model takes none while it thinks",
        ),
        ("Anthropic", asked(thinking="low", max_tokens=5000, top_k=3), "top_k: the model takes none while it thinks"),
        (
            "Anthropic",
            asked(thinking="low", max_tokens=5000, top_p=0.5),
            "top_p: the model takes at least 0.95 while it thinks",
        ),
        (
            "Anthropic",
            asked(thinking="high", max_tokens=1000),
            "max_tokens: the model thinks for 16384 before it answers",
        ),
        (
            "Anthropic",
            asked(tools=True, thinking="low", max_tokens=5000, tool_choice="required"),
            "tool_choice: the model cannot be made to call a tool while it thinks",
        ),
        ("Anthropic", asked(temperature=0.5, top_p=0.5), "top_p: the provider takes it or temperature"),
        ("Anthropic", formed({"type": "object"}), FREE),
        ("Anthropic", formed({"properties": {"a": {"type": ["object", "null"]}}}), FREE),
        ("Anthropic", formed({"$defs": {"a": {"additionalProperties": {"type": "string"}}}}), FREE),
        ("Anthropic", formed({"items": {"anyOf": [{"patternProperties": {"^a": {}}}]}}), FREE),
        (
            "Gemini",
            formed(COLOUR, tools=True),
            "output schema: the model keeps to none while it has tools",
        ),
        ("Anthropic", formed({"enum": [{}]}), "output schema: the provider does not know its form"),
        ("Anthropic", continued(), "messages: ends with the assistant's words, which the provider would go on with"),
        ("Gemini", continued(), "messages: ends with the assistant's words, which the provider would go on with"),
        ("Gemini", asked(ImageUrl("https://sea.test/a.png")), "messages: the provider takes no image-url"),
        ("OpenAI", replace(asked(), unfit=("container: has no counterpart",)), "container: has no counterpart"),
    ],
)
@STREAMED
async def test_what_a_provider_cannot_say_is_not_sent(
    pool: Pool, dialect: str, request_: Asked, why: str, stream: bool
) -> None:
    asking = at(pool, dialect, closed_port()).asking(MODELS[dialect], stream=stream)
    assert asking.unfit(request_) == (why,)


@pytest.mark.parametrize(
    ("model", "settings", "fits"),
    [
        ("o3", {"temperature": 0.5}, False),
        ("o3", {"temperature": 1.0}, True),
        ("gpt-5.1", {"temperature": 0.5}, True),
        ("gpt-5.1", {"temperature": 0.5, "thinking": "low"}, False),
        ("gpt-4o", {"temperature": 0.5, "frequency_penalty": 0.2, "seed": 3, "parallel_tool_calls": True}, True),
    ],
)
async def test_reasoning_models_take_no_sampling(pool: Pool, model: str, settings: dict[str, Any], fits: bool) -> None:
    asking = at(pool, "OpenAI", 1).asking(model)
    assert (asking.unfit(asked(**settings)) == ()) is fits


@pytest.mark.parametrize("strict", [None, False, True])
async def test_a_schema_that_need_not_be_kept_to_is_one_that_is_kept_to(pool: Pool, strict: bool | None) -> None:
    upstream = Upstream(good("Anthropic"))
    async with serving(upstream) as port:
        asking = at(pool, "Anthropic", port).asking(MODELS["Anthropic"])
        assert isinstance(await ask(asking, formed(COLOUR, strict=strict)), ModelResponse)
    sent = upstream.bodies[0]["output_config"]["format"]
    assert (sent["type"], sent["schema"]["properties"]["name"]) == ("json_schema", {"type": "string"})


async def test_an_assistants_last_words_are_openais_to_follow(pool: Pool) -> None:
    assert at(pool, "OpenAI", 1).asking(MODELS["OpenAI"]).unfit(continued()) == ()


async def test_what_pydantic_ai_refuses_is_unfit_too(pool: Pool) -> None:
    request = asked(anthropic_thinking={"type": "enabled", "budget_tokens": 2000}, max_tokens=5000)
    fault = await ask(at(pool, "Anthropic", closed_port()).asking("claude-opus-4-8"), request)
    assert isinstance(fault, Fault) and fault.code is Code.NO_CANDIDATE
    assert fault.detail.startswith("the request cannot be said to this provider: ")


async def test_sealed_thinking_stays_with_its_own_provider(pool: Pool) -> None:
    sealed = ThinkingPart("", id="redacted_thinking", signature="data", provider_name="anthropic")
    plain = ThinkingPart("hm", signature="sig", provider_name="anthropic")
    history = [*asked().messages, ModelResponse([sealed, plain, TextPart("a")]), *asked().messages]
    request = replace(asked(), messages=history)
    sent = {}
    for dialect in ("OpenAI", "Anthropic"):
        upstream = Upstream(good(dialect))
        async with serving(upstream) as port:
            assert isinstance(await ask(at(pool, dialect, port).asking(MODELS[dialect]), request), ModelResponse)
        sent[dialect] = upstream.bodies[0]["messages"][1]["content"]
    assert sent["OpenAI"] == "<think>\nhm\n</think>\n\na"
    assert [block["type"] for block in sent["Anthropic"]] == ["redacted_thinking", "thinking", "text"]


@pytest.mark.parametrize("dialect", ["OpenAI", "Anthropic", "Gemini", "Bedrock"])
def test_what_is_installed_can_be_asked(dialect: str) -> None:
    assert missing(dialect) == ""


def test_what_cannot_be_asked_has_a_reason() -> None:
    assert "no translation to the dialect Trino" in missing("Trino")


@pytest.mark.parametrize(
    ("dialect", "package"),
    [
        ("OpenAI", "seawall[translate]"),
        ("Gemini", "seawall[translate]"),
        ("Bedrock", "seawall[translate,bedrock]"),
    ],
)
def test_what_is_not_installed_says_what_brings_it(dialect: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert missing(dialect).endswith(f"is not installed: it comes with {package}")
