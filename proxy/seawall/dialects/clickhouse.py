"""The ClickHouse dialect: its HTTP interface, one statement a request.

An answer begins with a 200 before its query is done, so that an exception may stand behind its rows. What an answer
holds, by its format, is not looked into otherwise.
"""

from base64 import b64encode

import msgspec

from seawall.dialects import _clickhouse_request as request
from seawall.dialects._clickhouse_words import TAIL, coded, exception_in, fault_of, own
from seawall.dialects._json import is_strict
from seawall.dialects._sql import Sql
from seawall.dialects.base import Finish, Form, Material, Never, Watch
from seawall.dialects.generic import Generic, told
from seawall.dialects.hints import retry_hint
from seawall.faults import Fault, Problem
from seawall.types import Facts, Head, Headers, Safety, Usage

_COMBINATORS = (
    "IF ARRAY MAP DISTINCT FOREACH RESAMPLE ORNULL ORDEFAULT SIMPLESTATE STATE MERGE ARGMIN ARGMAX TUPLE NULL"
)
_OWN_PATHS = frozenset({"/ping", "/replicas_status"})
_OWN_PARAMETERS = frozenset({"query", "query_id", "default_format", "session_id", "client_protocol_version"})
_FIELDS = (b"x-clickhouse-user", b"x-clickhouse-key", b"x-clickhouse-ssl-certificate-auth")
# Of the query's parameters: they tell of a query, and change no answer.
_WITHOUT = frozenset({"query_id", "log_comment"})


class RowsWatch:
    """See `seawall.dialects.base.Watch`. Rows pass as they come; only the end is looked at."""

    __slots__ = ("_headers", "_tail", "content", "fault", "model", "progress", "terminal", "usage")

    def __init__(self, headers: Headers) -> None:
        self.content = False
        self.terminal = False
        self.fault: Fault | None = fault_of(headers, b"", 200) if coded(headers) else None
        self.usage: Usage | None = None
        self.model = ""
        self.progress = 0
        self._headers = headers
        self._tail = b""

    @property
    def midway(self) -> bool:
        return self.progress > 0

    @property
    def lead(self) -> bytes:
        return b""

    def feed(self, data: bytes) -> bytes:
        self.content = True
        self.progress += 1
        self._tail = data[-TAIL:] if len(data) >= TAIL else (self._tail + data)[-TAIL:]
        if b"__exception__" in self._tail:
            # Servers break off behind it, so that there may be no proper end.
            self._look(ended=False)
        return data

    def end(self) -> bytes:
        self._look(ended=True)
        self.terminal = self.fault is None
        return b""

    def _look(self, *, ended: bool) -> None:
        words = exception_in(self._headers, self._tail, ended=ended)
        if words is not None and self.fault is None:
            self.fault = fault_of([], words, 200)


class ClickHouse(Generic):
    """See `seawall.dialects.base.Dialect`. What it knows no better is as in any HTTP API."""

    name = "ClickHouse"
    cache_fields: tuple[bytes, ...] = (
        *(b"accept-encoding", b"x-clickhouse-user", b"x-clickhouse-database"),
        *(b"x-clickhouse-format", b"x-clickhouse-quota"),
    )

    def __init__(self) -> None:
        self._sql = Sql("clickhouse", complete=True, combinators=tuple(_COMBINATORS.split()))

    def load(self) -> None:
        self._sql.load()

    def claims(self, head: Head) -> bool:
        """The root, where the request shows whose it is: everybody has one."""
        if head.path in _OWN_PATHS:
            return True
        return head.path == "/" and (
            not _OWN_PARAMETERS.isdisjoint(request.parameters(head.target))
            or any(name.lower().startswith(b"x-clickhouse-") for name, _ in head.headers)
        )

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        return request.read(self._sql, head, path, body)

    def stream_type(self, facts: Facts) -> bytes:
        """Any: a format has the type that its rows have."""
        return b""

    def watch(self, facts: Facts, headers: Headers | None = None) -> Watch:
        return RowsWatch(headers or [])

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        if status >= 400 or coded(headers):
            return fault_of(headers, body, status, retry_hint(headers, wall))
        words = exception_in(headers, body[-TAIL:])
        return None if words is None else fault_of([], words, status)

    def error(self, facts: Facts | None, problem: Problem) -> bytes:
        """As ClickHouse writes it, and the `seawall` object in a line of its own."""
        number, name = own(problem)
        seawall = msgspec.json.encode({"seawall": problem.seawall()})
        return f"Code: {number}. DB::Exception: {told(problem)}. ({name})\n".encode() + seawall + b"\n"

    def error_head(self, problem: Problem) -> tuple[int, Headers]:
        number, _ = own(problem)
        fields = [(b"content-type", b"text/plain; charset=UTF-8"), (b"x-clickhouse-exception-code", b"%d" % number)]
        return problem.fault.rule.status, fields

    def error_event(self, facts: Facts, problem: Problem) -> bytes:
        """None: what could stand behind rows depends on their format."""
        return b""

    def static(self, facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
        """The text as it stands: which format the agent wants, only its policy knows."""
        return b"application/json" if is_strict(text.encode()) else b"text/plain; charset=UTF-8", text.encode()

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        """Database, role and settings are parameters, and so in the key with the rest of the query."""
        if facts.safety is not Safety.SAFE or facts.session or facts.operation != "query":
            return Never("session" if facts.session else facts.writes or "no statement")
        return Material(body, facts.deterministic, without=_WITHOUT)

    def finish(self, facts: Facts, body: bytes, form: Form) -> Finish:
        return Finish("exception") if exception_in([], body[-TAIL:]) is not None else Finish()

    def credential(self, key: bytes) -> tuple[bytes, bytes]:
        """`user:password`, or a JWT (ClickHouse Cloud)."""
        if b":" in key:
            return b"authorization", b"Basic " + b64encode(key)
        return b"authorization", b"Bearer " + key

    def credential_fields(self) -> frozenset[bytes]:
        return frozenset({b"authorization", *_FIELDS})

    def credential_parameters(self) -> frozenset[str]:
        return frozenset({"user", "password"})
