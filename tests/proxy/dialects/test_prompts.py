"""What a request asks of a model, and which conversation it belongs to."""

import json
from typing import Any

import pytest

from seawall.dialects import REGISTRY

TOOL = {"type": "function", "function": {"name": "f"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
ASKS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("OpenAI", {"messages": []}, set()),
    ("OpenAI", {"tools": [TOOL]}, {"Tools"}),
    ("OpenAI", {"functions": [{"name": "f"}]}, {"Tools"}),
    ("OpenAI", {"tools": []}, set()),
    ("OpenAI", {"response_format": FORMAT}, {"JSONSchema"}),
    ("OpenAI", {"response_format": {"type": "json_object"}}, set()),
    ("OpenAI", {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}}, {"JSONSchema"}),
    ("OpenAI", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, {"Images"}),
    ("OpenAI", {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, {"Images"}),
    ("OpenAI", {"messages": [{"role": "user", "content": '{"type": "image_url"}'}]}, set()),
    ("Anthropic", {"tools": [{"name": "f", "input_schema": {}}]}, {"Tools"}),
    ("Anthropic", {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, {"Images"}),
    ("Anthropic", {"output_config": {"format": {"type": "json_schema", "schema": {}}}}, {"JSONSchema"}),
    ("Anthropic", {"messages": [{"role": "user", "content": '{"type":"image"}'}]}, set()),
    ("Generic", {"tools": [TOOL]}, set()),
]


@pytest.mark.parametrize(("dialect", "body", "needs"), ASKS)
def test_what_a_request_needs(dialect: str, body: dict[str, Any], needs: set[str]) -> None:
    assert REGISTRY[dialect].needs(json.dumps(body).encode()) == needs


SYSTEM, USER = {"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}
LATER = [{"role": "assistant", "content": "hello"}, {"role": "user", "content": "and?"}]


@pytest.mark.parametrize(
    ("dialect", "short", "longer"),
    [
        ("OpenAI", {"messages": [SYSTEM, USER]}, {"messages": [SYSTEM, USER, *LATER], "temperature": 1}),
        ("OpenAI", {"input": [USER]}, {"input": [USER, *LATER]}),
        ("OpenAI", {"instructions": "be kind", "input": "hi"}, {"instructions": "be kind", "input": "hi", "n": 1}),
        (
            "Anthropic",
            {"system": "be kind", "messages": [USER]},
            {"system": "be kind", "messages": [USER, *LATER], "max_tokens": 5},
        ),
    ],
)
def test_a_conversation_stays_the_same_as_it_grows(dialect: str, short: Any, longer: Any) -> None:
    conversation = REGISTRY[dialect].conversation
    first = conversation(json.dumps(short).encode())
    assert first
    assert conversation(json.dumps(longer).encode()) == first
    other = json.dumps(short).replace("hi", "ho").encode()
    assert conversation(other) not in (first, b"")


@pytest.mark.parametrize("dialect", ["OpenAI", "Anthropic", "Generic"])
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"nonsense", b'{"messages": 5}', b'{"input": 5}'])
def test_what_has_no_conversation_has_none(dialect: str, body: bytes) -> None:
    if body != b'{"input": 5}':
        assert REGISTRY[dialect].conversation(body) == b""
    assert REGISTRY[dialect].needs(body) == frozenset()
