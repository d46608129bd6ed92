"""Streamed answers as the real openai client's own helpers put them together."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk
from openai_answers import (
    ANSWERS,
    CHAT,
    RESPONSES,
    chat,
    completed,
    events,
    responded,
    responses,
    said,
    streamed_completion,
    streamed_response,
    tools_of,
)
from openai_sdk import call, spoken, streamed
from pydantic_ai.messages import (
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)

from seawall.translate.answer import ReplacedError


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_streamed_completion_comes_to_the_same(answer: ModelResponse) -> None:
    asked = chat(stream=True, stream_options={"include_usage": True})
    body = streamed(CHAT, asked, (), answer)
    whole, stream = await completed(CHAT.whole(asked, answer, "other-model")), await streamed_completion(body)
    assert stream.choices[0].finish_reason == whole.choices[0].finish_reason
    assert (stream.choices[0].message.content or "") == (whole.choices[0].message.content or "")
    assert stream.choices[0].message.refusal == whole.choices[0].message.refusal
    assert tools_of(stream) == tools_of(whole)
    assert (stream.usage, stream.model, stream.id) == (whole.usage, whole.model, whole.id)
    for chunk in events(body):
        ChatCompletionChunk.model_validate_json(json.dumps(chunk), strict=True)


def test_usage_is_streamed_only_where_it_was_asked_for() -> None:
    without = events(streamed(CHAT, chat(stream=True), (), said(TextPart("x"))))
    asked = chat(stream=True, stream_options={"include_usage": True})
    *chunks, last = events(streamed(CHAT, asked, (), said(TextPart("x"))))
    assert all("usage" not in chunk for chunk in without)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 39


async def test_chunks_come_in_the_order_of_the_api() -> None:
    deltas = ["I ", "look.", call(1, "look", '{"a"', "call_1"), call(1, None, ": 1}"), call(2, "leap", "", "call_2")]
    told, end = await spoken(deltas)
    body = streamed(CHAT, chat(stream=True), told, end)
    assert body.endswith(b"}\n\ndata: [DONE]\n\n")
    choices = [chunk["choices"][0] for chunk in events(body)]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "I "},
        {"content": "look."},
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
        {
            "tool_calls": [
                {"index": 1, "id": "call_2", "type": "function", "function": {"name": "leap", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None] * 8 + ["tool_calls"]


async def test_a_call_without_words_comes_with_the_role() -> None:
    told, end = await spoken([call(0, "look", "{}", "call_1")])
    first = events(streamed(CHAT, chat(stream=True), told, end))[0]["choices"][0]["delta"]
    assert (first["role"], first["content"], first["tool_calls"][0]["id"]) == ("assistant", None, "call_1")


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_streamed_response_ends_with_the_plain_one(answer: ModelResponse) -> None:
    asked = responses(stream=True)
    body = streamed(RESPONSES, asked, (), answer)
    last = events(body)[-1]
    assert last["response"] == json.loads(RESPONSES.whole(asked, answer, "other-model"))
    assert last["type"] == f"response.{last['response']['status']}"
    if last["type"] == "response.completed":
        response = await streamed_response(body)
        assert response.output_text == "".join(part.content for part in answer.parts if isinstance(part, TextPart))


async def test_events_come_in_the_order_of_the_api() -> None:
    deltas = ["I ", "look.", call(1, "look", '{"a"', "call_1"), call(1, None, ": 1}"), call(2, "leap", "", "call_2")]
    told, end = await spoken(deltas)
    body = streamed(RESPONSES, responses(stream=True), told, end)
    sent = events(body)
    assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
    assert [event["type"].removeprefix("response.") for event in sent] == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    response = await streamed_response(body)
    assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
    assert [item.id for item in response.output] == ["msg_012345678900", "fc_012345678901", "fc_012345678902"]


async def test_reasoning_that_openai_would_look_for_in_the_next_turn_is_not_told() -> None:
    thought = said(ThinkingPart("I think."), ThinkingPart("", signature="x"), TextPart("So."))
    asked = responses(stream=True, reasoning={"effort": "low", "summary": "auto"})
    told = [
        PartStartEvent(index=0, part=ThinkingPart("I ")),
        PartDeltaEvent(index=0, delta=ThinkingPartDelta(content_delta="think.")),
        PartStartEvent(index=2, part=TextPart("So.")),
    ]
    for response in (
        await responded(RESPONSES.whole(asked, thought, "m")),
        await streamed_response(streamed(RESPONSES, asked, told, thought)),
        await streamed_response(streamed(RESPONSES, asked, (), thought)),
    ):
        assert [item.type for item in response.output] == ["message"]
        assert response.output_text == "So."
        assert response.usage is not None
        assert response.usage.output_tokens_details.reasoning_tokens == 4
    assert b"think" not in streamed(RESPONSES, asked, told, thought).replace(b"thinking", b"")


def started(index: int, args: Any) -> PartStartEvent:
    return PartStartEvent(index=index, part=ToolCallPart(f"tool_{index}", args, f"call_{index}"))


def grown(index: int, args: Any) -> PartDeltaEvent:
    return PartDeltaEvent(index=index, delta=ToolCallPartDelta(args_delta=args))


@pytest.mark.parametrize(
    "told",
    [
        [started(0, None), grown(0, '{"a"'), started(1, '{"b"'), grown(1, ":2}"), grown(0, ":1}")],
        [started(0, {}), grown(0, {"a": 1}), started(1, {"b": 2})],
        [started(0, '{"a"'), started(0, '{"a":1}'), started(1, '{"b":2}')],
    ],
)
async def test_calls_come_whole_however_their_arguments_came(told: list[Any]) -> None:
    end = said(ToolCallPart("tool_0", {"a": 1}, "call_0"), ToolCallPart("tool_1", {"b": 2}, "call_1"))
    completion = await streamed_completion(streamed(CHAT, chat(stream=True), told, end))
    meant = [("call_0", {"a": 1}), ("call_1", {"b": 2})]
    assert [(id_, json.loads(args)) for id_, _, _, args in tools_of(completion)] == meant
    if told[1] != grown(0, {"a": 1}):
        response: Any = await streamed_response(streamed(RESPONSES, responses(stream=True), told, end))
        assert [(item.call_id, json.loads(item.arguments)) for item in response.output] == meant


@pytest.mark.parametrize("side", [CHAT, RESPONSES])
def test_what_was_told_can_not_be_taken_back(side: Any) -> None:
    asked = chat(stream=True) if side is CHAT else responses(stream=True)
    writer = side.stream(asked)
    writer.begin("m")
    writer.event(PartStartEvent(index=0, part=TextPart("Hello")))
    with pytest.raises(ReplacedError):
        writer.event(PartStartEvent(index=0, part=TextPart("Goodbye")))


PIECES = st.lists(
    st.one_of(st.text(max_size=5), st.tuples(st.integers(1, 3), st.text(max_size=4), st.integers())), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(pieces=PIECES)
async def test_any_stream_comes_to_what_the_model_said(pieces: list[Any]) -> None:
    """Texts and calls in any order, each call's arguments in two pieces."""
    deltas: list[Any] = []
    for number, piece in enumerate(pieces):
        if isinstance(piece, str):
            deltas.append(piece)
        else:
            arguments = json.dumps({piece[1]: piece[2]})
            deltas.append(call(number + 1, "look", arguments[: piece[0]], f"call_{number}"))
            deltas.append(call(number + 1, None, arguments[piece[0] :]))
    if not any(deltas):
        return
    told, end = await spoken(deltas)
    text = "".join(part.content for part in end.parts if isinstance(part, TextPart))
    calls = [(part.tool_call_id, part.args_as_dict()) for part in end.tool_calls]
    completion = await streamed_completion(streamed(CHAT, chat(stream=True), told, end))
    assert (completion.choices[0].message.content or "") == text
    assert [(id_, json.loads(args)) for id_, _, _, args in tools_of(completion)] == calls
    response = await streamed_response(streamed(RESPONSES, responses(stream=True), told, end))
    assert response.output_text == text
    made = [item for item in response.output if item.type == "function_call"]
    assert [(item.call_id, json.loads(item.arguments)) for item in made] == calls
