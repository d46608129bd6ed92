"""What the hot path needs of traces: the fields that carry a call's place in one on (W3C Trace Context), and how ends
are told. Where a call is not traced, its `trace` is None and nobody looks any further.
"""

from random import getrandbits
from typing import TypeVar

from msgspec.structs import replace

from seawall.types import AttemptEnded, CallEnded, CallTraced, Headers, Observer, TraceContext, header

Ended = TypeVar("Ended", AttemptEnded, CallEnded)

FIELDS = frozenset({b"traceparent", b"tracestate"})
"""In lower case."""


def new_span() -> str:
    """An id for a span: 16 hexadecimal digits, not all of them 0."""
    return f"{getrandbits(64) or 1:016x}"


def carried(trace: TraceContext, span_id: str) -> Headers:
    """The fields of a request that is sent within a call, so that what its upstream does becomes part of the trace."""
    fields = [(b"traceparent", f"00-{trace.trace_id}-{span_id}-{trace.flags:02x}".encode())]
    if trace.state:
        fields.append((b"tracestate", trace.state.encode("ascii", "replace")))
    return fields


def is_signed(headers: Headers) -> bool:
    """Whether the agent has signed its trace's fields itself (AWS Signature Version 4), so that they have to stay."""
    authorization = header(headers, b"authorization")
    return authorization is not None and authorization.startswith(b"AWS4-") and b"traceparent" in authorization.lower()


def tell(observe: Observer, ended: CallEnded, trace: TraceContext | None, link: TraceContext | None = None) -> None:
    """Tell of a call's end; of its span as well, where it is traced."""
    if trace is None:
        observe(ended)
    else:
        ended = marked(ended, trace, trace.span_id)
        observe(ended)
        observe(CallTraced(trace, ended, link))


def marked(ended: Ended, trace: TraceContext, span_id: str) -> Ended:
    """The event with its place in a trace, by which the log's readers find that."""
    return replace(ended, trace_id=trace.trace_id, span_id=span_id)
