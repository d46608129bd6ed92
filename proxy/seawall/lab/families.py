"""How each provider words its errors and which header fields it sends. Pure; shapes as their public APIs document them.

A family is shared by all operations of a provider; the operations themselves live in a file each.
"""

from datetime import UTC, datetime
from typing import ClassVar, Protocol

from seawall.lab.answer import Mint, encode
from seawall.lab.plan import Status, Trouble
from seawall.types import Headers

_REQUESTS = 10_000
_TOKENS = 2_000_000


class Family(Protocol):
    name: str

    def status(self, trouble: Trouble) -> int:
        """The usual HTTP status for it."""

    def error(self, trouble: Trouble, status: Status, mint: Mint) -> bytes:
        """The body of an error answer (or of a 200 that is one)."""

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        """The fields that this provider adds to every answer. exhausted: a rate limit is used up."""

    def error_fields(self, trouble: Trouble, status: Status) -> Headers:
        """The fields that this provider adds to an error answer."""


def trouble_of(status: int) -> Trouble:
    """What a bare status stands for."""
    by_status = {
        401: Trouble.AUTH,
        402: Trouble.QUOTA,
        403: Trouble.FORBIDDEN,
        404: Trouble.NOT_FOUND,
        408: Trouble.TIMEOUT,
        429: Trouble.RATE_LIMIT,
        503: Trouble.OVERLOADED,
        504: Trouble.TIMEOUT,
        529: Trouble.OVERLOADED,
    }
    return by_status.get(status) or (Trouble.INVALID if status < 500 else Trouble.SERVER)


_MESSAGES = {
    Trouble.INVALID: "The request is not valid.",
    Trouble.AUTH: "Incorrect API key provided.",
    Trouble.FORBIDDEN: "Your API key does not have permission to use this resource.",
    Trouble.NOT_FOUND: "The model does not exist or you do not have access to it.",
    Trouble.CONTEXT: "This model's maximum context length is 8192 tokens. However, your messages resulted in more.",
    Trouble.FILTER: "The response was filtered due to the prompt triggering the content management policy.",
    Trouble.RATE_LIMIT: "Rate limit reached for requests per min. Please slow down.",
    Trouble.QUOTA: "You exceeded your current quota, please check your plan and billing details.",
    Trouble.SERVER: "The server had an error while processing your request.",
    Trouble.OVERLOADED: "The engine is currently overloaded, please try again later.",
    Trouble.TIMEOUT: "The request timed out.",
}


class OpenAI:
    name = "OpenAI"
    _errors: ClassVar[dict[Trouble, tuple[int, str, str | None]]] = {
        Trouble.INVALID: (400, "invalid_request_error", None),
        Trouble.AUTH: (401, "invalid_request_error", "invalid_api_key"),
        Trouble.FORBIDDEN: (403, "invalid_request_error", "insufficient_permissions"),
        Trouble.NOT_FOUND: (404, "invalid_request_error", "model_not_found"),
        Trouble.CONTEXT: (400, "invalid_request_error", "context_length_exceeded"),
        Trouble.FILTER: (400, "invalid_request_error", "content_filter"),
        Trouble.RATE_LIMIT: (429, "requests", "rate_limit_exceeded"),
        Trouble.QUOTA: (429, "insufficient_quota", "insufficient_quota"),
        Trouble.SERVER: (500, "server_error", None),
        Trouble.OVERLOADED: (503, "server_error", "server_is_overloaded"),
        Trouble.TIMEOUT: (504, "server_error", "timeout"),
    }

    def status(self, trouble: Trouble) -> int:
        return self._errors[trouble][0]

    def error(self, trouble: Trouble, status: Status, mint: Mint) -> bytes:
        return encode({"error": self.error_object(trouble, status)})

    def error_object(self, trouble: Trouble, status: Status) -> dict[str, object]:
        _, kind, code = self._errors[trouble]
        message = status.message or _MESSAGES[trouble]
        return {"message": message, "type": kind, "param": None, "code": status.error_code or code}

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        left = 0 if exhausted else 1
        return [
            (b"x-request-id", mint.id("req_", 32).encode()),
            (b"openai-version", b"2020-10-01"),
            (b"openai-organization", b"seawall-lab"),
            (b"openai-processing-ms", b"7"),
            (b"x-ratelimit-limit-requests", b"%d" % _REQUESTS),
            (b"x-ratelimit-limit-tokens", b"%d" % _TOKENS),
            (b"x-ratelimit-remaining-requests", b"%d" % (left * (_REQUESTS - 1))),
            (b"x-ratelimit-remaining-tokens", b"%d" % (_TOKENS - 100)),
            (b"x-ratelimit-reset-requests", b"6ms" if left else b"1s"),
            (b"x-ratelimit-reset-tokens", b"3ms"),
        ]

    def error_fields(self, trouble: Trouble, status: Status) -> Headers:
        return []


