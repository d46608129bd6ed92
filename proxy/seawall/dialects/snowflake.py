"""The Snowflake dialect: the SQL API (`/api/v2/statements`) with its polls, partitions and cancellations, the protocol
of Snowflake's own drivers, and models over Cortex, which speaks OpenAI's and Anthropic's protocols; every other
endpoint passes through.

408 and 422 are final: the statement took longer than its own limit, or failed, and would again.
"""

import re

import msgspec

from seawall.dialects import _snowflake_request as request
from seawall.dialects import _warehouse as warehouse
from seawall.dialects._canonical import canonical
from seawall.dialects._classify import Said, Words, fault_of, judge_good
from seawall.dialects._json import read
from seawall.dialects._snowflake_request import ANTHROPIC, OPENAI, SQL
from seawall.dialects.base import Dialect, Finish, Form, Material, Never, Watch
from seawall.dialects.generic import Generic, told
from seawall.dialects.hints import retry_hint
from seawall.dialects.splice import Member
from seawall.dialects.sse import COMMENT
from seawall.faults import Category, Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Usage

_OWN = re.compile(r"/(?:api/v2|queries|session|monitoring/queries|telemetry)(?:/|$)")
_MADE = re.compile(rb'"statementHandle"\s*:\s*"([A-Za-z0-9_-]{8,100})"')
_WAREHOUSE = Member("warehouse")

_CORTEX: dict[str, Dialect] = {
    **dict.fromkeys(("chat", "completions", "responses", "embeddings"), OPENAI),
    "messages": ANTHROPIC,
}
"""Who knows what Cortex says, by the operation."""

# Of a statement that runs on: "asynchronous execution in progress", in the drivers' protocol.
_RUNNING = frozenset({"333333", "333334"})
# Of a statement of the SQL API that is done.
_DONE = "090001"
_STATEMENTS = frozenset({"statement", "poll", "cancel"})

# How long its agent lets it run.
_NO_MATTER = frozenset({"timeout"})
# Of the query: names for this sending, not for what is asked.
_DRAWN = frozenset({"requestid", "retry", "request_guid"})

_NOTHING = Words(exact={}, general={}, phrases=())

# Classes of SQLSTATE: connection exception, invalid authorization, syntax error or access rule violation.
_STATES = {
    Category.AUTHENTICATION: "28000",
    Category.AUTHORIZATION: "28000",
    Category.VALIDATION: "42000",
}


class _Error(msgspec.Struct, gc=False):
    code: object = None
    success: object = None


class _Meta(msgspec.Struct, gc=False):
    partitions: list[msgspec.Raw] | None = msgspec.field(default=None, name="partitionInfo")


class _Result(msgspec.Struct, gc=False):
    code: object = None
    meta: _Meta | None = msgspec.field(default=None, name="resultSetMetaData")
    handles: object = msgspec.field(default=None, name="statementHandles")


_ERROR = msgspec.json.Decoder(_Error)
_RESULT = msgspec.json.Decoder(_Result)


