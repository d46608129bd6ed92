"""Recorded streams, joined, say what the SDKs' own accumulators make of them; and whatever was recorded can be told in
the other form and back without a loss. Without the recordings these tests are skipped.
"""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from anthropic._models import construct_type_unchecked
from anthropic.lib.streaming._beta_messages import accumulate_event
from anthropic.types.beta import BetaRawMessageStreamEvent
from openai import omit
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from recorded import ABSENT, WIRE, Recording, recordings

from seawall.dialects import REGISTRY
from seawall.dialects.base import Dialect, Form
from seawall.dialects.sse import whole_events
from seawall.types import Facts, Head

pytestmark = pytest.mark.skipif(not WIRE.is_dir(), reason=ABSENT)

GENERATED = ("chat", "responses", "messages")
HOSTS = {"api.anthropic.com": "Anthropic"}
NOT_OURS = ("amazonaws", "googleapis", "cohere", "voyageai", "x.ai")


def dialect_of(recording: Recording) -> Dialect:
    return REGISTRY[HOSTS.get(recording.host, "OpenAI")]


def facts_of(recording: Recording) -> Facts:
    return dialect_of(recording).read(Head("POST", recording.target, []), recording.target, recording.body)


def generated(*, stream: bool) -> list[Recording]:
    return [
        r
        for r in recordings()
        if r.stream is stream and not r.failed and r.method == "POST"
        and not any(part in r.host for part in NOT_OURS) and facts_of(r).operation in GENERATED
    ]  # fmt: skip


STREAMS = generated(stream=True) if WIRE.is_dir() else []
PLAIN = generated(stream=False) if WIRE.is_dir() else []


def name(recording: Recording) -> str:
    return f"{recording.cassette.rpartition('/')[2]}-{recording.nth}"


each_stream = pytest.mark.parametrize("stream", STREAMS, ids=name)
each_plain = pytest.mark.parametrize("plain", PLAIN, ids=name)


# Streams that are kept as they are, or not at all: parts of a thought in lists (Mistral), no finish reason (Snowflake).
ONLY_AS_STREAMS = {
    "test_mistral_model_thinking_part_iter.yaml-0",
    "test_snowflake_model_streaming.yaml-0",
    "test_snowflake_thinking_streaming.yaml-0",
}


def accumulated(stream: Recording) -> Any:
    """By the SDK, as JSON."""
    found = [json.loads(data) for _, data in whole_events(stream.answer) if data and not data.startswith(b"[DONE]")]
    match facts_of(stream).operation:
        case "chat":
            state: Any = ChatCompletionStreamState()
            for chunk in found:
                state.handle_chunk(ChatCompletionChunk.construct(**chunk))
            return state.get_final_completion().to_dict(mode="json")
        case "responses":
            responses: Any = ResponseStreamState(input_tools=[], text_format=omit)
            ends = [
                event
                for one in found
                for event in responses.handle_event(construct_type(type_=ResponseStreamEvent, value=one))
                if event.type in ("response.completed", "response.incomplete")
            ]
            return ends[-1].response.to_dict(mode="json")
        case _:
            message: Any = None
            buffers: dict[int, bytes] = {}
            for one in found:
                if one["type"] != "ping":
                    event: Any = construct_type_unchecked(type_=BetaRawMessageStreamEvent, value=one)
                    message = accumulate_event(
                        event=event, current_snapshot=message, json_bufs=buffers, request_headers=httpx.Headers()
                    )
            return message.to_dict(mode="json")


def without_nothing(value: Any) -> Any:
    """Without members that are null or empty, which the SDKs add or leave out as their models have them."""
    if isinstance(value, dict):
        return {name: without_nothing(one) for name, one in value.items() if one is not None and one != []}
    return [without_nothing(one) for one in value] if isinstance(value, list) else value


def as_the_sdk_has_it(ours: Any, theirs: Any) -> tuple[Any, Any]:
    """Less what openai-python's accumulator gets wrong of compatible servers' chunks: roles that are said in each, a
    usage that is not in the last one, reasoning of two types with one index, members of choices that it does not know,
    and the places of tool calls."""
    for our, their in zip(ours.get("choices", []), theirs.get("choices", []), strict=True):
        assert set(their["message"]["role"].split("assistant")) == {""}
        their["message"]["role"] = "assistant"
        for number, call in enumerate(their["message"].get("tool_calls") or []):
            assert call.pop("index") == number
        for name in ("native_finish_reason", "seed"):
            our.pop(name, None)
            their.pop(name, None)
        if len(our["message"].get("reasoning_details") or []) > 1:
            del our["message"]["reasoning_details"], their["message"]["reasoning_details"]
    if "choices" in ours and not theirs.get("usage"):
        assert ours.pop("usage")["prompt_tokens"] > 0
    return without_nothing(ours), without_nothing(theirs)


