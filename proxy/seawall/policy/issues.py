"""Findings about policy documents, and where in a file each document's fields are.

An Issue is a value with everything that a person needs to mend it; it never holds a secret (values are repeated only
where the schema fixes what they may be).
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

FieldPath = tuple[str | int, ...]
Position = tuple[int, int]
"""Line and column, from 1."""
Severity = Literal["error", "warning"]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,100}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def dotted(path: FieldPath) -> str:
    """`("spec", "rules", 0, "retry")` → `spec.rules[0].retry`. Keys that are no plain names are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part[:100])}]"
    return text


@dataclass(frozen=True, slots=True)
class Issue:
    """`line` and `column` count from 1; 0: unknown, or about the file as a whole. `others`: files of documents that it
    contradicts, where it takes more than one to be wrong."""

    severity: Severity
    file: str
    line: int
    path: str
    message: str
    hint: str = ""
    column: int = 0
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`file:line: error: path: message (hint)`, always one line."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        text = f"{where}: {self.severity}: {f'{self.path}: ' if self.path else ''}{self.message}"
        return _CONTROL.sub("�", f"{text} ({self.hint})" if self.hint else text)


def has_errors(issues: Iterable[Issue]) -> bool:
    return any(issue.severity == "error" for issue in issues)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a document came from: a file, or for an object from an API server its kind and name, with no positions."""

    file: str
    positions: Mapping[FieldPath, Position] = field(default_factory=dict)

    def issue(self, severity: Severity, path: FieldPath, message: str, hint: str = "") -> Issue:
        """An issue at a field, or at the nearest part around it that is written down."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.positions:
                line, column = self.positions[path[:end]]
                return Issue(severity, self.file, line, dotted(path), message, hint, column)
        return Issue(severity, self.file, 0, dotted(path), message, hint)


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A hint that names the nearest of the known words, or "" where none is near. Case does not count."""
    word = nearest(wrong, known)
    return f"did you mean `{word}`?" if word else ""


def nearest(wrong: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known word most like a wrong one, or "". `cutoff`: 0 to 1, as difflib's ratio."""
    folded = {word.casefold(): word for word in known}
    near = get_close_matches(wrong[:100].casefold(), folded, n=1, cutoff=cutoff)
    return folded[near[0]] if near else ""
