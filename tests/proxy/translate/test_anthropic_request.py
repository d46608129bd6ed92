"""What a messages request says in pydantic-ai's words, and what of it does not fit."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nothing_read import FACTS
from pydantic_ai.messages import (
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from recorded import ABSENT, recordings

from seawall.translate.anthropic_messages import AnthropicMessages
from seawall.translate.anthropic_request import LEFT_OUT
from seawall.translate.types import Asked

SIDE = AnthropicMessages()
PNG = base64.b64encode(b"\x89PNG").decode()
TOOL = {"name": "look", "description": "looks", "input_schema": {"type": "object", "properties": {}}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "sea"}}


def asked(**fields: Any) -> Asked:
    body = {"model": "claude", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **fields}
    return SIDE.read(json.dumps(body).encode(), FACTS, created=1, id_="one")


def said(*blocks: dict[str, Any]) -> Any:
    """The one user turn's content of these blocks."""
    (message,) = asked(messages=[{"role": "user", "content": list(blocks)}]).messages
    (part,) = message.parts
    return part.content


def results(*blocks: dict[str, Any]) -> Asked:
    turns = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": list(blocks)},
    ]
    return asked(messages=turns, tools=[TOOL])


def test_a_plain_request_is_read_whole() -> None:
    request = asked(system="be brief", stream=True, temperature=0.5, top_p=1, top_k=4, stop_sequences=["END"])
    assert (request.model, request.stream, request.created, request.id_, request.unfit) == (
        "claude",
        True,
        1,
        "one",
        (),
    )
    assert [m.parts for m in request.messages] == [[request.messages[0].parts[0]]]
    assert request.messages[0].parts[0].content == "hi"
    assert [p.content for p in request.parameters.instruction_parts or ()] == ["be brief"]
    assert request.settings == {
        "max_tokens": 100, "temperature": 0.5, "top_p": 1, "top_k": 4, "stop_sequences": ["END"],
    }  # fmt: skip


def test_a_systems_blocks_stay_apart() -> None:
    blocks = [{"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "two"}]
    request = asked(system=blocks)
    assert request.unfit == ()
    assert [p.content for p in request.parameters.instruction_parts or ()] == ["one", "two"]


def test_images_and_documents_are_carried_with_their_bytes_or_links() -> None:
    content = said(
        {"type": "text", "text": "see"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://sea.test/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PNG}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        {"type": "document", "source": {"type": "url", "url": "https://sea.test/a"}, "citations": {"enabled": False}},
    )
    text, image, link, pdf, words, paper = content
    assert text == "see"
    assert isinstance(image, BinaryContent) and (image.data, image.media_type) == (b"\x89PNG", "image/png")
    assert isinstance(link, ImageUrl) and link.url == "https://sea.test/a.png"
    assert isinstance(pdf, BinaryContent) and pdf.media_type == "application/pdf"
    assert isinstance(words, BinaryContent) and (words.data, words.media_type) == (b"words", "text/plain")
    assert isinstance(paper, DocumentUrl) and (paper.url, paper.media_type) == ("https://sea.test/a", "application/pdf")


def test_an_assistants_turn_keeps_thinking_text_and_calls_in_order() -> None:
    turn = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "sealed"},
        {"type": "thinking", "thinking": "unsigned", "signature": ""},
        {"type": "text", "text": "now", "citations": None},
        {**CALL, "caller": {"type": "direct"}},
    ]
    request = asked(
        messages=[
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": turn},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]},
        ]
    )
    assert request.unfit == ()
    answer = request.messages[1]
    assert isinstance(answer, ModelResponse)
    thinking, sealed, unsigned, text, call = answer.parts
    assert isinstance(thinking, ThinkingPart) and (thinking.content, thinking.signature) == ("hm", "sig")
    assert isinstance(sealed, ThinkingPart) and (sealed.id, sealed.signature) == ("redacted_thinking", "sealed")
    assert thinking.provider_name == sealed.provider_name == "anthropic"
    assert isinstance(unsigned, ThinkingPart) and (unsigned.signature, unsigned.provider_name) == (None, None)
    assert isinstance(text, TextPart) and text.content == "now"
    assert isinstance(call, ToolCallPart)
    assert (call.tool_name, call.args, call.tool_call_id) == ("look", {"at": "sea"}, "toolu_1")


def test_tool_results_are_carried_before_what_the_user_adds() -> None:
    request = results(
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "blue", "is_error": True},
        {"type": "text", "text": "go on"},
    )
    assert request.unfit == ()
    result, prompt = request.messages[2].parts
    assert isinstance(result, ToolReturnPart) and isinstance(prompt, UserPromptPart)
    assert (result.tool_name, result.content, result.outcome) == ("look", "blue", "failed")
    assert prompt.content == "go on"


