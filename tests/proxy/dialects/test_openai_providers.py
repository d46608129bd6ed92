"""What differs among the providers that speak OpenAI's protocol is data, and no name means two things."""

import json
from collections import defaultdict
from typing import Any

import pytest
from events import delta, event, watch

from seawall.dialects import REGISTRY
from seawall.dialects._openai_providers import FAILED, PROVIDERS, WORDS
from seawall.dialects.hints import retry_hint
from seawall.faults import Code
from seawall.types import Facts, Headers, Safety

FACTS = Facts("chat", "m", safety=Safety.SAFE_BILLED)
JSON: Headers = [(b"content-type", b"application/json")]


def test_no_name_means_two_things() -> None:
    meanings = defaultdict(set)
    for provider in PROVIDERS.values():
        for kind, names in (("word", {**provider.general, **provider.exact}), ("end", provider.failed)):
            for name, code in names.items():
                meanings[kind, name].add(code)
    assert {name: codes for name, codes in meanings.items() if len(codes) > 1} == {}
    assert len(WORDS.exact.keys() & WORDS.general.keys()) == 0


ERRORS: list[tuple[str, int, Any, Code]] = [
    ("Groq", 498, {"error": {"message": "x"}}, Code.OVERLOADED),
    ("Groq", 429, {"error": {"code": "rate_limit_exceeded", "message": "Rate limit reached for model `m` on tokens per "
                             "day (TPD): Limit 1. Please try again in 17m40s."}}, Code.QUOTA_EXHAUSTED),
    ("Groq", 400, {"error": {"code": "model_decommissioned", "type": "invalid_request_error"}}, Code.NOT_FOUND),
    ("Groq", 400, {"error": {"code": "tool_use_failed", "type": "invalid_request_error"}}, Code.INVALID_REQUEST),
    ("Mistral", 429, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300",
                      "raw_status_code": 429}, Code.RATE_LIMITED),
    ("Mistral", 429, {"object": "error", "message": "Service tier capacity exceeded for this model.",
                      "type": "service_tier_capacity_exceeded", "code": "3505"}, Code.OVERLOADED),
    ("Mistral", 400, {"message": "Prompt contains 65673 tokens and 0 draft tokens, too large"}, Code.CONTEXT_LENGTH),
    ("Mistral", 401, {"detail": "Unauthorized"}, Code.UNAUTHORIZED),
    ("Mistral", 422, {"detail": [{"type": "missing", "msg": "Field required"}]}, Code.INVALID_REQUEST),
    ("DeepSeek", 402, {"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}},
     Code.QUOTA_EXHAUSTED),
    ("OpenRouter", 403, {"error": {"code": 403, "message": "openai/gpt-4o requires moderation on OpenRouter. Your "
                                   "input was flagged", "metadata": {"reasons": ["x"]}}}, Code.CONTENT_POLICY),
    ("OpenRouter", 402, {"error": {"code": 402, "message": "This request requires more credits"}},
     Code.QUOTA_EXHAUSTED),
    ("OpenRouter", 429, {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day"}},
     Code.QUOTA_EXHAUSTED),
    ("OpenRouter", 429, {"error": {"code": 429, "message": "Provider returned error"}}, Code.RATE_LIMITED),
    ("OpenRouter", 200, {"error": {"code": 502, "message": "Provider returned error"}}, Code.SERVER_ERROR),
    ("OpenRouter", 200, {"error": {"code": 503, "message": "No provider"}}, Code.OVERLOADED),
    ("vLLM", 400, {"object": "error", "type": "BadRequestError", "code": 400,
                   "message": "This model's maximum context length is 4096 tokens."}, Code.CONTEXT_LENGTH),
    ("vLLM", 400, {"error": {"type": "BadRequestError", "code": 400, "message": "'max_tokens' or "
                             "'max_completion_tokens' is too large: 50. This model's maximum context length is 40."}},
     Code.CONTEXT_LENGTH),
    ("vLLM", 404, {"object": "error", "type": "NotFoundError", "code": 404, "message": "x"}, Code.NOT_FOUND),
    ("Ollama", 404, {"error": {"message": 'model "m" not found, try pulling it first', "type": "api_error"}},
     Code.NOT_FOUND),
    ("Ollama", 503, {"error": {"message": "server busy, please try again.", "type": "api_error"}}, Code.OVERLOADED),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "status", "body", "code"), ERRORS)
def test_errors(provider: str, status: int, body: Any, code: Code) -> None:
    fault = REGISTRY["OpenAI"].judge(FACTS, status, JSON, json.dumps(body).encode(), 0.0, whole=True)
    assert fault is not None and fault.code is code


