"""The same events as short lines for people at a terminal. Every value that came from outside is stripped of control
characters: no agent may move the cursor of whoever watches.
"""

import datetime
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from seawall.telemetry.access_log import Sink
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
    Outcome,
    Raced,
    Reloaded,
    ShadowMoved,
)

if TYPE_CHECKING:
    from seawall.clock import Clock

_GREEN, _YELLOW, _RED, _DIM = "32", "33", "31", "2"
_MAX_TEXT = 200


class TextLog:
    """An `Observer` that writes lines for people to a sink."""

    def __init__(self, sink: Sink, clock: "Clock", *, colour: bool) -> None:
        self._put = sink.put
        self._wall = clock.wall
        self._colour = colour

    def __call__(self, event: Event, /) -> None:
        text = line(event, self._wall(), colour=self._colour)
        if text:
            self._put(text.encode("utf-8", "backslashreplace") + b"\n")


def wants_colour(fd: int, environ: Mapping[str, str]) -> bool:
    """Colour only on a terminal, and only while NO_COLOR is unset or empty (no-color.org)."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and os.isatty(fd)


def line(event: Event, wall: float, *, colour: bool = False, zone: datetime.tzinfo | None = None) -> str:
    """One event in words; "" for one that is not worth a line (an attempt that went well).

    wall: seconds since 1970. zone: of the time shown; None: the machine's.
    """
    word, text, shade = _words(event)
    if not word:
        return ""
    stamp = datetime.datetime.fromtimestamp(wall, zone).strftime("%H:%M:%S")
    padded = f"{word:<9}"
    if colour:
        return f"\x1b[{_DIM}m{stamp}\x1b[0m \x1b[{shade}m{padded}\x1b[0m {text}"
    return f"{stamp} {padded} {text}"


def _words(event: Event) -> tuple[str, str, str]:
    """The leading word, the rest and the colour."""
    match event:
        case CallEnded():
            return str(event.status), _call(event), _shade(event)
        case AttemptEnded(result="ok") | AnswerKept() | AttemptTraced() | CallTraced():
            return "", "", ""
        case AttemptEnded():
            return ("retry" if event.next else "failed"), _attempt(event), _YELLOW if event.next else _RED
        case BreakerMoved():
            shade = {"open": _RED, "isolated": _RED, "closed": _GREEN}.get(event.after, _YELLOW)
            return "breaker", _breaker(event), shade
        case ShadowMoved():
            return "shadow", f"{_breaker(event)}, if it were enforced", _DIM
        case Raced():
            winner = _clean(event.winner) or "nobody"
            return "race", f"{winner} won, of {event.starts} attempts, after {_seconds(event.seconds)}", _DIM
        case CoolingDown():
            where = _place(event.upstream, event.model)
            return "cooldown", f"{where} rests for {_seconds(event.seconds)} (429)", _YELLOW
        case CredentialParked():
            where = _place(event.upstream, event.model)
            text = f"{where} credential out of use for {_seconds(event.seconds)} ({_clean(event.code)})"
            return "parked", text, _RED
        case Reloaded(errors=()):
            return "policy", f"revision {_clean(event.revision)} in use", _GREEN
        case Reloaded():
            more = f" (and {len(event.errors) - 1} more)" if len(event.errors) > 1 else ""
            return "policy", f"refused, the old one stays: {_clean(event.errors[0])}{more}", _RED


def _call(event: CallEnded) -> str:
    tries = "1 attempt" if event.attempts == 1 else f"{event.attempts} attempts"
    told = "" if event.outcome is Outcome.PRIMARY else event.outcome.value
    parts = (event.route or event.path, event.upstream, tries, _seconds(event.seconds), told, event.fault)
    return " ".join(_clean(part) for part in parts if part)


def _attempt(event: AttemptEnded) -> str:
    status = "" if event.status is None else f"{event.status} "
    then = f", {_clean(event.next)}" if event.next else ""
    return f"{_clean(event.route)} → {_clean(event.upstream)} {status}{_clean(event.result)}{then}"


def _breaker(event: BreakerMoved | ShadowMoved) -> str:
    lasting = "" if event.until_seconds is None else f" for {_seconds(event.until_seconds)}"
    reason = f" ({_clean(event.reason)})" if event.reason else ""
    state = _clean(event.after).upper().replace("_", "-")
    return f"{_place(event.upstream, event.key)} {state}{lasting}{reason}"


def _place(upstream: str, key: str) -> str:
    return f"{_clean(upstream)} {_clean(key)}".strip()


def _shade(event: CallEnded) -> str:
    if event.status >= 400:
        return _RED
    return _GREEN if event.outcome is Outcome.PRIMARY else _YELLOW


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else f"{seconds * 1000:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _clean(text: str) -> str:
    """Printable, on one line, without credentials, not endless."""
    cut = redact(text, _MAX_TEXT)
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "�" for c in cut)
