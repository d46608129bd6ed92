"""One JSON line per call, and one for each failed attempt, breaker move, rest, parked credential and reload. Fields are
named after the Event's. Bodies, queries and secrets are never in it; whatever agents and upstreams chose is escaped,
redacted and cut to a length, so that nobody can forge or flood lines.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import structs

from seawall.telemetry.redact import redact
from seawall.types import (
    AnswerKept,
    AttemptEnded,
    AttemptTraced,
    BreakerMoved,
    CallEnded,
    CallTraced,
    CoolingDown,
    CredentialParked,
    Event,
    Raced,
    Reloaded,
    ShadowMoved,
)

if TYPE_CHECKING:
    from seawall.clock import Clock

# A line longer than this has its texts cut to _MAX_TEXT characters each.
_MAX_LINE = 8 * 1024
_MAX_TEXT = 512
_MAX_TEXTS = 50
_MAX_CLEAN = 2048
_COMMA, _NEWLINE = b",\n"

# The agent's own doing: worth a line, not a warning.
_AGENT_FAULTS = frozenset({"AGENT_GONE", "AGENT_STALLED"})
_UNLOGGED = (AnswerKept, AttemptTraced, CallTraced)


class Sink(Protocol):
    """Takes whole lines and never blocks: lines.LineWriter."""

    def put(self, line: bytes, /) -> None: ...


class AccessLog:
    """An `Observer` that writes JSON lines to a sink."""

    def __init__(self, sink: Sink, clock: "Clock") -> None:
        self._put = sink.put
        self._wall = clock.wall
        self._encode_into = msgspec.json.Encoder().encode_into
        self._buffer = bytearray()
        self._second = -1
        self._stamp = b""
        self._clean: set[str] = set()
        """Paths and models that were looked through and need no redaction; bounded."""

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, CallEnded):
            # The only texts here that an agent chooses; looked up, not searched, for each call.
            if event.path not in self._clean or event.model not in self._clean or event.skipped:
                event = self._looked_through(event)
            warn = event.fault and event.fault not in _AGENT_FAULTS
            self._put(self._line(_CALL_WARN if warn else _CALL_INFO, event))
        elif isinstance(event, _UNLOGGED) or (isinstance(event, AttemptEnded) and event.result == "ok"):
            pass  # the call's own line says enough
        else:
            self._put(self._line(_head(*_named(event)), _mapped(event, redact)))

    def _looked_through(self, event: CallEnded) -> CallEnded:
        path, model = redact(event.path), redact(event.model)
        if path == event.path and model == event.model:
            if len(self._clean) >= _MAX_CLEAN:
                self._clean.clear()
            self._clean.update((path, model))
        skipped = tuple(redact(text) for text in event.skipped[:_MAX_TEXTS])
        return structs.replace(event, path=path, model=model, skipped=skipped)

    def _line(self, head: bytes, event: Event) -> bytes:
        """The event's own JSON is encoded behind the head; its opening brace becomes the comma between them."""
        buffer = self._buffer
        start = self._begin(head)
        try:
            self._encode_into(event, buffer, start)
        except UnicodeEncodeError:  # lone surrogates, from bytes that were not UTF-8
            self._encode_into(_mapped(event, _shortened), buffer, start)
        if len(buffer) > _MAX_LINE:
            self._encode_into(_mapped(event, _shortened), buffer, start)
        buffer[start] = _COMMA
        buffer.append(_NEWLINE)
        return bytes(buffer)

    def _begin(self, head: bytes) -> int:
        """Start a line with RFC 3339 UTC time in milliseconds; the part down to seconds is made once a second."""
        wall = self._wall()
        second = int(wall)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime('{"ts":"%Y-%m-%dT%H:%M:%S', time.gmtime(second)).encode()
        self._buffer[:] = b"%b.%03d%b" % (self._stamp, (wall - second) * 1000, head)
        return len(self._buffer)


def _head(name: str, level: str) -> bytes:
    return f'Z","level":"{level}","event":"{name}"'.encode()


_CALL_INFO, _CALL_WARN = _head("call", "info"), _head("call", "warn")


def _named(event: Event) -> tuple[str, str]:
    """An event's name in the log, and its level."""
    match event:
        case AttemptEnded():
            return "attempt", "info" if event.next or event.result in _AGENT_FAULTS else "warn"
        case BreakerMoved():
            return "breaker", "warn" if event.after == "open" else "info"
        case ShadowMoved():
            # Whatever it would have done: nothing has happened.
            return "shadow_breaker", "info"
        case CredentialParked():
            return "credential_parked", "error"
        case Raced():
            return "race", "info"
        case CoolingDown():
            return "cooldown", "info"
        case Reloaded():
            return "reload", "error" if event.errors else "info"
        case CallEnded():
            return "call", "info"
        case AnswerKept():
            return "kept", "info"
        case AttemptTraced() | CallTraced():
            return "span", "info"


def _shortened(text: str) -> str:
    cut = text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"
    return cut.encode("utf-8", "backslashreplace").decode("utf-8")


def _mapped(event: Event, change: Callable[[str], str]) -> Event:
    changed: dict[str, object] = {}
    for field in structs.fields(event):
        value = getattr(event, field.name)
        if isinstance(value, str):
            changed[field.name] = change(value)
        elif isinstance(value, tuple):
            changed[field.name] = tuple(change(text) for text in value[:_MAX_TEXTS])
    return structs.replace(event, **changed)
