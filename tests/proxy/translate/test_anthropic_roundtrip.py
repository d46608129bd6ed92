"""A request that is read and asked of an Anthropic model again is the same request: nothing that both sides can say is
lost. What pydantic-ai writes differently means the same in the API (`normal`).
"""

import base64
import json
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from hypothesis import given, settings
from hypothesis import strategies as st
from nothing_read import FACTS
from pydantic_ai import direct
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from recorded import ABSENT, recordings

from seawall.translate.anthropic_messages import AnthropicMessages
from seawall.translate.anthropic_request import LEFT_OUT, LEFT_OUT_OF_TOOLS
from seawall.translate.types import Asked

MODEL = "claude-sonnet-4-5"
ANSWER = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "a"}], "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip


async def again(asked: Asked) -> dict[str, Any]:
    """The body that pydantic-ai sends for it."""
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(200, json=ANSWER)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        client = AsyncAnthropic(api_key="k", http_client=http, max_retries=0, timeout=None)
        model = AnthropicModel(asked.model, provider=AnthropicProvider(anthropic_client=client))
        await direct.model_request(
            model, asked.messages, model_settings=asked.settings, model_request_parameters=asked.parameters
        )
    (body,) = bodies
    return body


def read(body: dict[str, Any]) -> Asked:
    return AnthropicMessages().read(json.dumps(body).encode(), FACTS, created=0, id_="")


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """The same request in the one form that both are compared in."""
    found = {name: value for name, value in body.items() if value is not None and name not in LEFT_OUT}
    found.pop("stream", None)
    if "system" in found:
        found["system"] = [_block(block) for block in _blocks(found["system"])]
    turns: list[dict[str, Any]] = []
    for turn in found["messages"]:
        content = [_block(block) for block in _blocks(turn["content"])]
        # The API joins consecutive turns of one role itself.
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["content"] += content
        else:
            turns.append({"role": turn["role"], "content": content})
    found["messages"] = turns
    found["tools"] = [_tool(tool) for tool in found.get("tools", [])]
    if found["tools"]:
        found["tool_choice"] = {"disable_parallel_tool_use": False, **found.get("tool_choice", {"type": "auto"})}
    else:
        found.pop("tool_choice", None)
    return found


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _block(block: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in block.items() if value is not None and name != "cache_control"}
    if found["type"] == "tool_result":
        found["content"] = [_block(inner) for inner in _blocks(found.get("content", ""))]
        # An empty text says as much as none.
        found["content"] = [inner for inner in found["content"] if inner.get("text") != ""]
        found.setdefault("is_error", False)
    if found.get("caller") == {"type": "direct"}:
        del found["caller"]
    if found["type"] == "document" and not found.get("citations", {}).get("enabled"):
        found.pop("citations", None)
    return found


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in tool.items() if value is not None and name not in LEFT_OUT_OF_TOOLS}
    found.pop("type", None)
    if not found.get("strict"):
        found.pop("strict", None)
    # pydantic-ai leaves out what a schema tells people, not models.
    schema = {name: value for name, value in found["input_schema"].items() if name not in ("title", "$schema")}
    return {"description": "", **found, "input_schema": schema}


WORDS = st.text(min_size=1, max_size=8)
DATA = st.binary(max_size=8).map(lambda data: base64.b64encode(data).decode())
TEXT = WORDS.map(lambda text: {"type": "text", "text": text})
IMAGE = st.one_of(
    st.builds(
        lambda media, data: {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}},
        st.sampled_from(["image/png", "image/jpeg", "image/gif", "image/webp"]), DATA,
    ),
    st.just({"type": "image", "source": {"type": "url", "url": "https://sea.test/a"}}),
)  # fmt: skip
DOCUMENT = st.one_of(
    DATA.map(lambda data: {
        "type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data},
    }),
    WORDS.map(lambda text: {
        "type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text},
    }),
    st.just({"type": "document", "source": {"type": "url", "url": "https://sea.test/a"}}),
)  # fmt: skip
SAYING = st.one_of(TEXT, IMAGE, DOCUMENT)
ARGS = st.dictionaries(WORDS, st.integers(-9, 9) | WORDS | st.lists(WORDS, max_size=2), max_size=2)
THINKING = st.one_of(
    st.builds(lambda a, b: {"type": "thinking", "thinking": a, "signature": b}, WORDS, WORDS),
    WORDS.map(lambda data: {"type": "redacted_thinking", "data": data}),
)
NAMES = ["look", "hear"]
TOOLS = [
    {"name": "look", "description": "looks", "input_schema": {"type": "object", "properties": {}}},
    {"name": "hear", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}},
]


