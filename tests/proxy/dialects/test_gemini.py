"""Gemini: what is read from paths and bodies, what its errors mean and its streams say, and where its model stands."""

import json
from typing import Any

import pytest

from seawall.dialects import REGISTRY
from seawall.dialects.base import Watch
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety, Usage

GEMINI = REGISTRY["Gemini"]
SAFE, BILLED, UNSAFE = Safety.SAFE, Safety.SAFE_BILLED, Safety.UNSAFE
JSON: Headers = [(b"content-type", b"application/json; charset=UTF-8")]
VERTEX = "/v1/projects/p/locations/global/publishers/google/"
HI = {"contents": [{"parts": [{"text": "hi"}]}]}


def read(target: str, body: object = HI, method: str = "POST") -> Facts:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return GEMINI.read(Head(method, target, []), target, data)


# -- facts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/v1beta/", "/v1/", "/", "/v1beta1" + VERTEX[3:], VERTEX])
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("g-1:generateContent", Facts("generate", "g-1", safety=BILLED)),
        ("g-1:streamGenerateContent?alt=sse", Facts("generate", "g-1", True, BILLED)),
        ("g-1:streamGenerateContent?key=x&alt=sse", Facts("generate", "g-1", True, BILLED)),
        ("g-1:streamGenerateContent?%24alt=sse;enum-encoding=int", Facts("generate", "g-1", True, BILLED)),
        ("g-1:streamGenerateContent", Facts("generate", "g-1", True, BILLED, framing="array")),
        ("g-1:streamGenerateContent?alt=json&key=sse", Facts("generate", "g-1", True, BILLED, framing="array")),
        ("g-1:embedContent", Facts("embeddings", "g-1", safety=BILLED)),
        ("g-1:batchEmbedContents", Facts("embeddings", "g-1", safety=BILLED)),
        ("g-1:countTokens", Facts("count_tokens", "g-1", safety=BILLED)),
        ("text-1@002:predict", Facts("predict", "text-1@002", safety=BILLED)),
        ("a%20b:generateContent", Facts("generate", "a b", safety=BILLED)),
        ("g-1:batchGenerateContent", Facts("other", "g-1", pinned=True)),
        ("g-1:predictLongRunning", Facts("other", "g-1", pinned=True)),
        ("g-1:somethingNew", Facts("other", "g-1", pinned=True)),
    ],
)
def test_model_operation_and_stream_come_from_the_path(prefix: str, call: str, expected: Facts) -> None:
    assert read(f"{prefix}models/{call}") == expected


