"""What passes between an agent's side (a dialect that is read and written) and a provider's (a model that is asked).

Readers and writers are pure: bytes in, values out, and the other way round. Only `provider` does I/O.
"""

from dataclasses import dataclass
from typing import Protocol

from pydantic_ai.messages import ModelMessage, ModelResponse, ModelResponseStreamEvent
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from seawall.types import Facts


@dataclass(frozen=True, slots=True)
class Asked:
    """One request in pydantic-ai's words.

    model: as the agent named it. unfit: what cannot be carried at all, each as `field: why`, for log and `explain`;
    a request with any must not be sent. include_usage: chat's `stream_options.include_usage`. created: seconds since
    1970, and id_: a token of our own, for the answer's own fields, so that writers need no clock and no randomness.
    echo: request fields that the agent's dialect repeats in its answers (responses API), as JSON values. thoughts: the
    answer is to tell them (Gemini). framing: of a stream, as `Facts.framing`.
    """

    model: str
    stream: bool
    messages: list[ModelMessage]
    settings: ModelSettings
    parameters: ModelRequestParameters
    unfit: tuple[str, ...] = ()
    include_usage: bool = False
    created: int = 0
    id_: str = ""
    echo: dict[str, object] | None = None
    thoughts: bool = False
    framing: str = ""


class StreamWriter(Protocol):
    """Writes one streamed answer. Every method returns whole events, in the dialect's framing (b"" for none)."""

    def begin(self, model: str) -> bytes:
        """Before the first content; `model` is the one that answers."""

    def event(self, event: ModelResponseStreamEvent) -> bytes:
        """One event of pydantic-ai's stream (part start, delta, end)."""

    def end(self, response: ModelResponse) -> bytes:
        """The whole answer as it came together: finish reason, usage and the terminal event."""


class AgentSide(Protocol):
    """One operation of an agent's dialect: chat, responses, messages, generate."""

    operation: str

    def read(self, body: bytes, facts: Facts, *, created: int, id_: str) -> Asked:
        """The request. facts: what its dialect read of it, from its path too, where some keep the model and more.
        Never raises: what is not valid, or cannot be carried, is in `unfit`."""

    def whole(self, asked: Asked, response: ModelResponse, model: str) -> bytes:
        """A plain answer's JSON body; `model` is the one that answered."""

    def stream(self, asked: Asked) -> StreamWriter: ...
