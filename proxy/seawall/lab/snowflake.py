"""Snowflake's SQL API, and as much of its drivers' protocol as a driver needs to run a query. Cortex speaks OpenAI's
protocol, which is elsewhere.

A `requestId` that was seen before is not carried out again. Results come in partitions of 1,000 rows.
"""

import re
from collections.abc import Callable
from typing import ClassVar

from seawall.lab.answer import Answer, Json, Mint, RejectedError, encode, plain
from seawall.lab.plan import Scenario, Status, Trouble
from seawall.lab.statements import Statement, Statements, parameter
from seawall.types import Head, Headers

_SESSION = re.compile(r"/(?:session(?:/.*)?|queries/v1/abort-request|telemetry/send)")
_PATHS = re.compile(r"/(?:api/v2/statements|session|queries|telemetry)(?:/|$)")
_STATEMENT = re.compile(r"/api/v2/statements(?:/([\w-]+)(/cancel)?)?/?")
_ROWS = 1_000
_COLUMNS = (("ID", "fixed", 38, 0), ("REGION", "text", None, None), ("AMOUNT", "fixed", 12, 2))
_CHANGED = (("number of rows inserted", "fixed", 19, 0),)


class SnowflakeFamily:
    name = "Snowflake"
    _errors: ClassVar[dict[Trouble, tuple[int, str, str, str]]] = {
        Trouble.INVALID: (422, "001003", "42000", "SQL compilation error: syntax error line 1 at position 0."),
        Trouble.AUTH: (401, "390303", "", "Invalid OAuth access token."),
        Trouble.FORBIDDEN: (403, "390403", "", "The role has no access to this account."),
        Trouble.NOT_FOUND: (404, "391404", "", "Could not find the statement handle."),
        Trouble.CONTEXT: (400, "391912", "", "The request is too large."),
        Trouble.FILTER: (422, "003001", "42501", "SQL access control error: insufficient privileges."),
        Trouble.RATE_LIMIT: (429, "391908", "", "Too many requests."),
        Trouble.QUOTA: (422, "090073", "22000", "The warehouse's resource monitor has exceeded its quota."),
        Trouble.SERVER: (500, "390000", "", "Internal server error."),
        Trouble.OVERLOADED: (503, "390503", "", "Service unavailable."),
        Trouble.TIMEOUT: (408, "000630", "57014", "Statement reached its timeout of 10 second(s) and was canceled."),
    }  # fmt: skip

    def status(self, trouble: Trouble) -> int:
        return self._errors[trouble][0]

    def error(self, trouble: Trouble, status: Status, mint: Mint) -> bytes:
        code, usual, state, message = self._errors[trouble]
        told: dict[str, object] = {"code": status.error_code or usual, "message": status.message or message}
        if code in (408, 422):
            return encode({**told, "sqlState": state, "statementHandle": mint.id("01b", 33)})
        return encode({**told, "data": None, "success": False, "headers": None})

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        return [(b"expect-ct", b"enforce, max-age=3600"), (b"vary", b"Accept-Encoding, User-Agent")]

    def error_fields(self, trouble: Trouble, status: Status) -> Headers:
        return []


FAMILY = SnowflakeFamily()


class Snowflake:
    """Its paths."""

    family = FAMILY

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._statements = Statements(elapsed)

    def owns(self, path: str) -> bool:
        return _PATHS.match(path) is not None

    def find(self, method: str, path: str, head: Head) -> "Submit | Poll | Cancel | Query | Session | None":
        if (found := _STATEMENT.fullmatch(path)) is not None:
            if found[1] is None:
                return Submit(self._statements, head) if method == "POST" else None
            if found[2]:
                return Cancel(self._statements, found[1]) if method == "POST" else None
            return Poll(self._statements, head, found[1]) if method == "GET" else None
        if method != "POST":
            return None
        if path == "/queries/v1/query-request":
            return Query(self._statements, head)
        return Session(path) if _SESSION.fullmatch(path) else None


class Submit:
    name = "statement"
    family = FAMILY

    def __init__(self, statements: Statements, head: Head) -> None:
        self._statements = statements
        self._head = head

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        key = parameter(self._head, "requestId")
        statement = self._statements.known(key or None)
        if statement is None:
            waited = parameter(self._head, "async").lower() != "true"
            statement = self._statements.submit(
                mint.id("01b", 33), body.get("statement"), name="statement", seed=mint.seed, now=mint.now,
                waited=waited, key=key or None, more={"requestId": key or mint.id("", 32)},
            )  # fmt: skip
        return _told(self._statements, statement)


