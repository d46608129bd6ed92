"""A small ClickHouse: its HTTP interface, one statement a request, rows in a few formats.

Its tables have the same columns and rows for the same seed and statement. Inserts are remembered by their deduplication
tokens. An error behind rows comes as the real one frames it, with the tag that the head tells.
"""

import random
import re
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from seawall.lab.answer import Answer, Json, Mint, RejectedError, encode
from seawall.lab.plan import Scenario, Status, Trouble
from seawall.lab.warehouse import REGIONS
from seawall.types import Head, Headers, header

TAG = b"seawalllabrowsto"
"""Sixteen small letters, as the real one draws for each answer."""
_KEPT = 1000
_FORMAT = re.compile(r"\s+FORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_INSERT = re.compile(r"\s*INSERT\s+INTO\b", re.IGNORECASE)
_NUMBER = re.compile(r"\s*SELECT\s+(\d{1,9})\b", re.IGNORECASE)
_READS = re.compile(r"\s*(?:SELECT|WITH|SHOW|DESCRIBE|EXPLAIN|EXISTS)\b", re.IGNORECASE)
_TYPES = {
    "TabSeparated": b"text/tab-separated-values; charset=UTF-8",
    "JSON": b"application/json; charset=UTF-8",
    "JSONEachRow": b"application/x-ndjson; charset=UTF-8",
    "Native": b"application/octet-stream",
}
_BLOCK = 2
"""Rows that leave at a time."""

Column = tuple[str, str]


class ClickHouseFamily:
    name = "ClickHouse"
    _errors: ClassVar[dict[Trouble, tuple[int, int, str]]] = {
        Trouble.INVALID: (400, 62, "SYNTAX_ERROR"),
        Trouble.AUTH: (403, 516, "AUTHENTICATION_FAILED"),
        Trouble.FORBIDDEN: (403, 497, "ACCESS_DENIED"),
        Trouble.NOT_FOUND: (404, 60, "UNKNOWN_TABLE"),
        Trouble.CONTEXT: (400, 229, "QUERY_IS_TOO_LARGE"),
        Trouble.FILTER: (403, 392, "QUERY_IS_PROHIBITED"),
        Trouble.RATE_LIMIT: (500, 202, "TOO_MANY_SIMULTANEOUS_QUERIES"),
        Trouble.QUOTA: (500, 201, "QUOTA_EXCEEDED"),
        Trouble.SERVER: (500, 210, "NETWORK_ERROR"),
        Trouble.OVERLOADED: (500, 241, "MEMORY_LIMIT_EXCEEDED"),
        Trouble.TIMEOUT: (500, 159, "TIMEOUT_EXCEEDED"),
    }

    def status(self, trouble: Trouble) -> int:
        return self._errors[trouble][0]

    def error(self, trouble: Trouble, status: Status, mint: Mint) -> bytes:
        _, number, name = self._errors[trouble]
        words = status.message or f"the query fails with {name.lower()}"
        return f"Code: {number}. DB::Exception: {words}. ({name}) (version 26.9.1.1 (official build))\n".encode()

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        return [
            (b"x-clickhouse-query-id", mint.id("", 32).encode()),
            (b"x-clickhouse-server-display-name", b"lab"),
            (b"x-clickhouse-timezone", b"UTC"),
            (b"x-clickhouse-exception-tag", TAG),
        ]

    def error_fields(self, trouble: Trouble, status: Status) -> Headers:
        return [(b"x-clickhouse-exception-code", b"%d" % self._errors[trouble][1])]


FAMILY = ClickHouseFamily()


class ClickHouse:
    """Its paths and its memory."""

    family = FAMILY

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._tokens: OrderedDict[str, None] = OrderedDict()
        self.inserts = 0
        """That were not dropped as repeated."""

    def owns(self, path: str) -> bool:
        return path in ("/", "/ping")

    def find(self, method: str, path: str, head: Head) -> "Query | Ping | None":
        if path == "/ping" and method == "GET":
            return Ping()
        return Query(self, head) if method in ("GET", "POST") else None

    def insert(self, token: str) -> int:
        """Rows that are written: 1, or 0 under a token that was seen before."""
        if token in self._tokens:
            return 0
        if token:
            self._tokens[token] = None
            if len(self._tokens) > _KEPT:
                self._tokens.popitem(last=False)
        self.inserts += 1
        return 1


class Ping:
    name = "ping"
    family = FAMILY

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        return Answer([b"Ok.\n"], b"text/html; charset=UTF-8")


class Query:
    """The statement is the parameter `query` and what stands in the body behind it."""

    name = "query"
    family = FAMILY

    def __init__(self, server: ClickHouse, head: Head) -> None:
        self._server = server
        self._head = head
        self._given = dict(parse_qsl(head.target.partition("?")[2], keep_blank_values=True))

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        query, rest = self._given.get("query", ""), str(body.get("statement", ""))
        statement = query if _INSERT.match(query) else f"{query}\n{rest}".strip()
        if not statement:
            raise RejectedError(Trouble.INVALID, "Empty query")
        if header(self._head.headers, b"x-clickhouse-user") == b"nobody":
            raise RejectedError(Trouble.AUTH, "nobody: Authentication failed")
        read_only = self._head.method == "GET" or self._given.get("readonly") in ("1", "2")
        if read_only and not _READS.match(statement):
            raise RejectedError(Trouble.FORBIDDEN, "Cannot execute query in readonly mode")
        found = _FORMAT.search(statement)
        kind = found[1] if found else self._given.get("default_format", "")
        kind = kind if kind in _TYPES else "TabSeparated"
        if _INSERT.match(statement):
            written = self._server.insert(self._given.get("insert_deduplication_token", ""))
            answer = Answer([b""], _TYPES["TabSeparated"])
            answer.headers.append((b"x-clickhouse-summary", b'{"written_rows":"%d"}' % written))
            return answer
        columns, rows = self._rows(statement, mint.seed) if _READS.match(statement) else ((), [])
        return _written(columns, rows, kind)

    def _rows(self, statement: str, seed: int) -> tuple[tuple[Column, ...], list[list[Any]]]:
        if "version()" in statement:
            return (("version()", "String"), ("timezone()", "String")), [["26.9.1.1", "UTC"]]
        if "system.settings" in statement:
            return (("name", "String"), ("value", "String"), ("readonly", "UInt64")), []
        number = _NUMBER.match(statement)
        if number is not None:
            return ((number[1], "UInt64"),), [[int(number[1])]]
        rng = random.Random(f"{seed}/{statement}")
        columns = (("id", "UInt64"), ("region", "String"), ("amount", "Float64"))
        return columns, [[at + 1, rng.choice(REGIONS), round(rng.uniform(10, 1000), 2)] for at in range(6)]


def _written(columns: tuple[Column, ...], rows: list[list[Any]], kind: str) -> Answer:
    """Rows as they leave, a few at a time; the first lot with what stands before them."""
    lots = [rows[at : at + _BLOCK] for at in range(0, len(rows), _BLOCK)]
    match kind:
        case "Native":
            frames = [_native(columns, lot) for lot in lots]
        case "JSONEachRow":
            names = [name for name, _ in columns]
            frames = [b"".join(encode(dict(zip(names, row, strict=True))) + b"\n" for row in lot) for lot in lots]
        case "JSON":
            meta = [{"name": name, "type": of} for name, of in columns]
            data = [dict(zip((name for name, _ in columns), row, strict=True)) for row in rows]
            frames = [encode({"meta": meta, "data": data, "rows": len(rows)}) + b"\n"]
        case _:
            frames = [b"".join("\t".join(map(str, row)).encode() + b"\n" for row in lot) for lot in lots]

    def error_event(trouble: Trouble, failed: bool, sent: int) -> bytes:
        words = FAMILY.error(trouble, Status(), Mint(0, 0, 0)).strip()
        begin, end = b"__exception__\r\n%b\r\n" % TAG, b"%d %b\r\n__exception__\r\n" % (len(words), TAG)
        return b"\r\n%b%b\r\n%b" % (begin, words, end)

    return Answer(frames or [b""], _TYPES[kind], stream=True, error_event=error_event)


def _native(columns: tuple[Column, ...], rows: list[list[Any]]) -> bytes:
    """One block of the native format."""
    block = _varint(len(columns)) + _varint(len(rows))
    for at, (name, kind) in enumerate(columns):
        block += _text(name) + _text(kind)
        for row in rows:
            value = row[at]
            match kind:
                case "UInt64":
                    block += struct.pack("<Q", value)
                case "Float64":
                    block += struct.pack("<d", value)
                case _:
                    block += _text(value)
    return block


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _text(value: str) -> bytes:
    data = value.encode()
    return _varint(len(data)) + data
