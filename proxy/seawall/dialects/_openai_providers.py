"""What the providers that speak OpenAI's protocol call their errors and failed ends: one table, and nothing else.

No policy says which of them an upstream is. A name that one of them uses means the same with all others (a test sees to
that), gateways pass each other's errors on, and a server behind a private host name tells nobody what it is. So all
rows are known to every upstream of the dialects OpenAI and AzureOpenAI, and a new provider is a new row.

Sources: the error pages of OpenAI (and `ResponseError` of its SDK), Azure OpenAI, Groq, Mistral, DeepSeek and
OpenRouter; the sources of vLLM and Ollama.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from seawall.dialects._classify import Phrase, Words, phrase
from seawall.faults import Code


@dataclass(frozen=True, slots=True)
class Provider:
    """exact, general and phrases: as `Words`. failed: finish reasons that tell of a failure in an answer's midst."""

    exact: Mapping[str, Code] = field(default_factory=dict)
    general: Mapping[str, Code] = field(default_factory=dict)
    phrases: tuple[Phrase, ...] = ()
    failed: Mapping[str, Code] = field(default_factory=dict)


PROVIDERS: Mapping[str, Provider] = {
    "OpenAI": Provider(
        exact={
            "insufficient_quota": Code.QUOTA_EXHAUSTED,
            "billing_hard_limit_reached": Code.QUOTA_EXHAUSTED,
            "billing_limit_user_error": Code.QUOTA_EXHAUSTED,
            "billing_not_active": Code.QUOTA_EXHAUSTED,
            "credit_limit": Code.QUOTA_EXHAUSTED,
            "context_length_exceeded": Code.CONTEXT_LENGTH,
            "content_policy_violation": Code.CONTENT_POLICY,
            "image_content_policy_violation": Code.CONTENT_POLICY,
            "misalignment_policy_violation": Code.CONTENT_POLICY,
            "bio_policy": Code.CONTENT_POLICY,
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
            phrase(r"(?:Your )?credit balance is too low", Code.QUOTA_EXHAUSTED),
            phrase(r"Billing hard limit has been reached", Code.QUOTA_EXHAUSTED),
            phrase(r"This (?:model|endpoint)'s maximum context length is", Code.CONTEXT_LENGTH),
            phrase(r"(?:prompt|input) is too long\b", Code.CONTEXT_LENGTH),
            phrase(r"Your input exceeds the context window\b", Code.CONTEXT_LENGTH),
            phrase(r"Your request was rejected (?:by|as a result of) (?:our|the) safety system", Code.CONTENT_POLICY),
        ),
    ),
    "Azure OpenAI": Provider(
        exact={
            # In `innererror` or `inner_error`, and of images.
            "ResponsibleAIPolicyViolation": Code.CONTENT_POLICY,
            "contentFilter": Code.CONTENT_POLICY,
            "content_filter": Code.CONTENT_POLICY,
            "DeploymentNotFound": Code.NOT_FOUND,
            "NoCapacity": Code.OVERLOADED,
        },
        general={"InternalServerError": Code.SERVER_ERROR},
        phrases=(
            # Both come with 429 or 403 and no name but the number.
            phrase(r"Out of call volume quota", Code.QUOTA_EXHAUSTED),
            phrase(r"The system is currently experiencing high demand", Code.OVERLOADED),
        ),
    ),
    "Groq": Provider(
        exact={"model_decommissioned": Code.NOT_FOUND},
        general={"tool_use_failed": Code.INVALID_REQUEST, "json_validate_failed": Code.INVALID_REQUEST},
        # "Rate limit reached for … on requests per day (RPD): Limit 200, …"; OpenRouter: "…: free-models-per-day".
        phrases=(
            phrase(
                r"Rate limit [^\n]{0,300}?(?:\bper day\b|-per-day\b|\([RT]PD\))", Code.QUOTA_EXHAUSTED, limited=True
            ),
        ),
    ),
    "Mistral": Provider(
        general={"rate_limited": Code.RATE_LIMITED},
        phrases=(
            # "Prompt contains 65673 tokens …, too large for model with 32768 maximum context length".
            phrase(r"Prompt contains \d+ tokens\b", Code.CONTEXT_LENGTH),
            # Its own word for a model without room, with 429 or 503: nobody's rate limit was reached.
            phrase(r"Service tier capacity exceeded", Code.OVERLOADED),
        ),
        failed={"error": Code.SERVER_ERROR},
    ),
    "DeepSeek": Provider(
        exact={"insufficient_balance": Code.QUOTA_EXHAUSTED},
        phrases=(phrase(r"(?:You have )?insufficient (?:balance|credits?|funds)\b", Code.QUOTA_EXHAUSTED),),
        failed={"insufficient_system_resource": Code.OVERLOADED},
    ),
    "OpenRouter": Provider(
        exact={"insufficient_credits": Code.QUOTA_EXHAUSTED},
        phrases=(
            # With 403, and the reasons beside it.
            phrase(r"[\w~./: -]{1,120} requires moderation\b", Code.CONTENT_POLICY),
            phrase(r"This request requires more credits\b", Code.QUOTA_EXHAUSTED),
        ),
        failed={"error": Code.SERVER_ERROR},
    ),
    "vLLM": Provider(
        general={
            "BadRequestError": Code.INVALID_REQUEST,
            "NotFoundError": Code.NOT_FOUND,
            "InternalServerError": Code.SERVER_ERROR,
            "ServiceUnavailableError": Code.OVERLOADED,
        },
        phrases=(
            phrase(r"You passed \d+ input tokens\b", Code.CONTEXT_LENGTH),
            phrase(r"The (?:decoder )?prompt \(length \d+\) is longer than", Code.CONTEXT_LENGTH),
            phrase(r"'max_(?:completion_)?tokens'[^\n]{0,60} is too large: \d+\. This model's maximum context length",
                   Code.CONTEXT_LENGTH),
        ),
        # A request that was aborted within the engine, by whomever but its client.
        failed={"error": Code.SERVER_ERROR, "abort": Code.SERVER_ERROR},
    ),
    "Ollama": Provider(general={"api_error": Code.SERVER_ERROR}),
}  # fmt: skip

WORDS = Words(
    exact={name: code for provider in PROVIDERS.values() for name, code in provider.exact.items()},
    general={name: code for provider in PROVIDERS.values() for name, code in provider.general.items()},
    phrases=tuple(phrase for provider in PROVIDERS.values() for phrase in provider.phrases),
)

FILTERED = "content_filter"
"""The finish reason, and the reason for an incomplete response, of an answer that was withheld."""

FAILED: Mapping[str, Code] = {
    reason: code for provider in PROVIDERS.values() for reason, code in provider.failed.items()
}
"""Finish reasons of an answer that failed before its end."""
