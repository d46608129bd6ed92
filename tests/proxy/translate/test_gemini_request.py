"""A Gemini request as pydantic-ai's words: what is carried, what is left out, and what is refused by its name."""

import base64
import json
from typing import Any

import pytest
from gemini_forms import HI, SIDE, Json, asked, facts, read
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
    VideoUrl,
)
from pydantic_ai.settings import ToolOrOutput

from seawall.translate import gemini_content, gemini_request, gemini_tools
from seawall.translate.calls import fitting

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
LOOK: Json = {"name": "look", "parameters": {"type": "OBJECT", "properties": {"at": {"type": "STRING"}}}}
TOOLS: list[Json] = [{"functionDeclarations": [LOOK, {"name": "hear"}]}]


def parts(*given: Json, role: str = "user") -> list[Json]:
    return [{"role": role, "parts": list(given)}]


def config(**fields: Any) -> Json:
    return {"generationConfig": fields}


def calling(**fields: Any) -> Json:
    return {"tools": TOOLS, "toolConfig": {"functionCallingConfig": fields}}


def schema(**fields: Any) -> Json:
    return config(responseMimeType="application/json", **fields)


def prompt(request: Any) -> Any:
    [message] = request.messages
    [part] = message.parts
    assert isinstance(part, UserPromptPart)
    return part.content


def test_model_stream_and_framing_are_those_of_the_path() -> None:
    request = asked(stream=True, framing="array", model="models/other")
    assert (request.model, request.stream, request.framing, request.unfit) == ("gemini-2.5-flash", True, "array", ())


