"""What Anthropic calls its errors, counts as usage and says of a message as a whole. Data, and how it is read."""

import msgspec

from seawall.dialects._classify import Words, phrase
from seawall.dialects._json import Count, read
from seawall.faults import Code
from seawall.types import Usage

# From the errors page of the API's documentation, and `ErrorType` and `ErrorDetails` of the SDK.
WORDS = Words(
    exact={
        "billing_error": Code.QUOTA_EXHAUSTED,
        "contract_spend_limit_reached": Code.QUOTA_EXHAUSTED,
        "enforced_spend_limit_reached": Code.QUOTA_EXHAUSTED,
        "linked_organization_spend_limit_reached": Code.QUOTA_EXHAUSTED,
        "linked_organization_billing_unavailable": Code.QUOTA_EXHAUSTED,
        "overloaded_error": Code.OVERLOADED,
    },
    general={
        "rate_limit_error": Code.RATE_LIMITED,
        "api_error": Code.SERVER_ERROR,
        "timeout_error": Code.UPSTREAM_TIMEOUT,
        "invalid_request_error": Code.INVALID_REQUEST,
        "request_too_large": Code.INVALID_REQUEST,
        "authentication_error": Code.UNAUTHORIZED,
        "permission_error": Code.FORBIDDEN,
        "not_found_error": Code.NOT_FOUND,
        "conflict_error": Code.CONFLICT,
    },
    phrases=(
        phrase(r"(?:Your )?credit balance is too low", Code.QUOTA_EXHAUSTED),
        phrase(r"You have reached your specified (?:workspace )?API usage limits", Code.QUOTA_EXHAUSTED),
        phrase(r"prompt is too long\b", Code.CONTEXT_LENGTH),
        phrase(r"input length and `max_tokens` exceed context limit", Code.CONTEXT_LENGTH),
        phrase(r"Output blocked by content filtering policy", Code.CONTENT_POLICY),
    ),
)

REFUSED = "refusal"
"""The stop reason of an answer that the provider's classifiers withheld or broke off."""


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: Count | None = None


class Counts(msgspec.Struct, gc=False):
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    output_tokens_details: _OutputDetails | None = None


class Message(msgspec.Struct, gc=False):
    model: object = None
    stop_reason: object = None
    usage: msgspec.Raw = msgspec.Raw(b"")


_MESSAGE = msgspec.json.Decoder(Message)
_COUNTS = msgspec.json.Decoder(Counts)


def message_of(raw: bytes | msgspec.Raw) -> Message:
    """A message's own fields; an empty one where it has none."""
    return read(_MESSAGE, raw) or Message()


def counts_of(raw: msgspec.Raw) -> Counts | None:
    """A `usage` object; None when it is absent, null or of an unknown form."""
    return read(_COUNTS, raw) if len(raw) > 4 else None


def total(counts: Counts) -> Usage:
    """What was read from and written to the cache counts as input, as it does for the other providers."""
    details = counts.output_tokens_details or _OutputDetails()
    cached = counts.cache_read_input_tokens or 0
    return Usage(
        input=(counts.input_tokens or 0) + (counts.cache_creation_input_tokens or 0) + cached,
        output=counts.output_tokens or 0,
        cached=cached,
        reasoning=details.thinking_tokens or 0,
    )
