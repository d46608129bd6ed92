"""Answers as Anthropic's own SDK reads them: whole messages, and streams that it joins again."""

from collections.abc import Iterable

import httpx2
import msgspec
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    FinalResultEvent,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.usage import RequestUsage

from seawall.translate.answer import ReplacedError
from seawall.translate.anthropic_messages import AnthropicMessages
from seawall.translate.types import Asked

SIDE = AnthropicMessages()
ASKED = Asked("claude", False, [], {}, ModelRequestParameters(), id_="01")
SIGNED = ThinkingPart("hm", signature="sig", provider_name="anthropic")
SEALED = ThinkingPart("", id="redacted_thinking", signature="data", provider_name="anthropic")
CALL = ToolCallPart("look", {"at": "sea"}, "call_1")


async def through_sdk(body: bytes, kind: str) -> httpx2.AsyncClient:
    headers = {"content-type": kind}
    answer = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=headers, content=body))
    return httpx2.AsyncClient(transport=answer)


async def read(response: ModelResponse, model: str = "gpt") -> Message:
    """The plain answer, as the SDK gives it to an agent."""
    async with await through_sdk(SIDE.whole(ASKED, response, model), "application/json") as http:
        client = AsyncAnthropic(api_key="k", http_client=http, max_retries=0)
        return await client.messages.create(max_tokens=9, model="claude", messages=[{"role": "user", "content": "hi"}])


def events(parts: Iterable[ModelResponsePart]) -> list[ModelResponseStreamEvent]:
    """The events by which pydantic-ai would stream these parts, in pieces."""
    found: list[ModelResponseStreamEvent] = []
    for index, part in enumerate(parts):
        match part:
            case TextPart(content=text):
                found.append(PartStartEvent(index=index, part=TextPart(text[:2])))
                found.append(PartDeltaEvent(index=index, delta=TextPartDelta(text[2:])))
            case ThinkingPart(content=text) if part.id:
                found.append(PartStartEvent(index=index, part=part))
            case ThinkingPart(content=text):
                found.append(PartStartEvent(index=index, part=ThinkingPart(text[:1])))
                found.append(PartDeltaEvent(index=index, delta=ThinkingPartDelta(content_delta=text[1:])))
                if part.signature:
                    found.append(PartDeltaEvent(index=index, delta=ThinkingPartDelta(signature_delta=part.signature)))
            case ToolCallPart(args=str() as args):
                start = ToolCallPart(part.tool_name, args[:3], part.tool_call_id)
                found.append(PartStartEvent(index=index, part=start))
                found.append(PartDeltaEvent(index=index, delta=ToolCallPartDelta(args_delta=args[3:])))
            case ToolCallPart(args=None) | ToolCallPart(args=dict()):
                found.append(PartStartEvent(index=index, part=part))
                found.append(FinalResultEvent(tool_name=None, tool_call_id=None))
        found.append(PartEndEvent(index=index, part=part))
    return found


def written(response: ModelResponse, stream: list[ModelResponseStreamEvent], model: str = "gpt") -> bytes:
    writer = SIDE.stream(ASKED)
    return writer.begin(model) + b"".join(map(writer.event, stream)) + writer.end(response)


async def joined(body: bytes) -> Message:
    """A stream, as the SDK's accumulator gives it to an agent."""
    async with await through_sdk(body, "text/event-stream") as http:
        client = AsyncAnthropic(api_key="k", http_client=http, max_retries=0)
        asked = client.messages.stream(max_tokens=9, model="claude", messages=[{"role": "user", "content": "hi"}])
        async with asked as stream:
            return await stream.get_final_message()


def kinds(body: bytes) -> list[str]:
    return [line[7:].decode() for line in body.split(b"\n") if line.startswith(b"event: ")]


