"""Ids of tool calls that every provider takes, however a conversation moves between them: Anthropic knows letters,
digits, `_` and `-` only and wants each id once, OpenAI's takes 40 characters at most.

An id that does not fit is replaced by a digest of it, so that the same conversation always reads the same.
"""

import hashlib
import re
from dataclasses import dataclass, field

_FITS = re.compile(r"[a-zA-Z0-9_-]{1,40}")


def fitting(given: str) -> str:
    """The id itself where all take it."""
    if _FITS.fullmatch(given):
        return given
    return f"call_{hashlib.sha256(given.encode(errors='surrogatepass')).hexdigest()[:24]}"


@dataclass(slots=True)
class _Call:
    name: str
    id_: str
    answered: bool = False


@dataclass(slots=True)
class Calls:
    """The tool calls of a conversation, as far as it has been read. Servers that count anew in each answer use an id
    again; here every call has its own."""

    _made: dict[str, list[_Call]] = field(default_factory=dict)
    """By the id that the agent knows."""

    def make(self, given: str, name: str) -> str:
        """Note a call; returns the id that it goes by."""
        earlier = self._made.setdefault(given, [])
        id_ = fitting(f"{given}#{len(earlier)}" if earlier else given)
        earlier.append(_Call(name, id_))
        return id_

    def answer_by_name(self, name: str) -> str | None:
        """The id of the first call of a tool that has no result yet, of those that the agent knows by none first; None
        where there is none. For dialects whose calls and results need not have ids."""
        ordered = sorted(self._made.items(), key=lambda made: made[0] != "")
        for call in (call for _, calls in ordered for call in calls):
            if call.name == name and not call.answered:
                call.answered = True
                return call.id_
        return None

    def answer(self, given: str) -> tuple[str, str] | None:
        """The name of the call that a result belongs to, and the id that it goes by; None where there is no such call.
        Of several with one id it is the first without a result."""
        made = self._made.get(given)
        if not made:
            return None
        call = next((one for one in made if not one.answered), made[-1])
        call.answered = True
        return call.name, call.id_
