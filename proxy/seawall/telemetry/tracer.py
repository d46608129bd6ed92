"""The seam to OpenTelemetry, which is an extra: only `traces` imports it, and only `load` brings that, for a process
that was told to trace."""

import errno
import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from typing import Protocol

from seawall.clock import Clock
from seawall.runtime import Upstream
from seawall.types import Event, Head, TraceContext


class Tracer(Protocol):
    """Decides which calls are traced, and makes spans of events: an `Observer`. `telemetry.traces` has the one
    implementation."""

    def __call__(self, event: Event, /) -> None: ...

    def begin(self, head: Head) -> TraceContext | None:
        """A request has come; None where its call is not to be traced."""

    def apply(self, upstreams: Iterable[Upstream]) -> None:
        """Take a new policy's upstreams."""

    def spans(self) -> Mapping[str, int]:
        """How many were sent, failed to be sent, and were dropped, so far."""

    async def close(self, seconds: float) -> None:
        """Send what waits, for at most so long."""


def load(clock: Clock) -> Tracer | None:
    """The process's tracer, as the OTEL_* variables say; None where those switch it off. Raises OSError where the extra
    is not installed, or a variable says what cannot be done."""
    for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise OSError(errno.ENOPKG, "--traces otlp needs seawall[traces] to be installed")
    tracer: Tracer | None = importlib.import_module("seawall.telemetry.traces").from_environment(clock)
    return tracer