STREAMED: list[tuple[str, bytes, Code]] = [
    ("Groq", event({"error": {"code": "tool_use_failed", "status_code": 400, "message": "x"}}, "error"),
     Code.INVALID_REQUEST),
    ("OpenRouter", event({"error": {"code": 429, "message": "x"}, "choices": [{"index": 0, "delta": {"content": ""},
                          "finish_reason": "error"}]}), Code.RATE_LIMITED),
    ("OpenRouter", event({"error": {"code": "server_error", "message": "Provider disconnected unexpectedly"},
                          "choices": []}), Code.SERVER_ERROR),
    ("vLLM", event({"error": {"object": "error", "type": "BadRequestError", "code": 400, "message": "x"}}),
     Code.INVALID_REQUEST),
    ("vLLM", event({"error": {"object": "error", "type": "InternalServerError", "message": "x"}}), Code.SERVER_ERROR),
    ("Ollama", event({"error": {"message": "an error was encountered while running the model", "type": "api_error"}}),
     Code.SERVER_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "told", "code"), STREAMED)
@pytest.mark.parametrize("done", [b"", b"data: [DONE]\n\n"])
def test_errors_within_a_stream(provider: str, told: bytes, code: Code, done: bytes) -> None:
    """vLLM ends with [DONE] even then."""
    watched = watch("chat")
    assert watched.feed(delta(role="assistant") + told + done) == delta(role="assistant") + told + done
    assert watched.fault is not None and watched.fault.code is code


@pytest.mark.parametrize(("reason", "code"), FAILED.items())
def test_an_answer_that_failed_on_the_way(reason: str, code: Code) -> None:
    watched = watch("chat")
    watched.feed(delta(content="a") + delta(finish=reason))
    assert watched.fault is not None and watched.fault.code is code
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": reason}
    plain = REGISTRY["OpenAI"].judge(FACTS, 200, JSON, json.dumps({"choices": [choice]}).encode(), 0.0, whole=True)
    assert plain is not None and plain.code is code


def test_a_failed_choice_that_says_more() -> None:
    choice = {"finish_reason": "error", "error": {"code": 429, "message": "x"}, "message": {"content": ""}}
    fault = REGISTRY["OpenAI"].judge(FACTS, 200, JSON, json.dumps({"choices": [choice]}).encode(), 0.0, whole=True)
    assert fault is not None and fault.code is Code.RATE_LIMITED


def test_what_an_answer_quotes_is_no_end() -> None:
    text = '"finish_reason": "error"'
    choice = {"finish_reason": "stop", "message": {"content": text}, "note": {"finish_reason": "error"}}
    assert REGISTRY["OpenAI"].judge(FACTS, 200, JSON, json.dumps({"choices": [choice]}).encode(), 0.0) is None


@pytest.mark.parametrize("end", [delta(finish="stop"), event("[DONE]"), delta(finish="stop") + event("[DONE]")])
def test_either_word_ends_a_stream(end: bytes) -> None:
    """[DONE] or a finish reason: servers leave out the one or the other."""
    watched = watch("chat")
    watched.feed(delta(content="a"))
    assert not watched.terminal
    watched.feed(end)
    assert watched.terminal and watched.fault is None


@pytest.mark.parametrize("comment", [b": OPENROUTER PROCESSING\n\n", b": keep-alive\n\n", b"\n", b"\n\n", b"\r\n"])
def test_what_keeps_a_stream_alive_is_no_content(comment: bytes) -> None:
    watched = watch("chat")
    assert watched.feed(comment * 3) == comment * 3
    assert not watched.content and watched.progress == 0
    assert watched.feed(delta(content="a")) == delta(content="a")
    assert watched.content and watched.fault is None


def test_blank_lines_before_a_plain_answer() -> None:
    """DeepSeek sends them while a request waits to be taken up."""
    body = b"\n" * 50 + json.dumps({"choices": [{"finish_reason": "stop"}], "model": "m"}).encode()
    assert REGISTRY["OpenAI"].judge(FACTS, 200, JSON, body, 0.0, whole=True) is None
    assert REGISTRY["OpenAI"].answered(FACTS, body)[0] == "m"


HINTS: list[tuple[str, dict[str, str], float]] = [
    ("Groq", {"retry-after": "3", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "7.66s"}, 3),
    ("Groq", {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2m59.56s"}, 179.56),
    ("Mistral", {"x-ratelimit-remaining-req-minute": "0", "x-ratelimit-reset-req-minute": "12"}, 12),
    ("Mistral", {"ratelimitbysize-remaining": "0", "ratelimitbysize-reset": "41"}, 41),
    ("OpenRouter", {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1741305600000"}, 60),
    ("Azure OpenAI", {"retry-after": "1", "retry-after-ms": "250", "x-ratelimit-remaining-tokens": "0"}, 0.25),
]


@pytest.mark.parametrize(("provider", "fields", "seconds"), HINTS)
def test_when_to_come_again(provider: str, fields: dict[str, str], seconds: float) -> None:
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    assert retry_hint(headers, 1741305540.0) == pytest.approx(seconds)
