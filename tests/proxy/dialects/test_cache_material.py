"""What a request gives to its cache key, which requests are never kept, and which answers ended as they should."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.dialects import REGISTRY
from seawall.dialects.base import Finish, Form, Material, Never
from seawall.types import Head

PATHS = {
    "chat": ("OpenAI", "/v1/chat/completions"),
    "responses": ("OpenAI", "/v1/responses"),
    "completions": ("OpenAI", "/v1/completions"),
    "embeddings": ("OpenAI", "/v1/embeddings"),
    "messages": ("Anthropic", "/v1/messages"),
}
HELLO = [{"role": "user", "content": "hello"}]
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "temperature": 0, "messages": HELLO},
    "responses": {"model": "m", "temperature": 0, "input": "hello"},
    "completions": {"model": "m", "temperature": 0, "prompt": "hello"},
    "embeddings": {"model": "m", "input": "hello"},
    "messages": {"model": "m", "temperature": 0, "max_tokens": 5, "messages": HELLO},
}
every_operation = pytest.mark.parametrize("operation", sorted(BODIES))


def material(operation: str, body: dict[str, Any] | bytes) -> Material | Never:
    name, path = PATHS[operation]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    dialect = REGISTRY[name]
    return dialect.cache_material(dialect.read(Head("POST", path, []), path, data), data)


def kept(operation: str, **more: Any) -> Material:
    found = material(operation, {**BODIES[operation], **more})
    assert isinstance(found, Material), found
    return found


def never(operation: str, **more: Any) -> str:
    found = material(operation, {**BODIES[operation], **more})
    assert isinstance(found, Never), found
    return found.why


@every_operation
def test_how_it_is_told_and_who_asks_makes_no_difference(operation: str) -> None:
    more: dict[str, Any] = {"stream": True, "metadata": {"run": "1"}}
    if operation != "messages":
        more |= {"user": "u", "stream_options": {"include_usage": True}, "safety_identifier": "x"}
        more |= {"prompt_cache_key": "k", "prompt_cache_retention": "24h"}
    assert kept(operation, **more).body == kept(operation).body


@every_operation
@given(data=st.data())
def test_the_order_of_members_makes_no_difference_and_any_other_value_does(operation: str, data: st.DataObject) -> None:
    body = BODIES[operation]
    moved = dict(data.draw(st.permutations(list(body.items()))))
    same = material(operation, json.dumps(moved, indent=data.draw(st.integers(0, 2))).encode())
    assert same == kept(operation)
    name = data.draw(st.sampled_from(["top_p", "seed", "n", "max_tokens", "stop", "tools", "service_tier", "x"]))
    value = data.draw(st.integers(1, 9) | st.text(min_size=1, max_size=3))
    other = material(operation, {**body, name: value})
    assert isinstance(other, Never) or other.body != kept(operation).body or body.get(name) == value


@every_operation
def test_only_temperature_zero_and_embeddings_are_meant_to_be_repeated(operation: str) -> None:
    assert kept(operation).deterministic
    assert kept(operation, temperature=0.0).body == kept(operation, temperature=0).body
    for temperature in (0.1, 1, None, "0", False):
        assert kept(operation, temperature=temperature).deterministic == (operation == "embeddings")


def test_the_form_that_an_agent_wants() -> None:
    assert kept("chat").form is Form.PLAIN
    assert kept("chat", stream=True).form is Form.STREAM
    assert kept("chat", stream=True, stream_options={"include_usage": False}).form is Form.STREAM
    assert kept("chat", stream=True, stream_options={"include_usage": True}).form is Form.STREAM_WITH_USAGE
    assert kept("responses", stream=True, stream_options={"include_usage": True}).form is Form.STREAM
    assert kept("messages", stream=True).form is Form.STREAM
    assert kept("embeddings").form is Form.PLAIN


@pytest.mark.parametrize(
    ("operation", "more"),
    [
        ("chat", {"store": True}),
        ("responses", {"store": True}),
        ("responses", {"background": True}),
        ("responses", {"previous_response_id": "resp_1"}),
        ("responses", {"conversation": "conv_1"}),
        ("responses", {"prompt": {"id": "pmpt_1"}}),
        ("responses", {"tools": [{"type": "web_search"}]}),
        ("responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        ("chat", {"web_search_options": {}}),
        ("chat", {"audio": {"voice": "alloy"}, "modalities": ["audio", "text"]}),
        ("chat", {"model": ""}),
        ("messages", {"container": "container_1"}),
        ("messages", {"mcp_servers": [{"url": "https://a"}]}),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ("messages", {"model": 5}),
    ],
)
def test_state_effects_and_what_is_not_understood_are_never_kept(operation: str, more: dict[str, Any]) -> None:
    assert never(operation, **more)


@every_operation
def test_bodies_that_parsers_read_differently_are_never_kept(operation: str) -> None:
    whole = json.dumps(BODIES[operation]).encode()
    for body in (whole[:-1] + b',"model":"other"}', whole[:-1], b"", b"[]", whole.replace(b"hello", b"\\ud800")):
        assert isinstance(material(operation, body), Never)


def test_agents_tools_seeds_and_several_choices_may_be_kept() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    bodies = {kept("chat", **more).body for more in ({}, {"tools": [tool]}, {"seed": 1}, {"seed": 2}, {"n": 2})}
    assert len(bodies) == 5


@pytest.mark.parametrize(
    ("name", "method", "path"),
    [
        ("OpenAI", "GET", "/v1/responses/resp_1"),
        ("OpenAI", "GET", "/v1/models"),
        ("OpenAI", "POST", "/v1/batches"),
        ("OpenAI", "POST", "/v1/images/generations"),
        ("Anthropic", "POST", "/v1/messages/batches"),
        ("Anthropic", "POST", "/v1/messages/count_tokens"),
        ("Generic", "POST", "/query"),
    ],
)
def test_polls_jobs_and_other_operations_are_never_kept(name: str, method: str, path: str) -> None:
    dialect = REGISTRY[name]
    body = b'{"model":"m","temperature":0}'
    found = dialect.cache_material(dialect.read(Head(method, path, []), path, body), body)
    assert isinstance(found, Never)


def test_reads_of_any_api_are_left_to_http() -> None:
    dialect = REGISTRY["Generic"]
    assert dialect.cache_material(dialect.read(Head("GET", "/a", []), "/a", b""), b"") == Material(
        b"", True, by_http=True
    )
    assert dialect.replayed(dialect.read(Head("GET", "/a", []), "/a", b""), b"x", Form.PLAIN, Form.PLAIN) == b"x"


# --- Gemini


GENERATE = "/v1beta/models/gemini-3:generateContent"
STREAMED = "/v1beta/models/gemini-3:streamGenerateContent?alt=sse"
CONTENTS = '"contents":[{"parts":[{"text":"hello"}]}]'


def gemini(body: str, path: str = GENERATE) -> Material | Never:
    dialect = REGISTRY["Gemini"]
    return dialect.cache_material(dialect.read(Head("POST", path, []), path, body.encode()), body.encode())


def test_gemini_says_its_temperature_within_a_member() -> None:
    for config in ('"generationConfig":{"temperature":0}', '"generation_config":{"temperature":0.0}'):
        found = gemini("{" + CONTENTS + "," + config + "}")
        assert isinstance(found, Material)
        assert found.deterministic
    hot = gemini("{" + CONTENTS + "}")
    assert isinstance(hot, Material)
    assert not hot.deterministic
    assert gemini("{" + CONTENTS + ',"labels":{"team":"a"}}') == hot
    assert gemini("{" + CONTENTS + "}", STREAMED) == Material(hot.body, False, Form.STREAM)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("{" + CONTENTS + ',"tools":[{"googleSearch":{}}]}', GENERATE),
        ("{" + CONTENTS + ',"cachedContent":"cachedContents/abc"}', GENERATE),
        ("{" + CONTENTS + "," + CONTENTS + "}", GENERATE),
        ("{" + CONTENTS + "}", STREAMED.partition("?")[0]),
        ("{" + CONTENTS + "}", "/v1beta/models/gemini-3:countTokens"),
        ("{" + CONTENTS + "}", "/v1beta/tunedModels/mine:generateContent"),
    ],
)
def test_what_is_never_kept_of_gemini(body: str, path: str) -> None:
    assert isinstance(gemini(body, path), Never)


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([{"finishReason": "STOP", "content": {"parts": [{"text": "a"}]}}], Finish()),
        ([{"finishReason": "STOP", "content": {"parts": [{"functionCall": {}}]}}], Finish(calls_tools=True)),
        ([{"finishReason": "MAX_TOKENS"}], Finish("finishReason MAX_TOKENS")),
        ([{"finishReason": "STOP"}, {"index": 1, "finishReason": "SAFETY"}], Finish("finishReason SAFETY")),
        ([{"content": {}}], Finish("finishReason None")),
        ([], Finish("no candidates")),
    ],
)
def test_how_an_answer_of_gemini_ended(candidates: list[dict[str, Any]], expected: Finish) -> None:
    dialect = REGISTRY["Gemini"]
    facts = dialect.read(Head("POST", GENERATE, []), GENERATE, b"{}")
    whole = json.dumps({"candidates": candidates}).encode()
    assert dialect.finish(facts, whole, Form.PLAIN) == expected
    begun = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n'
    if candidates:
        assert dialect.finish(facts, begun + b"data: " + whole + b"\r\n\r\n", Form.STREAM) == expected
    assert dialect.replayed(facts, whole, Form.PLAIN, Form.PLAIN) is whole
    assert dialect.replayed(facts, whole, Form.PLAIN, Form.STREAM) is None


def test_bedrock_is_not_kept_yet() -> None:
    dialect = REGISTRY["Bedrock"]
    path = "/model/m/converse"
    assert isinstance(dialect.cache_material(dialect.read(Head("POST", path, []), path, b"{}"), b"{}"), Never)


# --- how answers ended


def finish(operation: str, answer: dict[str, Any] | bytes) -> Finish:
    name, path = PATHS[operation]
    dialect = REGISTRY[name]
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    body = json.dumps(BODIES[operation]).encode()
    return dialect.finish(dialect.read(Head("POST", path, []), path, body), data, Form.PLAIN)


def choice(reason: Any = "stop", **message: Any) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", "content": "a", **message}, "finish_reason": reason}


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TEXT = {"type": "message", "content": [{"type": "output_text", "text": "a"}]}


@pytest.mark.parametrize(
    ("operation", "answer", "calls_tools"),
    [
        ("chat", {"choices": [choice()]}, False),
        ("chat", {"choices": [choice(), choice()]}, False),
        ("chat", {"choices": [choice("tool_calls", tool_calls=[CALL])]}, True),
        ("chat", {"choices": [choice(), choice("stop", tool_calls=[CALL])]}, True),
        ("chat", {"choices": [choice("function_call", function_call={"name": "f", "arguments": ""})]}, True),
        ("completions", {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}, False),
        ("embeddings", {"data": [{"embedding": [0.1]}]}, False),
        ("responses", {"status": "completed", "output": [TEXT]}, False),
        ("responses", {"status": "completed", "output": [{"type": "function_call"}]}, True),
        ("responses", {"status": "completed", "output": [{"type": "custom_tool_call"}]}, True),
        ("messages", {"stop_reason": "end_turn", "content": [{"type": "text", "text": "a"}]}, False),
        ("messages", {"stop_reason": "stop_sequence", "content": []}, False),
        ("messages", {"stop_reason": "tool_use", "content": [{"type": "tool_use"}]}, True),
    ],
)
def test_answers_that_ended_as_they_should(operation: str, answer: dict[str, Any], calls_tools: bool) -> None:
    assert finish(operation, answer) == Finish(calls_tools=calls_tools)


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("chat", {"choices": [choice("length")]}),
        ("chat", {"choices": [choice("content_filter")]}),
        ("chat", {"choices": [choice(), choice("length")]}),
        ("chat", {"choices": [choice("error")]}),
        ("chat", {"choices": [choice(None)]}),
        ("chat", {"choices": [choice("new_reason")]}),
        ("chat", {"choices": [choice(refusal="I cannot")]}),
        ("chat", {"choices": []}),
        ("chat", {"error": {"message": "x"}}),
        ("chat", {"choices": "x"}),
        ("chat", b"<html>"),
        ("chat", b"[]"),
        ("completions", {"choices": [{"index": 0, "text": "a", "finish_reason": "length"}]}),
        ("embeddings", {"data": []}),
        ("responses", {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []}),
        ("responses", {"status": "failed", "error": {"code": "server_error"}, "output": []}),
        ("responses", {"status": "in_progress", "output": []}),
        ("responses", {"status": "queued", "output": []}),
        ("responses", {"status": "completed", "output": [{"type": "message", "content": [{"type": "refusal"}]}]}),
        ("messages", {"stop_reason": "max_tokens", "content": []}),
        ("messages", {"stop_reason": "refusal", "content": []}),
        ("messages", {"stop_reason": "pause_turn", "content": []}),
        ("messages", {"stop_reason": "model_context_window_exceeded", "content": []}),
        ("messages", {"stop_reason": None, "content": []}),
        ("messages", {"type": "error", "error": {"type": "api_error"}}),
    ],
)
def test_answers_that_were_cut_withheld_refused_or_are_unknown(operation: str, answer: dict[str, Any] | bytes) -> None:
    assert finish(operation, answer).unfinished
