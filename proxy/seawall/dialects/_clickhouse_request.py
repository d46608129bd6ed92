"""What a request to ClickHouse's HTTP interface asks for: its parameters and statement, and how safe it is to repeat.

The statement is the `query` parameter and, behind a line break, the body; of an INSERT the body is data. A form's
fields are parameters too.
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from seawall.dialects._sql import Sql, Statement
from seawall.types import Facts, Head, Safety, header

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Behind comments, which a statement of megabytes of data is not searched through for.
_INSERT = re.compile(r"(?:\s|--[^\n]*\n|/\*[^*]*\*/)*INSERT\b", re.IGNORECASE)
_TOKEN = re.compile(r"\binsert_deduplication_token\s*=\s*'[^']+'", re.IGNORECASE)
_BEGINNING = 4096
_TRUE = frozenset({"1", "true"})

LONGEST = 86_400.0
"""Seconds; a longer `max_execution_time` is not waited for."""


def parameters(path: str) -> dict[str, str]:
    """Of the query; the last one of a name, in lower case for settings and all else alike."""
    return dict(parse_qsl(path.partition("?")[2], keep_blank_values=True))


def read(sql: Sql, head: Head, path: str, body: bytes) -> Facts:
    place, given = path.partition("?")[0], parameters(path)
    if place.strip("/") and "query" not in given:
        # /ping, /replicas_status, and handlers that an installation has defined.
        safe = head.method in _SAFE_METHODS
        return Facts("other", safety=Safety.SAFE if safe else Safety.UNSAFE, writes="" if safe else "is no statement")
    verdict = statement(sql, head, given, body)
    reads = verdict.read_only or _served_read_only(head, given)
    session = given.get("session_id", "")
    safety = Safety.SAFE if reads else Safety.KEYED if keyed(given, body) else Safety.UNSAFE
    return Facts(
        "query",
        safety=safety,
        alone=bool(session),
        writes="" if reads else verdict.writes,
        session=session,
        deterministic=verdict.deterministic,
        patience=_seconds(given.get("max_execution_time", "")),
    )


def _served_read_only(head: Head, given: Mapping[str, str]) -> bool:
    """Whether the server itself takes nothing but reads: of GET, and by the setting."""
    return head.method in _SAFE_METHODS or given.get("readonly", "") in ("1", "2")


def statement(sql: Sql, head: Head, given: Mapping[str, str], body: bytes) -> Statement:
    """What it would do, as far as it can be seen."""
    query = given.get("query", "")
    if _INSERT.match(query, 0, _BEGINNING):
        return Statement("begins with INSERT")
    if head.method in _SAFE_METHODS:
        return sql.read(query)
    if header(head.headers, b"content-encoding") not in (None, b"identity") or given.get("decompress") in _TRUE:
        return Statement("is in a coding")
    kind = (header(head.headers, b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind == b"multipart/form-data":
        if not query or b'name="query"' in body or b"name=query" in body:
            return Statement("is in a form")
        return sql.read(query)
    if _INSERT.match(body[:_BEGINNING].decode("latin-1")):
        return Statement("begins with INSERT") if not query.strip() else Statement("begins with another")
    try:
        return sql.read(f"{query}\n{body.decode()}" if body else query)
    except UnicodeDecodeError:
        return Statement("is not UTF-8")


def keyed(given: Mapping[str, str], body: bytes) -> bool:
    """Whether an INSERT carries a token by which ClickHouse drops a second one. Asynchronous inserts heed it only where
    that is asked for as well."""
    query = given.get("query", "")
    beginning = body[:_BEGINNING].decode("latin-1")
    if not (_INSERT.match(query) or (not query.strip() and _INSERT.match(beginning))):
        return False
    told = bool(given.get("insert_deduplication_token")) or _TOKEN.search(query[:_BEGINNING] or beginning) is not None
    if given.get("async_insert", "").lower() in _TRUE:
        told &= given.get("async_insert_deduplicate", "").lower() in _TRUE
    return told and given.get("insert_deduplicate", "1").lower() in _TRUE


def _seconds(text: str) -> float:
    """A setting in seconds; 0 where it is none."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return seconds if 0 < seconds <= LONGEST else 0.0