class Snowflake(Generic):
    """See `seawall.dialects.base.Dialect`. What it knows no better is as in any HTTP API."""

    name = "Snowflake"
    version_prefix = "/api/v2"
    keep_alive = COMMENT
    cache_fields: tuple[bytes, ...] = (
        b"x-snowflake-role",
        b"x-snowflake-warehouse",
        *OPENAI.cache_fields,
        *ANTHROPIC.cache_fields,
    )

    def load(self) -> None:
        SQL.load()

    def claims(self, head: Head) -> bool:
        return _OWN.match(head.path) is not None

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        return request.facts_of(head, path, body)

    def needs(self, body: bytes) -> frozenset[str]:
        return OPENAI.needs(body) | ANTHROPIC.needs(body)

    def conversation(self, body: bytes) -> bytes:
        return OPENAI.conversation(body)

    def watch(self, facts: Facts, headers: Headers | None = None) -> Watch:
        cortex = _CORTEX.get(facts.operation)
        return super().watch(facts, headers) if cortex is None else cortex.watch(facts, headers)

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        cortex = _CORTEX.get(facts.operation)
        if cortex is not None:
            return cortex.judge(facts, status, headers, body, wall, whole=whole)
        if status >= 400:
            return _judged(facts, status, headers, body, wall)
        if not 200 <= status < 300 or facts.operation == "other":
            return None
        cut = judge_good(_NOTHING, status, headers, body, wall, whole=whole)
        return cut or (_refused(status, body) if facts.operation in ("driver", "session") else None)

    def answered(self, facts: Facts, body: bytes) -> tuple[str, Usage | None]:
        cortex = _CORTEX.get(facts.operation)
        return super().answered(facts, body) if cortex is None else cortex.answered(facts, body)

    def state_made(self, data: bytes, headers: Headers) -> str:
        return warehouse.made(_MADE, data)

    def state_named(self, path: str, body: bytes) -> tuple[str, ...]:
        return request.handle(path)

    def error(self, facts: Facts | None, problem: Problem) -> bytes:
        """In one shape for the SQL API and for the drivers, which look at `success`."""
        cortex = None if facts is None else _CORTEX.get(facts.operation)
        if cortex is not None:
            return cortex.error(facts, problem)
        code = problem.fault.code
        error = {
            "code": code.value,
            "message": told(problem),
            "sqlState": _STATES.get(code.rule.category, "08006"),
            "data": None,
            "success": False,
            "seawall": problem.seawall(),
        }
        return msgspec.json.encode(error)

    def error_event(self, facts: Facts, problem: Problem) -> bytes:
        cortex = _CORTEX.get(facts.operation)
        return super().error_event(facts, problem) if cortex is None else cortex.error_event(facts, problem)

    def static(self, facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
        cortex = _CORTEX.get(facts.operation)
        return warehouse.static(text) if cortex is None else cortex.static(facts, text, id_, created)

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        cortex = _CORTEX.get(facts.operation)
        if cortex is not None:
            return cortex.cache_material(facts, body)
        if facts.operation != "statement":
            return warehouse.metadata(facts)
        return warehouse.material(facts, canonical(body, _NO_MATTER), _DRAWN)

    def finish(self, facts: Facts, body: bytes, form: Form) -> Finish:
        cortex = _CORTEX.get(facts.operation)
        if cortex is not None:
            return cortex.finish(facts, body, form)
        if facts.operation != "statement":
            return Finish()
        result = read(_RESULT, body) or _Result()
        if result.code != _DONE:
            return Finish("still running")
        partitions = result.meta.partitions if result.meta is not None else None
        return Finish("more results") if result.handles or len(partitions or ()) > 1 else Finish()

    def replayed(self, facts: Facts, body: bytes, have: Form, want: Form) -> bytes | None:
        cortex = _CORTEX.get(facts.operation)
        if cortex is not None:
            return cortex.replayed(facts, body, have, want)
        return body if have is want else None

    def credential_fields(self) -> frozenset[bytes]:
        """The agent's word for its own token's kind must not stand beside another token; without one Snowflake looks
        at the token itself."""
        return frozenset({b"authorization", b"x-snowflake-authorization-token-type", b"x-api-key"})

    def with_model(self, path: str, body: bytes, model: str) -> tuple[str, bytes] | None:
        """The warehouse stands in the model's place in what has one."""
        cortex = OPENAI.with_model(path, body, model)
        if cortex is not None:
            return cortex
        spliced = _WAREHOUSE.replaced(body, model)
        return None if spliced is None else (path, spliced)


def _judged(facts: Facts, status: int, headers: Headers, body: bytes, wall: float) -> Fault:
    error = read(_ERROR, body) or _Error()
    fault = fault_of(_NOTHING, Said(code=error.code), status, retry_hint(headers, wall))
    if status == 429:
        return warehouse.undone(fault)
    if status == 408 and facts.operation in _STATEMENTS:
        return Fault(Code.INVALID_REQUEST, f"{fault.detail}, the statement's own time limit", status)
    return fault


def _refused(status: int, body: bytes) -> Fault | None:
    """The drivers' protocol tells of errors in a 200: of a login or a session (390…), or of the statement."""
    error = read(_ERROR, body) or _Error()
    if error.success is not False or error.code in _RUNNING:
        return None
    code = error.code if isinstance(error.code, str) else ""
    kind = Code.UNAUTHORIZED if code.startswith("390") else Code.INVALID_REQUEST
    told = fault_of(_NOTHING, Said(code=code), None).detail
    return Fault(kind, f"{status} with {told}", status)
