"""Scripts: which fault the next attempt meets, step by step, or by the clock. A small pure machine.

A script belongs to an upstream label, a model, a path, or any mix of them; the most exact one that matches an attempt
decides. Time is passed in as seconds since the lab's start; nothing here waits.
"""

from dataclasses import dataclass, field

import msgspec

from seawall.lab.grammar import parse
from seawall.lab.plan import Spec
from seawall.lab.words import FaultSyntaxError, seconds


class Step(msgspec.Struct, forbid_unknown_fields=True):
    fault: str
    times: int = 1


class Phase(msgspec.Struct, forbid_unknown_fields=True):
    """`fault` during `last` (a duration: `2s`, or seconds)."""

    fault: str
    last: str | float


class Window(msgspec.Struct, forbid_unknown_fields=True):
    """`fault` from `start` until `end`, counted from the moment the script was set."""

    fault: str
    start: str | float
    end: str | float


class ScriptDocument(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /_lab/script` takes: a match, and one of steps, schedule, windows.

    then: the fault after the last step or phase, or outside of all windows. repeat: begin again instead.
    """

    upstream: str | None = None
    model: str | None = None
    path: str | None = None
    steps: list[str | Step] | None = None
    schedule: list[Phase] | None = None
    windows: list[Window] | None = None
    then: str = "ok"
    repeat: bool = False

    @property
    def match(self) -> tuple[str | None, str | None, str | None]:
        return self.upstream, self.model, self.path


class Steps:
    """Consumed one per attempt."""

    def __init__(self, steps: list[tuple[Spec, int]], then: Spec, repeat: bool) -> None:
        self._specs = [spec for spec, times in steps for _ in range(times)]
        self._then = then
        self._repeat = repeat
        self.used = 0

    def next(self, elapsed: float) -> Spec:
        index = self.used
        self.used += 1
        if self._repeat and self._specs:
            return self._specs[index % len(self._specs)]
        return self._specs[index] if index < len(self._specs) else self._then


class Schedule:
    """Decided by the time since `start`: stretches of (from, until, spec), the first that holds wins.

    period: seconds after which it begins again; None: never.
    """

    def __init__(
        self, stretches: list[tuple[float, float, Spec]], then: Spec, start: float, period: float | None
    ) -> None:
        self._stretches = stretches
        self._then = then
        self._start = start
        self._period = period
        self.used = 0

    def next(self, elapsed: float) -> Spec:
        self.used += 1
        at = elapsed - self._start
        if self._period is not None:
            at %= self._period
        return next((spec for begin, end, spec in self._stretches if begin <= at < end), self._then)


def build(document: ScriptDocument, elapsed: float) -> Steps | Schedule:
    """The machine of a document that is set at `elapsed`. Raises FaultSyntaxError."""
    given = [kind for kind in (document.steps, document.schedule, document.windows) if kind is not None]
    if len(given) != 1:
        raise FaultSyntaxError("a script needs exactly one of steps, schedule, windows")
    then = parse(document.then)
    if document.steps is not None:
        steps = [(parse(s), 1) if isinstance(s, str) else (parse(s.fault), s.times) for s in document.steps]
        if sum(max(times, 0) for _, times in steps) > 100_000:
            raise FaultSyntaxError("a script may not have more than 100000 steps")
        return Steps(steps, then, document.repeat)
    stretches: list[tuple[float, float, Spec]] = []
    end = 0.0
    for phase in document.schedule or []:
        begin, end = end, end + _seconds(phase.last)
        stretches.append((begin, end, parse(phase.fault)))
    for window in document.windows or []:
        stretches.append((_seconds(window.start), _seconds(window.end), parse(window.fault)))
        end = max(end, stretches[-1][1])
    return Schedule(stretches, then, elapsed, end if document.repeat and end > 0 else None)


def _seconds(value: str | float) -> float:
    number = seconds(value) if isinstance(value, str) else float(value)
    if number < 0:
        raise FaultSyntaxError(f"a time may not be negative: {value}")
    return number


@dataclass(slots=True)
class Entry:
    document: ScriptDocument
    machine: Steps | Schedule


@dataclass(slots=True)
class Scripts:
    """All scripts that are set. Setting one for the same match replaces it."""

    entries: dict[tuple[str | None, str | None, str | None], Entry] = field(default_factory=dict)

    def set(self, documents: list[ScriptDocument], elapsed: float) -> None:
        """All of them, or none. Raises FaultSyntaxError, and then changes nothing."""
        for entry in [Entry(document, build(document, elapsed)) for document in documents]:
            self.entries.pop(entry.document.match, None)
            self.entries[entry.document.match] = entry

    def clear(self, upstream: str | None = None, model: str | None = None, path: str | None = None) -> int:
        """Forget the scripts that are set for these (all of them when nothing is named); returns how many."""
        asked = (upstream, model, path)
        gone = [key for key in self.entries if asked == (None, None, None) or key == asked]
        for key in gone:
            del self.entries[key]
        return len(gone)

    def next(self, upstream: str, model: str, path: str, elapsed: float) -> Spec | None:
        """The spec for this attempt, taking a step of the script that matches most exactly (ties: the one set last)."""
        if not self.entries:
            return None
        facts = (upstream, model, path)
        best: Entry | None = None
        exactness = -1
        for key, entry in self.entries.items():
            if all(want is None or want == have for want, have in zip(key, facts, strict=True)):
                named = sum(want is not None for want in key)
                if named >= exactness:
                    best, exactness = entry, named
        return best.machine.next(elapsed) if best is not None else None
