"""Traces: spans made of the events, and sent by OTLP/HTTP. Imported only by a process that was told to (tracer.load).

OpenTelemetry's SDK samples, batches and sends, as the OTEL_* variables say; what stands in spans is in conventions.py.
The event loop only ever appends to a bounded queue: a thread of the SDK's encodes and sends. What does not fit, or
cannot be sent, is lost and counted.
"""

import asyncio
import errno
import logging
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.span import TraceState

from seawall import __version__
from seawall.runtime import Upstream
from seawall.telemetry import conventions
from seawall.telemetry.conventions import Attributes, Clean
from seawall.telemetry.redact import redact
from seawall.tracing import FIELDS, new_span
from seawall.types import AttemptTraced, CallTraced, Event, Head, TraceContext

if TYPE_CHECKING:
    from seawall.clock import Clock

log = logging.getLogger(__name__)

_QUEUE = "OTEL_BSP_MAX_QUEUE_SIZE"
_SWITCH = 0.0005
"""Seconds after which the thread that encodes lets the event loop go on. Python's own are ten times as long, and a
batch takes some of those."""
_W3C = TraceContextTextMapPropagator()
_NOWHERE = Context()
_SCOPE = InstrumentationScope("seawall", __version__)
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
_SAMPLED, _RANDOM = 0x01, 0x02


def from_environment(clock: "Clock") -> "Traces | None":
    """As the OTEL_* variables say; None where they switch traces off. Raises OSError for what cannot be done."""
    environment = os.environ
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter == "none":
        return None
    _can("OTEL_TRACES_EXPORTER", exporter, ("otlp",))
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := environment.get(name, "").strip():
            _can(name, protocol, ("http/protobuf",))
            break
    try:
        made = Traces(OTLPSpanExporter(), int(environment.get(_QUEUE) or 2048), clock)
    except ValueError as error:
        raise OSError(errno.EINVAL, f"--traces otlp: {error}") from None
    sys.setswitchinterval(_SWITCH)
    return made


