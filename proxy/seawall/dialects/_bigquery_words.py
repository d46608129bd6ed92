"""What BigQuery calls its errors: the `reason` of the first of an error's `errors`. Data, and nothing else.

Source: the error table of BigQuery's documentation, and what google-cloud-bigquery (3.47) tries again.
"""

import msgspec

from seawall.dialects import _warehouse as warehouse
from seawall.dialects._classify import Said, Words, fault_of
from seawall.dialects._json import read
from seawall.dialects.hints import retry_hint
from seawall.faults import Code, Fault
from seawall.types import Facts, Headers

_WORDS = Words(
    exact={
        # They come with 403 or 400, by which nobody could tell them from a refusal.
        "rateLimitExceeded": Code.RATE_LIMITED,
        "jobRateLimitExceeded": Code.RATE_LIMITED,
        # "A longer-term limit": wait for ten minutes or more.
        "quotaExceeded": Code.QUOTA_EXHAUSTED,
        "billingNotEnabled": Code.QUOTA_EXHAUSTED,
        "tableUnavailable": Code.SERVER_ERROR,
        # A job has failed for good; its agent may start another one, with another id.
        "jobBackendError": Code.INVALID_REQUEST,
        "jobInternalError": Code.INVALID_REQUEST,
        # To make what is there already fails however often it is tried; `Facts.made` says what else it may mean.
        "duplicate": Code.INVALID_REQUEST,
        "alreadyExists": Code.INVALID_REQUEST,
        "resourcesExceeded": Code.INVALID_REQUEST,
        "responseTooLarge": Code.INVALID_REQUEST,
        "billingTierLimitExceeded": Code.INVALID_REQUEST,
        "stopped": Code.INVALID_REQUEST,
        "timeout": Code.INVALID_REQUEST,
    },
    general={},
    phrases=(),
)
# Google's client tries them again whatever their status is.
_TRANSIENT = frozenset({"backendError", "internalError", "badGateway"})

NAMES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""`status` of an error, by the HTTP status."""

REASONS: dict[Code | int, str] = {
    Code.RATE_LIMITED: "rateLimitExceeded",
    Code.QUOTA_EXHAUSTED: "quotaExceeded",
    401: "authError",
    403: "accessDenied",
    404: "notFound",
    409: "duplicate",
    501: "notImplemented",
}
"""By what is to be told, or else by its status."""


class _One(msgspec.Struct, gc=False):
    reason: object = None


class _Error(msgspec.Struct, gc=False):
    status: object = None
    errors: list[_One] | None = None


class _Body(msgspec.Struct, gc=False):
    error: _Error | None = None


_BODY = msgspec.json.Decoder(_Body)


def judged(facts: Facts, status: int, headers: Headers, body: bytes, wall: float) -> Fault:
    """The fault for an answer with an error status. An exceeded limit says that nothing was begun."""
    error = (read(_BODY, body) or _Body()).error or _Error()
    reason = next((one.reason for one in error.errors or ()), None)
    fault = fault_of(_WORDS, Said(code=reason, status=error.status), status, retry_hint(headers, wall))
    if status < 500 and reason in _TRANSIENT:
        return Fault(Code.SERVER_ERROR, fault.detail, status, fault.hint)
    limited = fault.code in (Code.RATE_LIMITED, Code.QUOTA_EXHAUSTED)
    return warehouse.undone(fault) if limited else fault
