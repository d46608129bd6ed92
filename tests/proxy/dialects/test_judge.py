"""Whole answers to faults, by SEMANTICS §1: statuses first, made more exact by what the provider calls its errors."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.dialects import REGISTRY
from seawall.faults import Code, Fault
from seawall.types import Facts, Headers, Safety, Usage

JSON: Headers = [(b"Content-Type", b"application/json; charset=utf-8")]


def judge(
    dialect: str,
    status: int,
    body: object = b"",
    headers: Headers = JSON,
    *,
    facts: Facts | None = None,
    whole: bool = False,
) -> Fault | None:
    known = facts or Facts({"OpenAI": "chat", "Anthropic": "messages"}.get(dialect, "other"), safety=Safety.SAFE_BILLED)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return REGISTRY[dialect].judge(known, status, headers, data, 0.0, whole=whole)


def code(fault: Fault | None) -> Code | None:
    return fault.code if fault is not None else None


@pytest.mark.parametrize("dialect", ["OpenAI", "Anthropic", "Generic"])
@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, None), (204, None), (301, None), (304, None), (400, Code.INVALID_REQUEST), (401, Code.UNAUTHORIZED),
     (402, Code.QUOTA_EXHAUSTED), (403, Code.FORBIDDEN), (404, Code.NOT_FOUND), (405, Code.INVALID_REQUEST),
     (408, Code.UPSTREAM_TIMEOUT), (409, Code.CONFLICT), (413, Code.INVALID_REQUEST), (422, Code.INVALID_REQUEST),
     (429, Code.RATE_LIMITED), (500, Code.SERVER_ERROR), (501, Code.INVALID_REQUEST), (502, Code.SERVER_ERROR),
     (503, Code.OVERLOADED), (504, Code.UPSTREAM_TIMEOUT), (505, Code.INVALID_REQUEST), (520, Code.SERVER_ERROR),
     (524, Code.SERVER_ERROR), (529, Code.OVERLOADED), (599, Code.SERVER_ERROR)],
)  # fmt: skip
@pytest.mark.parametrize(
    "body", [b"<html>error</html>", b'{"error": {"message": "x", "type": "odd"}}', b'{"error": 5}']
)
def test_statuses(dialect: str, status: int, expected: Code | None, body: bytes) -> None:
    fault = judge(dialect, status, body, [(b"content-type", b"text/html")])
    assert code(fault) is expected
    assert fault is None or fault.status == status


OPENAI_ERRORS: list[tuple[int, dict[str, object], Code]] = [
    (429, {"code": "insufficient_quota", "type": "insufficient_quota", "message": "x"}, Code.QUOTA_EXHAUSTED),
    (429, {"message": "You exceeded your current quota, please check your plan"}, Code.QUOTA_EXHAUSTED),
    (400, {"code": "billing_hard_limit_reached", "message": "x"}, Code.QUOTA_EXHAUSTED),
    (402, {"message": "Insufficient Balance", "type": "unknown_error"}, Code.QUOTA_EXHAUSTED),
    (403, {"message": "Insufficient credits"}, Code.QUOTA_EXHAUSTED),
    (429, {"code": "rate_limit_exceeded", "type": "tokens", "message": "Rate limit reached for gpt-4o in organization "
           "org-x on tokens per min (TPM): Limit 1, Used 1, Requested 1."}, Code.RATE_LIMITED),
    (429, {"code": "rate_limit_exceeded", "type": "requests", "message": "Rate limit reached for gpt-4o in "
           "organization org-x on requests per day (RPD): Limit 200, Used 200, Requested 1."}, Code.QUOTA_EXHAUSTED),
    (429, {"message": "Rate limit exceeded: free-models-per-day", "code": 429}, Code.QUOTA_EXHAUSTED),
    (429, {"type": "invalid_request_error", "message": "too many"}, Code.RATE_LIMITED),
    (400, {"code": "context_length_exceeded", "type": "invalid_request_error"}, Code.CONTEXT_LENGTH),
    (400, {"message": "This model's maximum context length is 8192 tokens."}, Code.CONTEXT_LENGTH),
    (400, {"code": "content_policy_violation"}, Code.CONTENT_POLICY),
    (400, {"code": "content_filter", "type": None}, Code.CONTENT_POLICY),
    (400, {"message": "The prompt says: You exceeded your current quota"}, Code.INVALID_REQUEST),
    (400, {"code": "rate_limit_exceeded"}, Code.INVALID_REQUEST),
    (500, {"type": "overloaded_error"}, Code.OVERLOADED),
    (500, {"message": "Insufficient credits"}, Code.SERVER_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(("status", "error", "expected"), OPENAI_ERRORS)
def test_openai_errors(status: int, error: dict[str, object], expected: Code) -> None:
    assert code(judge("OpenAI", status, {"error": error})) is expected
    # Mistral and older vLLM put the same at the top level.
    assert code(judge("OpenAI", status, {"object": "error", **error})) is expected


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."},
         Code.QUOTA_EXHAUSTED),
        (400, {"type": "invalid_request_error", "message": "You have reached your specified API usage limits. You will "
               "regain access on 2026-11-01 at 00:00 UTC."}, Code.QUOTA_EXHAUSTED),
        (402, {"type": "billing_error"}, Code.QUOTA_EXHAUSTED),
        (429, {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}},
         Code.QUOTA_EXHAUSTED),
        (429, {"type": "rate_limit_error", "details": {"error_code": "ramp_limit_exceeded"}}, Code.RATE_LIMITED),
        (429, {"type": "rate_limit_error", "details": "odd"}, Code.RATE_LIMITED),
        (400, {"type": "invalid_request_error", "message": "prompt is too long: 200001 tokens > 200000 maximum"},
         Code.CONTEXT_LENGTH),
        (400, {"type": "invalid_request_error", "message": "messages.0: 'credit balance is too low' is no role"},
         Code.INVALID_REQUEST),
        (400, {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"},
         Code.CONTENT_POLICY),
        (413, {"type": "request_too_large"}, Code.INVALID_REQUEST),
        (529, {"type": "overloaded_error"}, Code.OVERLOADED),
        (500, {"type": "api_error"}, Code.SERVER_ERROR),
    ],
)  # fmt: skip
def test_anthropic_errors(status: int, error: dict[str, object], expected: Code) -> None:
    assert code(judge("Anthropic", status, {"type": "error", "error": error})) is expected


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        ("OpenAI", {"error": {"code": 429, "message": "x"}}, Code.RATE_LIMITED),
        ("OpenAI", {"error": {"code": 502, "message": "Provider returned error"}}, Code.SERVER_ERROR),
        ("OpenAI", {"error": {"type": "server_error"}, "status": "failed"}, Code.SERVER_ERROR),
        ("OpenAI", {"error": "it broke"}, Code.SERVER_ERROR),
        ("OpenAI", {"error": None, "choices": []}, None),
        ("OpenAI", {"error": "", "choices": []}, None),
        ("OpenAI", {"choices": [{"message": {"content": '{"error": 1}'}, "finish_reason": "stop"}]}, None),
        ("OpenAI", {"error": {}, "choices": []}, None),
        ("OpenAI", {"choices": [{"message": {"error": {"code": 500}}}]}, None),
        ("Anthropic", {"type": "error", "error": {"type": "overloaded_error"}}, Code.OVERLOADED),
        ("Anthropic", {"type": "message", "content": [{"type": "text", "text": "error"}]}, None),
    ],
)
def test_errors_within_a_200(dialect: str, body: object, expected: Code | None) -> None:
    fault = judge(dialect, 200, body)
    assert code(fault) is expected
    assert fault is None or fault.status == 200


FILTERED: list[tuple[str, str, object, bool]] = [
    ("OpenAI", "chat", {"choices": [{"finish_reason": "content_filter"}]}, True),
    ("OpenAI", "chat", {"choices": [{"finish_reason": "content_filter"}, {"finish_reason": "stop"}]}, False),
    ("OpenAI", "chat", {"choices": [{"finish_reason": "stop", "message": {"content": "content_filter"}}]}, False),
    ("OpenAI", "chat", {"choices": [], "note": "content_filter"}, False),
    ("OpenAI", "responses", {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, True),
    ("OpenAI", "responses", {"incomplete_details": None, "text": "content_filter"}, False),
    ("Anthropic", "messages", {"content": [], "stop_reason": "refusal"}, True),
    ("Anthropic", "messages", {"content": [{"text": "a refusal"}], "stop_reason": "end_turn"}, False),
]


@pytest.mark.parametrize(("dialect", "operation", "body", "filtered"), FILTERED)
def test_an_answer_that_the_provider_withheld_is_a_fault(
    dialect: str, operation: str, body: object, filtered: bool
) -> None:
    fault = judge(dialect, 200, body, facts=Facts(operation, safety=Safety.SAFE_BILLED), whole=True)
    assert code(fault) is (Code.CONTENT_POLICY if filtered else None)
    # Asking for a job's state is another thing than the job.
    if dialect == "OpenAI":
        assert judge(dialect, 200, body, facts=Facts(operation, safety=Safety.SAFE)) is None


@pytest.mark.parametrize("text", ["Prompt contains 65673 tokens, too large for model with 32768 maximum context length",
                                  "Your input exceeds the context window of this model."])  # fmt: skip
def test_context_lengths_in_the_words_of_others(text: str) -> None:
    assert code(judge("OpenAI", 400, {"error": {"message": text}})) is Code.CONTEXT_LENGTH
    assert code(judge("OpenAI", 400, {"error": {"message": f"quoted: {text}"}})) is Code.INVALID_REQUEST


@pytest.mark.parametrize(
    "usage",
    [{"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": 10**400, "completion_tokens": 2},
     {"prompt_tokens": 1.5, "completion_tokens": 2}, {"type": "duration", "seconds": 7}, {}, None, "many"],
)  # fmt: skip
def test_what_is_no_count_of_tokens_is_not_counted(usage: object) -> None:
    body = json.dumps({"model": "m-1", "usage": usage}).encode()
    assert REGISTRY["OpenAI"].answered(Facts("chat"), body) == ("m-1", None)
    if isinstance(usage, dict):
        usage = {key.replace("prompt", "input"): value for key, value in usage.items()}
    body = json.dumps({"model": "m-1", "usage": usage}).encode()
    model, counted = REGISTRY["Anthropic"].answered(Facts("messages"), body)
    assert (model, counted or Usage()) == ("m-1", Usage())


@pytest.mark.parametrize("text", ["\\ud83d", "\\ude00 cut"])
def test_half_a_character_hides_neither_model_nor_usage_nor_error(text: str) -> None:
    body = b'{"text": "%b", "model": "m-1", "usage": {"prompt_tokens": 5}}' % text.encode()
    assert REGISTRY["OpenAI"].answered(Facts("chat"), body) == ("m-1", Usage(5))
    body = b'{"error": {"code": "insufficient_quota", "message": "%b"}}' % text.encode()
    assert code(judge("OpenAI", 429, body)) is Code.QUOTA_EXHAUSTED
    assert code(judge("OpenAI", 200, body)) is Code.QUOTA_EXHAUSTED


@pytest.mark.parametrize(
    "body", [b"", b'{"choices": [', b"oops", b'{"a":1}}', b'{"choices": [{"message": {"content": "x']
)
def test_json_that_is_cut_off_or_none_is_truncated(body: bytes) -> None:
    assert code(judge("OpenAI", 200, body)) is Code.TRUNCATED
    assert code(judge("Anthropic", 200, body)) is Code.TRUNCATED
    assert judge("Generic", 200, body) is None
    assert judge("OpenAI", 200, body, [(b"content-type", b"text/plain")]) is None
    assert judge("OpenAI", 200, body, facts=Facts("other")) is None


def test_a_large_body_may_be_a_beginning_unless_it_is_said_to_be_whole() -> None:
    body = b'{"choices": ["' + b"x" * 70_000
    assert judge("OpenAI", 200, body) is None
    assert code(judge("OpenAI", 200, body, whole=True)) is Code.TRUNCATED


@pytest.mark.parametrize("body", [b'{"x": NaN}', b'{"x": "\\ud83d"}', b"[]", b'"text"'])
def test_whatever_json_the_sdks_would_read_is_good(body: bytes) -> None:
    assert judge("OpenAI", 200, body) is None


def test_the_poll_of_a_failed_job_is_good() -> None:
    body = {"status": "failed", "error": {"code": "server_error", "message": "x"}}
    assert judge("OpenAI", 200, body, facts=Facts("responses", safety=Safety.SAFE, pinned=True)) is None
    assert judge("OpenAI", 200, body, facts=Facts("other", safety=Safety.SAFE)) is None


def test_hints_come_from_the_headers() -> None:
    fault = judge("OpenAI", 429, b"", [(b"Retry-After", b"7")])
    assert fault is not None
    assert fault.hint == 7


def test_details_name_the_error_and_quote_nothing_else() -> None:
    error = {"code": "invalid_api_key", "message": "Incorrect API key provided: sk-secret"}
    fault = judge("OpenAI", 401, {"error": error})
    assert fault is not None
    assert fault.detail == "401 invalid_api_key"
    fault = judge("OpenAI", 401, {"error": {"code": "sk secret\n", "type": "x" * 99}})
    assert fault is not None
    assert fault.detail == "401"


def test_model_and_usage_of_plain_answers() -> None:
    tokens = {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 2}}
    chat = json.dumps({"model": "m-1", "usage": tokens}).encode()
    assert REGISTRY["OpenAI"].answered(Facts("chat"), chat) == ("m-1", Usage(5, 7, 2))
    embeddings = json.dumps({"model": "m-1", "usage": {"prompt_tokens": 5, "total_tokens": 5}}).encode()
    assert REGISTRY["OpenAI"].answered(Facts("embeddings"), embeddings) == ("m-1", Usage(5))
    message = json.dumps({"model": "m-1", "usage": {"input_tokens": 5, "output_tokens": 7}}).encode()
    assert REGISTRY["Anthropic"].answered(Facts("messages"), message) == ("m-1", Usage(5, 7))
    assert REGISTRY["Generic"].answered(Facts("other"), chat) == ("", None)


@given(st.sampled_from(sorted(REGISTRY)), st.integers(100, 599), st.binary(max_size=60), st.text(max_size=20))
@settings(deadline=None)
def test_judging_never_raises(dialect: str, status: int, body: bytes, text: str) -> None:
    nested = json.dumps({"error": {"code": text, "message": text, "details": text}, "usage": text, "model": 1}).encode()
    for data in (body, nested, b'{"error":' + body, b"[" * 5000):
        judge(dialect, status, data)
        REGISTRY[dialect].answered(Facts("chat"), data)
