"""Requests that are nearly valid, in every dialect, before a provider of the other: each is answered, or refused by
somebody's words. None is a bug of ours, and none leaves anything behind."""

import json
import logging
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from across import across
from harness import until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peers import agent

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PIXEL = f"data:image/png;base64,{PNG}"
SAID = {"type": "text", "text": "hi"}
INPUT = {"type": "input_text", "text": "hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
CHAT: dict[str, Any] = {
    "model": "m", "stream": False, "max_tokens": 9, "temperature": 0.5, "stop": ["x"], "seed": 1, "user": "u",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [SAID, {"type": "image_url", "image_url": {"url": PIXEL}}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18"},
        {"role": "user", "content": "and now?"},
    ],
    "tools": [{"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": SCHEMA}}],
    "tool_choice": "auto", "parallel_tool_calls": True, "reasoning_effort": "low",
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": False}},
}  # fmt: skip
RESPONSES: dict[str, Any] = {
    "model": "m", "stream": False, "instructions": "Be brief.", "max_output_tokens": 99, "store": False,
    "input": [
        {"role": "user", "content": [INPUT, {"type": "input_image", "image_url": PIXEL}]},
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "18"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "18", "annotations": []}]},
        {"role": "user", "content": "and now?"},
    ],
    "tools": [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}],
    "text": {"format": {"type": "text"}}, "reasoning": {"effort": "low"}, "metadata": {"a": "b"},
}  # fmt: skip
MESSAGES: dict[str, Any] = {
    "model": "m", "stream": False, "max_tokens": 99, "temperature": 0.5, "stop_sequences": ["x"],
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [
            SAID,
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        ]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [SAID]}]},
        {"role": "user", "content": "and now?"},
    ],
    "tools": [{"name": "get_weather", "description": "d", "input_schema": SCHEMA}], "tool_choice": {"type": "auto"},
    "metadata": {"user_id": "u"},
}  # fmt: skip
GENERATE: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]},
        {"role": "model", "parts": [
            {"text": "hm", "thought": True},
            {"functionCall": {"name": "get_weather", "args": {"city": "Rome"}}, "thoughtSignature": "AAAA"},
        ]},
        {"role": "user", "parts": [{"functionResponse": {"name": "get_weather", "response": {"result": "18"}}}]},
        {"parts": [{"text": "and now?"}]},
    ],
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "tools": [{"functionDeclarations": [{"name": "get_weather", "description": "d", "parameters": {
        "type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    "generationConfig": {
        "temperature": 0.5, "maxOutputTokens": 99, "stopSequences": ["x"], "seed": 1, "candidateCount": 1,
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}},
    },
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}], "labels": {"a": "b"},
}  # fmt: skip
GEMINI = "/gemini/v1beta/models/m:"
BODIES = {
    "/openai/v1/chat/completions": CHAT,
    "/openai/v1/responses": RESPONSES,
    "/anthropic/v1/messages": MESSAGES,
    f"{GEMINI}generateContent": GENERATE,
    f"{GEMINI}streamGenerateContent": GENERATE,
    f"{GEMINI}streamGenerateContent?alt=sse": GENERATE,
}

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**20), st.floats(), st.text(max_size=8),
    st.sampled_from(["auto", "none", "text", "assistant", "tool", "user", "\ud800", PIXEL, "{", "[1]", "get_weather"]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid request with a few of its values, wherever they stand, replaced, dropped, doubled or joined by others."""
    path = draw(st.sampled_from(sorted(BODIES)))
    body: Any = deepcopy(BODIES[path])
    if "stream" in body:
        body["stream"] = draw(st.booleans())
    kept = {"messages", "input", "model", "contents"}
    for name in draw(st.sets(st.sampled_from(sorted(body.keys() - kept)), max_size=8)):
        del body[name]
    for _ in range(draw(st.integers(0, 3))):
        _mutate(draw, body)
    text = json.dumps(body, ensure_ascii=draw(st.booleans()))
    return path, text.encode("utf-8", "surrogatepass")


def _mutate(draw: st.DrawFn, body: Any) -> None:
    at = body
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        if isinstance(at[key], dict | list) and at[key] and draw(st.integers(0, 3)):
            at = at[key]
            continue
        match draw(st.sampled_from(["replace", "replace", "drop", "double", "join"])):
            case "replace":
                at[key] = draw(values)
            case "drop":
                del at[key]
            case "double" if isinstance(at, list):
                at.append(deepcopy(at[key]))
            case "join" if isinstance(at, dict):
                at[draw(st.sampled_from(["cache_control", "name", "id", "type", "content", "detail", "x"]))] = draw(
                    values
                )
        return


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(asked=st.lists(requests(), min_size=5, max_size=12))
async def test_nearly_valid_requests_are_answered_or_refused_in_words(
    asked: list[tuple[str, bytes]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    async with across(tmp_path) as at, agent(at.running) as http:
        for path, body in asked:
            answer = await http.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code != 500 or "INTERNAL" not in answer.text, answer.text
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                assert answer.text.endswith(("[DONE]\n\n", "\n\n", "\r\n\r\n")) and "INTERNAL" not in answer.text
            else:
                told = answer.json()
                told = told[-1] if isinstance(told, list) else told
                assert answer.status_code == 200 or told["error"]["message"]
        await until(lambda: len(at.running.calls) == len(asked))
        assert "INTERNAL" not in {call.fault for call in at.running.calls}
        # What was sent was what the other API takes.
        assert {attempt.status for attempt in at.lab.attempts()} <= {200}, at.running.attempts
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