class Anthropic:
    name = "Anthropic"
    _errors: ClassVar[dict[Trouble, tuple[int, str]]] = {
        Trouble.INVALID: (400, "invalid_request_error"),
        Trouble.AUTH: (401, "authentication_error"),
        Trouble.FORBIDDEN: (403, "permission_error"),
        Trouble.NOT_FOUND: (404, "not_found_error"),
        Trouble.CONTEXT: (400, "invalid_request_error"),
        Trouble.FILTER: (400, "invalid_request_error"),
        Trouble.RATE_LIMIT: (429, "rate_limit_error"),
        Trouble.QUOTA: (400, "invalid_request_error"),
        Trouble.SERVER: (500, "api_error"),
        Trouble.OVERLOADED: (529, "overloaded_error"),
        Trouble.TIMEOUT: (504, "timeout_error"),
    }
    _messages: ClassVar[dict[Trouble, str]] = {
        Trouble.AUTH: "invalid x-api-key",
        Trouble.CONTEXT: "prompt is too long: 210000 tokens > 200000 maximum",
        Trouble.FILTER: "Output blocked by content filtering policy",
        Trouble.RATE_LIMIT: "This request would exceed your organization's rate limit of 50 requests per minute.",
        Trouble.QUOTA: "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
        Trouble.SERVER: "Internal server error",
        Trouble.OVERLOADED: "Overloaded",
    }

    def status(self, trouble: Trouble) -> int:
        return self._errors[trouble][0]

    def error(self, trouble: Trouble, status: Status, mint: Mint) -> bytes:
        kind = "billing_error" if status.code == 402 else self._errors[trouble][1]
        message = status.message or self._messages.get(trouble) or _MESSAGES[trouble]
        error = {"type": status.error_code or kind, "message": message}
        return encode({"type": "error", "error": error, "request_id": mint.id("req_", 24)})

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        left = 0 if exhausted else 1
        reset = datetime.fromtimestamp(mint.now + 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
        return [
            (b"request-id", mint.id("req_", 24).encode()),
            (b"anthropic-organization-id", b"7e57ab1e-0000-4000-8000-000000000000"),
            (b"anthropic-ratelimit-requests-limit", b"%d" % _REQUESTS),
            (b"anthropic-ratelimit-requests-remaining", b"%d" % (left * (_REQUESTS - 1))),
            (b"anthropic-ratelimit-requests-reset", reset),
            (b"anthropic-ratelimit-tokens-limit", b"%d" % _TOKENS),
            (b"anthropic-ratelimit-tokens-remaining", b"%d" % (_TOKENS - 100)),
            (b"anthropic-ratelimit-tokens-reset", reset),
        ]

    def error_fields(self, trouble: Trouble, status: Status) -> Headers:
        return []


class Bedrock:
    name = "Bedrock"
    _errors: ClassVar[dict[Trouble, tuple[int, str, str]]] = {
        Trouble.INVALID: (400, "ValidationException", "The request is not valid."),
        Trouble.AUTH: (403, "UnrecognizedClientException", "The security token included in the request is invalid."),
        Trouble.FORBIDDEN: (403, "AccessDeniedException", "You don't have access to the model with this model ID."),
        Trouble.NOT_FOUND: (404, "ResourceNotFoundException", "Could not resolve the foundation model."),
        Trouble.CONTEXT: (400, "ValidationException", "Input is too long for requested model."),
        Trouble.FILTER: (400, "ValidationException", "Output blocked by content filtering policy"),
        Trouble.RATE_LIMIT: (429, "ThrottlingException", "Too many requests, please wait before trying again."),
        Trouble.QUOTA: (429, "ThrottlingException", "Too many tokens per day, please wait before trying again."),
        Trouble.SERVER: (500, "InternalServerException", "The system encountered an unexpected error."),
        Trouble.OVERLOADED: (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
        Trouble.TIMEOUT: (408, "ModelTimeoutException", "Model has timed out in processing the request."),
    }

    def status(self, trouble: Trouble) -> int:
        return self._errors[trouble][0]

    def name_of(self, trouble: Trouble, status: Status) -> str:
        """The exception's."""
        return status.error_code or self._errors[trouble][1]

    def error(self, trouble: Trouble, status: Status, mint: Mint) -> bytes:
        return encode({"message": status.message or self._errors[trouble][2]})

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        id_ = mint.id("", 32)
        parts = (id_[:8], id_[8:12], id_[12:16], id_[16:20], id_[20:])
        return [(b"x-amzn-requestid", "-".join(parts).encode())]

    def error_fields(self, trouble: Trouble, status: Status) -> Headers:
        where = ":http://internal.amazon.com/coral/com.amazon.bedrock/"
        return [(b"x-amzn-errortype", (self.name_of(trouble, status) + where).encode("latin-1", "replace"))]


_RPC = "type.googleapis.com/google.rpc."


class Gemini:
    """array: errors come in a list, as they do where a stream as an array was asked for."""

    name = "Gemini"
    _errors: ClassVar[dict[Trouble, tuple[int, str]]] = {
        Trouble.INVALID: (400, "INVALID_ARGUMENT"),
        Trouble.AUTH: (400, "INVALID_ARGUMENT"),
        Trouble.FORBIDDEN: (403, "PERMISSION_DENIED"),
        Trouble.NOT_FOUND: (404, "NOT_FOUND"),
        Trouble.CONTEXT: (400, "INVALID_ARGUMENT"),
        Trouble.FILTER: (200, "OK"),
        Trouble.RATE_LIMIT: (429, "RESOURCE_EXHAUSTED"),
        Trouble.QUOTA: (429, "RESOURCE_EXHAUSTED"),
        Trouble.SERVER: (500, "INTERNAL"),
        Trouble.OVERLOADED: (503, "UNAVAILABLE"),
        Trouble.TIMEOUT: (504, "DEADLINE_EXCEEDED"),
    }
    _messages: ClassVar[dict[Trouble, str]] = {
        Trouble.AUTH: "API key not valid. Please pass a valid API key.",
        Trouble.CONTEXT: "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        Trouble.RATE_LIMIT: _MESSAGES[Trouble.QUOTA],
        Trouble.SERVER: "An internal error has occurred. Please retry.",
        Trouble.OVERLOADED: "The model is overloaded. Please try again later.",
        Trouble.TIMEOUT: "Deadline expired before operation could complete.",
    }

    def __init__(self, *, array: bool = False) -> None:
        self._array = array

    def status(self, trouble: Trouble) -> int:
        return self._errors[trouble][0]

    def error(self, trouble: Trouble, status: Status, mint: Mint) -> bytes:
        if trouble is Trouble.FILTER and status.code is None:
            # The prompt is blocked, and no error is told.
            body: dict[str, object] = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        else:
            usual, name = self._errors[trouble]
            message = status.message or self._messages.get(trouble) or _MESSAGES[trouble]
            told = {"code": status.code or usual, "message": message, "status": status.error_code or name}
            details = self._details(trouble, status)
            body = {"error": {**told, "details": details} if details else told}
        return encode([body] if self._array else body)

    def _details(self, trouble: Trouble, status: Status) -> list[dict[str, object]]:
        match trouble:
            case Trouble.AUTH:
                return [{"@type": _RPC + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
            case Trouble.RATE_LIMIT | Trouble.QUOTA:
                span = "Minute" if trouble is Trouble.RATE_LIMIT else "Day"
                violation = {"quotaId": f"GenerateRequestsPer{span}PerProjectPerModel", "quotaValue": "10"}
                details: list[dict[str, object]] = [{"@type": _RPC + "QuotaFailure", "violations": [violation]}]
                if status.retry_after is not None and status.retry_after.isdigit():
                    details.append({"@type": _RPC + "RetryInfo", "retryDelay": f"{status.retry_after}s"})
                return details
        return []

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        return [
            (b"vary", b"Origin, X-Origin, Referer"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"SAMEORIGIN"),
            (b"x-xss-protection", b"0"),
            (b"server-timing", b"gfet4t7; dur=7"),
        ]

    def error_fields(self, trouble: Trouble, status: Status) -> Headers:
        return []


class Warehouse:
    name = "Generic"
    _errors: ClassVar[dict[Trouble, tuple[int, str]]] = {
        Trouble.INVALID: (400, "INVALID_REQUEST"),
        Trouble.AUTH: (401, "UNAUTHENTICATED"),
        Trouble.FORBIDDEN: (403, "PERMISSION_DENIED"),
        Trouble.NOT_FOUND: (404, "NOT_FOUND"),
        Trouble.CONTEXT: (413, "REQUEST_TOO_LARGE"),
        Trouble.FILTER: (422, "STATEMENT_REFUSED"),
        Trouble.RATE_LIMIT: (429, "TOO_MANY_REQUESTS"),
        Trouble.QUOTA: (429, "QUOTA_EXCEEDED"),
        Trouble.SERVER: (500, "INTERNAL"),
        Trouble.OVERLOADED: (503, "UNAVAILABLE"),
        Trouble.TIMEOUT: (504, "DEADLINE_EXCEEDED"),
    }

    def status(self, trouble: Trouble) -> int:
        return self._errors[trouble][0]

    def error(self, trouble: Trouble, status: Status, mint: Mint) -> bytes:
        usual, code = self._errors[trouble]
        message = status.message or f"the warehouse answers {code.lower().replace('_', ' ')}"
        return encode(
            {"error": {"code": status.error_code or code, "status": status.code or usual, "message": message}}
        )

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        return [(b"x-request-id", mint.id("wh-", 16).encode())]

    def error_fields(self, trouble: Trouble, status: Status) -> Headers:
        return []
