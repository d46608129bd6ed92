"""A small Trino: statements that are queued, polls that lead to their pages, cancelling; with JSON over HTTP.

Its tables have the same columns and rows for the same seed and statement. A page may be read again until the next one
is, as with the real one; what the client learns of its transaction comes in fields.
"""

import random
import re
from collections.abc import Callable
from typing import Any, ClassVar

from seawall.lab.answer import Answer, Json, Mint, RejectedError, encode, plain
from seawall.lab.plan import Scenario, Status, Trouble
from seawall.lab.warehouse import REGIONS, Store
from seawall.types import Head, Headers, header

_PAGE = re.compile(r"/v1/statement/executing/([0-9a-z_]+)/([0-9a-f]+)/(\d{1,6})")
_PAGES = 2
"""With rows, behind one that is still queued."""
_NUMBER = re.compile(r"select\s+(\d{1,9})", re.IGNORECASE)
_READS = re.compile(r"\s*(?:select|with|show|describe|explain|values|execute)\b", re.IGNORECASE)
_COLUMNS = (("id", "bigint"), ("region", "varchar"), ("amount", "double"))


class TrinoFamily:
    """Errors of queries come with a 200; what a gateway before Trino says, with a status of its own."""

    name = "Trino"
    _errors: ClassVar[dict[Trouble, tuple[int, int, str, str]]] = {
        Trouble.INVALID: (200, 1, "SYNTAX_ERROR", "USER_ERROR"),
        Trouble.AUTH: (401, 4, "PERMISSION_DENIED", "USER_ERROR"),
        Trouble.FORBIDDEN: (200, 4, "PERMISSION_DENIED", "USER_ERROR"),
        Trouble.NOT_FOUND: (200, 46, "TABLE_NOT_FOUND", "USER_ERROR"),
        Trouble.CONTEXT: (200, 45, "QUERY_TEXT_TOO_LARGE", "USER_ERROR"),
        Trouble.FILTER: (200, 33, "QUERY_REJECTED", "USER_ERROR"),
        Trouble.RATE_LIMIT: (429, 131074, "QUERY_QUEUE_FULL", "INSUFFICIENT_RESOURCES"),
        Trouble.QUOTA: (200, 131075, "EXCEEDED_TIME_LIMIT", "INSUFFICIENT_RESOURCES"),
        Trouble.SERVER: (200, 65536, "GENERIC_INTERNAL_ERROR", "INTERNAL_ERROR"),
        Trouble.OVERLOADED: (503, 131076, "CLUSTER_OUT_OF_MEMORY", "INSUFFICIENT_RESOURCES"),
        Trouble.TIMEOUT: (504, 65540, "PAGE_TRANSPORT_TIMEOUT", "INTERNAL_ERROR"),
    }

    def status(self, trouble: Trouble) -> int:
        return self._errors[trouble][0]

    def error(self, trouble: Trouble, status: Status, mint: Mint) -> bytes:
        _, number, name, kind = self._errors[trouble]
        message = status.message or f"the query fails with {name}"
        told = {"message": message, "errorCode": number, "errorName": status.error_code or name, "errorType": kind}
        return encode(_results(mint.id("20260101_000000_", 10), "FAILED", error={**told, "failureInfo": None}))

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        return [(b"vary", b"Accept-Encoding"), (b"x-content-type-options", b"nosniff")]

    def error_fields(self, trouble: Trouble, status: Status) -> Headers:
        return []


FAMILY = TrinoFamily()


class Trino:
    """Its paths and its memory. `elapsed` gives the seconds since the lab's start."""

    family = FAMILY

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._queries = Store()
        self.ran: list[str] = []
        """Statements that did more than read, in the order in which they were taken; the last hundred."""

    def owns(self, path: str) -> bool:
        return path.startswith("/v1/statement")

    def find(self, method: str, path: str, head: Head) -> "PostStatement | Page | Cancel | None":
        if method == "POST" and path == "/v1/statement":
            return PostStatement(self, head)
        found = _PAGE.fullmatch(path)
        if found is None:
            return None
        if method == "DELETE":
            return Cancel(self, found[1])
        return Page(self, head, found[1], int(found[3])) if method == "GET" else None

    def begin(self, id_: str, statement: str, head: Head) -> Json:
        if not _READS.match(statement):
            self.ran = [*self.ran[-99:], statement]
        self._queries.put(id_, self._elapsed(), {"id": id_, "sql": statement, "state": "RUNNING"})
        return _results(id_, "QUEUED", next_uri=_place(head, id_, 0))

    def query(self, id_: str) -> dict[str, Any]:
        return self._queries.get(id_)[1]


