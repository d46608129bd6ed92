"""A Gemini request that is read and asked of a Gemini model again is the same request: nothing that both sides can say
is lost. What pydantic-ai writes differently means the same in the API (`normal`).
"""

import base64
from typing import Any

import pytest
from gemini_forms import Json, normal, read, rendered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import ABSENT, WIRE, Recording, recordings

from seawall.translate.gemini_request import JSON_MODE

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
DATA = st.binary(min_size=1, max_size=8).map(lambda data: base64.urlsafe_b64encode(data).decode())
TEXT = WORDS.map(lambda text: {"text": text})
BLOB = st.builds(
    lambda media, data: {"inlineData": {"mimeType": media, "data": data}},
    st.sampled_from(["image/png", "image/jpeg", "application/pdf", "audio/wav", "text/plain"]), DATA,
)  # fmt: skip
ARGS = st.dictionaries(WORDS, st.integers(-9, 9) | WORDS | st.lists(WORDS, max_size=2), max_size=2)
# An error alone is a failure, which other providers are told of as such.
RESULT = st.dictionaries(WORDS.filter(lambda name: name != "error"), WORDS | st.integers(-9, 9), max_size=2)
NAMES = ["look", "hear"]
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
FUNCTIONS: list[Json] = [
    {"name": "look", "description": "looks", "parametersJsonSchema": SCHEMA},
    {"name": "hear", "description": "hears", "parametersJsonSchema": {"type": "object", "properties": {}}},
]


@st.composite
def turns(draw: st.DrawFn, tools: bool) -> list[Json]:
    named = draw(st.booleans())
    found: list[Json] = [{"role": "user", "parts": draw(st.lists(TEXT | BLOB, min_size=1, max_size=3))}]
    for number in range(draw(st.integers(0, 2))):
        thoughts = draw(st.lists(WORDS.map(lambda text: {"text": text, "thought": True}), max_size=1))
        names = draw(st.lists(st.sampled_from(NAMES), max_size=3)) if tools else []
        calls: list[Json] = [{"functionCall": {"name": name, "args": draw(ARGS)}} for name in names]
        results: list[Json] = [{"functionResponse": {"name": name, "response": draw(RESULT)}} for name in names]
        for index, (call, result) in enumerate(zip(calls, results, strict=True)):
            call["thoughtSignature"] = "AAAA"
            if named:
                call["functionCall"]["id"] = result["functionResponse"]["id"] = f"{number}-{index}"
        said = draw(st.lists(TEXT, min_size=0 if calls else 1, max_size=2))
        found.append({"role": "model", "parts": thoughts + said + calls})
        found.append({"role": "user", "parts": results + draw(st.lists(TEXT, min_size=not results, max_size=2))})
    return found


@st.composite
def requests(draw: st.DrawFn) -> Json:
    tools = draw(st.booleans())
    body: Json = {"contents": draw(turns(tools))}
    config = draw(st.fixed_dictionaries({}, optional={
        "temperature": st.floats(0, 2),
        "topP": st.floats(0, 1),
        "topK": st.integers(1, 50),
        "maxOutputTokens": st.integers(1, 9000),
        "stopSequences": st.lists(WORDS, min_size=1, max_size=3),
        "seed": st.integers(0, 99),
        "presencePenalty": st.floats(-2, 2),
        "frequencyPenalty": st.floats(-2, 2),
        "candidateCount": st.just(1),
    }))  # fmt: skip
    if config:
        body["generationConfig"] = config
    if draw(st.booleans()):
        body["systemInstruction"] = {"parts": draw(st.lists(TEXT, min_size=1, max_size=1))}
    if tools:
        body["tools"] = [{"functionDeclarations": FUNCTIONS}]
        mode = draw(st.sampled_from([None, "AUTO", "NONE", "ANY"]))
        if mode is not None:
            body["toolConfig"] = {"functionCallingConfig": {"mode": mode}}
            if mode == "ANY" and draw(st.booleans()):
                body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] = ["look"]
    return body


def form(body: Json) -> Json:
    found = normal(body)
    # Nothing but one candidate can be asked for.
    config = found["generationConfig"]
    config.pop("candidateCount", None)
    if config.keys() & {"responseMimeType", "responseSchema", "responseJsonSchema"} == {"responseMimeType"}:
        # Any JSON is asked for in words.
        del config["responseMimeType"]
        found["systemInstruction"] = [*found.get("systemInstruction", []), JSON_MODE]
    return found


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests())
async def test_a_request_survives_the_way_through_pydantic_ai(body: Json) -> None:
    asked = read(body)
    assert asked.unfit == ()
    found = await rendered(asked)
    if form(body)["calling"][0] == "NONE":
        # Where nothing may be called, pydantic-ai offers nothing.
        found["tools"], found["toolConfig"] = body["tools"], body["toolConfig"]
    assert form(found) == form(body)


async def test_an_answer_by_schema_survives() -> None:
    schema = {**SCHEMA, "additionalProperties": False}
    config = {"responseMimeType": "application/json", "responseJsonSchema": schema}
    asked = read({"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": config})
    assert asked.unfit == ()
    assert (await rendered(asked))["generationConfig"] == {"responseModalities": ["TEXT"], **config}


SENSIBLE = (
    "is run by the provider itself", "belongs to the provider that made it", "objects whose fields are not listed",
    "modelArmorConfig: has no counterpart", "other providers have no such filter", "logprobs: has no counterpart",
    "probabilities of tokens are not carried", "known to the account that holds the file only",
)  # fmt: skip


def recorded() -> list[Any]:
    found = [
        pytest.param(recording, id=f"{recording.cassette}-{recording.nth}")
        for recording in (recordings() if WIRE.is_dir() else ())
        if "enerateContent" in recording.target and recording.json
    ]
    return found or [pytest.param(None, marks=pytest.mark.skip(ABSENT))]


@pytest.mark.parametrize("recording", recorded())
async def test_recorded_requests_come_back_or_are_unfit_for_a_reason(recording: Recording) -> None:
    asked = read(recording.json)
    if asked.unfit:
        assert all(reason.endswith(SENSIBLE) for reason in asked.unfit)
        return
    assert form(await rendered(asked)) == form(recording.json)


def test_most_recorded_requests_are_carried() -> None:
    carried = [not read(param.values[0].json).unfit for param in recorded() if param.values[0]]
    if not carried:
        pytest.skip(ABSENT)
    assert sum(carried) > len(carried) * 0.6
