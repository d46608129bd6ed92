"""The Trino dialect: statements, the polls that lead to their results, and cancelling them; all else passes through.

A statement is begun by a POST and runs while its client follows `nextUri`; to read one page acknowledges those before
it, so that the same page may be asked for again, but never twice at once, and never be kept (Trino's client protocol).
"""

import re
from urllib.parse import unquote_plus

from seawall.dialects._classify import by_status
from seawall.dialects._sql import Sql, Statement
from seawall.dialects._trino_words import error, judge, results
from seawall.dialects.base import Finish, Form, Material, Never
from seawall.dialects.generic import Generic, told
from seawall.dialects.hints import retry_hint
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety, header

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_STATEMENT = re.compile(r"(?:/v1)?/statement/?")
_PAGE = re.compile(r"(?:/v1)?/statement/(?:queued|executing|partialCancel)/([A-Za-z0-9_-]{1,200})/")
_QUERY = re.compile(r"(?:/v1)?/query/([A-Za-z0-9_-]{1,200})(?:/|$)")
_SPOOLED = re.compile(r"(?:/v1)?/spooled/")
_OWN = re.compile(r"/v1/(?:statement|spooled)(?:/|$)|/v1/query/[^/]+")

_MADE = re.compile(rb'\A\s*\{\s*"id"\s*:\s*"([A-Za-z0-9_-]{1,200})"')
_TRANSACTION = b"x-trino-transaction-id"
_STARTED = b"x-trino-started-transaction-id"
_PREPARED = b"x-trino-prepared-statement"

_IMMEDIATE = re.compile(r"\s*EXECUTE\s+IMMEDIATE\s+'((?:[^']|'')*)'\s*(?:USING\s(.*))?", re.IGNORECASE | re.DOTALL)
_EXECUTE = re.compile(r"\s*EXECUTE\s+([A-Za-z_][A-Za-z0-9_]*)\s*(?:USING\s(.*))?", re.IGNORECASE | re.DOTALL)

# What makes one answer of a statement another one.
_SESSION = (
    "user original-user role catalog schema path session time-zone language client-capabilities client-tags "
    "prepared-statement extra-credential query-data-encoding resource-estimate"
)
_GATEWAY = frozenset({502, 503, 504})
_AGAIN = 0.05
"""Seconds; "the client should try again in 50-100 milliseconds" (Trino's client protocol). A hint is jittered upwards
by half."""


class Trino(Generic):
    """See `seawall.dialects.base.Dialect`. What it knows no better is as in any HTTP API, tokens included."""

    name = "Trino"
    version_prefix = "/v1"
    forwarded = True
    cache_fields: tuple[bytes, ...] = tuple(f"x-trino-{name}".encode() for name in _SESSION.split())

    def __init__(self) -> None:
        self._sql = Sql("trino", complete=True)

    def load(self) -> None:
        self._sql.load()

    def claims(self, head: Head) -> bool:
        return _OWN.match(head.path) is not None

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        """A POST of a statement is never raced: the first to answer has only queued it. A transaction lives where it
        was begun."""
        place = path.partition("?")[0]
        pinned = _PAGE.match(place) or _QUERY.match(place) or _SPOOLED.match(place)
        if head.method in _SAFE_METHODS:
            page = _PAGE.match(place) is not None
            return Facts("poll" if page else "other", safety=Safety.SAFE, pinned=pinned is not None)
        if head.method == "DELETE" and _PAGE.match(place):
            return Facts("cancel", safety=Safety.SAFE, pinned=True)
        if head.method != "POST" or not _STATEMENT.fullmatch(place):
            return Facts("other", pinned=pinned is not None, writes="is no statement")
        verdict = self._statement(head, body)
        transaction = (header(head.headers, _TRANSACTION) or b"").decode("latin-1").replace("NONE", "")
        return Facts(
            "statement",
            safety=Safety.SAFE if verdict.read_only else Safety.UNSAFE,
            pinned=bool(transaction),
            writes=verdict.writes,
            alone=True,
            session=transaction,
            deterministic=verdict.deterministic,
        )

    def _statement(self, head: Head, body: bytes) -> Statement:
        """What it would do; for EXECUTE, what is executed, with its parameters. An encoded body is not looked into."""
        if header(head.headers, b"content-encoding") not in (None, b"identity"):
            return Statement("is in a coding")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return Statement("is not UTF-8")
        found = _IMMEDIATE.fullmatch(text)
        prepared = found[1].replace("''", "'") if found else None
        if found is None and (found := _EXECUTE.fullmatch(text)):
            prepared = _prepared(head.headers, found[1])
        if found is None or prepared is None:
            return self._sql.read(text)
        verdict = self._sql.read(prepared)
        parameters = self._sql.read(f"SELECT {found[2]}") if found[2] else verdict
        if parameters.writes or verdict.writes:
            return verdict if verdict.writes else parameters
        return verdict if parameters.deterministic else parameters

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        """A query's own error is no fault of the poll that tells of it: to ask again is told the same."""
        hint = retry_hint(headers, wall)
        if status in _GATEWAY:
            return Fault(Code.GATEWAY_ERROR, str(status), status, _AGAIN if hint is None else hint)
        code = by_status(status)
        if code is not None:
            return Fault(code, str(status), status, hint)
        if facts.operation not in ("statement", "poll") or not 200 <= status < 300:
            return None
        return judge(body, status, whole=whole, final=facts.operation == "poll")

    def state_made(self, data: bytes, headers: Headers) -> str:
        """A transaction's id, else the query's."""
        started = header(headers, _STARTED)
        if started:
            return started.decode("latin-1")
        found = _MADE.match(data)
        return found[1].decode("ascii") if found else ""

    def state_named(self, path: str, body: bytes) -> tuple[str, ...]:
        place = path.partition("?")[0]
        found = _PAGE.match(place) or _QUERY.match(place)
        return (found[1],) if found else ()

    def error(self, facts: Facts | None, problem: Problem) -> bytes:
        return error(problem, told(problem))

    def error_head(self, problem: Problem) -> tuple[int, Headers]:
        """A refused statement is a query that failed, which is told with a 200: clients read no other status' body.
        They ask again by themselves after 502, 503 and 504."""
        refused = problem.fault.code is Code.STATEMENT_REFUSED
        return 200 if refused else problem.fault.rule.status, [(b"content-type", b"application/json")]

    def static(self, facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
        """None: rows without columns are no answer to anybody."""
        return None

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        """Only a statement that is answered at once can be kept, and `finish` sees to that."""
        if facts.operation != "statement" or facts.pinned:
            return Never("state" if facts.pinned else facts.operation)
        return Never(f"statement {facts.writes}") if facts.writes else Material(body, facts.deterministic)

    def finish(self, facts: Facts, body: bytes, form: Form) -> Finish:
        found = results(body)
        if found is None or found.next_uri is not None or len(found.error) > 0:
            return Finish("poll")
        return Finish()

    def replayed(self, facts: Facts, body: bytes, have: Form, want: Form) -> bytes | None:
        return body if have is want else None


def _prepared(headers: Headers, name: str) -> str | None:
    """A prepared statement that the client brings along (`name=statement`, encoded as in a query); None where it does
    not, or more than one has the name."""
    found: list[str] = []
    for field, value in headers:
        if field.lower() == _PREPARED:
            pairs = (pair.partition("=") for pair in value.decode("latin-1").split(","))
            found += [unquote_plus(text) for known, _, text in pairs if unquote_plus(known.strip()) == name]
    return found[0] if len(found) == 1 else None
