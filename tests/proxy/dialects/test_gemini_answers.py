"""Gemini: what its whole answers and its errors mean, and how ours look."""

import json
from typing import Any

import pytest
from chunks import GEMINI, GENERATE, JSON, RPC, array, candidate, error, event, sse

from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Headers, Safety, Usage


def judged(status: int, body: object, headers: Headers = JSON, facts: Facts = GENERATE) -> Fault | None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return GEMINI.judge(facts, status, headers, data, 0.0, whole=True)


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
    counted = Facts("count_tokens", "g", safety=Safety.SAFE_BILLED)
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
