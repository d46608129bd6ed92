"""A document that is partly wrong → what is left of it, so that checks find in the same run what else is wrong.

What is left must never mean something else than what was written: where a part decides what the parts around it are
about (a condition of a match, a target), all of it goes. Whatever goes is noted as a doubt.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from seawall.policy.documents import Document
from seawall.policy.issues import FieldPath, Issue, Origin
from seawall.policy.located import Doubts, Kept, Located, as_written
from seawall.policy.wording import issues_of, meant

MAX_ROUNDS = 12
"""Each round takes away what was found wrong; a required field takes the block around it along in the next one."""

STAND_INS: Mapping[str, Any] = {
    "metadata": {},
    "metadata.name": "unnamed",
    "spec": {},
    "spec.baseURL": "https://unknown.invalid",
    "spec.dialect": "Generic",
    "spec.auth.type": "APIKey",
    "spec.models[].name": "unnamed",
    "spec.rules": [],
    "spec.rules[]": {},
}
"""For required fields without which nothing could be said about the rest. They are in doubt, so no check reads them."""

_UNITS = ("spec.rules[].matches[]", "spec.targetRefs[]", "spec.targetSelectors[]")
"""With one part less each of these would match or target more."""
_LEADS_ELSEWHERE = ("spec.rules[].backendRefs[].kind", "spec.rules[].backendRefs[].namespace")
"""Without this field the block that it belongs to would name something else."""


def validate(
    data: Mapping[str, Any],
    model: type[Document],
    origin: Origin,
    without: Iterable[FieldPath] = (),
    unread: frozenset[FieldPath] = frozenset(),
    ambiguous: frozenset[FieldPath] = frozenset(),
) -> tuple[Located | None, list[Issue]]:
    """The document, or what is left of it, and everything that is wrong with its fields. Reported already are
    `without`: fields that are wrong; `unread`: without a readable value; and `ambiguous`: there twice."""
    rest = _Rest(data, model, set(without))
    issues: list[Issue] | None = None
    for _ in range(MAX_ROUNDS):
        left, kept = rest.copy()
        try:
            # By alias only: Python's names are not part of the format.
            document = model.model_validate(left, by_alias=True, by_name=False)
        except ValidationError as error:
            details = error.errors(include_url=False)
            for detail in details:
                detail["loc"] = as_written(detail["loc"], kept)
            if issues is None:
                issues = issues_of([d for d in details if not _follows(d, unread)], model, origin)
            taken = [rest.take_away(detail) for detail in details]
            if not any(taken):
                break
        else:
            doubts = Doubts.of(rest.gone | rest.stand_ins.keys() | rest.meant | unread | ambiguous)
            return Located(document, origin, doubts, kept), issues or []
    return None, issues or []


def _follows(detail: ErrorDetails, unread: frozenset[FieldPath]) -> bool:
    loc = detail["loc"]
    if detail["type"] == "missing":
        return any(loc[:end] in unread for end in range(len(loc)))
    return loc in unread and detail["input"] is None


class _Rest:
    """What is left of a document's data. All paths are those of the file."""

    def __init__(self, data: Mapping[str, Any], model: type[Document], gone: set[FieldPath]) -> None:
        self._data = data
        self._model = model
        self.gone = gone
        self.stand_ins: dict[FieldPath, Any] = {}
        self.meant: set[FieldPath] = set()

    def copy(self) -> tuple[Any, Kept]:
        """The data without what is gone and with its stand-ins, and the written indexes of shortened lists."""
        kept: dict[FieldPath, tuple[int, ...]] = {}
        inserted: dict[FieldPath, list[FieldPath]] = {}
        for path in self.stand_ins:
            inserted.setdefault(path[:-1], []).append(path)

        def left(value: Any, at: FieldPath) -> Any:
            value = self.stand_ins.get(at, value)
            if isinstance(value, Mapping):
                result = {name: left(one, (*at, name)) for name, one in value.items() if (*at, name) not in self.gone}
                for path in inserted.get(at, ()):
                    result[path[-1]] = left(None, path)
                return result
            if isinstance(value, list | tuple):
                indexes = tuple(index for index in range(len(value)) if (*at, index) not in self.gone)
                if len(indexes) < len(value):
                    kept[at] = indexes
                return [left(value[index], (*at, index)) for index in indexes]
            return value

        return left(self._data, ()), kept

    def take_away(self, detail: ErrorDetails) -> bool:
        """Take away what an error is about. False: there is nothing to take away."""
        path: FieldPath = detail["loc"]
        if detail["type"] == "extra_forbidden":
            guesses = meant(self._model, path, self._data)
            self.meant.update(guesses)
            astray = next((guess for guess in guesses if _pattern(guess) in _LEADS_ELSEWHERE), None)
            return self._drop(astray[:-1] if astray else path)
        if _unit(path) is None and _pattern(path) in STAND_INS and path not in self.stand_ins:
            self.stand_ins[path] = STAND_INS[_pattern(path)]
            return True
        path = self._existing(path)
        return self._drop(path[:-1] if _pattern(path) in _LEADS_ELSEWHERE else path)

    def _drop(self, path: FieldPath) -> bool:
        path = _unit(path) or path
        if not path or path in self.gone:
            return False
        self.gone.add(path)
        return True

    def _existing(self, path: FieldPath) -> FieldPath:
        """The deepest part of a path that is left: of a missing field, the block that lacks it."""
        value: Any = self._data
        for end, part in enumerate(path):
            if path[: end + 1] in self.gone:
                return path[:end]
            if isinstance(value, Mapping):
                if part not in value:
                    return path[:end]
                value = value[part]
            elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return path[:end]
        return path


def _unit(path: FieldPath) -> FieldPath | None:
    for end in range(len(path), 0, -1):
        if _pattern(path[:end]) in _UNITS:
            return path[:end]
    return None


def _pattern(path: FieldPath) -> str:
    return "".join("[]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
