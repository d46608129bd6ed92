"""A document with its origin, and with what is not known of it because a part of its file is wrong.

Checks look at what is left of a document that has errors. They must ask here before they conclude anything from a
field that may have been meant otherwise: an error that follows from another error is a false one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from seawall.policy.documents import Document
from seawall.policy.issues import FieldPath, Issue, Origin

Kept = Mapping[FieldPath, tuple[int, ...]]
"""For each list that lost items: the written indexes of those that are left."""


def as_written(path: FieldPath, kept: Kept) -> FieldPath:
    """A path within what is left → the path in the file."""
    if not kept:
        return path
    written: FieldPath = ()
    for part in path:
        indexes = kept.get(written)
        written = (*written, indexes[part] if indexes is not None and isinstance(part, int) else part)
    return written


@dataclass(frozen=True, slots=True)
class Doubts:
    """The fields, as written, of which a file does not say for sure what they are: wrong, misspelt or there twice."""

    paths: frozenset[FieldPath] = frozenset()
    below: Mapping[FieldPath, tuple[FieldPath, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """For each path around a doubt: the doubts within."""

    @classmethod
    def of(cls, paths: Iterable[FieldPath]) -> "Doubts":
        unique = frozenset(paths)
        below: dict[FieldPath, list[FieldPath]] = {}
        for path in sorted(unique, key=str):
            for end in range(len(path)):
                below.setdefault(path[:end], []).append(path)
        return cls(unique, {path: tuple(within) for path, within in below.items()})


@dataclass(frozen=True, slots=True)
class Located:
    """A document with its origin: a valid one, or what is left of it without its wrong fields."""

    document: Document
    origin: Origin
    doubts: Doubts = field(default_factory=Doubts)
    kept: Kept = field(default_factory=lambda: MappingProxyType({}))
    repeated: bool = False
    """Another document of the same kind, namespace and name came before: nobody knows which one is meant."""

    def error(self, path: FieldPath, message: str, hint: str = "") -> Issue:
        return self.origin.issue("error", self.written(path), message, hint)

    def warning(self, path: FieldPath, message: str, hint: str = "") -> Issue:
        return self.origin.issue("warning", self.written(path), message, hint)

    def written(self, path: FieldPath) -> FieldPath:
        """A path within the document → the path in the file, which differs behind a list's item that was wrong."""
        return as_written(path, self.kept)

    def sure(self, path: FieldPath) -> bool:
        """The field is what the document says, or surely absent. Fields within it may be in doubt."""
        if not self.doubts.paths:
            return True
        written = self.written(path)
        return not any(written[:end] in self.doubts.paths for end in range(len(written) + 1))

    def whole(self, path: FieldPath) -> bool:
        """The field is sure with all that it holds."""
        return self.sure(path) and self.written(path) not in self.doubts.below

    def doubts_within(self, path: FieldPath) -> tuple[FieldPath, ...]:
        """The doubts at and below a field, relative to it; `((),)` where the field itself is in doubt."""
        if not self.sure(path):
            return ((),)
        written = self.written(path)
        return tuple(doubt[len(written) :] for doubt in self.doubts.below.get(written, ()))

    @property
    def sure_of_name(self) -> bool:
        """Nothing is wrong with its kind, namespace and name, and it is the only one (or the first) of them."""
        named = (("kind",), ("metadata", "namespace"), ("metadata", "name"))
        return not self.repeated and all(self.sure(path) for path in named)
