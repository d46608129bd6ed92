"""What of an OpenAI request is carried, what is harmless to leave out, and what makes it unfit, by name."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nothing_read import FACTS
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase
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
from pydantic_ai.settings import ToolOrOutput

from seawall.translate import openai_chat_request, openai_responses_request
from seawall.translate.openai_chat import OpenAIChat
from seawall.translate.openai_responses import OpenAIResponses
from seawall.translate.types import AgentSide, Asked

PIXEL = "data:image/png;base64,AAAA"
CHAT, RESPONSES = OpenAIChat(), OpenAIResponses()
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
OTHER = {"type": "function", "function": {"name": "leap", "parameters": {"type": "object", "properties": {}}}}


def chat(*messages: dict[str, Any], **fields: Any) -> Asked:
    said = list(messages) or [{"role": "user", "content": "hi"}]
    return CHAT.read(json.dumps({"model": "m", "messages": said, **fields}).encode(), FACTS, created=7, id_="t")


def responses(*items: dict[str, Any], **fields: Any) -> Asked:
    body = {"model": "m", "input": list(items) or "hi", **fields}
    return RESPONSES.read(json.dumps(body).encode(), FACTS, created=7, id_="t")


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def flat(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", **tool["function"]}


@pytest.mark.parametrize(
    ("module", "params"),
    [
        (openai_chat_request, CompletionCreateParamsBase),
        (openai_responses_request, ResponseCreateParamsBase),
    ],
)
def test_every_field_that_the_sdk_can_send_is_judged(module: Any, params: Any) -> None:
    judged = {*module.CARRIED, *module.HARMLESS, *module.UNFIT}
    assert set(params.__annotations__) - {"extra_headers", "extra_query", "extra_body", "timeout"} <= judged
    assert len(judged) == len(module.CARRIED) + len(module.HARMLESS) + len(module.UNFIT)


@pytest.mark.parametrize("name", sorted(openai_chat_request.HARMLESS))
def test_harmless_fields_of_chat_stand_in_no_ones_way(name: str) -> None:
    assert chat(**{name: "anything"}).unfit == ()


@pytest.mark.parametrize("name", sorted(openai_responses_request.HARMLESS))
def test_harmless_fields_of_responses_stand_in_no_ones_way(name: str) -> None:
    assert responses(**{name: "anything"}).unfit == ()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"web_search_options": {}}, "web_search_options"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"verbosity": "low"}, "verbosity"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"reasoning_effort": "boundless"}, "reasoning_effort"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"stop": [1]}, "stop"),
        ({"logit_bias": {"5": 0.5}}, "logit_bias"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "x", "colour": "red"}}]}, "tools[0].function.colour"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "leap"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice"),
        ({"stream_options": {"include_odour": True}}, "stream_options.include_odour"),
        ({"not_known_yet": 0}, "not_known_yet"),
    ],
)  # fmt: skip
def test_what_chat_cannot_carry_is_named(fields: dict[str, Any], named: str) -> None:
    assert [reason.split(": ")[0] for reason in chat(**fields).unfit] == [named]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": True}, "background"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"text": {"verbosity": "high"}}, "text.verbosity"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [flat(TOOL) | {"defer_loading": True}]}, "tools[0].defer_loading"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"not_known_yet": 0}, "not_known_yet"),
    ],
)
def test_what_responses_cannot_carry_is_named(fields: dict[str, Any], named: str) -> None:
    assert [reason.split(": ")[0] for reason in responses(**fields).unfit] == [named]


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"role": "user", "content": "hi", "name": "ada"}, "messages[0].name"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "tool", "tool_call_id": "call_9", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "assistant", "content": None, "audio": {"id": "audio_1"}}, "messages[0].audio"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}, "messages[0].tool_calls[0]"),
        ({"role": "function", "name": "f", "content": "x"}, "messages[0].role"),
        ({"role": "system", "content": [{"type": "image_url"}]}, "messages[0].content[0]"),
    ],
)  # fmt: skip
def test_messages_that_cannot_be_carried_are_named(message: dict[str, Any], named: str) -> None:
    unfit = chat(message, {"role": "user", "content": "and?"}).unfit
    assert [reason.split(": ")[0] for reason in unfit] == [named]


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"type": "file", "file": {"file_id": "file-1"}}, ".file.file_id"),
        ({"type": "file", "file": {"file_data": "AAAA", "filename": "x.nokind"}}, ".file.file_data"),
        ({"type": "file", "file": {"file_data": "data:application/octet-stream;base64,AAAA"}}, ".file.file_data"),
        ({"type": "video_url"}, ""),
        ({"type": "text", "text": "x", "colour": "red"}, ".colour"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, ".image_url"),
        ({"type": "image_url", "image_url": {"url": "data:text/plain;base64,AAAA"}}, ".image_url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}, ".image_url"),
        ({"type": "image_url", "image_url": {"url": "https://h.test/a", "detail": "fine"}}, ".image_url.detail"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "ogg"}}, ".input_audio.format"),
    ],
)
def test_content_that_cannot_be_carried_is_named(part: dict[str, Any], named: str) -> None:
    unfit = chat({"role": "user", "content": [part]}).unfit
    assert [reason.split(": ")[0] for reason in unfit] == ["messages[0].content[0]" + named]


@pytest.mark.parametrize(
    ("item", "named"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "input[0]"),
        ({"type": "web_search_call", "id": "ws_1"}, "input[0]"),
        ({"type": "function_call_output", "call_id": "call_9", "output": "x"}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "c", "name": "f", "caller": {"type": "program"}}, "input[0].caller"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}, "input[0].content[0].file_id"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}, "input[0].content[0].file_id"),
        ({"role": "critic", "content": "x"}, "input[0].role"),
        ({"content": "x"}, "input[0]"),
    ],
)  # fmt: skip
def test_items_that_cannot_be_carried_are_named(item: dict[str, Any], named: str) -> None:
    assert [reason.split(": ")[0] for reason in responses(item, {"role": "user", "content": "?"}).unfit] == [named]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"model": "\\ud800"}', b"[" * 100_000, b"\xff"])
@pytest.mark.parametrize("side", [CHAT, RESPONSES])
def test_what_is_no_json_object_is_unfit(side: AgentSide, body: bytes) -> None:
    assert side.read(body, FACTS, created=0, id_="t").unfit[0] == "body: not a JSON object"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    sorted(
        {
            "type", "role", "content", "text", "function", "name", "arguments", "id", "call_id", "tools", "tool_choice",
            "input", "messages", "response_format", "json_schema", "schema", "image_url", "url", "file", "file_data",
            "filename", "input_audio", "data", "format", "tool_calls", "tool_call_id", "output", "summary", "reasoning",
            "effort", "allowed_tools", "mode", "stop", "logit_bias", "include", "model",
        }
    )
)  # fmt: skip
WORDS = st.sampled_from([
    "user", "assistant", "system", "tool", "text", "function", "message", "function_call", "function_call_output",
    "reasoning", "input_text", "output_text", "image_url", "input_image", "file", "input_file", "json_schema",
    "allowed_tools", "auto", "required", PIXEL, "https://[", "data:,", "summary_text",
])  # fmt: skip
CROOKED = st.recursive(
    WORDS | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)


@given(request=st.dictionaries(NAMES | st.text(), CROOKED, max_size=8))
@pytest.mark.parametrize("side", [CHAT, RESPONSES])
def test_reading_never_raises(side: AgentSide, request: dict[str, Any]) -> None:
    asked = side.read(json.dumps(request).encode("utf-8", "surrogatepass"), FACTS, created=0, id_="t")
    assert all(": " in reason for reason in asked.unfit)


def test_a_reason_is_one_line() -> None:
    assert chat(**{"a\nb": 1}).unfit == ("a?b: unknown field",)


def test_a_reason_holds_nothing_of_what_was_written() -> None:
    secret = "the patient's name is " * 10
    asked = chat({"role": "user", "content": [{"type": secret, "text": secret}], "name": secret}, stop=[{"x": secret}])
    assert asked.unfit
    assert all(len(reason) < 160 for reason in asked.unfit)


def test_chat_turns_become_requests_and_responses_in_order() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"far": true}'}}
    asked = chat(
        {"role": "developer", "content": [said("a"), said("b")]},
        {"role": "user", "content": [said("look"), {"type": "image_url", "image_url": {"url": PIXEL}}]},
        {"role": "assistant", "content": "so", "refusal": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "call_1", "content": [said("x"), said("y")]},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "user", "content": "why?"},
    )  # fmt: skip
    assert asked.unfit == ()
    first, second, third, fourth, fifth = asked.messages
    assert isinstance(first, ModelRequest)
    *system, user = first.parts
    assert [part.content for part in system if isinstance(part, SystemPromptPart)] == ["a", "b"]
    assert isinstance(user, UserPromptPart)
    assert user.content[0] == "look"
    assert isinstance(user.content[1], BinaryContent)
    assert isinstance(second, ModelResponse)
    assert [type(part) for part in second.parts] == [ThinkingPart, TextPart, ToolCallPart]
    assert isinstance(third, ModelRequest)
    assert isinstance(third.parts[0], ToolReturnPart)
    assert (third.parts[0].tool_name, third.parts[0].tool_call_id, third.parts[0].content) == ("look", "call_1", "x\ny")
    assert isinstance(fourth, ModelResponse)
    assert fourth.parts == [TextPart("no")]
    assert isinstance(fifth, ModelRequest)


def test_the_same_request_reads_the_same_twice() -> None:
    assert chat() == chat()
    assert responses(instructions="be") == responses(instructions="be")


def test_files_come_by_data_and_by_address() -> None:
    file = {"type": "file", "file": {"file_data": "JVBERg==", "filename": "a.pdf"}}
    link = {"type": "input_file", "file_url": "https://host.test/a.pdf", "filename": "a.pdf"}
    image = {"type": "input_image", "image_url": "https://host.test/a.png", "detail": "high"}
    one = chat({"role": "user", "content": [file]})
    two = responses({"role": "user", "content": [link, image]})
    assert one.unfit == two.unfit == ()
    part = one.messages[0].parts[0]
    assert isinstance(part, UserPromptPart)
    assert part.content == [BinaryContent(b"%PDF", media_type="application/pdf")]
    part = two.messages[0].parts[0]
    assert isinstance(part, UserPromptPart)
    assert part.content == [
        DocumentUrl("https://host.test/a.pdf"),
        ImageUrl("https://host.test/a.png", vendor_metadata={"detail": "high"}),
    ]


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "leap"}}, ["leap"]),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [OTHER]}},
            ToolOrOutput(function_tools=["leap"]),
        ),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [OTHER, TOOL]}}, ["leap", "look"]),
    ],
)
def test_the_choice_among_tools_is_the_same_in_both_forms(choice: Any, meant: object) -> None:
    level = choice
    if isinstance(choice, dict) and choice["type"] == "function":
        level = {"type": "function", "name": "leap"}
    elif isinstance(choice, dict):
        inner = choice["allowed_tools"]
        named = [{"type": "function", "name": tool["function"]["name"]} for tool in inner["tools"]]
        level = {"type": "allowed_tools", "mode": inner["mode"], "tools": named}
    nested = chat(tools=[TOOL, OTHER], tool_choice=choice)
    direct = responses(tools=[flat(TOOL), flat(OTHER)], tool_choice=level)
    assert nested.unfit == direct.unfit == ()
    assert nested.settings["tool_choice"] == direct.settings["tool_choice"] == meant
    assert nested.parameters.function_tools == direct.parameters.function_tools


def test_chat_is_not_kept_by_a_provider_that_would_keep_it() -> None:
    kept: Any = [chat().settings, chat(store=False).settings, chat(store=True).settings]
    assert [settings["openai_store"] for settings in kept] == [False, False, True]


def test_mistrals_client_says_that_an_answer_is_no_prefix() -> None:
    said_ = {"role": "assistant", "content": "a"}
    assert chat({**said_, "prefix": False}, {"role": "user", "content": "b"}).unfit == ()
    assert chat({**said_, "prefix": True}).unfit == ("messages[0].prefix: other providers do not go on with an answer",)


def test_null_is_absent() -> None:
    names = openai_chat_request.CARRIED | {"functions", "audio", "anything"}
    nothing = dict.fromkeys(names - {"model", "messages"})
    assert chat(**nothing) == chat()
