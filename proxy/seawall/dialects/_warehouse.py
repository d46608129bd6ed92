"""What the dialects of warehouses have in common: how safe a statement is to send again, what of it may be kept, and
how their answers give out ids. It knows none of their words.
"""

import re
from dataclasses import replace
from urllib.parse import parse_qsl

from seawall.dialects._json import is_strict
from seawall.dialects._sql import Sql
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


def safety(sql: Sql, statement: object, *, keyed: bool) -> Safety:
    """What a second sending of a statement would do. keyed: it carries a key that its warehouse honours."""
    if isinstance(statement, str) and sql.read(statement).read_only:
        return Safety.SAFE
    return Safety.KEYED if keyed else Safety.UNSAFE


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


def readable(facts: Facts) -> Material | Never:
    """What a request without a statement gives to its cache key: reads of metadata, for which RFC 9111 has the rules.
    A statement's state, its pages and what leads to them are never kept."""
    if facts.operation != "other" or facts.safety is not Safety.SAFE:
        return Never("not a read" if facts.operation == "other" else facts.operation)
    return Material(b"", deterministic=True)


def material(
    facts: Facts,
    sql: Sql,
    statement: object,
    asked: tuple[dict[str, object], bytes] | None,
    without: frozenset[str] = frozenset(),
) -> Material | Never:
    """What a statement gives to its cache key. asked: its body in canonical form, with all that names where it runs,
    as whom and under which settings; None where it has none. without: see `Material`."""
    if facts.safety is not Safety.SAFE or not isinstance(statement, str):
        return Never("not read-only")
    if asked is None:
        return Never("body")
    return Material(asked[1], deterministic=sql.read(statement).deterministic, without=without)
