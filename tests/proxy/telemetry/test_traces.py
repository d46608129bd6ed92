"""Which calls are traced, whatever agents send."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from seawall.clock import SystemClock
from seawall.telemetry.traces import Traces
from seawall.tracing import carried
from seawall.types import Head, Headers

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
FIELD = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]")


@pytest.fixture(scope="module")
def traces() -> Iterator[Traces]:
    made = Traces(InMemorySpanExporter(), 2048, SystemClock())
    yield made
    made._processor.shutdown()


def asked(*fields: tuple[bytes, bytes]) -> Head:
    return Head("POST", "/v1/chat/completions", list(fields))


value = st.one_of(
    st.binary(max_size=80).filter(lambda data: not set(b"\r\n\0") & set(data)),
    st.from_regex(rb"\A[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z"),
    st.from_regex(rb"\A([a-z0-9_*/-]{1,9}=[!-~]{0,9},?){0,40}\Z"),
)


@given(
    st.lists(st.tuples(st.sampled_from([b"traceparent", b"TraceParent", b"tracestate", b"x-other"]), value), max_size=4)
)
def test_whatever_comes_something_valid_goes_on(traces: Traces, fields: Headers) -> None:
    trace = traces.begin(asked(*fields))
    if trace is not None:
        (name, parent), *state = carried(trace, "0" * 15 + "1")
        assert name == b"traceparent" and FIELD.fullmatch(parent)
        assert all(b"\r" not in one and b"\n" not in one for _, one in state)


@pytest.mark.parametrize(
    ("flags", "sent"), [(b"01", b"01"), (b"03", b"03"), (b"ff", b"03")], ids=["sampled", "random", "unknown"]
)
def test_of_the_flags_what_is_known_goes_on(traces: Traces, flags: bytes, sent: bytes) -> None:
    trace = traces.begin(asked((b"traceparent", b"00-" + TRACE + b"-" + SPAN + b"-" + flags)))
    assert trace is not None
    assert carried(trace, "0" * 15 + "1") == [(b"traceparent", b"00-" + TRACE + b"-0000000000000001-" + sent)]


def test_two_parents_are_none(traces: Traces) -> None:
    parent = (b"traceparent", b"00-" + TRACE + b"-" + SPAN + b"-01")
    trace = traces.begin(asked(parent, parent))
    assert trace is not None and trace.parent_id == "" and trace.trace_id != TRACE.decode()


def test_state_in_several_fields_is_one(traces: Traces) -> None:
    parent = (b"traceparent", b"00-" + TRACE + b"-" + SPAN + b"-01")
    trace = traces.begin(asked(parent, (b"tracestate", b"a=1"), (b"Tracestate", b"b=2")))
    assert trace is not None and trace.state == "a=1,b=2"