def _can(variable: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OSError(errno.EINVAL, f"{variable}: {value!r} is not what --traces otlp can do: {', '.join(known)}")


class Traces:
    """See tracer.Tracer. waiting: so many spans wait for the exporter at most."""

    def __init__(self, exporter: SpanExporter, waiting: int, clock: "Clock") -> None:
        self._wall = clock.wall
        # What the environment says of the service beats this.
        own = Resource({SERVICE_NAME: "seawall", SERVICE_VERSION: __version__})
        said = Resource.create()
        if str(said.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            said = said.merge(Resource({SERVICE_NAME: "seawall"}))
        self._provider = TracerProvider(resource=own.merge(said), shutdown_on_exit=False)
        self._resource = self._provider.resource
        self._exporter = _Counted(exporter)
        self._processor = BatchSpanProcessor(self._exporter, max_queue_size=waiting)
        self._waiting = waiting
        self._queued = 0
        self._dropped = 0
        self._upstreams: dict[str, Attributes] = {}
        self._clean = Clean()

    # -- tracer.Tracer ----------------------------------------------------------------------------------------------

    def begin(self, head: Head) -> TraceContext | None:
        carrier = _carrier(head)
        context = _W3C.extract(carrier, _NOWHERE) if carrier else _NOWHERE
        parent = get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else self._provider.id_generator.generate_trace_id()
        found = self._provider.sampler.should_sample(context, trace_id, "call", SpanKind.SERVER)
        if found.decision is not Decision.RECORD_AND_SAMPLE:
            return None
        state, known = found.trace_state, parent.is_valid
        return TraceContext(
            f"{trace_id:032x}",
            new_span(),
            f"{parent.span_id:016x}" if known else "",
            # That an id is random (W3C Trace Context, level 2) stays true of it.
            _SAMPLED | (parent.trace_flags & _RANDOM),
            state.to_header() if state else "",
        )

    def apply(self, upstreams: Iterable[Upstream]) -> None:
        self._upstreams = {upstream.name: conventions.of_upstream(upstream) for upstream in upstreams}

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, AttemptTraced):
            self._attempt(event)
        elif isinstance(event, CallTraced):
            self._call(event)

    def spans(self) -> Mapping[str, int]:
        return {"sent": self._exporter.sent, "failed": self._exporter.failed, "dropped": self._dropped}

    async def close(self, seconds: float) -> None:
        """What is not sent by then goes with the process, as does a thread that hangs in a connection."""
        ending = threading.Thread(target=self._processor.shutdown, name="seawall-traces", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, seconds)
        self._exporter.shutdown()

    # -- spans -------------------------------------------------------------------------------------------------------

    def _attempt(self, event: AttemptTraced) -> None:
        trace, static = event.trace, self._upstreams.get(event.attempt.upstream, {})
        name, attributes = conventions.attempt(event, static, self._clean)
        status = _ERROR if conventions.failed(event) else _UNSET
        self._end(name, trace, event.span_id, trace.span_id, SpanKind.CLIENT, attributes, event.attempt.seconds, status)

    def _call(self, event: CallTraced) -> None:
        trace, call = event.trace, event.call
        name, attributes = conventions.call(call, self._clean)
        status = _ERROR if conventions.call_failed(call) else _UNSET
        links = () if event.link is None else (Link(_context(event.link, event.link.span_id)),)
        self._end(name, trace, trace.span_id, trace.parent_id, SpanKind.SERVER, attributes, call.seconds, status, links)

    def _end(
        self, name: str, trace: TraceContext, span_id: str, parent_id: str, kind: SpanKind, attributes: Attributes,
        seconds: float, status: Status, links: Sequence[Link] = (),
    ) -> None:  # fmt: skip
        """Queue a span that has just ended. It is made as the SDK's own are read by exporters, since its ids were given
        away when it began, and nothing was to be kept for it until now."""
        if self._queued - self._exporter.taken >= self._waiting:
            self._dropped += 1
            return
        self._queued += 1
        end = self._wall()
        remote = kind is SpanKind.SERVER
        self._processor.on_end(
            ReadableSpan(
                name,
                context=_context(trace, span_id),
                parent=_context(trace, parent_id, remote=remote) if parent_id else None,
                resource=self._resource,
                attributes=attributes,
                links=links,
                kind=kind,
                status=status,
                start_time=int((end - seconds) * 1e9),
                end_time=int(end * 1e9),
                instrumentation_scope=_SCOPE,
            )
        )


class _Counted(SpanExporter):
    """The exporter, with what became of the spans. It says when they begin to be lost, and when no longer; in its own
    words it would at every try."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.taken = 0
        self.sent = 0
        self.failed = 0
        self._exporter = exporter
        self._lost = False
        self._closed = False
        self._said = _Said()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._count(len(spans), lost=result is not SpanExportResult.SUCCESS)
        return result

    def _count(self, spans: int, *, lost: bool) -> None:
        if lost:
            self.failed += spans
        else:
            self.sent += spans
        if lost is not self._lost:
            self._lost = lost
            said = (
                f"traces cannot be sent, and are lost: {redact(self._said.last)}" if lost else "traces are sent again"
            )
            log.warning(said)

    def shutdown(self) -> None:
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()


class _Said(logging.Handler):
    """Keeps the last of what the SDK says, instead of printing it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        logger = logging.getLogger("opentelemetry")
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def _carrier(head: Head) -> dict[str, str]:
    """The agent's own place in a trace, where it tells one; several would tell none (W3C Trace Context §3.2)."""
    found: dict[str, str] = {}
    for name, value in head.headers:
        if len(name) in (10, 11) and (lower := name.lower()) in FIELDS:
            key, text = lower.decode(), value.decode("latin-1")
            if key in found and key == "traceparent":
                return {}
            found[key] = f"{found[key]},{text}" if key in found else text
    return found if "traceparent" in found else {}


def _context(trace: TraceContext, span_id: str, *, remote: bool = False) -> SpanContext:
    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(int(trace.trace_id, 16), int(span_id, 16), remote, TraceFlags(trace.flags), state)
