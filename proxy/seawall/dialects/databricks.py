"""The Databricks dialect: SQL statements over `/api/2.0/sql/statements`, their polls, chunks and cancellations, and
jobs that bring an idempotency token; every other endpoint passes through.

A statement has no key that would make a second one harmless. So one that is not surely read-only is sent again only
where Databricks says that it has taken none: on 429 and 503, as its own SDKs do for every request.
"""

import re
from urllib.parse import unquote

import msgspec

from seawall.dialects import _warehouse as warehouse
from seawall.dialects._canonical import canonical
from seawall.dialects._classify import Said, Words, fault_of, judge_good
from seawall.dialects._json import model_name, read
from seawall.dialects._sql import Sql
from seawall.dialects.base import Finish, Form, Material, Never
from seawall.dialects.generic import Generic, told
from seawall.dialects.hints import retry_hint
from seawall.dialects.splice import Member
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety

# The SDKs ask a host what it is, and for tokens.
_OWN = re.compile(r"/(?:api/[12]\.\d/|oidc/|\.well-known/databricks-config$)")
_RESOURCE = re.compile(r"(?:^|/)sql/statements(?:/([^/]+)(/.*)?)?/?$")
_MADE = re.compile(rb'"statement_id"\s*:\s*"([A-Za-z0-9_-]{8,100})"')

# `jobs/run-now` and `jobs/runs/submit`: "If a run with the provided token already exists, the request does not create
# a new run but returns the ID of the existing run instead."
_KEYED = re.compile(r"(?:^|/)jobs/(?:run-now|runs/submit)$")
_WAREHOUSE = Member("warehouse_id")

SQL = Sql("databricks")

WORDS = Words(
    exact={},
    general={
        # ServiceErrorCode of a statement that failed.
        "INTERNAL_ERROR": Code.SERVER_ERROR,
        "IO_ERROR": Code.SERVER_ERROR,
        "UNKNOWN": Code.SERVER_ERROR,
        "TEMPORARILY_UNAVAILABLE": Code.OVERLOADED,
        "SERVICE_UNDER_MAINTENANCE": Code.OVERLOADED,
        "WORKSPACE_TEMPORARILY_UNAVAILABLE": Code.OVERLOADED,
        "RESOURCE_EXHAUSTED": Code.RATE_LIMITED,
        "UNAUTHENTICATED": Code.UNAUTHORIZED,
        # What the statement itself is to blame for, its own time limit included.
        "BAD_REQUEST": Code.INVALID_REQUEST,
        "NOT_FOUND": Code.INVALID_REQUEST,
        "ALREADY_EXISTS": Code.INVALID_REQUEST,
        "ABORTED": Code.INVALID_REQUEST,
        "CANCELLED": Code.INVALID_REQUEST,
        "DEADLINE_EXCEEDED": Code.INVALID_REQUEST,
    },
    phrases=(),
)

# "Too many requests" and "the service is not there": the two that databricks-sdk sends again whatever was asked.
_UNDONE = frozenset({429, 503})

# `error_code` by the status that seawall answers with; the SDK goes by both.
_NAMES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "RESOURCE_CONFLICT",
    413: "BAD_REQUEST",
    429: "RESOURCE_EXHAUSTED",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# How long its agent waits for it, and how it is told in a log.
_NO_MATTER = frozenset({"wait_timeout", "on_wait_timeout", "query_tags"})


class _Request(msgspec.Struct, gc=False):
    statement: object = None
    warehouse_id: object = None
    disposition: object = None
    wait_timeout: object = None


class _Error(msgspec.Struct, gc=False):
    error_code: object = None
    message: object = None


class _Status(msgspec.Struct, gc=False):
    state: object = None
    error: _Error | None = None


class _Manifest(msgspec.Struct, gc=False):
    total_chunk_count: object = None


class _Result(msgspec.Struct, gc=False):
    next_chunk_internal_link: object = None
    external_links: object = None


class _Answer(msgspec.Struct, gc=False):
    status: _Status | None = None
    manifest: _Manifest | None = None
    result: _Result | None = None


class _Job(msgspec.Struct, gc=False):
    idempotency_token: object = None


_REQUEST = msgspec.json.Decoder(_Request)
_ERROR = msgspec.json.Decoder(_Error)
_ANSWER = msgspec.json.Decoder(_Answer)
_JOB = msgspec.json.Decoder(_Job)


