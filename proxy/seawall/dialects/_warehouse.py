"""What the dialects of warehouses have in common: how safe a statement is to send again, what of it may be kept, and
how their answers give out ids. It knows none of their words.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from seawall.dialects._json import is_strict
from seawall.dialects._sql import Sql, Statement
from seawall.dialects.base import Material, Never
from seawall.faults import Fault
from seawall.types import Facts, Safety

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# Ids stand at an answer's beginning, or behind its rows at its end. Quotes within a JSON text are escaped, so that no
# value can look like a member with its name.
_EDGE = 8192


def parameter(path: str, name: str) -> str:
    """The first value of a query's parameter; "" where it has none."""
    query = path.partition("?")[2]
    if name not in query:
        return ""
    return next((value for key, value in parse_qsl(query) if key == name), "")


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of a statement; as in `Facts`."""

    safety: Safety
    writes: str
    deterministic: bool


def reading(sql: Sql, statement: object, *, keyed: bool) -> Reading:
    """What a statement would do, and a second sending of it. keyed: it carries a key that its warehouse honours."""
    verdict = sql.read(statement) if isinstance(statement, str) else Statement("is not there")
    safety = Safety.SAFE if verdict.read_only else Safety.KEYED if keyed else Safety.UNSAFE
    return Reading(safety, verdict.writes, verdict.deterministic)


def other(*, pinned: bool = False, model: str = "", safety: Safety = Safety.UNSAFE) -> Facts:
    """Of a request that may do anything."""
    return Facts("other", model, safety=safety, pinned=pinned, writes="is no statement")


def undone(fault: Fault) -> Fault:
    """The same, said of a request with which nothing was done."""
    return replace(fault, undone=True)


def made(pattern: "re.Pattern[bytes]", data: bytes) -> str:
    """The id that an answer gives out; "" where it has none. pattern: a member with its value, the id its group."""
    found = pattern.search(data, 0, _EDGE) or pattern.search(data, max(0, len(data) - _EDGE))
    return found[1].decode("ascii", "replace") if found else ""


def static(text: str) -> tuple[bytes, bytes] | None:
    """A fixed answer is the policy's own result set, as it stands; there is none that holds but a text."""
    return (b"application/json", text.encode()) if is_strict(text.encode()) else None


def material(
    facts: Facts, asked: tuple[dict[str, object], bytes] | None, without: frozenset[str] = frozenset()
) -> Material | Never:
    """What a statement gives to its cache key. asked: its body in canonical form, with all that names where it runs,
    as whom and under which settings; None where it has none. without: see `Material`."""
    if facts.writes:
        return Never(f"statement {facts.writes}")
    if asked is None:
        return Never("body")
    return Material(asked[1], facts.deterministic, without=without)


def metadata(facts: Facts) -> Material | Never:
    """Likewise of a request that is no statement: reads of metadata, for which RFC 9111 has the rules. How far a
    statement is, its pages and what leads to them are never kept."""
    if facts.operation != "other":
        return Never(facts.operation)
    if facts.safety is not Safety.SAFE:
        return Never("not a read", by_http=True)
    return Material(b"", deterministic=True, by_http=True)
