"""One JSON object of a request, taken field by field: what nobody has taken when it is closed is named as unfit, so
that no field, known or new, is ever dropped silently. The readers of Anthropic's and of Gemini's dialect use it.
"""

from collections.abc import Mapping
from typing import Self, TypeVar

_Value = TypeVar("_Value")


class Fields:
    """`where` is the object's place in the request (`messages[0].content[1]`, "" for its top), `unfit` the list that
    its reasons go to. A field that is null counts as absent, as in the API."""

    __slots__ = ("_given", "_kind", "unfit", "where")

    def __init__(self, given: Mapping[str, object], where: str, unfit: list[str]) -> None:
        self._given = {name: value for name, value in given.items() if value is not None}
        self._kind = ""
        self.where = where
        self.unfit = unfit

    @property
    def kind(self) -> str:
        """The object's `type`, which every caller that chooses by it may ask for; "" when it has none."""
        if not self._kind:
            self._kind = self.need("type", str, "")
        return self._kind

    def path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where and name else self.where or name

    def refuse(self, name: str, why: str) -> None:
        """Note that a field ("" for the object itself) cannot be carried."""
        # Names are the agent's, and a line of a log is a line.
        reason = f"{self.path(name[:64])}: {why}"
        self.unfit.append("".join(one if one.isprintable() else "?" for one in reason))

    def take(self, name: str, kind: type[_Value]) -> _Value | None:
        """A field's value; None when it is absent, or of another type (then that is noted)."""
        value = self._given.pop(name, None)
        if value is None:
            return None
        # In Python a bool is a number; in JSON it is not.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool and kind is not object):
            self.refuse(name, f"is no {_NAMES[kind]}")
            return None
        return value

    def need(self, name: str, kind: type[_Value], otherwise: _Value) -> _Value:
        """As `take`, of a field that must be there; `otherwise` where it is not (that is noted)."""
        if name not in self._given:
            self.refuse(name, "is missing")
            return otherwise
        value = self.take(name, kind)
        return otherwise if value is None else value

    def number(self, name: str) -> float | None:
        """A field that is a number, whole or not."""
        if isinstance(self._given.get(name), int):
            return self.take(name, int)
        return self.take(name, float)

    def strings(self, name: str) -> list[str] | None:
        """A field that is a list of strings."""
        value = self.take(name, list)
        if value is None:
            return None
        if not all(isinstance(item, str) for item in value):
            self.refuse(name, "is no list of strings")
            return None
        return value

    def inner(self, name: str) -> "Self | None":
        """A field that is an object, to be taken apart and closed by the caller."""
        value = self.take(name, dict)
        return None if value is None else type(self)(value, self.path(name), self.unfit)

    def each(self, name: str) -> "list[Self]":
        """A field that is a list of objects; none where it is absent. Other items in it are noted."""
        found = []
        for number, item in enumerate(self.take(name, list) or ()):
            where = f"{self.path(name)}[{number}]"
            if isinstance(item, dict):
                found.append(type(self)(item, where, self.unfit))
            else:
                self.unfit.append(f"{where}: is no object")
        return found

    def blocks(self, name: str) -> "list[Self]":
        """Content: a string is short for one text block."""
        if isinstance(self._given.get(name), str):
            text = self.take(name, str)
            return [type(self)({"type": "text", "text": text}, self.path(name), self.unfit)]
        return self.each(name)

    def close(self, harmless: Mapping[str, str] | None = None, why: str = "has no counterpart") -> None:
        """Name what is left, but for what the table says is `harmless` to leave out."""
        for name in self._given:
            if harmless is None or name not in harmless:
                self.refuse(name, why)


_NAMES: dict[type, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "list",
    dict: "object",
}
