"""Asking a provider through pydantic-ai, over our own wire: plain or streamed, with faults as values.

A `Provider` is kept for an upstream; each attempt at one of its models is an `Asking`, which `ask` or `Answering`
takes. Whatever ends an attempt, it leaves no connection and no task behind.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
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
from seawall.translate.answer import finish
from seawall.translate.fit import misfits
from seawall.translate.rows import ROWS, Row
from seawall.translate.transport import NO_LIMIT, Destination, SharedTransport, WireTransport, over
from seawall.translate.types import Asked
from seawall.types import Facts, Headers
from seawall.upstream.connect import Endpoint
from seawall.upstream.credential import Credential
from seawall.upstream.exchange import Limit
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
        self, model: str, *, stream: bool = False, credential: Credential | None = None,
        connect_seconds: float | None = None, before_content: Limit = NO_LIMIT, more: Headers | None = None,
    ) -> Asking:  # fmt: skip
        """One attempt at a model. credential, connect_seconds, before_content and more: as the transport takes them."""
        row = self._row
        facts = Facts(row.operation, model, stream)
        wire = WireTransport(
            self._pool, self._clock, self._destination, facts,
            credential=credential, connect_seconds=connect_seconds, before_content=before_content, more=more,
        )  # fmt: skip
        return Asking(row, self._model(model), wire)

    def warm(self, model: str) -> None:
        """Make a model now, and import its SDK, so that no call waits for that."""
        self._model(model)

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
    try:
        with over(asking.wire):
            response = await direct.model_request(
                asking.model,
                _history(asking.model, asked),
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
    """A streamed answer as it comes. Failures are values: `open` or `next` returns one, and then nothing more comes."""

    def __init__(self, asking: Asking, asked: Asked) -> None:
        self._asking = asking
        self._opening: AbstractAsyncContextManager[StreamedResponse] | None = None
        self._asked = asked
        self._streamed: StreamedResponse | None = None
        self._events: AsyncIterator[ModelResponseStreamEvent] | None = None

    @property
    def response(self) -> ModelResponse:
        """The answer so far; the whole one when `next` has returned None."""
        return ModelResponse(parts=[]) if self._streamed is None else self._streamed.get()

    async def open(self) -> Fault | None:
        """Send the request and wait for the answer's head. Cancelled, it leaves nothing open."""
        asking = self._asking
        try:
            with over(asking.wire):
                opening = direct.model_request_stream(
                    asking.model,
                    _history(asking.model, self._asked),
                    model_settings=_settings(self._asked),
                    model_request_parameters=self._asked.parameters,
                    instrument=False,
                )
                self._streamed = await opening.__aenter__()
        except asking.broken as error:
            asking.wire.close()
            return _fault_of(asking, error)
        except BaseException:
            asking.wire.close()
            raise
        self._opening = opening
        self._events = aiter(self._streamed)
        return None

    async def next(self) -> ModelResponseStreamEvent | Fault | None:
        """The next event; a Fault when the answer broke; None at its proper end."""
        if self._events is None:
            return None
        try:
            return await anext(self._events)
        except StopAsyncIteration:
            fault = _verdict(self._asking, self.response)
        except self._asking.broken as error:
            fault = _fault_of(self._asking, error)
        self._events = None
        return fault

    async def close(self) -> None:
        """Let go of what is left, within this process; the upstream stops at once, however far the answer has come."""
        self._asking.wire.close()
        events, self._events = self._events, None
        opening, self._opening = self._opening, None
        if isinstance(events, AsyncGenerator):
            await events.aclose()
        if opening is not None:
            await opening.__aexit__(None, None, None)

    @property
    def closed(self) -> bool:
        """Whether there is nothing to let go of."""
        return self._opening is None


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
    # A reason that pydantic-ai does not know is most likely one for not going on (`insufficient_system_resource`).
    if finish(response) == "error":
        return Fault(Code.SERVER_ERROR, "the answer finished with an error", asking.wire.status)
    if not response.parts and response.finish_reason is None:
        return Fault(Code.MALFORMED_EVENT, "the answer says nothing, and not why", asking.wire.status)
    return None


def _settings(asked: Asked) -> ModelSettings:
    """A copy: attempts of a race share the request."""
    return asked.settings.copy()


def _history(model: Model, asked: Asked) -> list[ModelMessage]:
    """The messages as this model's provider takes them: system prompts amid a conversation framed where it knows none;
    without redacted thinking of another provider, which is sealed and says nothing to this one."""
    messages = [_readable(model, m) if isinstance(m, ModelResponse) else m for m in asked.messages]
    return model.prepare_messages(messages, asked.parameters)


def _readable(model: Model, message: ModelResponse) -> ModelResponse:
    def sealed(part: ModelResponsePart) -> bool:
        if not isinstance(part, ThinkingPart) or part.content:
            return False
        return not model.accepts_stateless_artifacts(message, part)

    if not any(sealed(part) for part in message.parts):
        return message
    return ModelResponse(parts=[part for part in message.parts if not sealed(part)])
