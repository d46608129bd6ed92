"""A request that was read, and written again by pydantic-ai's own OpenAI models, loses nothing that both can say."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nothing_read import FACTS
from openai_forms import chat_form, responses_form
from openai_sdk import Json, rendered
from recorded import ABSENT, WIRE, Recording, recordings

from seawall.translate.openai_chat import OpenAIChat
from seawall.translate.openai_responses import OpenAIResponses

CHAT, RESPONSES = OpenAIChat(), OpenAIResponses()
PIXEL = "data:image/png;base64,AAAA"
LINK = "https://host.test/a.png"
PDF = "data:application/pdf;base64,JVBERg=="


# Requests, as agents make them.

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
NAME = st.from_regex(r"[a-z]{3,8}", fullmatch=True)
SCHEMA = st.sampled_from([
    {"type": "object", "properties": {}},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False},
])  # fmt: skip
ARGUMENTS = st.dictionaries(NAME, st.integers() | TEXT | st.none(), max_size=2).map(json.dumps)
EFFORT = st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"])


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=fields)


SHARED = maybe(
    temperature=st.floats(0, 2),
    top_p=st.floats(0, 1),
    service_tier=st.sampled_from(["auto", "default", "flex", "priority"]),
    parallel_tool_calls=st.booleans(),
    user=TEXT,
    stream=st.booleans(),
)


@st.composite
def chat_requests(draw: st.DrawFn) -> Json:
    part = st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, TEXT),
        st.builds(
            lambda url, detail: {"type": "image_url", "image_url": {"url": url, "detail": detail}},
            st.sampled_from([PIXEL, LINK]),
            st.sampled_from(["auto", "low", "high"]),
        ),
        st.just({"type": "file", "file": {"file_data": PDF, "filename": "filename.pdf"}}),
        st.just({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}),
    )
    messages: list[Json] = [
        {"role": draw(st.sampled_from(["system", "developer"])), "content": text}
        for text in draw(st.lists(TEXT, max_size=2))
    ]
    for turn in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(TEXT | st.lists(part, min_size=1, max_size=3))})
        answer: Json = {"role": "assistant", "content": draw(TEXT | st.none())}
        calls = [
            {"id": f"call_{turn}_{n}", "type": "function", "function": {"name": name, "arguments": draw(ARGUMENTS)}}
            for n, name in enumerate(draw(st.lists(NAME, max_size=3)))
        ]
        if calls:
            answer["tool_calls"] = calls
        messages.append(answer)
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": draw(TEXT)} for call in calls]
    tools = [
        {"type": "function", "function": {"name": name, "description": draw(TEXT), "parameters": draw(SCHEMA)}}
        | {}
        for name in draw(st.lists(NAME, max_size=3, unique=True))
    ]  # fmt: skip
    request = draw(SHARED) | draw(
        maybe(
            max_completion_tokens=st.integers(1, 9999),
            seed=st.integers(0, 99),
            stop=TEXT | st.lists(TEXT, min_size=1, max_size=3),
            presence_penalty=st.floats(-2, 2),
            frequency_penalty=st.floats(-2, 2),
            logit_bias=st.dictionaries(st.integers(0, 99).map(str), st.integers(-100, 100), min_size=1, max_size=2),
            reasoning_effort=EFFORT,
        )
    )
    request |= {"model": "m", "messages": messages}
    if tools:
        for tool in tools:
            if draw(st.booleans()):
                tool["function"]["strict"] = draw(st.booleans())
        named = {"type": "function", "function": {"name": tools[0]["function"]["name"]}}
        allowed = {"mode": draw(st.sampled_from(["auto", "required"])), "tools": [named]}
        choices = [None, "auto", "none", "required", named, {"type": "allowed_tools", "allowed_tools": allowed}]
        request |= {"tools": tools, "tool_choice": draw(st.sampled_from(choices))}
    schema = {"name": draw(NAME), "schema": draw(SCHEMA), "strict": draw(st.booleans())}
    formats = [None, {"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": schema}]
    return request | {"response_format": draw(st.sampled_from(formats))}


@st.composite
def responses_requests(draw: st.DrawFn) -> Json:
    part = st.one_of(
        st.builds(lambda text: {"type": "input_text", "text": text}, TEXT),
        st.builds(
            lambda url, detail: {"type": "input_image", "image_url": url, "detail": detail},
            st.sampled_from([PIXEL, LINK]),
            st.sampled_from(["auto", "low", "high"]),
        ),
        st.just({"type": "input_file", "file_data": PDF, "filename": "filename.pdf"}),
        st.just({"type": "input_file", "file_url": "https://host.test/a.pdf"}),
    )
    items: list[Json] = [
        {"role": draw(st.sampled_from(["system", "developer"])), "content": text}
        for text in draw(st.lists(TEXT, max_size=2))
    ]
    for turn in range(draw(st.integers(1, 3))):
        items.append({"role": "user", "content": draw(TEXT | st.lists(part, min_size=1, max_size=3))})
        if draw(st.booleans()):
            summary = [{"type": "summary_text", "text": text} for text in draw(st.lists(TEXT, max_size=2))]
            items.append({"type": "reasoning", "id": f"rs_{turn}", "summary": summary, "encrypted_content": "gAAA"})
        if draw(st.booleans()):
            content = [{"type": "output_text", "text": draw(TEXT), "annotations": []}]
            message = {"id": f"msg_{turn}", "role": "assistant", "status": "completed", "content": content}
            items.append({"type": "message", **message})
        names = draw(st.lists(NAME, max_size=3))
        items += [
            {"type": "function_call", "id": f"fc_{turn}_{n}", "call_id": f"call_{turn}_{n}", "name": name}
            | {"arguments": draw(ARGUMENTS)}
            for n, name in enumerate(names)
        ]
        items += [
            {"type": "function_call_output", "call_id": f"call_{turn}_{n}", "output": draw(TEXT | st.just([
                {"type": "input_text", "text": "seen"}, {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
            ]))}
            for n in range(len(names))
        ]  # fmt: skip
    request = draw(SHARED) | draw(maybe(max_output_tokens=st.integers(1, 9999), instructions=TEXT))
    request |= {"model": "m", "input": draw(TEXT | st.just(items))}
    if draw(st.booleans()):
        request["reasoning"] = {"effort": draw(EFFORT), "summary": "auto"}
    if tools := [
        {"type": "function", "name": name, "description": draw(TEXT), "parameters": draw(SCHEMA)}
        | {"strict": draw(st.booleans())}
        for name in draw(st.lists(NAME, max_size=3, unique=True))
    ]:
        named = {"type": "function", "name": tools[0]["name"]}
        allowed = {"type": "allowed_tools", "mode": draw(st.sampled_from(["auto", "required"])), "tools": [named]}
        choices = [None, "auto", "none", "required", named, allowed]
        request |= {"tools": tools, "tool_choice": draw(st.sampled_from(choices))}
    formats = [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "name": draw(NAME), "schema": draw(SCHEMA), "strict": draw(st.booleans())},
    ]
    return request | {"text": {"format": draw(st.sampled_from(formats)), "verbosity": "medium"}}


def read(operation: str, body: bytes) -> Any:
    side = CHAT if operation == "chat" else RESPONSES
    return side.read(body, FACTS, created=7, id_="t")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(request=chat_requests())
async def test_chat_requests_come_back(request: Json) -> None:
    asked = read("chat", json.dumps(request).encode())
    assert asked.unfit == ()
    assert chat_form(await rendered("chat", asked)) == chat_form(request)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(request=responses_requests())
async def test_responses_requests_come_back(request: Json) -> None:
    asked = read("responses", json.dumps(request).encode())
    assert asked.unfit == ()
    assert responses_form(await rendered("responses", asked)) == responses_form(request)


# Requests, as they were recorded.

SENSIBLE = (
    "unknown field", "cannot be carried", "not known", "known to the account", "known to its upstream only", "reports",
    "other providers do not report it", "a search that the provider runs", "answers no tool call", "empty",
    "is not carried", "requires a tool",
)  # fmt: skip


def recorded() -> list[Any]:
    found = []
    for recording in recordings() if WIRE.is_dir() else ():
        path = recording.target.partition("?")[0]
        operation = {"completions": "chat", "responses": "responses"}.get(path.rpartition("/")[2])
        if operation and recording.method == "POST" and recording.json:
            found.append(pytest.param(operation, recording, id=f"{recording.cassette}-{recording.nth}"))
    return found or [pytest.param("", None, marks=pytest.mark.skip(ABSENT))]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("operation", "recording"), recorded())
async def test_recorded_requests_come_back_or_are_unfit_for_a_reason(operation: str, recording: Recording) -> None:
    asked = read(operation, recording.body)
    if asked.unfit:
        assert all(reason.endswith(SENSIBLE) or any(why in reason for why in SENSIBLE) for reason in asked.unfit)
        return
    form = chat_form if operation == "chat" else responses_form
    assert form(await rendered(operation, asked)) == form(recording.json)


def test_most_recorded_requests_are_carried() -> None:
    carried = [not read(*param.values[:1], param.values[1].body).unfit for param in recorded() if param.values[0]]
    if not carried:
        pytest.skip(ABSENT)
    assert sum(carried) > len(carried) * 0.6
