"""The BigQuery dialect: queries and jobs over `/bigquery/v2`, their polls, pages and cancellations; every other
endpoint passes through.

What makes a second sending harmless is the agent's own: the `requestId` of a query, the `jobId` of a job. Google's
client sends one with each. A job that was made although its answer was lost answers a second sending with 409.
"""

import re
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from seawall.dialects import _warehouse as warehouse
from seawall.dialects._bigquery_request import NO_MATTER, SQL, Asked, job, made_of, query, seconds
from seawall.dialects._bigquery_words import NAMES, REASONS, judged
from seawall.dialects._canonical import canonical
from seawall.dialects._classify import Words, judge_good
from seawall.dialects._json import model_name, read
from seawall.dialects.base import Finish, Form, Material, Never
from seawall.dialects.generic import Generic, told
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Made, Safety

_RESOURCE = re.compile(r"(?:^|/)projects/([^/]+)/(queries|jobs)(?:/([^/]+)(/cancel)?)?/?$")
_MADE = re.compile(rb'"jobReference"\s*:\s*\{[^{}]*?"jobId"\s*:\s*"([A-Za-z0-9_-]{1,1024})"')
_PAGES = ("pageToken", "startIndex")

# A job that was made before its call came, by so many seconds: another one of the same name. Clocks differ.
_OLDER = 900.0

_NOTHING = Words(exact={}, general={}, phrases=())


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    job_complete: object = None
    page_token: object = None
    errors: object = None


class _Statistics(msgspec.Struct, gc=False, rename="camel"):
    creation_time: object = None


class _Job(msgspec.Struct, gc=False):
    statistics: _Statistics | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_JOB = msgspec.json.Decoder(_Job)


class BigQuery(Generic):
    """See `seawall.dialects.base.Dialect`. What it knows no better is as in any HTTP API.

    The project that pays stands where a model would: Google's limits are per project.
    """

    name = "BigQuery"
    version_prefix = "/bigquery/v2"
    cache_fields: tuple[bytes, ...] = (b"x-goog-user-project",)

    def load(self) -> None:
        SQL.load()

    def claims(self, head: Head) -> bool:
        return re.match(r"/(?:upload/|resumable/upload/)?bigquery/v2/", head.path) is not None

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        resource = path.partition("?")[0]
        found = _RESOURCE.search(resource)
        project = model_name(unquote(found[1])) if found is not None else ""
        if head.method in warehouse.SAFE_METHODS:
            if found is not None and found[3]:
                patience = seconds(warehouse.parameter(path, "timeoutMs"))
                return Facts("poll", project, safety=Safety.SAFE, pinned=True, patience=patience)
            page = any(warehouse.parameter(path, name) for name in _PAGES)
            return Facts("page" if page else "other", project, safety=Safety.SAFE, pinned=page)
        if found is None or head.method != "POST":
            return warehouse.other(model=project)
        if found[4] is not None and found[2] == "jobs":
            # A second cancellation finds the job cancelled.
            return Facts("cancel", project, safety=Safety.SAFE, pinned=True)
        if found[3]:
            return warehouse.other(model=project, pinned=True)
        if found[2] == "queries":
            asked = query(body)
            return _facts("query", project, asked, patience=asked.patience)
        # It is told of a job as soon as that is made.
        asked = job(body)
        return _facts("job", project, asked, alone=True, made=_made(path, asked))

    def judge(
        self, facts: Facts, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool = False
    ) -> Fault | None:
        if status >= 400:
            return judged(facts, status, headers, body, wall)
        if not 200 <= status < 300 or facts.operation == "other":
            return None
        # Whatever a job says of itself, it is there: to ask for it was good.
        cut = judge_good(_NOTHING, status, headers, body, wall, whole=whole)
        if cut is None and facts.made is not None and facts.operation == "made" and _other(facts.made, body, wall):
            return Fault(Code.CONFLICT, "another job has that name", status)
        return cut

    def state_made(self, data: bytes, headers: Headers) -> str:
        return warehouse.made(_MADE, data)

    def state_named(self, path: str, body: bytes) -> tuple[str, ...]:
        found = _RESOURCE.search(path.partition("?")[0])
        return (unquote(found[3]),) if found is not None and found[3] else ()

    def error(self, facts: Facts | None, problem: Problem) -> bytes:
        """Google's client raises by the status, and decides by the reason whether to try again itself."""
        code, message = problem.fault.code, told(problem)
        status = code.rule.status
        name = NAMES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
        reason = REASONS.get(code) or REASONS.get(status, "backendError" if status >= 500 else "invalid")
        inner = {"message": message, "domain": "global", "reason": reason}
        error = {"code": status, "message": message, "errors": [inner], "status": name, "seawall": problem.seawall()}
        return msgspec.json.encode({"error": error, "seawall": problem.seawall()})

    def static(self, facts: Facts, text: str, id_: str, created: int) -> tuple[bytes, bytes] | None:
        return warehouse.static(text)

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        if facts.operation != "query":
            return warehouse.metadata(facts)
        never = query(body).never
        return Never(never) if never else warehouse.material(facts, canonical(body, NO_MATTER))

    def finish(self, facts: Facts, body: bytes, form: Form) -> Finish:
        if facts.operation != "query":
            return Finish()
        answer = read(_ANSWER, body) or _Answer()
        if answer.job_complete is not True:
            return Finish("still running")
        if answer.page_token:
            return Finish("more pages")
        return Finish("errors") if answer.errors else Finish()

    def credential_fields(self) -> frozenset[bytes]:
        return frozenset({b"authorization", b"x-goog-api-key"})

    def credential_parameters(self) -> frozenset[str]:
        """As all of Google's APIs take them (their system parameters)."""
        return frozenset({"key", "$key", "access_token", "$access_token", "oauth_token"})


def _facts(operation: str, project: str, asked: Asked, **more: Any) -> Facts:
    found = asked.reading
    return Facts(
        operation, project, safety=found.safety, writes=found.writes, deterministic=found.deterministic, **more
    )


def _made(path: str, asked: Asked) -> Made | None:
    """Where the job is, once it is made, asked for with the parameters of its making."""
    if not asked.job_id:
        return None
    resource, _, given = path.partition("?")
    place = f"location={quote(asked.location, safe='')}" if asked.location else ""
    query = "&".join(part for part in (given, place) if part)
    resource = f"{resource.rstrip('/')}/{quote(asked.job_id, safe='')}"
    return Made(f"{resource}?{query}" if query else resource, asked.digest)


def _other(made: Made, body: bytes, wall: float) -> bool:
    """Whether a job is another one than a call that asks now could have made: of another statement, or from before."""
    if made_of(body) != made.of:
        return True
    statistics = (read(_JOB, body) or _Job()).statistics or _Statistics()
    created = statistics.creation_time
    if not isinstance(created, str) or not created.isdecimal() or len(created) > 15:
        return True
    return int(created) / 1000 < wall - _OLDER
