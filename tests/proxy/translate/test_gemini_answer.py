"""Answers as Gemini's API gives them, plain and streamed: the same, as Google's own client reads them."""

import json
from typing import Any

import pytest
from gemini_forms import Json, asked
from google.genai.types import GenerateContentResponse, Part
from openai_answers import said
from openai_sdk import call, spoken, streamed
from pydantic_ai.messages import (
    ModelResponse,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.usage import RequestUsage

from seawall.dialects import REGISTRY
from seawall.translate.answer import ReplacedError
from seawall.translate.gemini_answer import NOT_GEMINIS
from seawall.translate.gemini_generate import GeminiGenerate
from seawall.types import Facts

SIDE = GeminiGenerate()
THINKS = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
FRAMINGS = pytest.mark.parametrize("framing", ["", "array"])


def plain(response: ModelResponse, **fields: Any) -> Json:
    body: Json = json.loads(SIDE.whole(asked(**fields), response, "other-model"))
    return body


def pieces(body: bytes, framing: str) -> list[Json]:
    """The chunks of a stream, which the dialect's own watch must find whole and released."""
    dialect = REGISTRY["Gemini"]
    watch = dialect.watch(Facts("generate", "m", True, framing=framing))
    assert watch.feed(body) + watch.end() == body
    assert watch.terminal
    if framing:
        found: list[Json] = json.loads(body)
        return found
    return [json.loads(event.removeprefix("data: ")) for event in body.decode().split("\r\n\r\n")[:-1]]


def parts(chunks: list[Json]) -> list[Json]:
    """All that was said, texts that follow each other joined."""
    found: list[Json] = []
    for chunk in chunks:
        for part in chunk["candidates"][0]["content"].get("parts", []):
            if part.get("text") == "":
                continue
            if found and part.keys() == found[-1].keys() and "text" in part:
                found[-1]["text"] += part["text"]
            else:
                found.append(dict(part))
    return found


@pytest.mark.parametrize(("response", "reason", "words"), [
    (said(TextPart("Hello")), "STOP", None),
    (said(TextPart("cut of"), finish_reason="length"), "MAX_TOKENS", None),
    (said(TextPart("so far"), finish_reason="content_filter"), "SAFETY", None),
    (said(finish_reason="content_filter", provider_details={"refusal": "I can not."}), "SAFETY", "I can not."),
    (said(finish_reason="stop", provider_details={"refusal": "I can not."}), "SAFETY", "I can not."),
    (said(ToolCallPart("look", "{}", "c"), finish_reason="tool_call"), "STOP", None),
    (said(TextPart("a"), finish_reason="error"), "OTHER", None),
])  # fmt: skip
@FRAMINGS
def test_an_end_is_told_in_geminis_words(response: ModelResponse, reason: str, words: str | None, framing: str) -> None:
    last = pieces(streamed(SIDE, asked(stream=True, framing=framing), [], response), framing)[-1]
    for answer in (plain(response), last):
        [candidate] = answer["candidates"]
        assert (candidate["finishReason"], candidate.get("finishMessage"), candidate["index"]) == (reason, words, 0)
        read = GenerateContentResponse.model_validate(answer)
        assert read.candidates and read.candidates[0].content and read.candidates[0].content.role == "model"
        assert (read.response_id, read.model_version) == ("01", "other-model")


def test_usage_counts_thoughts_beside_the_answer() -> None:
    usage = RequestUsage(input_tokens=30, cache_read_tokens=10, output_tokens=9, details={"reasoning_tokens": 4})
    assert plain(said(TextPart("a"), usage=usage))["usageMetadata"] == {
        "promptTokenCount": 30, "candidatesTokenCount": 5, "thoughtsTokenCount": 4, "totalTokenCount": 39,
        "cachedContentTokenCount": 10,
    }  # fmt: skip
    assert "usageMetadata" not in plain(said(TextPart("a"), usage=RequestUsage(unmeasured_requests=1)))


async def test_thoughts_are_told_only_to_those_who_ask() -> None:
    response = said(ThinkingPart("hm", signature="sealed", provider_name="anthropic"), TextPart("so"))
    events = [
        PartStartEvent(index=0, part=ThinkingPart("h")), PartStartEvent(index=0, part=ThinkingPart("hm")),
        PartStartEvent(index=1, part=TextPart("so")),
    ]  # fmt: skip
    for fields, wanted in (({}, [{"text": "so"}]), (THINKS, [{"text": "hm", "thought": True}, {"text": "so"}])):
        assert plain(response, **fields)["candidates"][0]["content"]["parts"] == wanted
        stream = streamed(SIDE, asked(stream=True, **fields), events, response)
        assert parts(pieces(stream, "")) == wanted


@FRAMINGS
async def test_calls_are_told_whole_and_in_order(framing: str) -> None:
    events, response = await spoken([
        "I ", "look.", call(0, "look", '{"at"', "call#1"), call(0, None, ': "sea"}'), call(1, "hear", "", "call_2"),
    ])  # fmt: skip
    found = parts(pieces(streamed(SIDE, asked(stream=True, framing=framing), events, response), framing))
    assert found == plain(response)["candidates"][0]["content"]["parts"]
    text, look, hear = (Part.model_validate(part) for part in found)
    assert text.text == "I look." and look.function_call and hear.function_call
    assert (look.function_call.args, hear.function_call.args) == ({"at": "sea"}, {})
    # Of a turn's calls Gemini 3 wants the first one signed.
    assert (found[1]["thoughtSignature"], found[2].get("thoughtSignature")) == (NOT_GEMINIS, None)
    assert look.thought_signature == b"skip_thought_signature_validator"
    assert look.function_call.id and look.function_call.id.startswith("call_")


def test_a_call_that_goes_on_behind_the_next_is_told_when_it_is_complete() -> None:
    half, other = ToolCallPart("look", '{"at":', "c1"), ToolCallPart("hear", "{}", "c2")
    whole = ToolCallPart("look", '{"at": 1}', "c1")
    writer = SIDE.stream(asked(stream=True))
    assert writer.begin("m") == writer.event(PartStartEvent(index=0, part=half)) == b""
    assert writer.event(PartEndEvent(index=0, part=half)) == b""
    told = writer.event(PartEndEvent(index=1, part=other))
    assert b'"hear"' in told
    assert writer.event(PartDeltaEvent(index=0, delta=ToolCallPartDelta(args_delta=" 1}"))) == b""
    ended = writer.end(said(whole, other))
    assert b'{"at":1}' in ended and b'"hear"' not in ended


@pytest.mark.parametrize(("args", "told"), [
    ('{"a": 1, "b": [2', {"a": 1, "b": [2]}), ("[1]", {"INVALID_JSON": "[1]"}), ("{,", {"INVALID_JSON": "{,"}),
    (None, {}), ("  ", {}), ({"a": 1}, {"a": 1}),
])  # fmt: skip
def test_arguments_are_an_object_whatever_the_model_said(args: Any, told: Json) -> None:
    response = said(ToolCallPart("look", args, "c"), finish_reason="length")
    assert plain(response)["candidates"][0]["content"]["parts"][0]["functionCall"]["args"] == told
    assert parts(pieces(streamed(SIDE, asked(stream=True), [], response), ""))[0]["functionCall"]["args"] == told


def test_what_was_told_is_not_taken_back() -> None:
    writer = SIDE.stream(asked(stream=True))
    writer.event(PartStartEvent(index=0, part=TextPart("Hello")))
    with pytest.raises(ReplacedError):
        writer.event(PartStartEvent(index=0, part=TextPart("Bye")))


@FRAMINGS
def test_an_answer_that_says_nothing_is_whole_all_the_same(framing: str) -> None:
    assert "parts" not in plain(said())["candidates"][0].get("content", {})
    [only] = pieces(streamed(SIDE, asked(stream=True, framing=framing), [], said()), framing)
    assert only["candidates"][0]["finishReason"] == "STOP"


def test_half_a_character_is_passed_on_as_it_came() -> None:
    assert json.loads(SIDE.whole(asked(), said(TextPart("\ud83d")), "m"))