@pytest.mark.parametrize(
    ("body", "safety", "pinned"),
    [
        (HI, BILLED, False),
        ({**HI, "tools": [{"functionDeclarations": [{"name": "googleSearch"}]}]}, BILLED, False),
        ({**HI, "tools": [{"function_declarations": []}, {"computerUse": {}}]}, BILLED, False),
        ({**HI, "tools": [{"functionDeclarations": [], "googleSearch": None}]}, BILLED, False),
        ({**HI, "tools": None}, BILLED, False),
        ({**HI, "tools": [{"googleSearch": {}}]}, UNSAFE, False),
        ({**HI, "tools": [{"functionDeclarations": []}, {"google_search": {}}]}, UNSAFE, False),
        ({**HI, "tools": [{"codeExecution": {}}]}, UNSAFE, False),
        ({**HI, "tools": [{"urlContext": {}}]}, UNSAFE, False),
        ({**HI, "tools": [{"somethingNew": {}}]}, UNSAFE, False),
        ({**HI, "tools": "odd"}, UNSAFE, False),
        ({**HI, "cachedContent": "cachedContents/abc"}, BILLED, True),
        ({**HI, "cached_content": "cachedContents/abc"}, BILLED, True),
        ({**HI, "cachedContent": None}, BILLED, False),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "https://g.test/v1beta/files/abc"}}]}]}, BILLED, True),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "gs://bucket/files/abc"}}]}]}, BILLED, False),
        ({"contents": [{"parts": [{"text": '"fileUri": "https://g.test/v1beta/files/abc"'}]}]}, BILLED, False),
        (b"not json", UNSAFE, False),
        (b"", UNSAFE, False),
    ],
)
def test_replay_safety_and_pins(body: object, safety: Safety, pinned: bool) -> None:
    facts = read("/v1beta/models/g-1:generateContent", body)
    assert (facts.model, facts.operation, facts.safety, facts.pinned) == ("g-1", "generate", safety, pinned)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1beta/models", Facts("other", safety=SAFE)),
        ("GET", "/v1beta/models/g-1?key=x", Facts("other", safety=SAFE)),
        ("GET", VERTEX + "models/g-1", Facts("other", safety=SAFE)),
        ("GET", "/v1beta/files/abc", Facts("other", safety=SAFE, pinned=True)),
        ("GET", "/v1beta/tunedModels/abc", Facts("other", safety=SAFE, pinned=True)),
        ("POST", "/v1beta/cachedContents", Facts("other", pinned=True)),
        ("POST", "/upload/v1beta/files?uploadType=resumable", Facts("other", pinned=True)),
        ("POST", "/v1beta/tunedModels", Facts("other", pinned=True)),
        ("POST", "/v1beta/interactions", Facts("other", pinned=True)),
        ("DELETE", "/v1beta/files/abc", Facts("other", pinned=True)),
        ("GET", "/v1beta/models/g-1:generateContent", Facts("other", safety=SAFE, pinned=True)),
        ("POST", "/v1beta/tunedModels/t:generateContent", Facts("generate", "tunedModels/t", False, BILLED, True)),
    ],
)  # fmt: skip
def test_everything_else_is_as_careful_as_it_must_be(method: str, path: str, expected: Facts) -> None:
    assert read(path, method=method) == expected


def test_predictions_that_are_stored_overwrite_what_was_there() -> None:
    stored = {"instances": [], "parameters": {"storageUri": "gs://bucket"}}
    assert read(VERTEX + "models/imagen:predict", stored).safety is UNSAFE
    assert read(VERTEX + "models/imagen:predict", b"").safety is UNSAFE


@pytest.mark.parametrize(("count", "choices"), [(3, 3), (1, 1), (0, 1), (None, 1), ("2", 1), (10**9, 1)])
@pytest.mark.parametrize("names", [("generationConfig", "candidateCount"), ("generation_config", "candidate_count")])
def test_candidates_asked_for(count: object, choices: int, names: tuple[str, str]) -> None:
    asked = {**HI, names[0]: {names[1]: count}}
    assert read("/v1beta/models/g-1:generateContent", asked).choices == choices


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("POST", "/v1beta/models/g:generateContent", [], "Gemini"),
        ("POST", "/v1/models/g:generateContent", [], "Gemini"),
        ("POST", "/v1alpha/models/g:generateContent", [], "Gemini"),
        ("POST", "/v1beta1/projects/p/locations/l/publishers/google/models/g:generateContent", [], "Gemini"),
        ("POST", VERTEX + "models/g:generateContent", [], "Gemini"),
        ("POST", "/upload/v1beta/files", [], "Gemini"),
        ("GET", "/v1beta/cachedContents", [], "Gemini"),
        ("GET", "/v1/models", [], "OpenAI"),
        ("GET", "/v1/models", [(b"X-Goog-Api-Key", b"k")], "Gemini"),
        ("GET", "/v1/models", [(b"anthropic-version", b"x"), (b"x-goog-api-key", b"k")], "Anthropic"),
        ("POST", "/v1/models/g:generateContent", [(b"anthropic-version", b"x")], "Anthropic"),
        ("GET", "/v1/projects/p/api_keys", [], "OpenAI"),
        ("GET", "/v1betamax/models", [], None),
        ("GET", "/v2/models", [], None),
    ],
)
def test_bare_paths_are_one_dialects(method: str, path: str, headers: Headers, expected: str | None) -> None:
    head = Head(method, path, headers)
    assert [name for name, dialect in REGISTRY.items() if dialect.claims(head)] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        (HI, set()),
        ({**HI, "tools": [{"functionDeclarations": [{"name": "f"}]}]}, {"Tools"}),
        ({**HI, "tools": []}, set()),
        ({**HI, "generationConfig": {"responseSchema": {"type": "OBJECT"}}}, {"JSONSchema"}),
        ({**HI, "generation_config": {"response_json_schema": {"type": "object"}}}, {"JSONSchema"}),
        ({**HI, "generationConfig": {"responseMimeType": "image/png"}}, set()),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}]}, {"Images"}),
        ({"contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": ""}}]}]}, {"Images"}),
    ],
)
def test_what_a_model_must_be_able_to_do(body: object, needs: set[str]) -> None:
    assert GEMINI.needs(json.dumps(body).encode()) == needs


