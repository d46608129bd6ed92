"""Asking a provider through pydantic-ai, over our own wire: plain or streamed, with faults as values.

A `Provider` is kept for an upstream; each attempt at one of its models is an `Asking`, which `ask` or `open_stream`
takes. Whatever ends an attempt, it leaves no connection and no task behind.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
from pydantic_ai import direct
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    ThinkingPart,
)
from pydantic_ai.models import Model, StreamedResponse
from pydantic_ai.settings import ModelSettings

from seawall.clock import Clock
from seawall.faults import Code, Fault
from seawall.translate.fit import misfits
from seawall.translate.rows import ROWS, Row
from seawall.translate.transport import Destination, Expect, SharedTransport, WireTransport, over, without_end
from seawall.translate.types import Asked
from seawall.types import Facts
from seawall.upstream.connect import Endpoint
from seawall.upstream.pool import Pool

# Where an agent's own names for models pass through, it must not fill the memory with them.
_MOST_MODELS = 64


@dataclass(frozen=True, slots=True)
class Place:
    """An upstream as policy names it. dialect: one of `ROWS`. base_path: of its base URL (`/v1`)."""

    dialect: str
    endpoint: Endpoint
    host: bytes
    base_path: str = ""


@dataclass(frozen=True, slots=True)
class Asking:
    """One attempt: a model and the wire that it speaks over, which tells what came (`model`, `usage`, `content`)."""

    row: Row
    model: Model
    wire: WireTransport

    @property
    def broken(self) -> tuple[type[Exception], ...]:
        """What pydantic-ai and the SDK raise over an answer that is not what they expect."""
        return (*_BROKEN, *self.row.errors())

    def unfit(self, asked: Asked) -> tuple[str, ...]:
        """What of a request this model cannot be asked, each as `field: why`; first what nobody can."""
        return (*asked.unfit, *misfits(self.model, self.row.limits, asked))


class Provider:
    """One place's providers' models, made once and kept. Long-lived: attempts of all calls share it."""

    def __init__(self, pool: Pool, clock: Clock, place: Place) -> None:
        """Raises KeyError where `missing` tells why there is no such provider."""
        self._pool = pool
        self._clock = clock
        self._row = row = ROWS[place.dialect]
        self._destination = Destination(row.dialect, place.endpoint, place.host)
        self._url = place.endpoint.origin + place.base_path.rstrip("/")
        self._client = httpx2.AsyncClient(transport=SharedTransport(), timeout=None, trust_env=False)
        self._models: dict[str, Model] = {}

    def asking(
        self, model: str, *, stream: bool = False, key: bytes | None = None,
        credential: tuple[bytes, bytes] | None = None, connect_seconds: float | None = None,
        expect: Expect = without_end,
    ) -> Asking:  # fmt: skip
        """One attempt at a model.

        key: seawall's or the agent's own, sent as the dialect sends it; credential: a header field instead, where
        policy names it. connect_seconds and expect: as the transport takes them.
        """
        row = self._row
        if credential is None and key is not None:
            credential = row.credential(key)
        facts = Facts(row.operation, model, stream)
        wire = WireTransport(
            self._pool, self._clock, self._destination, facts,
            credential=credential, connect_seconds=connect_seconds, expect=expect,
        )  # fmt: skip
        return Asking(row, self._model(model), wire)

    def _model(self, name: str) -> Model:
        made = self._models.get(name)
        if made is None:
            if len(self._models) >= _MOST_MODELS:
                self._models.clear()
            made = self._models[name] = self._row.build(self._url, name, self._client)
        return made


async def ask(asking: Asking, asked: Asked) -> ModelResponse | Fault:
    """The whole answer to a request. What the provider's filter withheld is an answer too (`asking.wire.withheld`).
    Cancelled, it leaves nothing open."""
    if reasons := asking.unfit(asked):
        return _refused(reasons)
    try:
        with over(asking.wire):
            response = await direct.model_request(
                asking.model,
                _history(asking.model, asked.messages),
                model_settings=_settings(asked),
                model_request_parameters=asked.parameters,
                instrument=False,
            )
    except asking.broken as error:
        return _fault_of(asking, error)
    finally:
        asking.wire.close()
    return _verdict(asking, response) or response


class Answering:
    """A streamed answer as it comes. Failures are values: `next` returns them once, and then nothing more."""

    def __init__(self, asking: Asking, streamed: StreamedResponse | Fault) -> None:
        self._asking = asking
        self._streamed = streamed
        self._events = None if isinstance(streamed, Fault) else aiter(streamed)
        self._told = False

    @property
    def response(self) -> ModelResponse:
        """The answer so far; the whole one when `next` has returned None."""
        return ModelResponse(parts=[]) if isinstance(self._streamed, Fault) else self._streamed.get()

    async def next(self) -> ModelResponseStreamEvent | Fault | None:
        """The next event; a Fault when the answer broke; None at its proper end."""
        if isinstance(self._streamed, Fault) or self._events is None or self._told:
            fault = self._streamed if isinstance(self._streamed, Fault) and not self._told else None
            self._told = True
            return fault
        try:
            return await anext(self._events)
        except StopAsyncIteration:
            self._told = True
            return _verdict(self._asking, self.response)
        except self._asking.broken as error:
            self._told = True
            return _fault_of(self._asking, error)

    async def close(self) -> None:
        """Let go of the events that are left."""
        if isinstance(self._events, AsyncGenerator):
            await self._events.aclose()


@asynccontextmanager
async def open_stream(asking: Asking, asked: Asked) -> AsyncIterator[Answering]:
    """A streamed answer, whose head has come, or the fault instead. Leaving the context closes the upstream at once,
    however far the answer has come."""
    if reasons := asking.unfit(asked):
        yield Answering(asking, _refused(reasons))
        return
    opening = direct.model_request_stream(
        asking.model,
        _history(asking.model, asked.messages),
        model_settings=_settings(asked),
        model_request_parameters=asked.parameters,
        instrument=False,
    )
    streamed: StreamedResponse | Fault
    try:
        try:
            with over(asking.wire):
                streamed = await opening.__aenter__()
        except asking.broken as error:
            streamed = _fault_of(asking, error)
        answering = Answering(asking, streamed)
        try:
            yield answering
        finally:
            # First the wire, so that the upstream stops at once; the rest is done within this process.
            asking.wire.close()
            if not isinstance(streamed, Fault):
                await answering.close()
                await opening.__aexit__(None, None, None)
    finally:
        asking.wire.close()


# They look into answers unchecked, so that an odd one may raise any of these.
_BROKEN = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, httpx2.HTTPError, OSError)


def _fault_of(asking: Asking, error: Exception) -> Fault:
    """The fault behind an exception: what the wire saw; else the request, or the answer, was not for this SDK."""
    if asking.wire.fault is not None:
        return asking.wire.fault
    name = type(error).__name__
    if not asking.wire.connected:
        # Only pydantic-ai's own words on what it cannot say are passed on; others may hold content.
        why = str(error).partition("\n")[0][:200] if isinstance(error, UserError) else name
        return Fault(Code.NO_CANDIDATE, f"the request cannot be said to this provider: {why}")
    return Fault(Code.MALFORMED_EVENT, f"{name} while the answer was read", asking.wire.status)


def _verdict(asking: Asking, response: ModelResponse) -> Fault | None:
    """What an answer that has come to its end still may be."""
    if asking.wire.fault is not None:
        return asking.wire.fault
    if response.finish_reason == "error":
        return Fault(Code.SERVER_ERROR, "the answer finished with an error", asking.wire.status)
    if asking.row.ends and response.finish_reason is None:
        return Fault(Code.TRUNCATED, "the answer does not tell why it finished", asking.wire.status)
    return None


def _refused(reasons: tuple[str, ...]) -> Fault:
    return Fault(Code.NO_CANDIDATE, "; ".join(reasons))


def _settings(asked: Asked) -> ModelSettings:
    """A copy: attempts of a race share the request."""
    return asked.settings.copy()


def _history(model: Model, messages: list[ModelMessage]) -> list[ModelMessage]:
    """The messages without redacted thinking of another provider: sealed, it says nothing to this one."""
    return [_readable(model, message) if isinstance(message, ModelResponse) else message for message in messages]


def _readable(model: Model, message: ModelResponse) -> ModelResponse:
    def sealed(part: ModelResponsePart) -> bool:
        if not isinstance(part, ThinkingPart) or part.content:
            return False
        return not model.accepts_stateless_artifacts(message, part)

    if not any(sealed(part) for part in message.parts):
        return message
    return ModelResponse(parts=[part for part in message.parts if not sealed(part)])