class Databricks(Generic):
    """See `seawall.dialects.base.Dialect`. What it knows no better is as in any HTTP API."""

    name = "Databricks"
    # A host that stands for several workspaces.
    cache_fields: tuple[bytes, ...] = (b"x-databricks-org-id",)

    def load(self) -> None:
        SQL.load()

    def claims(self, head: Head) -> bool:
        return _OWN.match(head.path) is not None

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        """Whatever is read belongs to its workspace, so all but new statements are asked for where they are."""
        resource = path.partition("?")[0]
        found = _RESOURCE.search(resource)
        if head.method in warehouse.SAFE_METHODS:
            return Facts("other" if found is None else "poll", safety=Safety.SAFE, pinned=True)
        if found is None or head.method != "POST":
            keyed = _KEYED.search(resource) and (read(_JOB, body) or _Job()).idempotency_token
            return warehouse.other(pinned=True, safety=Safety.KEYED if keyed else Safety.UNSAFE)
        if found[2] == "/cancel":
            # A second cancellation finds the statement cancelled.
            return Facts("cancel", safety=Safety.SAFE, pinned=True)
        if found[1] is not None:
            return warehouse.other(pinned=True)
        asked = read(_REQUEST, body) or _Request()
        found_out = warehouse.reading(SQL, asked.statement, keyed=False)
        return Facts(
            "statement",
            model_name(asked.warehouse_id),
            safety=found_out.safety,
            writes=found_out.writes,
            alone=asked.wait_timeout == "0s",
            deterministic=found_out.deterministic,
        )

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        if status >= 400:
            error = read(_ERROR, body) or _Error()
            fault = fault_of(WORDS, Said(code=error.error_code), status, retry_hint(headers, wall))
            return warehouse.undone(fault) if status in _UNDONE else fault
        if not 200 <= status < 300 or facts.operation == "other":
            return None
        cut = judge_good(WORDS, status, headers, body, wall, whole=whole)
        if cut is not None or facts.operation != "statement":
            # A poll may well tell of a statement that failed: the poll itself is good.
            return cut
        told = (read(_ANSWER, body) or _Answer()).status or _Status()
        if told.state != "FAILED":
            return None
        fault = fault_of(WORDS, Said(code=(told.error or _Error()).error_code), None)
        return Fault(fault.code, f"{status} with FAILED, {fault.detail}", status)

    def state_made(self, data: bytes, headers: Headers) -> str:
        return warehouse.made(_MADE, data)

    def state_named(self, path: str, body: bytes) -> tuple[str, ...]:
        found = _RESOURCE.search(path.partition("?")[0])
        return (unquote(found[1]),) if found is not None and found[1] else ()

    def error(self, facts: Facts | None, problem: Problem) -> bytes:
        """The SDK keeps nothing of a body but these three members, so that the details tell what `seawall` does."""
        code, seawall = problem.fault.code, problem.seawall()
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": code.value,
            "domain": "seawall.dev",
            "metadata": {"request_id": problem.request_id, "support_reference": str(seawall["support_reference"])},
        }
        name = _NAMES.get(code.rule.status, "INTERNAL_ERROR")
        error = {"error_code": name, "message": told(problem), "details": [info], "seawall": seawall}
        return msgspec.json.encode(error)

    def static(self, facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
        return warehouse.static(text)

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        if facts.operation != "statement":
            return warehouse.metadata(facts)
        if (read(_REQUEST, body) or _Request()).disposition not in (None, "INLINE"):
            return Never("presigned links")
        return warehouse.material(facts, canonical(body, _NO_MATTER))

    def finish(self, facts: Facts, body: bytes, form: Form) -> Finish:
        if facts.operation != "statement":
            return Finish()
        answer = read(_ANSWER, body) or _Answer()
        state = answer.status.state if answer.status is not None else None
        if state != "SUCCEEDED":
            return Finish(f"state {state}")
        result, manifest = answer.result or _Result(), answer.manifest or _Manifest()
        if result.external_links or result.next_chunk_internal_link or manifest.total_chunk_count not in (None, 0, 1):
            return Finish("more chunks, or links to them")
        return Finish()

    def with_model(self, path: str, body: bytes, model: str) -> tuple[str, bytes] | None:
        """The warehouse stands in the model's place: each workspace has its own."""
        spliced = _WAREHOUSE.replaced(body, model)
        return None if spliced is None else (path, spliced)