def test_there_is_something_to_test() -> None:
    assert len(STREAMS) >= 30
    assert len(PLAIN) >= 100


@each_stream
def test_a_recorded_stream_joined_is_what_its_sdk_makes_of_it(stream: Recording) -> None:
    joined = dialect_of(stream).replayed(facts_of(stream), stream.answer, Form.STREAM_WITH_USAGE, Form.PLAIN)
    assert (joined is None) == (name(stream) in ONLY_AS_STREAMS)
    if joined is not None:
        ours, theirs = as_the_sdk_has_it(json.loads(joined), accumulated(stream))
        assert ours == theirs


@each_stream
def test_a_recorded_stream_is_replayed_event_for_event(stream: Recording) -> None:
    for form in (Form.STREAM, Form.STREAM_WITH_USAGE):
        assert dialect_of(stream).replayed(facts_of(stream), stream.answer, form, form) is stream.answer


def forms(recording: Recording) -> tuple[Form, Form]:
    chat = facts_of(recording).operation == "chat"
    return Form.PLAIN, Form.STREAM_WITH_USAGE if chat else Form.STREAM


def positions_removed(answer: Any) -> Any:
    for choice in answer.get("choices", []):
        for call in choice["message"].get("tool_calls") or []:
            call.pop("index", None)
    return answer


def can_be_told(plain: Recording) -> bool:
    """Not responses that are still at work, nor what has no usage, or no finish reason (Snowflake)."""
    whole = json.loads(plain.answer)
    if not all(choice["finish_reason"] for choice in whole.get("choices", [])):
        return False
    return bool(whole.get("usage")) and whole.get("status", "completed") == "completed"


def in_parts(plain: Recording) -> bool:
    """Mistral's thoughts, which streams tell in fragments of lists."""
    choices = json.loads(plain.answer).get("choices", [])
    return any(isinstance(choice["message"].get("content"), list) for choice in choices)


@each_plain
def test_a_recorded_plain_answer_told_as_a_stream_and_joined_is_the_same(plain: Recording) -> None:
    dialect, facts = dialect_of(plain), facts_of(plain)
    have, want = forms(plain)
    told = dialect.replayed(facts, plain.answer, have, want)
    assert (told is not None) == can_be_told(plain)
    if told is None:
        return
    watch = dialect.watch(facts)
    assert watch.feed(told) + watch.end() == told
    assert watch.terminal
    assert watch.usage == dialect.answered(facts, plain.answer)[1]
    joined = dialect.replayed(facts, told, want, have)
    assert (joined is None) == in_parts(plain)
    if joined is not None:
        assert positions_removed(json.loads(joined)) == positions_removed(json.loads(plain.answer))


@each_plain
def test_a_recorded_plain_answer_told_as_a_stream_is_the_same_to_its_sdk(plain: Recording) -> None:
    told = dialect_of(plain).replayed(facts_of(plain), plain.answer, *forms(plain))
    if told is not None and not in_parts(plain):
        whole = positions_removed(json.loads(plain.answer))
        ours, theirs = as_the_sdk_has_it(whole, accumulated(replace(plain, answer=told)))
        assert ours == theirs


@each_stream
def test_recorded_streams_may_be_kept_where_their_end_is_known(stream: Recording) -> None:
    found = dialect_of(stream).finish(facts_of(stream), stream.answer, Form.STREAM)
    assert (not found.unfinished) == (name(stream) not in ONLY_AS_STREAMS)


@each_plain
def test_recorded_plain_answers_may_be_kept_where_they_ended_well(plain: Recording) -> None:
    found = dialect_of(plain).finish(facts_of(plain), plain.answer, Form.PLAIN)
    whole = json.loads(plain.answer)
    reasons = {choice["finish_reason"] for choice in whole.get("choices", [])}
    reasons |= {whole[name] for name in ("stop_reason", "status") if name in whole}
    assert (not found.unfinished) == (reasons <= {"stop", "tool_calls", "end_turn", "tool_use", "completed"})
    calls = any(
        message in plain.answer for message in (b'"tool_calls": [{', b'tool_use", ', b'"type": "function_call"')
    )
    assert found.unfinished or found.calls_tools == calls or not calls