@st.composite
def turns(draw: st.DrawFn, tools: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"role": "user", "content": draw(WORDS | st.lists(SAYING, min_size=1, max_size=3))}]
    for number in range(draw(st.integers(0, 2))):
        calls = [
            {"type": "tool_use", "id": f"toolu_{number}_{n}", "name": draw(st.sampled_from(NAMES)), "input": draw(ARGS)}
            for n in range(draw(st.integers(0, 2)) if tools else 0)
        ]
        said = draw(st.lists(TEXT, min_size=0 if calls else 1, max_size=2))
        found.append({"role": "assistant", "content": draw(st.lists(THINKING, max_size=1)) + said + calls})
        results = [
            {
                "type": "tool_result", "tool_use_id": call["id"], "is_error": draw(st.booleans()),
                "content": draw(WORDS | st.lists(SAYING, min_size=1, max_size=2)),
            }
            for call in calls
        ]  # fmt: skip
        found.append({"role": "user", "content": results + draw(st.lists(SAYING, min_size=not results, max_size=2))})
    return found


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    tools = draw(st.booleans())
    body: dict[str, Any] = {"model": MODEL, "max_tokens": draw(st.integers(1, 9000)), "messages": draw(turns(tools))}
    optional: dict[str, st.SearchStrategy[Any]] = {
        "system": WORDS | st.lists(TEXT, min_size=1, max_size=3),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 50),
        "stop_sequences": st.lists(WORDS, min_size=1, max_size=3),
        "service_tier": st.sampled_from(["auto", "standard_only"]),
        "thinking": st.sampled_from([{"type": "disabled"}, {"type": "enabled", "budget_tokens": 2000}]),
        "metadata": st.just({"user_id": "u"}),
    }
    for name, values in optional.items():
        if draw(st.booleans()):
            body[name] = draw(values)
    if tools:
        body["tools"] = TOOLS
        thinks = body.get("thinking", {}).get("type") == "enabled"
        # Extended thinking does not go with a forced call.
        kinds = ["auto", "none"] if thinks else ["auto", "none", "any", "tool"]
        kind = draw(st.sampled_from(kinds))
        body["tool_choice"] = {"type": kind}
        if kind == "tool":
            body["tool_choice"]["name"] = draw(st.sampled_from(NAMES))
        if kind != "none" and draw(st.booleans()):
            body["tool_choice"]["disable_parallel_tool_use"] = draw(st.booleans())
    return body


@settings(max_examples=150, deadline=None)
@given(requests())
async def test_a_request_survives_the_way_through_pydantic_ai(body: dict[str, Any]) -> None:
    asked = read(body)
    assert asked.unfit == ()
    assert normal(await again(asked)) == normal(body)


async def test_structured_output_survives() -> None:
    schema = {
        "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False,
    }  # fmt: skip
    output = {"format": {"type": "json_schema", "schema": schema}}
    body = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "output_config": output}
    assert normal(await again(read(body))) == normal(body)


RECORDED = [r for r in recordings() if r.host == "api.anthropic.com" and r.target.startswith("/v1/messages")]
FIT = [r for r in RECORDED if not read(r.json).unfit]


@pytest.mark.skipif(not RECORDED, reason=ABSENT)
@pytest.mark.parametrize("recording", FIT, ids=lambda r: f"{r.cassette}:{r.nth}")
async def test_recorded_requests_survive(recording: Any) -> None:
    assert normal(await again(read(recording.json))) == normal(recording.json)