def test_a_conversation_stays_the_same_as_it_grows() -> None:
    first = {"role": "user", "parts": [{"text": "a"}]}
    system = {"parts": [{"text": "be kind"}]}

    def conversation(*contents: object, **more: object) -> bytes:
        return GEMINI.conversation(json.dumps({"contents": contents, **more}).encode())

    begun = conversation(first, systemInstruction=system)
    assert begun and begun == conversation(first, {"role": "model", "parts": []}, systemInstruction=system)
    assert begun == conversation(first, system_instruction=system)
    assert begun != conversation(first)
    assert GEMINI.conversation(b"{}") == GEMINI.conversation(b"odd") == b""


def test_ids_of_what_an_account_keeps() -> None:
    made = GEMINI.state_made
    assert made(b'{"name": "cachedContents/abc-1", "model": "models/g"}') == "cachedContents/abc-1"
    assert made(b'{"file": {"name": "files/xyz"}}') == "files/xyz"
    assert made(b'{"name": "projects/1/locations/eu/cachedContents/123456"}') == "cachedContents/123456"
    assert made(b'{"name": "models/g"}') == ""
    uri = {"contents": [{"parts": [{"fileData": {"fileUri": "https://g.test/v1beta/files/xyz"}}]}]}
    named = GEMINI.state_named("/v1beta/cachedContents/abc-1?key=files/no", json.dumps(uri).encode())
    assert named == ("cachedContents/abc-1", "files/xyz")
    assert GEMINI.state_named("/v1beta/models/g:x", b'{"cachedContent": "cachedContents/abc-1"}') == (
        "cachedContents/abc-1",
    )


# -- another model -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1beta/models/old:generateContent", "/v1beta/models/new-1.5:generateContent"),
        ("/models/old:streamGenerateContent?alt=sse&key=k", "/models/new-1.5:streamGenerateContent?alt=sse&key=k"),
        (VERTEX + "models/old:generateContent", VERTEX + "models/new-1.5:generateContent"),
        ("/v1beta/tunedModels/old:generateContent", None),
        ("/v1beta/models", None),
        ("/v1beta/cachedContents", None),
    ],
)
@pytest.mark.parametrize("name", ["new-1.5", "models/new-1.5"])
def test_a_model_is_put_into_the_path(path: str, expected: str | None, name: str) -> None:
    body = b'{"contents":[{"parts":[{"text":"models/old"}]}]}'
    assert GEMINI.with_model(path, body, name) == (None if expected is None else (expected, body))


@pytest.mark.parametrize("name", ["../x", "a/b", "a?b", "a:b", "", "a b", "publishers/x/models/y"])
def test_a_name_that_could_lead_elsewhere_is_none(name: str) -> None:
    assert GEMINI.with_model("/v1beta/models/old:generateContent", b"{}", name) is None


def test_a_body_that_names_the_model_again_names_the_same() -> None:
    embed = {"requests": [{"model": "models/old", "content": {}}, {"content": {}, "model": "models/old"}]}
    path, body = GEMINI.with_model("/v1beta/models/old:batchEmbedContents", json.dumps(embed).encode(), "new") or (
        "",
        b"",
    )
    assert path == "/v1beta/models/new:batchEmbedContents"
    assert body == json.dumps(embed).encode().replace(b"models/old", b"models/new")
    counted = {"generateContentRequest": {"model": "models/old", **HI}}
    _, body = GEMINI.with_model("/models/old:countTokens", json.dumps(counted).encode(), "new") or ("", b"")
    assert json.loads(body)["generateContentRequest"]["model"] == "models/new"
    vertex = b'{"model": "publishers/google/models/old"}'
    assert (GEMINI.with_model("/models/old:countTokens", vertex, "new") or ("", b""))[1] == vertex.replace(
        b"old", b"new"
    )


