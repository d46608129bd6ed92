"""A collector that takes spans by OTLP/HTTP on the loopback, as OpenTelemetry's own protocol has them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from harness import until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

SERVER, CLIENT = trace_pb2.Span.SPAN_KIND_SERVER, trace_pb2.Span.SPAN_KIND_CLIENT
ERROR = trace_pb2.Status.STATUS_CODE_ERROR


@dataclass(frozen=True)
class Taken:
    """A span that came, with its resource's attributes."""

    span: trace_pb2.Span
    service: Mapping[str, object]

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def span_id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent_id(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def failed(self) -> bool:
        return self.span.status.code == ERROR

    @property
    def seconds(self) -> float:
        return (self.span.end_time_unix_nano - self.span.start_time_unix_nano) / 1e9

    def __getitem__(self, name: str) -> object:
        return self.attributes.get(name)

    @property
    def attributes(self) -> dict[str, object]:
        return {one.key: _value(one.value) for one in self.span.attributes}


@dataclass
class Collector:
    """status: what it answers. pause: it answers nothing until that is set."""

    url: str = ""
    status: int = 200
    pause: asyncio.Event = field(default_factory=asyncio.Event)
    spans: list[Taken] = field(default_factory=list)
    fields: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        await self.pause.wait()
        if self.status != 200:
            return web.Response(status=self.status)
        self.bodies.append(body)
        self.fields.append(request.headers)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {one.key: _value(one.value) for one in resource.resource.attributes}
            self.spans += [Taken(span, service) for scope in resource.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    async def calls(self, number: int = 1) -> list[Taken]:
        """The spans of so many calls, in the order in which they ended."""
        await until(lambda: len(self._of(SERVER)) >= number, 10)
        return self._of(SERVER)

    def attempts(self, call: Taken) -> list[Taken]:
        """Of a call, in order."""
        found = [span for span in self._of(CLIENT) if span.parent_id == call.span_id]
        return sorted(found, key=lambda span: int(str(span["seawall.attempt"])))

    def _of(self, kind: int) -> list[Taken]:
        return [taken for taken in self.spans if taken.span.kind == kind]


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return None if kind is None else getattr(value, kind)


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    made.pause.set()
    app = web.Application()
    app.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made
    finally:
        made.pause.set()
        await runner.cleanup()