async def test_a_whole_answer_is_a_message_of_the_model_that_answered() -> None:
    usage = RequestUsage(input_tokens=10, output_tokens=7, cache_read_tokens=4, cache_write_tokens=1)
    usage.output_reasoning_tokens = 3
    parts = [SIGNED, SEALED, TextPart("blue"), CALL]
    message = await read(ModelResponse(parts, finish_reason="tool_call", usage=usage))
    assert (message.id, message.model, message.stop_reason) == ("msg_01", "gpt", "tool_use")
    assert [block.type for block in message.content] == ["thinking", "redacted_thinking", "text", "tool_use"]
    assert message.content[0].to_dict() == {"type": "thinking", "thinking": "hm", "signature": "sig"}
    assert message.content[1].to_dict() == {"type": "redacted_thinking", "data": "data"}
    assert message.content[3].to_dict() == {
        "type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "sea"},
    }  # fmt: skip
    counted = message.usage
    assert (counted.input_tokens, counted.cache_read_input_tokens, counted.cache_creation_input_tokens) == (5, 4, 1)
    assert counted.output_tokens == 7
    assert counted.output_tokens_details is not None and counted.output_tokens_details.thinking_tokens == 3


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (ModelResponse([TextPart("a")], finish_reason="stop"), "end_turn"),
        (ModelResponse([TextPart("a")], finish_reason="length"), "max_tokens"),
        (ModelResponse([CALL], finish_reason="tool_call"), "tool_use"),
        (ModelResponse([CALL], finish_reason="stop"), "tool_use"),
        (ModelResponse([CALL], finish_reason="length"), "max_tokens"),
        (ModelResponse([TextPart("a")], finish_reason="tool_call"), "end_turn"),
        (ModelResponse([], finish_reason="content_filter"), "refusal"),
        (ModelResponse([TextPart("a")]), "end_turn"),
        (ModelResponse([TextPart("a")], finish_reason="error"), "max_tokens"),
        (ModelResponse([TextPart("a")], provider_details={"finish_reason": "insufficient_resource"}), "max_tokens"),
        (ModelResponse([], provider_details={"finish_reason": "stop_sequence"}, finish_reason="stop"), "stop_sequence"),
        (ModelResponse([CALL], provider_details={"finish_reason": "stop"}, finish_reason="stop"), "tool_use"),
    ],
)
async def test_reasons_to_stop_are_anthropics(response: ModelResponse, reason: str) -> None:
    assert (await read(response)).stop_reason == reason
    assert (await joined(written(response, events(response.parts)))).stop_reason == reason


async def test_a_refusal_keeps_its_words() -> None:
    response = ModelResponse([], finish_reason="content_filter", provider_details={"refusal": "no"})
    for message in (await read(response), await joined(written(response, []))):
        assert message.stop_details is not None and message.stop_details.explanation == "no"


@pytest.mark.parametrize(
    "thought",
    [
        ThinkingPart("hm", id="rs_1", signature="theirs", provider_name="openai"),
        ThinkingPart("hm", id="reasoning_content", provider_name="openai"),
        ThinkingPart("hm"),
    ],
)
async def test_thinking_that_anthropic_would_refuse_in_the_next_turn_is_not_given_out(thought: ThinkingPart) -> None:
    response = ModelResponse([thought, TextPart("blue")])
    for message in (await read(response), await joined(written(response, events(response.parts)))):
        assert [(block.type, block.to_dict().get("text")) for block in message.content] == [("text", "blue")]


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        ('{"at": "sea", "how": "clo', {"at": "sea"}),
        ('{"at": {"x": [1, 2', {"at": {"x": [1, 2]}}),
        ("{", {}),
        ("", {}),
        ("  ", {}),
        (None, {}),
        ('{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
    ],
)
async def test_arguments_are_told_as_far_as_the_model_came(args: str | None, meant: dict[str, object]) -> None:
    response = ModelResponse([ToolCallPart("look", args, "call_1")], finish_reason="length")
    for message in (await read(response), await joined(written(response, events(response.parts)))):
        (block,) = message.content
        assert block.type == "tool_use"
        assert (block.input, message.stop_reason) == (meant, "max_tokens")


async def test_arguments_that_are_no_object_are_still_what_the_model_said() -> None:
    (block,) = (await read(ModelResponse([ToolCallPart("look", "at sea", "call_1")]))).content
    assert block.type == "tool_use"
    assert block.input == {"INVALID_JSON": "at sea"}


async def test_an_answer_that_came_without_events_is_told() -> None:
    response = ModelResponse([SIGNED, SEALED, TextPart("blue"), CALL], finish_reason="tool_call")
    assert (await joined(written(response, []))).to_dict() == (await read(response)).to_dict()


async def test_a_part_that_starts_anew_is_told_once() -> None:
    parts = [TextPart("blue"), ToolCallPart("look", '{"a":1}', "c")]
    stream: list[ModelResponseStreamEvent] = [
        PartStartEvent(index=0, part=TextPart("bl")),
        PartStartEvent(index=0, part=parts[0]),
        PartStartEvent(index=1, part=ToolCallPart("look", '{"a"', "c")),
        PartStartEvent(index=1, part=parts[1]),
    ]
    message = await joined(written(ModelResponse(parts), stream))
    assert message.to_dict() == (await read(ModelResponse(parts))).to_dict()
    writer = SIDE.stream(ASKED)
    writer.event(stream[0])
    with pytest.raises(ReplacedError):
        writer.event(PartStartEvent(index=0, part=TextPart("red")))


