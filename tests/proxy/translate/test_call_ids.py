"""Ids of tool calls in conversations that move between providers: Anthropic knows some letters only, OpenAI 40."""

import json
import re
from typing import Any

import pytest
from nothing_read import FACTS
from openai_answers import chat, events, responses
from openai_sdk import streamed
from pydantic_ai.messages import ModelMessage, ModelResponse, PartStartEvent, ToolCallPart, ToolReturnPart

from seawall.translate.anthropic_messages import AnthropicMessages
from seawall.translate.openai_chat import OpenAIChat
from seawall.translate.openai_responses import OpenAIResponses
from seawall.translate.types import Asked

FITS = re.compile(r"[a-zA-Z0-9_-]{1,40}")
ODD = ["functions.look:0", "call/1", "ü", "x" * 41]
PLAIN = ["call_abc", "toolu_01J5u9yypnwo1Sqf4Fx9uMNG", "pyd_ai_89d16e063b8341f2b33938e36351e54c", "rew01jq49"]


def chat_with(*turns: list[str]) -> Asked:
    """A call by each id, turn by turn, with its result."""
    messages: list[Any] = [{"role": "user", "content": "hi"}]
    for number, ids in enumerate(turns):
        spec = {"name": f"look_{number}", "arguments": "{}"}
        messages.append(
            {"role": "assistant", "tool_calls": [{"id": one, "type": "function", "function": spec} for one in ids]}
        )
        messages += [
            {"role": "tool", "tool_call_id": one, "content": f"{number}.{place}"} for place, one in enumerate(ids)
        ]
    body = {"model": "m", "messages": messages}
    return OpenAIChat().read(json.dumps(body).encode(), FACTS, created=1, id_="01")


def responses_with(*turns: list[str]) -> Asked:
    items: list[Any] = [{"role": "user", "content": "hi"}]
    for number, ids in enumerate(turns):
        items += [{"type": "function_call", "call_id": one, "name": f"look_{number}", "arguments": "{}"} for one in ids]
        items += [
            {"type": "function_call_output", "call_id": one, "output": f"{number}.{place}"}
            for place, one in enumerate(ids)
        ]
    return OpenAIResponses().read(json.dumps({"model": "m", "input": items}).encode(), FACTS, created=1, id_="01")


def messages_with(*turns: list[str]) -> Asked:
    messages: list[Any] = [{"role": "user", "content": "hi"}]
    for number, ids in enumerate(turns):
        calls = [{"type": "tool_use", "id": one, "name": f"look_{number}", "input": {}} for one in ids]
        results = [
            {"type": "tool_result", "tool_use_id": one, "content": f"{number}.{place}"} for place, one in enumerate(ids)
        ]
        messages += [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    body = {"model": "m", "max_tokens": 9, "messages": messages}
    return AnthropicMessages().read(json.dumps(body).encode(), FACTS, created=1, id_="01")


ALL = pytest.mark.parametrize("conversation", [chat_with, responses_with, messages_with])


def exchanged(messages: list[ModelMessage]) -> list[tuple[str, str, Any]]:
    """Every call's id and name with the result that goes by the same id."""
    parts: list[Any] = [part for message in messages for part in message.parts]
    calls = [part for part in parts if isinstance(part, ToolCallPart)]
    results = {part.tool_call_id: part for part in parts if isinstance(part, ToolReturnPart)}
    assert all(results[call.tool_call_id].tool_name == call.tool_name for call in calls)
    return [(call.tool_call_id, call.tool_name, results[call.tool_call_id].content) for call in calls]


@ALL
def test_ids_that_all_take_stay_what_they_are(conversation: Any) -> None:
    assert [id_ for id_, _, _ in exchanged(conversation(PLAIN).messages)] == PLAIN


@ALL
def test_odd_ids_are_replaced_alike_every_time(conversation: Any) -> None:
    read = exchanged(conversation(ODD).messages)
    ids = [id_ for id_, _, _ in read]
    assert all(FITS.fullmatch(id_) for id_ in ids)
    assert len(set(ids)) == len(ODD)
    assert [result for _, _, result in read] == ["0.0", "0.1", "0.2", "0.3"]
    assert exchanged(conversation(ODD, ["more"]).messages)[: len(ODD)] == read


@ALL
def test_ids_that_are_used_again_become_ids_of_their_own(conversation: Any) -> None:
    read = exchanged(conversation(["call_0"], ["call_0", "call_0"]).messages)
    assert [(name, result) for _, name, result in read] == [("look_0", "0.0"), ("look_1", "1.0"), ("look_1", "1.1")]
    ids = [id_ for id_, _, _ in read]
    assert ids[0] == "call_0"
    assert len(set(ids)) == 3
    assert all(FITS.fullmatch(id_) for id_ in ids)


@pytest.mark.parametrize("given", ODD)
def test_an_answer_gives_out_ids_that_the_agents_own_provider_takes_back(given: str) -> None:
    answer = ModelResponse([ToolCallPart("look", "{}", given)], finish_reason="tool_call")
    told = [PartStartEvent(index=0, part=answer.parts[0])]
    messages = messages_with()
    plain = json.loads(AnthropicMessages().whole(messages, answer, "m"))["content"][0]["id"]
    start = next(
        event for event in events(streamed(AnthropicMessages(), messages, told, answer)) if "content_block" in event
    )
    assert start["content_block"]["id"] == plain
    completion = json.loads(OpenAIChat().whole(chat(), answer, "m"))["choices"][0]["message"]["tool_calls"][0]["id"]
    chunk = events(streamed(OpenAIChat(), chat(stream=True), told, answer))[0]
    assert chunk["choices"][0]["delta"]["tool_calls"][0]["id"] == completion
    item = json.loads(OpenAIResponses().whole(responses(), answer, "m"))["output"][0]["call_id"]
    assert plain == completion == item
    assert FITS.fullmatch(plain)