def test_a_look_alike_of_a_model_is_left_alone() -> None:
    asked = {"contents": [{"parts": [{"functionCall": {"name": "f", "args": {"model": "models/old"}}}]}]}
    body = json.dumps(asked).encode()
    assert GEMINI.with_model("/models/old:generateContent", body, "new") == ("/models/new:generateContent", body)
    both = json.dumps({**asked, "model": "models/old"}).encode()
    assert GEMINI.with_model("/models/old:generateContent", both, "new") is None
    text = json.dumps({"model": "models/old", "contents": [{"parts": [{"text": '"model": "models/old"'}]}]}).encode()
    _, spliced = GEMINI.with_model("/models/old:generateContent", text, "new") or ("", b"")
    assert json.loads(spliced)["contents"] == json.loads(text)["contents"]
    assert json.loads(spliced)["model"] == "models/new"


# -- answers -----------------------------------------------------------------------------------------------------------

GENERATE = Facts("generate", "g", safety=BILLED)
RPC = "type.googleapis.com/google.rpc."


def judged(status: int, body: object, headers: Headers = JSON, facts: Facts = GENERATE) -> Fault | None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return GEMINI.judge(facts, status, headers, data, 0.0, whole=True)


def error(status: int, name: str, message: str = "x", *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": name, "details": list(details)}}


def quota(*ids: str) -> dict[str, Any]:
    return {"@type": RPC + "QuotaFailure", "violations": [{"quotaId": one, "quotaValue": "20"} for one in ids]}


PER_MINUTE, PER_DAY = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "GenerateRequestsPerDayPerProject"
INVALID_KEY = {"@type": RPC + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
CURRENT = "You exceeded your current quota, please check your plan and billing details."

ERRORS = [
    (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).", (), Code.RATE_LIMITED),
    (429, "RESOURCE_EXHAUSTED", CURRENT, (), Code.RATE_LIMITED),
    (429, "RESOURCE_EXHAUSTED", CURRENT, (quota(PER_MINUTE),), Code.RATE_LIMITED),
    (429, "RESOURCE_EXHAUSTED", CURRENT, (quota(PER_DAY),), Code.QUOTA_EXHAUSTED),
    (429, "RESOURCE_EXHAUSTED", CURRENT, ({"@type": "Help"}, quota(PER_MINUTE, PER_DAY)), Code.QUOTA_EXHAUSTED),
    (429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.", (), Code.QUOTA_EXHAUSTED),
    (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", (INVALID_KEY,), Code.UNAUTHORIZED),
    (400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", (), Code.UNAUTHORIZED),
    (401, "UNAUTHENTICATED", "x", (), Code.UNAUTHORIZED),
    (403, "PERMISSION_DENIED", "x", (), Code.FORBIDDEN),
    (403, "PERMISSION_DENIED", "x", ({"reason": "BILLING_DISABLED"},), Code.QUOTA_EXHAUSTED),
    (404, "NOT_FOUND", "models/x is not found", (), Code.NOT_FOUND),
    (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", (), Code.FORBIDDEN),
    (400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (4).", (),
     Code.CONTEXT_LENGTH),
    (400, "INVALID_ARGUMENT", "Unable to submit request because the input token count is 9 but model only supports "
     "up to 4.", (), Code.CONTEXT_LENGTH),
    (400, "INVALID_ARGUMENT", "Invalid value: API key not valid, says the prompt", (), Code.INVALID_REQUEST),
    (409, "ABORTED", "x", (), Code.CONFLICT),
    (499, "CANCELLED", "The operation was cancelled.", (), Code.SERVER_ERROR),
    (500, "INTERNAL", "x", (), Code.SERVER_ERROR),
    (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", (), Code.OVERLOADED),
    (504, "DEADLINE_EXCEEDED", "x", (), Code.UPSTREAM_TIMEOUT),
]  # fmt: skip


@pytest.mark.parametrize(("status", "name", "message", "details", "expected"), ERRORS)
def test_errors(status: int, name: str, message: str, details: tuple[dict[str, Any], ...], expected: Code) -> None:
    told = error(status, name, message, *details)
    for body in (told, [told]):  # a list, where a stream as an array was asked for
        fault = judged(status, body)
        assert fault is not None and (fault.code, fault.status) == (expected, status)
    # In a 200, and in a stream of either framing, the inner code decides.
    fault = judged(200, told)
    assert fault is not None and fault.code is expected
    for watch, data in ((sse(), event(told)), (array(), b"[" + json.dumps(told).encode() + b"\n]")):
        assert watch.feed(data) == data
        assert watch.fault is not None and watch.fault.code is expected and not watch.terminal


@pytest.mark.parametrize(
    ("headers", "delay", "hint"),
    [([], "34.07s", 34.07), ([], "0s", 0.0), ([], "6m0s", 360.0), ([], "-1s", None), ([], "soon", None),
     ([], 5, None), ([], "99999999s", None), ([(b"retry-after", b"2")], "34s", 2.0), ([], None, None)],
)  # fmt: skip
def test_when_to_come_again(headers: Headers, delay: object, hint: float | None) -> None:
    info = {"@type": RPC + "RetryInfo", "retryDelay": delay}
    for status, name in ((429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE")):
        fault = judged(status, error(status, name, "x", quota(PER_MINUTE), info), JSON + headers)
        assert fault is not None and fault.hint == hint
    watch = sse()
    watch.feed(event(error(503, "UNAVAILABLE", "x", info)))
    assert watch.fault is not None and watch.fault.hint == (34.0 if headers else hint)


@pytest.mark.parametrize(
    "details", ["odd", {"a": 1}, [5, None, "x"], [{"violations": "odd"}], [{"violations": [5]}], None]
)
def test_odd_details_change_nothing(details: object) -> None:
    fault = judged(429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}})
    assert fault is not None and (fault.code, fault.hint) == (Code.RATE_LIMITED, None)


def candidate(finish: str | None = "STOP", *parts: dict[str, Any], index: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": index}
    return {**made, "finishReason": finish} if finish else made


FILTERED = ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR"]


@pytest.mark.parametrize("finish", FILTERED)
def test_withheld_answers(finish: str) -> None:
    fault = judged(200, {"candidates": [{"finishReason": finish}]})
    assert fault is not None and (fault.code, fault.detail) == (Code.CONTENT_POLICY, f"200 with finishReason {finish}")
    assert judged(200, {"candidates": [candidate(finish), candidate("STOP")]}) is None
    watch = sse()
    watch.feed(event({"candidates": [candidate(finish)]}))
    assert watch.terminal and watch.fault is not None and watch.fault.code is Code.CONTENT_POLICY


@pytest.mark.parametrize("finish", ["STOP", "MAX_TOKENS", "OTHER", "MALFORMED_FUNCTION_CALL", "LANGUAGE", "NEW"])
def test_other_ends_are_answers(finish: str) -> None:
    assert judged(200, {"candidates": [candidate(finish)]}) is None
    watch = sse()
    watch.feed(event({"candidates": [candidate(finish)]}))
    assert watch.terminal and watch.fault is None


def test_a_blocked_prompt_is_content_policy() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    fault = judged(200, blocked)
    assert fault is not None and fault.code is Code.CONTENT_POLICY
    for watch, data in ((sse(), event(blocked)), (array(), b"[" + json.dumps(blocked).encode() + b"]")):
        watch.feed(data)
        assert watch.terminal and watch.fault is not None and watch.fault.code is Code.CONTENT_POLICY
    for reason in (None, "BLOCK_REASON_UNSPECIFIED"):
        assert judged(200, {"promptFeedback": {"blockReason": reason}, "candidates": [candidate()]}) is None


def test_other_operations_promise_no_more_than_json() -> None:
    counted = Facts("count_tokens", "g", safety=BILLED)
    assert judged(200, {"totalTokens": 3}, facts=counted) is None
    cut = judged(200, b'{"totalTok', facts=counted)
    assert cut is not None and cut.code is Code.TRUNCATED
    assert judged(200, {"error": {"code": 500}}, facts=Facts("other")) is None, "a poll of an operation that failed"


def test_usage_and_model_of_a_plain_answer() -> None:
    usage = {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 4,
             "cachedContentTokenCount": 2, "totalTokenCount": 22}  # fmt: skip
    body = json.dumps({"candidates": [candidate()], "usageMetadata": usage, "modelVersion": "g-001"}).encode()
    assert GEMINI.answered(GENERATE, body) == ("g-001", Usage(15, 7, 2, 4))
    assert GEMINI.answered(GENERATE, b"odd") == ("", None)
    assert GEMINI.answered(GENERATE, b'{"usageMetadata": {"promptTokenCount": -1}}') == ("", None)


# -- streams -----------------------------------------------------------------------------------------------------------


def event(data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\r\n\r\n"


def sse(choices: int = 1) -> Watch:
    return GEMINI.watch(Facts("generate", stream=True, choices=choices))


def array(choices: int = 1) -> Watch:
    return GEMINI.watch(Facts("generate", stream=True, choices=choices, framing="array"))


CONTENT = [{"text": "x"}, {"text": "x", "thought": True}, {"functionCall": {"name": "f", "args": {}}},
           {"inlineData": {"mimeType": "image/png", "data": "xx"}}, {"executableCode": {"code": "x"}},
           {"codeExecutionResult": {}}, {"toolCall": {}}]  # fmt: skip


@pytest.mark.parametrize("part", CONTENT)
def test_what_is_content(part: dict[str, Any]) -> None:
    chunk = {"candidates": [candidate(None, part)], "modelVersion": "g-1"}
    for watch, data in ((sse(), event(chunk)), (array(), b"[" + json.dumps(chunk).encode())):
        assert watch.feed(data) == data
        assert (watch.content, watch.progress, watch.model, watch.terminal) == (True, 1, "g-1", False)


@pytest.mark.parametrize(
    "part", [{"text": ""}, {"thoughtSignature": "abc"}, {"text": "", "thoughtSignature": "abc"}, {}]
)
def test_what_is_not(part: dict[str, Any]) -> None:
    watch = sse()
    watch.feed(event({"candidates": [candidate(None, part)]}) + event({"usageMetadata": {"promptTokenCount": 1}}))
    assert (watch.content, watch.progress, watch.terminal) == (False, 0, False)


def test_a_stream_is_whole_when_every_candidate_has_finished() -> None:
    watch = sse(2)
    watch.feed(event({"candidates": [candidate("STOP", {"text": "a"})]}))
    assert not watch.terminal
    watch.feed(event({"candidates": [candidate("MAX_TOKENS", {"text": "b"}, index=1)]}))
    assert watch.terminal
    unasked = sse()
    unasked.feed(event({"candidates": [candidate(None, {"text": "b"}, index=1), candidate("STOP")]}))
    assert not unasked.terminal


def test_a_finish_that_was_none_is_taken_back() -> None:
    watch = sse()
    watch.feed(event({"candidates": [candidate("STOP", {"text": "a"})]}))
    watch.feed(event({"candidates": [candidate(None, {"text": "b"})]}))
    assert not watch.terminal
    watch.feed(event({"candidates": [candidate("STOP", {"text": "c"})]}))
    assert watch.terminal


def test_an_array_is_whole_when_it_has_ended_as_well() -> None:
    watch = array()
    watch.feed(b"[" + json.dumps({"candidates": [candidate("STOP", {"text": "a"})]}).encode() + b"\n")
    assert watch.content and not watch.terminal
    watch.feed(b"]")
    assert watch.terminal and watch.end() == b""


def test_the_last_usage_counts() -> None:
    watch = sse()
    watch.feed(event({"usageMetadata": {"promptTokenCount": 3}}))
    assert watch.usage == Usage(3)
    watch.feed(event({"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 7}}) + event({"candidates": []}))
    assert watch.usage == Usage(3, 7)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_an_image_too_large_to_be_held_still_tells_of_the_end(line_end: bytes) -> None:
    chunk = {
        "candidates": [candidate("STOP", {"inlineData": {"mimeType": "image/png", "data": "A" * 200_000}})],
        "usageMetadata": {
            "promptTokenCount": 3,
            "candidatesTokenCount": 1290,
            "promptTokensDetails": [{"tokenCount": 3}],
        },
    }
    data = json.dumps(chunk).encode()
    for watch, stream in ((sse(), b"data: " + data + 2 * line_end), (array(), b"[" + data + line_end + b"]")):
        pieces = [stream[at : at + 30_000] for at in range(0, len(stream), 30_000)]
        assert b"".join([*map(watch.feed, pieces), watch.end()]) == stream
        assert (watch.content, watch.terminal, watch.usage) == (True, True, Usage(3, 1290))


@pytest.mark.parametrize("data", [b"oops", b'{"candidates": [', b"{}{}", b"<html>"])
def test_data_that_is_not_json_is_malformed_and_not_released(data: bytes) -> None:
    good = event({"candidates": [candidate(None, {"text": "a"})]})
    watch = sse()
    assert watch.feed(good + b"data: " + data + b"\r\n\r\n" + good) == good
    assert watch.fault is not None and watch.fault.code is Code.MALFORMED_EVENT


def test_json_of_an_unknown_form_passes() -> None:
    watch = sse()
    stream = event({"candidates": "odd"}) + event([1]) + event({"candidates": [{"content": {"parts": {}}}]})
    assert watch.feed(stream) == stream
    assert watch.fault is None and not watch.content


# -- answers of our own ------------------------------------------------------------------------------------------------


def problem(code: Code = Code.TRUNCATED) -> Problem:
    return Problem(Fault(code), "it broke", "req-1", "gemini", 3, 2.5)


@pytest.mark.parametrize("framing", ["", "array"])
def test_our_own_error_event_is_a_fault_to_our_own_watch_and_no_end(framing: str) -> None:
    facts = Facts("generate", stream=True, framing=framing)
    chunk = {"candidates": [candidate(None, {"text": "a"})]}
    watch = GEMINI.watch(facts)
    released = watch.feed(b"[" + json.dumps(chunk).encode() if framing else event(chunk))
    assert released
    ours = watch.lead + GEMINI.error_event(facts, problem())
    again = GEMINI.watch(facts)
    again.feed(released + ours)
    assert again.fault is not None and again.fault.code is Code.OVERLOADED and not again.terminal


def test_an_error_is_googles_with_ours_beside_it() -> None:
    body = json.loads(GEMINI.error(None, problem(Code.RATE_LIMITED)))
    assert (body["error"]["code"], body["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert {"@type": RPC + "RetryInfo", "retryDelay": "2.5s"} in body["error"]["details"]
    assert body["seawall"]["code"] == "RATE_LIMITED"
    listed = json.loads(GEMINI.error(Facts("generate", framing="array"), problem(Code.RATE_LIMITED)))
    assert [one["error"]["code"] for one in listed] == [429]


@pytest.mark.parametrize("framing", ["", "array"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_static_answer_is_a_whole_one(stream: bool, framing: str) -> None:
    facts = Facts("generate", "g", stream, framing=framing if stream else "", choices=2)
    kind, body = GEMINI.static(facts, "sorry", "id", 0) or (b"", b"")
    if not stream:
        assert judged(200, body, [(b"content-type", kind)]) is None
        assert GEMINI.answered(facts, body) == ("g", Usage())
        return
    assert kind == GEMINI.stream_type(facts)
    watch = GEMINI.watch(facts)
    assert watch.feed(body) + watch.end() == body
    assert (watch.content, watch.terminal, watch.fault, watch.usage, watch.model) == (True, True, None, Usage(), "g")
    assert GEMINI.static(Facts("embeddings"), "x", "id", 0) is None
