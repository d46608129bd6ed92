"""Plain answers as the real openai client takes them."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
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
)
from openai_sdk import client_for, streamed
from pydantic import BaseModel
from pydantic_ai.messages import (
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.usage import RequestUsage

CHAT_ENDS = ["stop", "stop", "tool_calls", "tool_calls", "length", "stop", "content_filter", "content_filter", "stop"]


@pytest.mark.parametrize(("answer", "finish"), list(zip(ANSWERS, CHAT_ENDS, strict=True)))
async def test_a_completion_is_what_the_client_expects(answer: ModelResponse, finish: str) -> None:
    body = CHAT.whole(chat(), answer, "other-model")
    ChatCompletion.model_validate_json(body, strict=True)
    completion = await completed(body)
    choice = completion.choices[0]
    assert (completion.model, completion.id, completion.created) == (
        "other-model",
        "chatcmpl-0123456789",
        1_700_000_000,
    )
    assert choice.finish_reason == finish
    assert (choice.message.content or "") == "".join(
        part.content for part in answer.parts if isinstance(part, TextPart)
    )
    calls = [(c.id, c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls or []]
    assert calls == [(part.tool_call_id, part.tool_name, part.args_as_dict()) for part in answer.tool_calls]


async def test_usage_tells_cached_and_reasoning_tokens() -> None:
    usage = (await completed(CHAT.whole(chat(), said(TextPart("x")), "m"))).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (30, 9, 39)
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens, usage.prompt_tokens_details.cache_write_tokens) == (10, 5)
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 4
    count = (await responded(RESPONSES.whole(responses(), said(TextPart("x")), "m"))).usage
    assert count is not None
    assert (count.input_tokens, count.output_tokens, count.total_tokens) == (30, 9, 39)
    assert (count.input_tokens_details.cached_tokens, count.output_tokens_details.reasoning_tokens) == (10, 4)


async def test_an_unmeasured_answer_has_no_usage() -> None:
    silent = said(TextPart("x"), usage=RequestUsage(unmeasured_requests=1))
    assert (await completed(CHAT.whole(chat(), silent, "m"))).usage is None
    assert (await responded(RESPONSES.whole(responses(), silent, "m"))).usage is None
    asked = chat(stream=True, stream_options={"include_usage": True})
    assert (await streamed_completion(streamed(CHAT, asked, (), silent))).usage is None


def test_chat_has_no_place_for_reasoning() -> None:
    thought = said(ThinkingPart("secret"), TextPart("x"))
    assert b"secret" not in CHAT.whole(chat(), thought, "m") + streamed(CHAT, chat(stream=True), (), thought)


STATUS = [*["completed"] * 4, "incomplete", "completed", "incomplete", "incomplete", "completed"]


@pytest.mark.parametrize(("answer", "status"), list(zip(ANSWERS, STATUS, strict=True)))
async def test_a_response_is_what_the_client_expects(answer: ModelResponse, status: str) -> None:
    body = RESPONSES.whole(responses(instructions="be", temperature=0.5), answer, "other-model")
    Response.model_validate_json(body)
    response = await responded(body)
    assert (response.model, response.id, response.status) == ("other-model", "resp_0123456789", status)
    assert (response.instructions, response.temperature) == ("be", 0.5)
    assert response.output_text == "".join(part.content for part in answer.parts if isinstance(part, TextPart))
    calls = [one for one in response.output if one.type == "function_call"]
    assert [(one.call_id, one.name, json.loads(one.arguments)) for one in calls] == [
        (part.tool_call_id, part.tool_name, part.args_as_dict()) for part in answer.tool_calls
    ]
    reason = response.incomplete_details and response.incomplete_details.reason
    assert reason == {"length": "max_output_tokens", "content_filter": "content_filter"}.get(
        str(answer.finish_reason) if status == "incomplete" else ""
    )


@pytest.mark.parametrize(("finish", "last"), [("stop", "completed"), ("length", "incomplete")])
async def test_only_the_last_item_of_an_answer_can_be_cut_off(finish: str, last: str) -> None:
    answer = said(TextPart("I look."), ToolCallPart("look", "{", "call_1"), finish_reason=finish)
    asked = responses(stream=True)
    *_, done, end = events(streamed(RESPONSES, asked, (), answer))
    response = await responded(RESPONSES.whole(asked, answer, "m"))
    for statuses in (
        [item.status for item in response.output if item.type in ("message", "function_call")],
        [item["status"] for item in end["response"]["output"]],
    ):
        assert statuses == ["completed", last]
    assert (done["type"], done["item"]["status"]) == ("response.output_item.done", last)


async def test_a_refusal_is_a_refusal() -> None:
    refused = said(finish_reason="content_filter", provider_details={"refusal": "I can not."})
    assert (await completed(CHAT.whole(chat(), refused, "m"))).choices[0].message.refusal == "I can not."
    for response in (
        await responded(RESPONSES.whole(responses(), refused, "m")),
        await streamed_response(streamed(RESPONSES, responses(stream=True), (), refused)),
    ):
        message = response.output[0]
        assert message.type == "message"
        assert message.content[0].type == "refusal"
        assert message.content[0].refusal == "I can not."


async def test_a_provider_that_broke_off_is_not_passed_off_as_whole() -> None:
    broken = said(TextPart("so f"), finish_reason="error")
    assert (await completed(CHAT.whole(chat(), broken, "m"))).choices[0].finish_reason == "length"
    response = await responded(RESPONSES.whole(responses(), broken, "m"))
    assert response.status == "failed"
    assert response.error is not None
    assert events(streamed(RESPONSES, responses(stream=True), (), broken))[-1]["type"] == "response.failed"


async def test_an_end_that_nobody_knows_is_not_passed_off_as_whole() -> None:
    odd = said(TextPart("so f"), finish_reason=None, provider_details={"finish_reason": "insufficient_resource"})
    assert (await completed(CHAT.whole(chat(), odd, "m"))).choices[0].finish_reason == "length"
    assert (await responded(RESPONSES.whole(responses(), odd, "m"))).status == "failed"
    silent = said(TextPart("so"), finish_reason=None)
    assert (await completed(CHAT.whole(chat(), silent, "m"))).choices[0].finish_reason == "stop"
    assert (await responded(RESPONSES.whole(responses(), silent, "m"))).status == "completed"


class Weather(BaseModel):
    city: str
    warm: bool


async def test_the_clients_parsers_read_structured_output() -> None:
    answer = said(TextPart('{"city": "Bergen", "warm": false}'))
    messages: Any = [{"role": "user", "content": "hi"}]
    bergen = Weather(city="Bergen", warm=False)
    one = await client_for(CHAT.whole(chat(), answer, "m")).chat.completions.parse(
        model="m", messages=messages, response_format=Weather
    )
    assert one.choices[0].message.parsed == bergen
    client = client_for(streamed(RESPONSES, responses(stream=True), (), answer))
    async with client.responses.stream(model="m", input="hi", text_format=Weather) as stream:
        assert (await stream.get_final_response()).output_parsed == bergen


def test_what_the_request_said_is_repeated() -> None:
    tool = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": True}
    said_ = {"tools": [tool], "tool_choice": "required", "metadata": {"a": "b"}, "max_output_tokens": 9, "store": True}
    response = json.loads(RESPONSES.whole(responses(**said_), said(), "m"))
    assert {name: response[name] for name in said_} == {
        **said_,
        "tools": [{"description": None} | tool],
        "store": False,
    }
