"""Makes a string that a regular expression accepts, for schemas with `pattern`. Pure; every result is checked.

It understands literals, classes, groups, alternation and quantifiers; look-arounds and back-references are passed over,
so that the check decides.
"""

import re

_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a"}
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
_CANDIDATES = ("1", "a", "A", "lab", "a1", "A1", "1.0", "2025-01-31", "")


def sample(pattern: str, least: int = 0) -> str | None:
    """A string of at least `least` characters in which `pattern` is found; None where none was made."""
    try:
        compiled = re.compile(pattern)
    except re.error:
        return None
    for extra in (0, least):
        try:
            made = _Sampler(pattern, extra).alternatives()
        except (IndexError, ValueError):
            break
        if len(made) >= least and compiled.search(made):
            return made
    return next((text for text in _CANDIDATES if len(text) >= least and compiled.search(text)), None)


class _Sampler:
    """Recursive descent over the pattern. `extra` more repetitions are made wherever a quantifier allows them."""

    def __init__(self, pattern: str, extra: int) -> None:
        self._text = pattern
        self._at = 0
        self._extra = extra

    def alternatives(self) -> str:
        """The first alternative that gives a text."""
        options = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            options.append(self._sequence())
        return next((option for option in options if option), "")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _sequence(self) -> str:
        made: list[str] = []
        while self._peek() not in ("", "|", ")"):
            atom = self._atom()
            low, high = self._quantifier()
            made.append(atom * min(max(low, 1 if high and self._extra else 0) + self._extra * (high > low), high))
        return "".join(made)

    def _atom(self) -> str:
        char = self._take()
        match char:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case "\\":
                return self._escape()
            case "^" | "$":
                return ""
            case ".":
                return "a"
            case _:
                return char

    def _escape(self) -> str:
        char = self._take()
        if char in "bBAZ" or char.isdigit():
            return ""
        return _CLASSES.get(char) or _ESCAPES.get(char, char)

    def _group(self) -> str:
        kept = True
        if self._peek() == "?":
            self._at += 1
            mark = self._take()
            if mark in "=!":
                kept = False
            elif mark == "P" or (mark == "<" and self._peek() not in "=!"):
                self._at = self._text.index(">", self._at) + 1
            elif mark == "<":
                self._at += 1
                kept = False
        made = self.alternatives()
        if self._take() != ")":
            raise ValueError("unbalanced")
        return made if kept else ""

    def _class(self) -> str:
        negated = self._peek() == "^"
        self._at += negated
        start = self._at
        members: list[str] = []
        while self._peek() != "]" or self._at == start:
            char = self._take()
            members.append(self._escape() if char == "\\" else char)
        self._at += 1
        if not negated:
            return members[0]
        body = self._text[start : self._at - 1]
        return next(char for char in "a0A-_ ~" if not re.match(f"[{body}]", char))

    def _quantifier(self) -> tuple[int, int]:
        many = 1_000
        bounds = {"?": (0, 1), "*": (0, many), "+": (1, many)}.get(self._peek())
        if bounds is not None:
            self._at += 1
        elif match := re.match(r"\{(\d*)(,?)(\d*)\}", self._text[self._at :]):
            self._at += match.end()
            low = int(match[1] or 0)
            bounds = (low, int(match[3]) if match[3] else many if match[2] else low)
        else:
            return 1, 1
        if self._peek() in ("?", "+"):  # lazy, possessive
            self._at += 1
        return bounds