def test_a_tool_result_may_hold_images() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    request = results(
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "this"}, image]}
    )
    (result,) = request.messages[2].parts
    assert isinstance(result, ToolReturnPart) and isinstance(result.content, list)
    assert result.content[0] == "this" and result.content[1].data == b"\x89PNG"
    assert result.outcome == "success"


def test_a_system_turn_stays_where_it_was() -> None:
    request = asked(messages=[{"role": "user", "content": "a"}, {"role": "system", "content": "b"}])
    assert request.unfit == ()
    assert isinstance(request.messages[1], ModelRequest)
    assert isinstance(request.messages[1].parts[0], SystemPromptPart)


def test_tools_are_defined_with_their_schemas() -> None:
    schema = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
    tools = [{"type": "custom", "name": "look", "input_schema": schema, "strict": True, "eager_input_streaming": True}]
    request = asked(tools=tools)
    (tool,) = request.parameters.function_tools
    assert request.unfit == ()
    assert (tool.name, tool.description, tool.parameters_json_schema, tool.strict) == ("look", None, schema, True)


@pytest.mark.parametrize(
    ("choice", "settings"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
        ({"type": "tool", "name": "look"}, {"tool_choice": ["look"]}),
        ({"type": "none"}, {"tool_choice": "none"}),
    ],
)
def test_the_choice_of_tools_is_carried(choice: dict[str, Any], settings: dict[str, Any]) -> None:
    request = asked(tools=[TOOL], tool_choice=choice)
    assert request.unfit == ()
    assert request.settings == {"max_tokens": 100, **settings}


@pytest.mark.parametrize(
    ("fields", "thinking", "own"),
    [
        ({"thinking": {"type": "disabled"}}, False, {"type": "disabled"}),
        ({"thinking": {"type": "adaptive"}}, True, {"type": "adaptive"}),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}},
            True,
            {"type": "adaptive", "display": "summarized"},
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9000}},
            "medium",
            {"type": "enabled", "budget_tokens": 9000},
        ),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, "high", {"type": "adaptive"}),
        ({"output_config": {"effort": "low"}}, "low", None),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, False, {"type": "disabled"}),
    ],
)
def test_thinking_is_an_effort_for_everyone(fields: dict[str, Any], thinking: object, own: object) -> None:
    request = asked(**fields)
    assert request.unfit == ()
    assert request.settings.get("thinking") == thinking
    assert request.settings.get("anthropic_thinking") == own


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_structured_output_is_a_native_schema(field: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    output = {"type": "json_schema", "schema": schema}
    request = asked(**{field: {"format": output} if field == "output_config" else output})
    assert request.unfit == ()
    assert request.parameters.output_mode == "native"
    assert request.parameters.output_object is not None
    assert request.parameters.output_object.json_schema == schema


def test_service_tiers_have_counterparts() -> None:
    assert asked(service_tier="auto").settings["service_tier"] == "auto"
    assert asked(service_tier="standard_only").settings["service_tier"] == "default"


@pytest.mark.parametrize("field", sorted(LEFT_OUT))
def test_what_is_harmless_may_be_left_out(field: str) -> None:
    request = asked(**{field: {"user_id": "u", "type": "ephemeral"}})
    assert request.unfit == ()
    assert request.settings == {"max_tokens": 100}


def unfit_blocks() -> dict[str, Any]:
    file = {"type": "file", "file_id": "file_1"}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": PNG}
    return {
        "messages[0].content[0].source.type": {"type": "image", "source": file},
        "messages[0].content[0].title": {"type": "document", "source": pdf, "title": "a"},
        "messages[0].content[0].citations": {"type": "document", "source": pdf, "citations": {"enabled": True}},
        "messages[0].content[0].type": {"type": "search_result", "source": "s", "title": "t", "content": []},
        "messages[0].content[0].source.data": {
            "type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "%%%"},
        },
        "messages[0].content[0].source.media_type": {
            "type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": PNG},
        },
        "messages[0].content[0].tool_use_id": {"type": "tool_result", "tool_use_id": "toolu_unknown"},
        "messages[0].content[0].text": {"type": "text"},
    }  # fmt: skip


