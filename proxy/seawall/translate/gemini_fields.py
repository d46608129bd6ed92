"""One JSON object of a Gemini request, taken field by field. Its members may be written `likeThis` or `like_this`, and
a list of one as its element alone (ProtoJSON, as Google's servers read it); reasons name them `likeThis`.
"""

from collections.abc import Mapping
from typing import Any, Self

from seawall.translate.fields import Fields


class GeminiFields(Fields):
    """See `Fields`."""

    __slots__ = ()

    def __init__(self, given: Mapping[str, object], where: str, unfit: list[str]) -> None:
        named: dict[str, object] = {}
        twice = []
        for name, value in given.items():
            known = camel(name)
            if known in named:
                twice.append(known)
            named[known] = value
        super().__init__(named, where, unfit)
        for name in twice:
            self.refuse(name, "is there twice")

    def each(self, name: str) -> list[Self]:
        if isinstance(self._given.get(name), dict):
            alone = self.inner(name)
            return [] if alone is None else [alone]
        return super().each(name)

    def whole_number(self, name: str) -> int | None:
        """A field that is a whole number, as the SDKs write it: `40`, `40.0` or `"40"`."""
        value: Any = self._given.get(name)
        digits = isinstance(value, str) and len(value) < 20 and value.removeprefix("-").isdecimal()
        if digits or (isinstance(value, float) and value.is_integer()):
            self._given[name] = int(value)
        return self.take(name, int)

    def word(self, name: str) -> str | None:
        """A field that holds a name of an enumeration, in upper case; None where it says `…_UNSPECIFIED`."""
        value = self.take(name, str)
        if value is None or value.upper().endswith("UNSPECIFIED"):
            return None
        return value.upper()

    def off(self, name: str, why: str) -> None:
        """A switch that other providers have none of: false says nothing, everything else does not fit."""
        if self._given.get(name) is False:
            del self._given[name]
        elif name in self._given:
            del self._given[name]
            self.refuse(name, why)


def camel(name: str) -> str:
    """A member's name as JSON has it; one that begins with `_` or `$` is none of the API's and stays."""
    if "_" not in name[1:] or name.startswith("_"):
        return name
    first, *more = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in more)
