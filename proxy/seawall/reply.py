"""What seawall adds to an answer, and the answers that it makes itself (SEMANTICS §8)."""

from collections.abc import Mapping

from seawall.call import Call, Ledger
from seawall.dialects.base import Dialect
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Headers
from seawall.wire import end_to_end

_OURS = frozenset(
    {b"x-seawall-request-id", b"x-seawall-outcome", b"x-seawall-upstream", b"x-seawall-model", b"x-seawall-attempts"}
    | {b"x-seawall-service-level"}
)
_LATER = b", ".join(sorted(_OURS - {b"x-seawall-request-id"}))
_LENGTH = frozenset({b"content-length"})
_OURS_AND_ADVICE = _OURS | {b"x-should-retry"}

# RFC 9209 §2.3: the proxy error types.
_PROXY_STATUS: dict[Code, bytes] = {
    Code.DNS_FAILED: b"dns_error",
    Code.CONNECT_FAILED: b"connection_refused",
    Code.CONNECT_TIMEOUT: b"connection_timeout",
    Code.TLS_FAILED: b"tls_protocol_error",
    Code.CREDENTIAL_UNREADABLE: b"proxy_configuration_error",
    Code.CONNECTION_LOST: b"connection_terminated",
    Code.STALE_CONNECTION: b"connection_terminated",
    Code.PROTOCOL_ERROR: b"http_protocol_error",
    Code.TIMEOUT_REQUEST: b"http_response_timeout",
    Code.TIMEOUT_ATTEMPT: b"http_response_timeout",
    Code.TIMEOUT_FIRST_BYTE: b"http_response_timeout",
    Code.TIMEOUT_FIRST_CONTENT: b"http_response_timeout",
    Code.TIMEOUT_STREAM_IDLE: b"http_response_timeout",
    Code.STREAM_TOO_SLOW: b"http_response_timeout",
    Code.TRUNCATED: b"http_response_incomplete",
    Code.MALFORMED_EVENT: b"http_protocol_error",
    Code.BREAKER_OPEN: b"destination_unavailable",
    Code.QUEUE_FULL: b"connection_limit_reached",
    Code.QUEUE_TIMEOUT: b"connection_limit_reached",
    Code.DRAINING: b"proxy_internal_response",
    Code.NO_ROUTE: b"destination_not_found",
    Code.NO_CANDIDATE: b"destination_unavailable",
    Code.STATEMENT_REFUSED: b"http_request_denied",
    Code.BODY_TOO_LARGE: b"http_request_error",
    Code.BAD_REQUEST: b"http_request_error",
    Code.INTERNAL: b"proxy_internal_error",
}


def told(call: Call, ledger: Ledger) -> Headers:
    """The x-seawall-* fields of an answer."""
    return [
        (b"x-seawall-request-id", call.id.encode()),
        (b"x-seawall-outcome", ledger.outcome.value.encode()),
        (b"x-seawall-upstream", ledger.upstream.encode()),
        (b"x-seawall-model", field_value(ledger.model)),
        (b"x-seawall-attempts", b"%d" % ledger.attempts),
        (b"x-seawall-service-level", ledger.service_level.value.encode()),
        *ledger.notes,
    ]


def opening(call: Call) -> Headers:
    """Fields of a stream that is opened before anybody has one to give. The rest of ours is promised for its trailers
    (RFC 9110 §6.6.2), where there can be some."""
    fields = [
        (b"content-type", call.plan.dialect.stream_type(call.facts)),
        (b"cache-control", b"no-cache"),
        (b"x-seawall-request-id", call.id.encode()),
    ]
    if call.head.http_version == "1.1":
        fields.append((b"trailer", _LATER))
    return fields


def closing(call: Call, ledger: Ledger) -> Headers:
    """Fields that a stream which was opened early has in its trailers: those of ours that were not known then."""
    return [field for field in told(call, ledger) if field[0].lower() in _OURS and field[0] != b"x-seawall-request-id"]


def without_told(headers: Headers) -> Headers:
    """An answer's fields without those of ours that are about the call which it was an answer to."""
    return [field for field in headers if field[0].lower() not in _OURS_AND_ADVICE]


def field_value(text: str) -> bytes:
    """Text that an agent chose, made safe for a header field."""
    return text.encode("ascii", "replace").translate(_VISIBLE)[:200]


_VISIBLE = bytes(b if 0x20 <= b < 0x7F else 0x3F for b in range(256))


def upstream_headers(call: Call, ledger: Ledger, headers: Headers, *, unframed: bool = False) -> Headers:
    """An upstream's fields and ours. After a call that we retried ourselves has failed all the same, the agent's SDK
    is told not to multiply (SEMANTICS §2); one that we did not retry is left to it. unframed: without its length."""
    spent = ledger.fault is not None and ledger.retries > 0
    drop = _OURS_AND_ADVICE if spent else _OURS
    fields = end_to_end(headers, drop | _LENGTH if unframed else drop)
    fields += told(call, ledger)
    if spent:
        fields.append((b"x-should-retry", b"false"))
    return fields


def problem_for(
    fault: Fault,
    request_id: str,
    *,
    upstream: str = "",
    attempts: int = 0,
    others: bool = False,
    known: tuple[str, ...] = (),
    status: int | None = None,
) -> Problem:
    """others: candidates are left that this call has not tried. status: see `Problem`."""
    detail = f": {fault.detail}" if fault.detail else ""
    at = f" (upstream {upstream})" if upstream else ""
    return Problem(
        fault=fault,
        message=fault.words or f"seawall: {fault.code.value}{detail}{at}; {fault.rule.suggested_action}",
        request_id=request_id,
        upstream=upstream,
        attempts=attempts,
        retry_after=fault.hint,
        fallback_available=others,
        known_routes=known,
        status=status,
    )


def problem_answer(dialect: Dialect, facts: Facts | None, problem: Problem) -> tuple[int, Headers, bytes]:
    """Status, fields and body of an error that seawall makes itself, without the x-seawall-* fields."""
    fault, body = problem.fault, dialect.error(facts, problem)
    status, fields = dialect.error_head(problem)
    fields.append((b"content-length", b"%d" % len(body)))
    if problem.retry_after is not None:
        # Whole seconds, rounded up (RFC 9110 §10.2.3).
        fields.append((b"retry-after", b"%d" % max(1, -int(-problem.retry_after // 1))))
    error = _PROXY_STATUS.get(fault.code, b"proxy_internal_response")
    fields.append((b"proxy-status", b"seawall; error=" + error))
    return status, fields, body


def filled(text: str, values: Mapping[str, str]) -> str:
    """A fixed text with its places filled in: `{model}`. Other braces stay as they are."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def static_answer(call: Call, status: int, text: str, problem: Problem, created: int) -> tuple[Headers, bytes] | None:
    """Fields and body of an answer that the policy gives in an outage: a good one in the agent's dialect, or from 400
    on its error. None where the operation knows no answer like that."""
    dialect = call.plan.dialect
    if status >= 400:
        return problem_answer(dialect, call.facts, problem.saying(text))[1:]
    found = dialect.static(call.facts, text, call.id.removeprefix("sw_"), created)
    if found is None:
        return None
    kind, body = found
    return [(b"content-type", kind), (b"content-length", b"%d" % len(body))], body