@pytest.mark.parametrize("field", sorted(unfit_blocks()))
def test_blocks_of_the_providers_own_do_not_fit(field: str) -> None:
    request = asked(messages=[{"role": "user", "content": [unfit_blocks()[field]]}])
    assert [why.partition(":")[0] for why in request.unfit] == [field]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"type": "url", "url": "https://sea.test", "name": "n"}]}, "mcp_servers"),
        ({"context_management": {"edits": []}}, "context_management"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"speed": "fast"}, "speed"),
        ({"thread": {"id": "x"}}, "thread"),
        ({"of_tomorrow": 1}, "of_tomorrow"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"stop_sequences": [1]}, "stop_sequences"),
        ({"service_tier": "batch"}, "service_tier"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, "thinking.display"),
        ({"output_config": {"effort": "endless"}}, "output_config.effort"),
        ({"output_config": {"task_budget": {"total": 1}}}, "output_config.task_budget"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [{**TOOL, "input_examples": [{}]}]}, "tools[0].input_examples"),
        ({"tools": [{**TOOL, "allowed_callers": ["code_execution_20260120"]}]}, "tools[0].allowed_callers"),
        ({"tools": [{"name": "look"}]}, "tools[0].input_schema"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "hear"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice.type"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a", "clear_at": "x"}]}, "messages[0].clear_at"),
    ],
)
def test_what_cannot_be_carried_is_named(fields: dict[str, Any], field: str) -> None:
    assert field in [why.partition(": ")[0] for why in asked(**fields).unfit]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b"[" * 100_000, b'{"model": "\xff"}'])
def test_a_body_that_is_no_request_is_unfit_and_raises_nothing(body: bytes) -> None:
    request = SIDE.read(body, FACTS, created=0, id_="")
    assert any(why.startswith("body:") for why in request.unfit)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KNOWN = ["model", "max_tokens", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "metadata"]
TAKEN = {*KNOWN, *LEFT_OUT}
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "thinking", "else"])},
    optional={"text": JSON, "source": JSON, "id": JSON, "input": JSON, "content": JSON, "tool_use_id": JSON},
)
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"])}, optional={
    "content": st.lists(BLOCK, max_size=3) | JSON,
})  # fmt: skip


@given(st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=4), JSON | st.lists(TURN, max_size=3)))
def test_no_request_makes_the_reader_raise(body: dict[str, Any]) -> None:
    request = SIDE.read(json.dumps(body).encode(), FACTS, created=0, id_="")
    for name, value in body.items():
        named = "".join(one if one.isprintable() else "?" for one in name[:64])
        assert value is None or name in TAKEN or f"{named}: has no counterpart" in request.unfit


RECORDED = [r for r in recordings() if r.host == "api.anthropic.com" and r.target.startswith("/v1/messages")]
# What the recordings ask for that is the provider's own.
OWN = (
    "mcp_servers", "context_management", "tools[", "tool_choice", "container", "output_config.task_budget",
    "inference_geo", "messages[",
)  # fmt: skip


@pytest.mark.skipif(not RECORDED, reason=ABSENT)
def test_recorded_requests_are_read_or_refused_by_name() -> None:
    fit = 0
    for recording in RECORDED:
        request = SIDE.read(recording.body, FACTS, created=0, id_="")
        assert request.model == recording.json["model"], recording.cassette
        assert all(why.startswith(OWN) for why in request.unfit), (recording.cassette, request.unfit)
        fit += not request.unfit
    assert fit >= len(RECORDED) // 3