class Poll:
    name = "statement_status"
    family = FAMILY

    def __init__(self, statements: Statements, head: Head, handle: str) -> None:
        self._statements = statements
        self._partition = parameter(head, "partition")
        self._handle = handle

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        statement = self._statements.get(self._handle)
        if not self._partition.isdecimal() or not self._statements.done(statement):
            return _told(self._statements, statement)
        rows = _rows(statement)
        number = int(self._partition)
        if number * _ROWS >= max(len(rows), 1):
            raise RejectedError(Trouble.INVALID, f"no partition {number}")
        return plain({"data": rows[number * _ROWS : (number + 1) * _ROWS]})


class Cancel:
    name = "statement_cancel"
    family = FAMILY

    def __init__(self, statements: Statements, handle: str) -> None:
        self._statements = statements
        self._handle = handle

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        statement = self._statements.get(self._handle)
        told = {"code": "000604", "sqlState": "57014", "message": "SQL execution canceled."}
        return plain({**told, "statementHandle": statement.id, "statementStatusUrl": _url(statement)})


class Query:
    """A driver's query; errors of the statement come in a 200."""

    name = "driver_query"
    family = FAMILY

    def __init__(self, statements: Statements, head: Head) -> None:
        self._statements = statements
        self._key = parameter(head, "requestId") or None

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        statement = self._statements.known(self._key)
        if statement is None:
            try:
                statement = self._statements.submit(
                    mint.id("01b", 33), body.get("sqlText"), name="sqlText", seed=mint.seed, now=mint.now,
                    waited=True, key=self._key,
                )  # fmt: skip
            except RejectedError as refused:
                return plain({"data": None, "code": "001003", "message": refused.message, "success": False})
        data = {
            "parameters": [],
            "rowtype": _row_type(statement),
            "rowset": _rows(statement),
            "total": len(_rows(statement)),
            "returned": len(_rows(statement)),
            "queryId": statement.id,
            "sqlState": "00000",
            "finalDatabaseName": None,
            "finalSchemaName": None,
            "finalWarehouseName": None,
            "finalRoleName": "PUBLIC",
            "numberOfBinds": 0,
            "statementTypeId": 4096 if statement.selects else 12544,
            "version": 1,
            "queryResultFormat": "json",
        }
        return plain({"data": data, "code": None, "message": None, "success": True})


class Session:
    """A driver's login, its end, and what it tells about itself."""

    name = "driver_session"
    family = FAMILY

    def __init__(self, path: str) -> None:
        self._path = path

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        data: dict[str, object] | None = None
        if self._path == "/session/v1/login-request":
            names = ("databaseName", "schemaName", "warehouseName")
            data = {
                "token": mint.id("ver:1-", 32),
                "masterToken": mint.id("ver:1-", 32),
                "validityInSeconds": 3600,
                "masterValidityInSeconds": 14400,
                "displayUserName": "LAB",
                "serverVersion": "9.0.0",
                "firstLogin": False,
                "healthCheckInterval": 45,
                "sessionId": mint.attempt,
                "parameters": [],
                "sessionInfo": {**dict.fromkeys(names), "roleName": "PUBLIC"},
            }
        return plain({"data": data, "code": None, "message": None, "success": True})


def _told(statements: Statements, statement: Statement) -> Answer:
    """A ResultSet with the first partition, or a QueryStatus of what still runs."""
    told = {"statementHandle": statement.id, "statementStatusUrl": _url(statement)}
    if not statements.done(statement):
        message = (
            "Asynchronous execution in progress. Use provided query id to perform query monitoring and management."
        )
        return plain({"code": "333334", "message": message, **told}, 202)
    rows = _rows(statement)
    counts = [min(_ROWS, len(rows) - at) for at in range(0, max(len(rows), 1), _ROWS)]
    meta = {
        "numRows": len(rows),
        "format": "jsonv2",
        "partitionInfo": [{"rowCount": count, "uncompressedSize": 64 * count} for count in counts],
        "rowType": _row_type(statement),
    }
    whole = {
        "resultSetMetaData": meta,
        "data": rows[:_ROWS],
        "code": "090001",
        "requestId": statement.more["requestId"],
        "sqlState": "00000",
        "message": "Statement executed successfully.",
        "createdOn": statement.created * 1000,
    }
    return plain({**whole, **told})


def _url(statement: Statement) -> str:
    return f"/api/v2/statements/{statement.id}?requestId={statement.more.get('requestId', '')}"


def _rows(statement: Statement) -> list[list[str]]:
    if not statement.selects:
        return [["1"]]
    return [[str(value) for value in row] for row in statement.result()]


def _row_type(statement: Statement) -> list[dict[str, object]]:
    rest = {"database": "", "schema": "", "table": "", "nullable": True, "byteLength": None, "collation": None}
    return [
        {"name": name, "type": kind, "precision": precision, "scale": scale, "length": None, **rest}
        for name, kind, precision, scale in (_COLUMNS if statement.selects else _CHANGED)
    ]
