"""Databricks' statement execution API. A statement that fails is told in a 200, as it is there (the fault
`error-body`).

Results come in chunks of 1,000 rows, inline, or as links that need no credential (`disposition: EXTERNAL_LINKS`).
"""

import re
from collections.abc import Callable
from typing import ClassVar

from seawall.lab.answer import Answer, Json, Mint, RejectedError, encode, plain
from seawall.lab.plan import Scenario, Status, Trouble
from seawall.lab.statements import Statement, Statements
from seawall.types import Head, Headers, header

_PATHS = re.compile(r"/(?:api/2\.[01]|databricks-links|oidc|\.well-known)/")
_STATEMENT = re.compile(r"/api/2\.0/sql/statements(?:/([\w-]+)(?:/(cancel)|/result/chunks/(\d{1,6}))?)?/?")
_LINK = re.compile(r"/databricks-links/([\w-]+)/(\d{1,6})")
_ROWS = 1_000
_COLUMNS = (("id", "INT"), ("region", "STRING"), ("amount", "DECIMAL"))
_CHANGED = (("num_affected_rows", "LONG"), ("num_inserted_rows", "LONG"))


class DatabricksFamily:
    name = "Databricks"
    _errors: ClassVar[dict[Trouble, tuple[int, str, str]]] = {
        Trouble.INVALID: (400, "BAD_REQUEST", "[PARSE_SYNTAX_ERROR] Syntax error at or near 'SELEC'."),
        Trouble.AUTH: (401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type for this API."),
        Trouble.FORBIDDEN: (403, "PERMISSION_DENIED", "You do not have permission to use the SQL warehouse."),
        Trouble.NOT_FOUND: (404, "NOT_FOUND", "The statement was not found."),
        Trouble.CONTEXT: (400, "INVALID_PARAMETER_VALUE", "The statement exceeds 16 MiB."),
        Trouble.FILTER: (403, "PERMISSION_DENIED", "Access to the securable is denied."),
        Trouble.RATE_LIMIT: (429, "REQUEST_LIMIT_EXCEEDED", "Rate limit exceeded, please try again later."),
        Trouble.QUOTA: (400, "QUOTA_EXCEEDED", "Cannot create more of this resource."),
        Trouble.SERVER: (500, "INTERNAL_ERROR", "Internal error happened."),
        Trouble.OVERLOADED: (503, "TEMPORARILY_UNAVAILABLE", "The service at /api/2.0/sql is temporarily unavailable."),
        Trouble.TIMEOUT: (504, "DEADLINE_EXCEEDED", "The request timed out."),
    }

    def status(self, trouble: Trouble) -> int:
        return self._errors[trouble][0]

    def error(self, trouble: Trouble, status: Status, mint: Mint) -> bytes:
        return encode(self.told(trouble, status))

    def told(self, trouble: Trouble, status: Status) -> dict[str, object]:
        _, code, message = self._errors[trouble]
        return {"error_code": status.error_code or code, "message": status.message or message}

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        return [(b"x-databricks-org-id", b"1234567890"), (b"x-request-id", mint.id("", 32).encode())]

    def error_fields(self, trouble: Trouble, status: Status) -> Headers:
        return []


FAMILY = DatabricksFamily()


class Databricks:
    """Its paths."""

    family = FAMILY

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._statements = Statements(elapsed)

    def owns(self, path: str) -> bool:
        return _PATHS.match(path) is not None

    def find(self, method: str, path: str, head: Head) -> "Execute | Get | Cancel | Link | None":
        if method == "GET" and (link := _LINK.fullmatch(path)) is not None:
            return Link(self._statements, link[1], int(link[2]))
        found = _STATEMENT.fullmatch(path)
        if found is None:
            return None
        match method, found.groups():
            case "POST", (None, None, None):
                return Execute(self._statements, head)
            case "POST", (str(id_), "cancel", None):
                return Cancel(self._statements, id_)
            case "GET", (str(id_), None, chunk):
                return Get(self._statements, head, id_, None if chunk is None else int(chunk))
        return None


class Execute:
    name = "statement"
    family = FAMILY

    def __init__(self, statements: Statements, head: Head) -> None:
        self._statements = statements
        self._links = _links(head)

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        if not isinstance(body.get("warehouse_id"), str):
            raise RejectedError(Trouble.INVALID, "warehouse_id: must be a text")
        id_ = mint.id("01ef", 32)
        statement = self._statements.submit(
            id_, body.get("statement"), name="statement", seed=mint.seed, now=mint.now,
            waited=body.get("wait_timeout") != "0s", more={"linked": body.get("disposition") == "EXTERNAL_LINKS"},
        )  # fmt: skip
        answer = _told(self._statements, statement, self._links)

        def failed(trouble: Trouble) -> bytes:
            error = {"state": "FAILED", "error": FAMILY.told(trouble, Status()), "sql_state": "XX000"}
            return encode({"statement_id": id_, "status": error})

        answer.failed = failed
        return answer


class Get:
    """A statement's state, or a chunk of its result."""

    name = "statement_status"
    family = FAMILY

    def __init__(self, statements: Statements, head: Head, id_: str, chunk: int | None) -> None:
        self._statements = statements
        self._links = _links(head)
        self._id = id_
        self._chunk = chunk

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        statement = self._statements.get(self._id)
        if self._chunk is None:
            return _told(self._statements, statement, self._links)
        return plain(_result(statement, self._chunk, self._links))


class Cancel:
    name = "statement_cancel"
    family = FAMILY

    def __init__(self, statements: Statements, id_: str) -> None:
        self._statements = statements
        self._id = id_

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        self._statements.get(self._id)
        return plain({})


class Link:
    """What a presigned link leads to: the rows alone."""

    name = "chunk"
    family = FAMILY

    def __init__(self, statements: Statements, id_: str, chunk: int) -> None:
        self._statements = statements
        self._id = id_
        self._chunk = chunk

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        rows = _rows(self._statements.get(self._id))
        return plain(rows[self._chunk * _ROWS : (self._chunk + 1) * _ROWS])


def _links(head: Head) -> str:
    return f"http://{(header(head.headers, b'host') or b'lab').decode('latin-1')}/databricks-links"


def _told(statements: Statements, statement: Statement, links: str) -> Answer:
    if not statements.done(statement):
        return plain({"statement_id": statement.id, "status": {"state": "RUNNING"}})
    rows, kinds = _rows(statement), _COLUMNS if statement.selects else _CHANGED
    columns = [
        {"name": name, "type_name": kind, "type_text": kind, "position": at} for at, (name, kind) in enumerate(kinds)
    ]
    chunks = [
        {"chunk_index": at // _ROWS, "row_offset": at, "row_count": min(_ROWS, len(rows) - at)}
        for at in range(0, max(len(rows), 1), _ROWS)
    ]
    manifest = {
        "format": "JSON_ARRAY",
        "schema": {"column_count": len(columns), "columns": columns},
        "total_chunk_count": len(chunks),
        "chunks": chunks,
        "total_row_count": len(rows),
        "truncated": False,
    }
    told = {"statement_id": statement.id, "status": {"state": "SUCCEEDED"}, "manifest": manifest}
    return plain({**told, "result": _result(statement, 0, links)})


def _result(statement: Statement, chunk: int, links: str) -> dict[str, object]:
    rows = _rows(statement)
    start = chunk * _ROWS
    if start >= max(len(rows), 1):
        raise RejectedError(Trouble.NOT_FOUND, f"no chunk {chunk}")
    shown = rows[start : start + _ROWS]
    told: dict[str, object] = {"chunk_index": chunk, "row_offset": start, "row_count": len(shown)}
    if start + _ROWS < len(rows):
        told["next_chunk_index"] = chunk + 1
        told["next_chunk_internal_link"] = f"/api/2.0/sql/statements/{statement.id}/result/chunks/{chunk + 1}"
    if not statement.more["linked"]:
        return {**told, "data_array": shown}
    link = {**told, "external_link": f"{links}/{statement.id}/{chunk}", "expiration": "2099-01-01T00:00:00Z"}
    return {"external_links": [link]}


def _rows(statement: Statement) -> list[list[str]]:
    return [[str(value) for value in row] for row in statement.result()] if statement.selects else [["1", "1"]]
