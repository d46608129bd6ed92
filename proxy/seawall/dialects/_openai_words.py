"""What OpenAI and the providers that speak its protocol call their errors and count as usage. Data, and nothing else.

Sources: OpenAI's error-codes guide and `ResponseError` of its SDK; the error pages of Groq, DeepSeek, OpenRouter,
Mistral and vLLM.
"""

import msgspec

from seawall.dialects._classify import Words, phrase
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
        phrase(r"Your request was rejected (?:by|as a result of) (?:our|the) safety system", Code.CONTENT_POLICY),
    ),
)


class _TokenDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    """Both spellings: chat completions' and responses'."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    prompt_tokens_details: _TokenDetails | None = None
    completion_tokens_details: _TokenDetails | None = None
    input_tokens_details: _TokenDetails | None = None
    output_tokens_details: _TokenDetails | None = None


_USAGE = msgspec.json.Decoder(_Usage)
_NO_DETAILS = _TokenDetails()


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """The tokens of a `usage` object; None when it is absent, null or of an unknown form."""
    if len(raw) <= 4:
        return None
    try:
        usage = _USAGE.decode(raw)
    except (ValueError, RecursionError):
        return None
    read = usage.prompt_tokens_details or usage.input_tokens_details or _NO_DETAILS
    written = usage.completion_tokens_details or usage.output_tokens_details or _NO_DETAILS
    return Usage(
        input=usage.prompt_tokens or usage.input_tokens or 0,
        output=usage.completion_tokens or usage.output_tokens or 0,
        # DeepSeek counts its cache's hits beside the details.
        cached=read.cached_tokens or usage.prompt_cache_hit_tokens or 0,
        reasoning=written.reasoning_tokens or 0,
    )
