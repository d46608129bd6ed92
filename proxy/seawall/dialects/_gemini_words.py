"""What Gemini calls its errors and the ends of its answers, and counts as usage. Data, and how it is read.

Sources: google/rpc/code.proto and error_details.proto, the troubleshooting guides of the Gemini API and of Vertex AI,
and `FinishReason` and `BlockedReason` of google-genai.
"""

import msgspec

from seawall.dialects._classify import Said, Words, fault_of, inner, phrase, said
from seawall.dialects._json import Count, read
from seawall.dialects.hints import duration
from seawall.faults import Code, Fault
from seawall.types import Usage

WORDS = Words(
    exact={
        # Of the server's own doing: the agent is still there.
        "CANCELLED": Code.SERVER_ERROR,
    },
    general={
        "RESOURCE_EXHAUSTED": Code.RATE_LIMITED,
        "UNAVAILABLE": Code.OVERLOADED,
        "INTERNAL": Code.SERVER_ERROR,
        "UNKNOWN": Code.SERVER_ERROR,
        "DATA_LOSS": Code.SERVER_ERROR,
        "DEADLINE_EXCEEDED": Code.UPSTREAM_TIMEOUT,
        "ABORTED": Code.CONFLICT,
        "ALREADY_EXISTS": Code.CONFLICT,
        "UNAUTHENTICATED": Code.UNAUTHORIZED,
        "PERMISSION_DENIED": Code.FORBIDDEN,
        "NOT_FOUND": Code.NOT_FOUND,
        "INVALID_ARGUMENT": Code.INVALID_REQUEST,
        "FAILED_PRECONDITION": Code.INVALID_REQUEST,
        "OUT_OF_RANGE": Code.INVALID_REQUEST,
        "UNIMPLEMENTED": Code.INVALID_REQUEST,
    },
    # "You exceeded your current quota" is not among them: it is said of a minute's quota as well.
    phrases=(
        phrase(r"API key (?:not valid|expired)\b", Code.UNAUTHORIZED),
        phrase(r"(?:Unable to submit request because )?the input token count\b", Code.CONTEXT_LENGTH),
        phrase(r"User location is not supported\b", Code.FORBIDDEN),
        phrase(r"Your prepayment credits are depleted\b", Code.QUOTA_EXHAUSTED),
        phrase(r"Your (?:project|billing account) has exceeded its [^\n]{0,40}?spending cap\b", Code.QUOTA_EXHAUSTED),
    ),
)

# `reason` of a google.rpc.ErrorInfo, more exact than the status that it comes with.
_REASONS = {
    "API_KEY_INVALID": Code.UNAUTHORIZED,
    "API_KEY_EXPIRED": Code.UNAUTHORIZED,
    "ACCESS_TOKEN_EXPIRED": Code.UNAUTHORIZED,
    "BILLING_DISABLED": Code.QUOTA_EXHAUSTED,
}
# In the `quotaId` of a google.rpc.QuotaFailure: GenerateRequestsPerDayPerProjectPerModel-FreeTier.
_PER_DAY = "PerDay"

FILTERED = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION"}
    | {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "PUP_LIMITED_DISABLED"}
)
"""Finish reasons of an answer that was withheld, or broken off, for what is in it."""

_UNSPECIFIED = frozenset({"FINISH_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED"})


class _Violation(msgspec.Struct, gc=False, rename="camel"):
    quota_id: object = None


class _Detail(msgspec.Struct, gc=False, rename="camel"):
    """Of whatever kind: ErrorInfo, QuotaFailure, RetryInfo, …"""

    reason: object = None
    violations: list[_Violation] | None = None
    retry_delay: object = None


class Feedback(msgspec.Struct, gc=False, rename="camel"):
    """On the prompt."""

    block_reason: object = None


class _Ended(msgspec.Struct, gc=False, rename="camel"):
    finish_reason: object = None


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    candidates: list[_Ended] | None = None
    prompt_feedback: Feedback | None = None


class _Usage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: Count = 0
    tool_use_prompt_token_count: Count = 0
    candidates_token_count: Count = 0
    thoughts_token_count: Count = 0
    cached_content_token_count: Count = 0


_DETAILS = msgspec.json.Decoder(list[msgspec.Raw])
_DETAIL = msgspec.json.Decoder(_Detail)
_ANSWER = msgspec.json.Decoder(_Answer)
_USAGE = msgspec.json.Decoder(_Usage)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def reason(value: object) -> str:
    """A finish or block reason as a text; "" for none. Enums come as numbers where a client asks for it."""
    if isinstance(value, int):
        return str(value) if value else ""
    return value if isinstance(value, str) and value not in _UNSPECIFIED else ""


def withheld(body: bytes) -> str:
    """Why a whole plain answer was withheld, in all of its candidates; "" when it was not."""
    answer = read(_ANSWER, body) or _Answer()
    blocked = reason(answer.prompt_feedback.block_reason) if answer.prompt_feedback is not None else ""
    if blocked:
        return f"blockReason {blocked}"
    reasons = [reason(one.finish_reason) for one in answer.candidates or ()]
    return f"finishReason {reasons[0]}" if reasons and FILTERED.issuperset(reasons) else ""


def alone(body: bytes) -> bytes:
    """An error's body without the array that it comes in where a stream as an array was asked for."""
    if not body.startswith(b"["):
        return body
    elements = read(_LIST, body)
    return bytes(elements[0]) if elements else body


def detailed(fault: Fault, body: bytes) -> Fault:
    """The fault with what the details of its error say: a quota that lasts the day, a key that is none, when to come
    again. A hint from header fields, which is there already, counts first (SEMANTICS §2)."""
    top = said(body)
    error = (inner(top) or top) if top is not None else None
    return fault if error is None else _with_details(fault, error)


def told(error: msgspec.Raw) -> Fault:
    """The fault for an error object in a stream."""
    known = said(error) or Said()
    return _with_details(fault_of(WORDS, known), known)


def _with_details(fault: Fault, error: Said) -> Fault:
    code, hint = fault.code, fault.hint
    for raw in read(_DETAILS, error.details) or ():
        detail = read(_DETAIL, raw) or _Detail()
        if isinstance(detail.reason, str):
            code = _REASONS.get(detail.reason, code)
        if code is Code.RATE_LIMITED and any(
            isinstance(one.quota_id, str) and _PER_DAY in one.quota_id for one in detail.violations or ()
        ):
            code = Code.QUOTA_EXHAUSTED
        if hint is None and isinstance(detail.retry_delay, str):
            hint = duration(detail.retry_delay)
    return Fault(code, fault.detail, fault.status, hint)


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """The tokens of a `usageMetadata`; None when it is absent or of an unknown form. Thoughts count as output, and
    what tools of the provider brought in as input, as they are billed."""
    usage = read(_USAGE, raw) if len(raw) > 4 else None
    if usage is None:
        return None
    return Usage(
        input=usage.prompt_token_count + usage.tool_use_prompt_token_count,
        output=usage.candidates_token_count + usage.thoughts_token_count,
        cached=usage.cached_content_token_count,
        reasoning=usage.thoughts_token_count,
    )