async def test_half_a_character_is_passed_on_as_it_came() -> None:
    halves = ["sea \ud83c", "\udf0a"]
    whole = ModelResponse([TextPart("".join(halves))])
    stream: list[ModelResponseStreamEvent] = [
        PartStartEvent(index=0, part=TextPart(halves[0])),
        PartDeltaEvent(index=0, delta=TextPartDelta(halves[1])),
    ]
    for message in (await read(whole), await joined(written(whole, stream))):
        (block,) = message.content
        assert block.type == "text"
        assert block.text.encode("utf-16", "surrogatepass").decode("utf-16") == "sea 🌊"


async def test_usage_arrives_at_the_end_of_a_stream() -> None:
    usage = RequestUsage(input_tokens=10, output_tokens=7, cache_read_tokens=4)
    message = await joined(written(ModelResponse([TextPart("blue")], usage=usage), events([TextPart("blue")])))
    counted = message.usage
    assert (counted.input_tokens, counted.cache_read_input_tokens, counted.output_tokens) == (6, 4, 7)


def test_events_come_in_the_order_of_the_api() -> None:
    parts = [TextPart("blue"), ToolCallPart("look", '{"at": "sea"}', "c")]
    assert kinds(written(ModelResponse(parts), events(parts))) == [
        "message_start",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip


def test_each_piece_is_released_as_it_comes() -> None:
    writer = SIDE.stream(ASKED)
    writer.begin("gpt")
    assert kinds(writer.event(PartStartEvent(index=0, part=TextPart("")))) == []
    first = writer.event(PartDeltaEvent(index=0, delta=TextPartDelta("a")))
    assert kinds(first) == ["content_block_start", "content_block_delta"]
    call = writer.event(PartStartEvent(index=1, part=ToolCallPart("look", "", "c")))
    assert kinds(call) == ["content_block_stop", "content_block_start"]
    piece = writer.event(PartDeltaEvent(index=1, delta=ToolCallPartDelta(args_delta='{"a')))
    assert msgspec.json.decode(piece.partition(b"data: ")[2])["delta"]["partial_json"] == '{"a'


async def test_interleaved_calls_are_joined_whole() -> None:
    parts = [ToolCallPart("look", '{"a":1}', "c0"), ToolCallPart("hear", '{"b":2}', "c1")]
    stream: list[ModelResponseStreamEvent] = [
        PartStartEvent(index=0, part=ToolCallPart("look", '{"a"', "c0")),
        PartEndEvent(index=0, part=parts[0]),
        PartStartEvent(index=1, part=ToolCallPart("hear", '{"b"', "c1")),
        PartDeltaEvent(index=0, delta=ToolCallPartDelta(args_delta=":1}")),
        PartDeltaEvent(index=1, delta=ToolCallPartDelta(args_delta=":2}")),
        PartEndEvent(index=1, part=parts[1]),
    ]
    message = await joined(written(ModelResponse(parts), stream))
    assert [block.to_dict()["input"] for block in message.content] == [{"a": 1}, {"b": 2}]


TEXT = st.text(min_size=1, max_size=12)
ARGS = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), max_size=3)
PART = st.one_of(
    TEXT.map(TextPart),
    TEXT.map(lambda text: ThinkingPart(text, signature="s", provider_name="anthropic")),
    TEXT.map(ThinkingPart),
    st.just(SEALED),
    st.builds(ToolCallPart, TEXT, ARGS, TEXT),
    st.builds(ToolCallPart, TEXT, ARGS.map(lambda args: msgspec.json.encode(args).decode()), TEXT),
)
REASON = st.sampled_from(["stop", "length", "tool_call", "content_filter", None])


@given(st.lists(PART, max_size=5), REASON, st.integers(0, 99), st.integers(0, 9))
async def test_a_stream_says_what_the_whole_answer_says(
    parts: list[ModelResponsePart], reason: None, read_tokens: int, out: int
) -> None:
    usage = RequestUsage(input_tokens=100, cache_read_tokens=read_tokens, output_tokens=out)
    response = ModelResponse(parts, finish_reason=reason, usage=usage)
    plain, streamed = await read(response), await joined(written(response, events(parts)))
    assert streamed.to_dict() == plain.to_dict()