class PostStatement:
    """The body is the statement."""

    name = "statement"
    family = FAMILY

    def __init__(self, trino: Trino, head: Head) -> None:
        self._trino = trino
        self._head = head

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        statement = str(body.get("statement", ""))
        if not statement.strip():
            raise RejectedError(Trouble.INVALID, "SQL statement is empty")
        if header(self._head.headers, b"x-trino-user") is None and header(self._head.headers, b"authorization") is None:
            raise RejectedError(Trouble.AUTH, "User must be set")
        id_ = f"20260101_{mint.attempt:06d}_00000_lab{mint.seed % 100:02d}"
        return plain(self._trino.begin(id_, statement, self._head))


class Page:
    name = "page"
    family = FAMILY

    def __init__(self, trino: Trino, head: Head, id_: str, token: int) -> None:
        self._trino = trino
        self._head = head
        self._id = id_
        self._token = token

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        query = self._trino.query(self._id)
        acknowledged = query.setdefault("token", 0)
        if self._token < acknowledged - 1:
            return Answer([b""], b"text/plain", status=410)
        if query["state"] == "CANCELED":
            error = {"message": "Query was canceled", "errorCode": 3, "errorName": "USER_CANCELED"}
            return plain(_results(self._id, "FAILED", error={**error, "errorType": "USER_ERROR", "failureInfo": None}))
        query["token"] = max(acknowledged, self._token)
        columns, rows = _table(str(query["sql"]), mint.seed)
        if self._token == 0:
            return plain(_results(self._id, "RUNNING", next_uri=_place(self._head, self._id, 1)))
        size = -(-len(rows) // _PAGES)
        data = rows[size * (self._token - 1) : size * self._token]
        last = self._token >= _PAGES or size * self._token >= len(rows)
        uri = None if last else _place(self._head, self._id, self._token + 1)
        done = _results(self._id, "FINISHED" if last else "RUNNING", next_uri=uri, columns=columns, data=data)
        answer = plain(done)
        if re.match(r"\s*start\s+transaction", str(query["sql"]), re.IGNORECASE):
            answer.headers.append((b"x-trino-started-transaction-id", f"tx-{self._id}".encode()))
        return answer


class Cancel:
    name = "cancel"
    family = FAMILY

    def __init__(self, trino: Trino, id_: str) -> None:
        self._trino = trino
        self._id = id_

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        self._trino.query(self._id)["state"] = "CANCELED"
        return Answer([], status=204)


def _place(head: Head, id_: str, token: int) -> str:
    """Where a query goes on: at the host that a proxy tells of, else at the one that was asked."""

    def told(name: bytes, default: str) -> str:
        return (header(head.headers, name) or default.encode()).decode("latin-1")

    asked, path = told(b"host", "lab"), f"/v1/statement/executing/{id_}/{len(id_):032x}/{token}"
    if header(head.headers, b"x-forwarded-host") is None:
        return f"http://{asked}{head.path[: head.path.rfind('/v1/statement')]}{path}"
    host, proto = told(b"x-forwarded-host", ""), told(b"x-forwarded-proto", "http")
    return f"{proto}://{host}{told(b'x-forwarded-prefix', '')}{path}"


def _table(statement: str, seed: int) -> tuple[list[Json], list[list[Any]]]:
    number = _NUMBER.match(statement.strip())
    if number is not None:
        return [_column("_col0", "integer")], [[int(number[1])]]
    if not _READS.match(statement):
        return [_column("rows", "bigint")], [[1]]
    rng = random.Random(f"{seed}/{statement}")
    rows: list[list[Any]] = [[at + 1, rng.choice(REGIONS), round(rng.uniform(10, 1000), 2)] for at in range(4)]
    return [_column(name, kind) for name, kind in _COLUMNS], rows


def _column(name: str, kind: str) -> Json:
    arguments = [{"kind": "LONG", "value": 2147483647}] if kind == "varchar" else []
    return {"name": name, "type": kind, "typeSignature": {"rawType": kind, "arguments": arguments}}


def _results(
    id_: str,
    state: str,
    *,
    next_uri: str | None = None,
    columns: list[Json] | None = None,
    data: list[list[Any]] | None = None,
    error: Json | None = None,
) -> dict[str, Any]:
    """QueryResults, as far as clients read it; the id comes first."""
    counts = dict.fromkeys(("nodes", "totalSplits", "completedSplits", "cpuTimeMillis", "processedRows"), 0)
    stats = {"state": state, "queued": state == "QUEUED", "scheduled": state != "QUEUED", **counts}
    body: dict[str, Any] = {"id": id_, "infoUri": f"http://lab/ui/query.html?{id_}"}
    if next_uri is not None:
        body["nextUri"] = next_uri
    if columns is not None:
        body |= {"columns": columns, "data": data or []}
    body["stats"] = stats
    if error is not None:
        body["error"] = error
    return {**body, "warnings": []}
