"""What a provider cannot be asked is known before anything is sent, by name."""

from dataclasses import replace
from typing import Any

import pytest
from asking import MODELS, STREAMED, Upstream, asked, at, good
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

PDF = DocumentUrl("https://sea.test/a", media_type="application/pdf")


@pytest.mark.parametrize(
    ("dialect", "request_", "why"),
    [
        ("OpenAI", asked(PDF), "messages: the provider takes no document-url"),
        ("OpenAI", asked(top_k=3), "top_k: the provider has none"),
        ("OpenAI", asked(stop_sequences=list("abcde")), "stop_sequences: the provider takes at most 4"),
        ("OpenAI", asked(thinking="high"), "thinking: the model has none"),
        ("Anthropic", asked(openai_store=True), "openai_store: the provider has none"),
        ("Anthropic", asked(seed=1), "seed: the provider has none"),
        ("Anthropic", asked(temperature=1.5), "temperature: the provider takes at most 1"),
        ("Anthropic", asked(service_tier="flex"), "service_tier: the provider has no flex"),
        ("Anthropic", asked(BinaryContent(b"a", media_type="audio/wav")), "messages: the provider takes no audio/wav"),
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


async def test_what_pydantic_ai_refuses_is_unfit_too(pool: Pool) -> None:
    request = asked(tools=True, tool_choice="required", anthropic_thinking={"type": "enabled", "budget_tokens": 2000})
    fault = await ask(at(pool, "Anthropic", closed_port()).asking("claude-haiku-4-5"), request)
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


@pytest.mark.parametrize("dialect", ["OpenAI", "Anthropic", "Gemini"])
def test_what_is_installed_can_be_asked(dialect: str) -> None:
    assert missing(dialect) == ""


@pytest.mark.parametrize(
    ("dialect", "reason"), [("Bedrock", "boto3"), ("Trino", "no translation to the dialect Trino")]
)
def test_what_cannot_be_asked_has_a_reason(dialect: str, reason: str) -> None:
    assert reason in missing(dialect)
