"""What OpenAI and the providers that speak its protocol call their errors and count as usage. Data, and nothing else.

Sources: OpenAI's error-codes guide and `ResponseError` of its SDK; the error pages of Groq, DeepSeek, OpenRouter,
Mistral and vLLM.
"""

import msgspec

from seawall.dialects._classify import Words, phrase
from seawall.dialects._json import Count, read
from seawall.faults import Code
from seawall.types import Usage

WORDS = Words(
    exact={
        "insufficient_quota": Code.QUOTA_EXHAUSTED,
        "billing_hard_limit_reached": Code.QUOTA_EXHAUSTED,
        "billing_limit_user_error": Code.QUOTA_EXHAUSTED,
        "billing_not_active": Code.QUOTA_EXHAUSTED,
        "insufficient_credits": Code.QUOTA_EXHAUSTED,
        "insufficient_balance": Code.QUOTA_EXHAUSTED,
        "credit_limit": Code.QUOTA_EXHAUSTED,
        "context_length_exceeded": Code.CONTEXT_LENGTH,
        "content_policy_violation": Code.CONTENT_POLICY,
        "image_content_policy_violation": Code.CONTENT_POLICY,
        "misalignment_policy_violation": Code.CONTENT_POLICY,
        "bio_policy": Code.CONTENT_POLICY,
        "content_filter": Code.CONTENT_POLICY,
        "moderation_blocked": Code.CONTENT_POLICY,
        # "Your prompt was flagged as potentially violating our usage policy".
        "invalid_prompt": Code.CONTENT_POLICY,
        "overloaded_error": Code.OVERLOADED,
        "engine_overloaded": Code.OVERLOADED,
        "server_is_overloaded": Code.OVERLOADED,
        "slow_down": Code.OVERLOADED,
    },
    general={
        "rate_limit_exceeded": Code.RATE_LIMITED,
        "rate_limit_error": Code.RATE_LIMITED,
        "too_many_requests": Code.RATE_LIMITED,
        "requests": Code.RATE_LIMITED,
        "tokens": Code.RATE_LIMITED,
        "server_error": Code.SERVER_ERROR,
        "internal_server_error": Code.SERVER_ERROR,
        "internal_error": Code.SERVER_ERROR,
        "api_error": Code.SERVER_ERROR,
        "vector_store_timeout": Code.SERVER_ERROR,
        "service_unavailable": Code.OVERLOADED,
        "service_unavailable_error": Code.OVERLOADED,
        "timeout": Code.UPSTREAM_TIMEOUT,
        "timeout_error": Code.UPSTREAM_TIMEOUT,
        "invalid_api_key": Code.UNAUTHORIZED,
        "authentication_error": Code.UNAUTHORIZED,
        "permission_error": Code.FORBIDDEN,
        "permission_denied": Code.FORBIDDEN,
        "insufficient_permissions": Code.FORBIDDEN,
        "missing_scope": Code.FORBIDDEN,
        "model_not_found": Code.NOT_FOUND,
        "not_found_error": Code.NOT_FOUND,
        "invalid_request_error": Code.INVALID_REQUEST,
        "invalid_request": Code.INVALID_REQUEST,
        "data_residency_mismatch": Code.INVALID_REQUEST,
        "invalid_image": Code.INVALID_REQUEST,
        "invalid_image_format": Code.INVALID_REQUEST,
        "invalid_base64_image": Code.INVALID_REQUEST,
        "invalid_image_url": Code.INVALID_REQUEST,
        "invalid_image_mode": Code.INVALID_REQUEST,
        "image_too_large": Code.INVALID_REQUEST,
        "image_too_small": Code.INVALID_REQUEST,
        "image_parse_error": Code.INVALID_REQUEST,
        "image_file_too_large": Code.INVALID_REQUEST,
        "unsupported_image_media_type": Code.INVALID_REQUEST,
        "empty_image_file": Code.INVALID_REQUEST,
        "failed_to_download_image": Code.INVALID_REQUEST,
        "image_file_not_found": Code.INVALID_REQUEST,
    },
    phrases=(
        phrase(r"You exceeded your current quota", Code.QUOTA_EXHAUSTED),
        phrase(r"(?:You have )?insufficient (?:balance|credits?|funds)\b", Code.QUOTA_EXHAUSTED),
        phrase(r"(?:Your )?credit balance is too low", Code.QUOTA_EXHAUSTED),
        phrase(r"Billing hard limit has been reached", Code.QUOTA_EXHAUSTED),
        # "Rate limit reached for … on requests per day (RPD): Limit 200, …"; OpenRouter: "…: free-models-per-day".
        phrase(r"Rate limit [^\n]{0,300}?(?:\bper day\b|-per-day\b|\([RT]PD\))", Code.QUOTA_EXHAUSTED, limited=True),
        phrase(r"This (?:model|endpoint)'s maximum context length is", Code.CONTEXT_LENGTH),
        phrase(r"(?:prompt|input) is too long\b", Code.CONTEXT_LENGTH),
        phrase(r"Your input exceeds the context window\b", Code.CONTEXT_LENGTH),
        # Mistral: "Prompt contains 65673 tokens …, too large for model with 32768 maximum context length".
        phrase(r"Prompt contains \d+ tokens\b", Code.CONTEXT_LENGTH),
        phrase(r"Your request was rejected (?:by|as a result of) (?:our|the) safety system", Code.CONTENT_POLICY),
    ),
)


FILTERED = "content_filter"
"""The finish reason, and the reason for an incomplete response, of an answer that was withheld."""


class Reason(msgspec.Struct, gc=False):
    reason: object = None


class _Choice(msgspec.Struct, gc=False):
    finish_reason: object = None


class _Ended(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    incomplete_details: Reason | None = None


_ENDED = msgspec.json.Decoder(_Ended)


def is_filtered(body: bytes) -> bool:
    """Whether a whole plain answer was withheld, in all of its choices, by the provider's content filter."""
    if b"content_filter" not in body:
        return False
    ended = read(_ENDED, body) or _Ended()
    why = ended.incomplete_details
    reasons: list[object] = [choice.finish_reason for choice in ended.choices or ()] or [why and why.reason]
    return all(reason == FILTERED for reason in reasons)


class _TokenDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    """Both spellings: chat completions' and responses'."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prompt_cache_hit_tokens: Count | None = None
    prompt_tokens_details: _TokenDetails | None = None
    completion_tokens_details: _TokenDetails | None = None
    input_tokens_details: _TokenDetails | None = None
    output_tokens_details: _TokenDetails | None = None


_USAGE = msgspec.json.Decoder(_Usage)
_NO_DETAILS = _TokenDetails()


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """The tokens of a `usage` object; None when it is absent, null, of an unknown form or not about tokens."""
    if len(raw) <= 4:
        return None
    usage = read(_USAGE, raw)
    # Transcriptions may be counted in seconds.
    if usage is None or (usage.prompt_tokens is None and usage.input_tokens is None):
        return None
    given = usage.prompt_tokens_details or usage.input_tokens_details or _NO_DETAILS
    written = usage.completion_tokens_details or usage.output_tokens_details or _NO_DETAILS
    return Usage(
        input=usage.prompt_tokens or usage.input_tokens or 0,
        output=usage.completion_tokens or usage.output_tokens or 0,
        # DeepSeek counts its cache's hits beside the details.
        cached=given.cached_tokens or usage.prompt_cache_hit_tokens or 0,
        reasoning=written.reasoning_tokens or 0,
    )