@pytest.mark.parametrize(("given", "settings"), [
    ({"temperature": 0.5, "topP": 1, "topK": 40.0}, {"temperature": 0.5, "top_p": 1, "top_k": 40}),
    ({"max_output_tokens": "99", "stop_sequences": ["x"]}, {"max_tokens": 99, "stop_sequences": ["x"]}),
    ({"seed": 3, "presencePenalty": 1, "frequencyPenalty": -1},
     {"seed": 3, "presence_penalty": 1, "frequency_penalty": -1}),
    ({"thinkingConfig": {"thinkingBudget": 0}}, {"thinking": False}),
    ({"thinkingConfig": {"thinkingBudget": -1}}, {"thinking": True}),
    ({"thinkingConfig": {"thinking_budget": 9000}}, {"thinking": "medium"}),
    ({"thinkingConfig": {"thinkingBudget": 99999}}, {"thinking": "xhigh"}),
    ({"thinkingConfig": {"thinkingLevel": "low"}}, {"thinking": "low"}),
    ({"thinkingConfig": {"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}}, {}),
    ({"candidateCount": 1, "responseLogprobs": False, "responseModalities": ["TEXT"], "audioTimestamp": None}, {}),
])  # fmt: skip
def test_settings_are_carried(given: Json, settings: Json) -> None:
    request = asked(**config(**given))
    assert (request.unfit, request.settings) == ((), settings)


def test_thoughts_are_told_to_those_who_ask() -> None:
    assert asked(**config(thinkingConfig={"includeThoughts": True})).thoughts
    assert not asked(**config(thinkingConfig={"thinkingBudget": 99})).thoughts


@pytest.mark.parametrize(("tier", "known"), [("standard", "default"), ("FLEX", "flex"), ("priority", "priority")])
def test_a_service_tier_is_said_in_the_common_words(tier: str, known: str) -> None:
    assert asked(serviceTier=tier).settings == {"service_tier": known}


@pytest.mark.parametrize(("fields", "choice"), [
    ({"mode": "AUTO"}, "auto"), ({"mode": "NONE"}, "none"), ({"mode": "ANY"}, "required"),
    ({"mode": "any", "allowedFunctionNames": ["look"]}, ["look"]), ({"mode": "VALIDATED"}, "auto"),
    ({"mode": "VALIDATED", "allowedFunctionNames": ["hear"]}, ToolOrOutput(function_tools=["hear"])),
    ({"streamFunctionCallArguments": True}, "auto"),
])  # fmt: skip
def test_a_choice_among_functions(fields: Json, choice: object) -> None:
    request = asked(**calling(**fields))
    assert (request.unfit, request.settings) == ((), {"tool_choice": choice})


def test_functions_are_declared_in_either_kind_of_schema() -> None:
    plain = {"type": "object", "properties": {"a_b": {"type": "integer"}}}
    declared = [
        {**LOOK, "description": "looks", "response": {"type": "STRING"}, "behavior": "BLOCKING"},
        {"name": "hear", "parameters_json_schema": plain},
    ]
    request = asked(tools={"function_declarations": declared})
    assert request.unfit == ()
    look, hear = request.parameters.function_tools
    assert look.parameters_json_schema == {"type": "object", "properties": {"at": {"type": "string"}}}
    assert (look.description, look.return_schema, look.include_return_schema) == ("looks", {"type": "string"}, True)
    # Names within a schema are the agent's own.
    assert (hear.parameters_json_schema, hear.include_return_schema) == (plain, None)


def test_geminis_own_schema_becomes_a_json_schema() -> None:
    own = {
        "type": "OBJECT", "title": "Place", "propertyOrdering": ["b", "a_b"], "required": ["a_b"], "minProperties": "1",
        "properties": {
            "a_b": {"type": "STRING", "format": "enum", "enum": ["x", "y"], "nullable": True, "example": "x"},
            "b": {"type": "ARRAY", "items": {"type": "INTEGER", "enum": ["1", "2"]}, "max_items": "9"},
            "c": {"anyOf": [{"type": "NUMBER", "minimum": 0.5}, {"$ref": "#/defs/d"}], "nullable": True},
        },
        "defs": {"d": {"type": "BOOLEAN"}},
        "additionalProperties": False,
    }  # fmt: skip
    request = asked(**schema(responseSchema=own))
    output = request.parameters.output_object
    assert request.unfit == () and output is not None
    assert (request.parameters.output_mode, output.strict) == ("native", True)
    assert list(output.json_schema["properties"]) == ["b", "a_b", "c"]
    assert output.json_schema == {
        "type": "object", "title": "Place", "required": ["a_b"], "minProperties": 1, "additionalProperties": False,
        "properties": {
            "a_b": {"type": ["string", "null"], "enum": ["x", "y", None], "examples": ["x"]},
            "b": {"type": "array", "items": {"type": "integer", "enum": [1, 2]}, "maxItems": 9},
            "c": {"anyOf": [{"type": "number", "minimum": 0.5}, {"$ref": "#/$defs/d"}, {"type": "null"}]},
        },
        "$defs": {"d": {"type": "boolean"}},
    }  # fmt: skip


def test_any_json_is_asked_for_in_words() -> None:
    request = asked(**config(responseMimeType="application/json"), systemInstruction={"parts": [{"text": "Be brief."}]})
    told = [part.content for part in request.parameters.instruction_parts or ()]
    assert (request.unfit, told) == ((), ["Be brief.", gemini_request.JSON_MODE])
    assert request.parameters.output_object is None


def test_files_are_carried_inline_and_by_public_links() -> None:
    alphabet = base64.urlsafe_b64encode(b"\xfb\xff").decode().rstrip("=")
    request = asked(
        parts(
            {"text": "what?"},
            {
                "inlineData": {"mimeType": "image/png", "data": PNG},
                "mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"},
            },
            {"inline_data": {"mime_type": "audio/mp3", "data": alphabet}, "partMetadata": {"a": 1}},
            {"fileData": {"fileUri": "https://sea.test/a", "mimeType": "image/jpg", "displayName": "a"}},
            {"fileData": {"fileUri": "https://sea.test/a.pdf", "mimeType": "application/pdf"}},
            {"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}},
        )
    )
    assert request.unfit == ()
    what, image, sound, link, paper, film = prompt(request)
    assert what == "what?"
    assert isinstance(image, BinaryContent) and image.data == base64.b64decode(PNG)
    assert image.vendor_metadata == {"detail": "high"}
    assert (sound.data, sound.media_type) == (b"\xfb\xff", "audio/mpeg")
    assert isinstance(link, ImageUrl) and link.media_type == "image/jpeg"
    assert isinstance(paper, DocumentUrl) and isinstance(film, VideoUrl)


def test_a_conversation_with_thoughts_calls_and_results() -> None:
    request = asked([
        *parts({"text": "hi"}),
        *parts({"text": "hm", "thought": True, "thoughtSignature": "AAAA"}, {"text": ""}, {"text": "so"}, role="model"),
        *parts({"functionCall": {"name": "look", "args": {"at": 1}, "id": "c#1"}, "thoughtSignature": "AA"},
               {"function_call": {"name": "look"}}, role="model"),
        *parts({"functionResponse": {"name": "look", "response": {"error": "blind"}}}, role="function"),
        *parts({"functionResponse": {"name": "look", "id": "c#1", "response": {"output": 1},
                                     "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}}),
    ])  # fmt: skip
    assert request.unfit == ()
    _, said, heard = request.messages
    assert isinstance(said, ModelResponse) and isinstance(heard, ModelRequest)
    thought, text, first, second = said.parts
    assert isinstance(thought, ThinkingPart) and (thought.content, thought.signature) == ("hm", None)
    assert isinstance(text, TextPart) and text.content == "so"
    assert isinstance(first, ToolCallPart) and isinstance(second, ToolCallPart)
    assert (first.tool_call_id, first.args) == (fitting("c#1"), {"at": 1})
    failed, good = heard.parts
    assert isinstance(failed, ToolReturnPart) and isinstance(good, ToolReturnPart)
    # Without an id it is the first of that name which has none either.
    assert (failed.tool_call_id, failed.outcome, failed.content) == (second.tool_call_id, "failed", "blind")
    assert good.tool_call_id == first.tool_call_id != second.tool_call_id
    assert good.content[0] == {"output": 1} and isinstance(good.content[1], BinaryContent)


UNFIT: list[tuple[Json, str]] = [
    ({"contents": []}, "contents: is empty"),
    ({"contents": parts()}, "contents[0].parts: say nothing"),
    ({"contents": parts({"text": ""})}, "contents[0].parts: say nothing"),
    ({"contents": parts({"text": "a"}, role="system")}, 'contents[0].role: "system" is neither user nor model'),
    ({"contents": [*HI, *parts({"text": "I"}, role="model")]},
     "contents: ends with the model's words, which other providers do not continue"),
    ({"contents": parts({"functionResponse": {"name": "look", "response": {}}})},
     "contents[0].parts[0].functionResponse.name: answers no functionCall before it"),
    ({"contents": parts({"fileData": {"fileUri": "gs://bucket/a.png", "mimeType": "image/png"}})},
     "contents[0].parts[0].fileData.fileUri: known to the account that holds the file only"),
    ({"contents": parts({"fileData": {
        "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a", "mimeType": "image/png"}})},
     "contents[0].parts[0].fileData.fileUri: known to the account that holds the file only"),
    ({"contents": parts({"fileData": {"fileUri": "https://sea.test/a"}})},
     "contents[0].parts[0].fileData.mimeType: is missing"),
    ({"contents": parts({"inlineData": {"mimeType": "image/png", "data": "?"}})},
     "contents[0].parts[0].inlineData.data: is not base64"),
    ({"contents": parts({"text": "a", "videoMetadata": {"fps": 1}})},
     "contents[0].parts[0].videoMetadata: has no counterpart"),
    ({"contents": [*HI, *parts({"executableCode": {"code": "1"}}, role="model"), *HI]},
     "contents[1].parts[0].executableCode: belongs to the provider that made it"),
    ({"tools": [{"googleSearch": {}}]}, "tools[0].googleSearch: is run by the provider itself"),
    ({"tools": [{"code_execution": {}}]}, "tools[0].codeExecution: is run by the provider itself"),
    ({"tools": [{"functionDeclarations": [{"name": "a", "behavior": "NON_BLOCKING"}]}]},
     'tools[0].functionDeclarations[0].behavior: "NON_BLOCKING": other providers wait for a result'),
    (calling(mode="ANY", allowedFunctionNames=["leap"]),
     "toolConfig.functionCallingConfig.allowedFunctionNames: name a function that is not there"),
    (calling(mode="AUTO", allowedFunctionNames=["look"]),
     "toolConfig.functionCallingConfig.allowedFunctionNames: are not for the mode AUTO"),
    ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
     "toolConfig.functionCallingConfig.mode: asks for a call where there are no functions"),
    (config(candidateCount=2), "generationConfig.candidateCount: other providers give one answer at a time"),
    (config(responseLogprobs=True), "generationConfig.responseLogprobs: probabilities of tokens are not carried"),
    (config(responseModalities=["IMAGE"]), "generationConfig.responseModalities: only text is carried"),
    (config(speechConfig={}), "generationConfig.speechConfig: has no counterpart"),
    (config(thinkingConfig={"thinkingBudget": 1, "thinkingLevel": "LOW"}),
     "generationConfig.thinkingConfig.thinkingLevel: contradicts thinkingBudget"),
    (config(topK=1.5), "generationConfig.topK: is no integer"),
    (config(responseMimeType="text/x.enum", responseSchema={"type": "STRING", "enum": ["a"]}),
     'generationConfig.responseMimeType: "text/x.enum" is not known to other providers'),
    (config(responseSchema={"type": "OBJECT"}), "generationConfig.responseSchema: is for the type application/json"),
    (schema(responseSchema={"type": "ARRAY", "items": {"type": "STRING"}}),
     "generationConfig.responseSchema: other providers' answers by schema are objects"),
    (schema(responseJsonSchema={"type": "object"}),
     "generationConfig.responseJsonSchema: other providers keep to no schema with objects whose fields are not listed"),
    (schema(responseSchema={"type": "OBJECT", "properties": {"a": {"type": "STRING", "new": 1}}}),
     "generationConfig.responseSchema.properties.a.new: has no counterpart"),
    ({"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]},
     "safetySettings[0].threshold: other providers have no such filter"),
    ({"cachedContent": "cachedContents/a"}, "cachedContent: is known to the account that holds it only"),
    ({"modelArmorConfig": {}}, "modelArmorConfig: has no counterpart"),
    ({"generationConfig": {}, "generation_config": {}}, "generationConfig: is there twice"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "reason"), UNFIT, ids=[reason for _, reason in UNFIT])
def test_what_cannot_be_carried_is_named(fields: Json, reason: str) -> None:
    assert read({"contents": HI, **fields}).unfit == (reason,)


def test_what_is_harmless_is_left_out() -> None:
    off = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": word} for word in ("OFF", "BLOCK_NONE")]
    fields = {name: {} for name in gemini_request.LEFT_OUT}
    request = asked(
        parts({"text": "a", **dict.fromkeys(gemini_content.LEFT_OUT, "b")}),
        safetySettings=off,
        toolConfig={
            **{name: {} for name in gemini_tools.LEFT_OUT},
            "functionCallingConfig": dict.fromkeys(gemini_tools.LEFT_OUT_OF_CALLING, True),
        },
        **fields,
    )
    assert request.unfit == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "contents", "parts", "role", "text", "inlineData", "functionCall", "function_response", "name", "response", "tools",
    "functionDeclarations", "parameters", "properties", "type", "generationConfig", "thinkingConfig", "topK", "args",
    "responseSchema", "anyOf", "items", "enum", "systemInstruction", "toolConfig", "functionCallingConfig", "mode",
    "safetySettings", "fileData", "fileUri", "mimeType", "data", "thought", "responseMimeType",
]  # fmt: skip
NAMED = st.recursive(
    JSON | st.sampled_from(["OBJECT", "model", "user", "ANY", "application/json", "https://[x", "http://a/"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(NAMES), NAMED, max_size=5))
def test_no_request_makes_the_reader_raise(body: Json) -> None:
    assert isinstance(read(body).unfit, tuple)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"contents": ' + b"[" * 5000])
def test_what_is_no_json_object_is_unfit(body: bytes) -> None:
    assert SIDE.read(body, facts(), created=0, id_="").unfit[0] == "body: is no JSON object"


def test_a_schema_without_end_is_unfit() -> None:
    deep: Json = {"type": "STRING"}
    for _ in range(100):
        deep = {"type": "ARRAY", "items": deep}
    reasons = read(json.loads(json.dumps({"contents": HI, **schema(responseSchema=deep)}))).unfit
    assert any(reason.endswith("is nested too deeply") for reason in reasons)
