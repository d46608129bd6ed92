"""BigQuery's jobs and queries. A `jobId` that is there already answers 409; a `requestId` that was seen before is not
carried out again. Results come in pages of 1,000 rows, or of `maxResults`.
"""

import re
from collections.abc import Callable
from typing import ClassVar

from seawall.lab.answer import Answer, Json, Mint, encode, plain, section
from seawall.lab.plan import Scenario, Status, Trouble
from seawall.lab.statements import Statement, Statements, parameter
from seawall.types import Head, Headers

_PATH = re.compile(r"/bigquery/v2/projects/([\w.:-]+)/(queries|jobs)(?:/([\w-]+)(/cancel)?)?/?")
_ROWS = 1_000
_COLUMNS = (("id", "INTEGER"), ("region", "STRING"), ("amount", "FLOAT"))


class BigQueryFamily:
    name = "BigQuery"
    _errors: ClassVar[dict[Trouble, tuple[int, str, str, str]]] = {
        Trouble.INVALID: (400, "invalidQuery", "INVALID_ARGUMENT", "Syntax error: Unexpected identifier at [1:1]"),
        Trouble.AUTH: (401, "authError", "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        Trouble.FORBIDDEN: (403, "accessDenied", "PERMISSION_DENIED", "Access Denied: Project lab: no permission."),
        Trouble.NOT_FOUND: (404, "notFound", "NOT_FOUND", "Not found: Job"),
        Trouble.CONTEXT: (400, "invalid", "INVALID_ARGUMENT", "The query is too large."),
        Trouble.FILTER: (400, "resourcesExceeded", "INVALID_ARGUMENT", "Resources exceeded during query execution."),
        Trouble.RATE_LIMIT: (403, "rateLimitExceeded", "PERMISSION_DENIED", "Exceeded rate limits: too many requests."),
        Trouble.QUOTA: (403, "quotaExceeded", "PERMISSION_DENIED", "Quota exceeded: Your project exceeded quota."),
        Trouble.SERVER: (500, "internalError", "INTERNAL", "An internal error occurred."),
        Trouble.OVERLOADED: (
            503,
            "backendError",
            "UNAVAILABLE",
            "Error encountered during execution. Retrying may work.",
        ),
        Trouble.TIMEOUT: (504, "backendError", "DEADLINE_EXCEEDED", "The operation timed out."),
    }

    def status(self, trouble: Trouble) -> int:
        return self._errors[trouble][0]

    def error(self, trouble: Trouble, status: Status, mint: Mint) -> bytes:
        code, reason, name, message = self._errors[trouble]
        said = status.message or message
        return _error(status.code or code, status.error_code or reason, name, said)

    def headers(self, mint: Mint, *, exhausted: bool) -> Headers:
        return [(b"vary", b"Origin, X-Origin, Referer"), (b"x-content-type-options", b"nosniff")]

    def error_fields(self, trouble: Trouble, status: Status) -> Headers:
        return []


FAMILY = BigQueryFamily()


def _error(code: int, reason: str, name: str, message: str) -> bytes:
    inner = {"message": message, "domain": "global", "reason": reason}
    return encode({"error": {"code": code, "message": message, "errors": [inner], "status": name}})


def project(path: str) -> str | None:
    """The project that a path names."""
    found = _PATH.fullmatch(path)
    return None if found is None else found[1]


class BigQuery:
    """Its paths."""

    family = FAMILY

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._jobs = Statements(elapsed)

    def owns(self, path: str) -> bool:
        return path.startswith("/bigquery/v2/")

    def find(self, method: str, path: str, head: Head) -> "Query | Results | Insert | Get | None":
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        project, kind, id_, cancel = found.groups()
        match method, kind, id_ is not None, cancel is not None:
            case "POST", "queries", False, False:
                return Query(self._jobs, project)
            case "GET", "queries", True, False:
                return Results(self._jobs, project, head, id_)
            case "POST", "jobs", False, False:
                return Insert(self._jobs, project)
            case ("GET", "jobs", True, False) | ("POST", "jobs", True, True):
                return Get(self._jobs, project, id_, cancel=cancel is not None)
        return None


class Query:
    """jobs.query: waits for the result, unless `timeoutMs` is 0."""

    name = "query"
    family = FAMILY

    def __init__(self, jobs: Statements, project: str) -> None:
        self._jobs = jobs
        self._project = project

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        key = body.get("requestId")
        key = f"{self._project}/{key}" if isinstance(key, str) and key else None
        job = self._jobs.known(key)
        if job is None:
            waited = body.get("timeoutMs") != 0
            job = self._jobs.submit(
                mint.id("job_", 24),
                body.get("query"),
                name="query",
                seed=mint.seed,
                now=mint.now,
                waited=waited,
                key=key,
            )
        most = body.get("maxResults")
        return _results(self._jobs, self._project, job, 0, most if isinstance(most, int) and most > 0 else _ROWS)


class Results:
    """jobs.getQueryResults."""

    name = "query_results"
    family = FAMILY

    def __init__(self, jobs: Statements, project: str, head: Head, id_: str) -> None:
        self._jobs = jobs
        self._project = project
        self._id = id_
        self._start = parameter(head, "pageToken") or parameter(head, "startIndex")
        self._most = parameter(head, "maxResults")

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        start = int(self._start) if self._start.isdecimal() else 0
        most = int(self._most) if self._most.isdecimal() else _ROWS
        return _results(self._jobs, self._project, self._jobs.get(self._id), start, min(most, _ROWS))


class Insert:
    """jobs.insert of a query."""

    name = "job"
    family = FAMILY

    def __init__(self, jobs: Statements, project: str) -> None:
        self._jobs = jobs
        self._project = project

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        wanted = section(body, "jobReference").get("jobId")
        id_ = wanted if isinstance(wanted, str) and wanted else mint.id("job_", 24)
        if self._jobs.known(id_) is not None:
            message = f"Already Exists: Job {self._project}:{id_}"
            return Answer([_error(409, "duplicate", "ALREADY_EXISTS", message)], status=409)
        sql = section(section(body, "configuration"), "query").get("query")
        job = self._jobs.submit(id_, sql, name="query", seed=mint.seed, now=mint.now, waited=False, key=id_)
        return plain(_job(self._jobs, self._project, job))


class Get:
    """jobs.get, and jobs.cancel, which comes too late."""

    name = "job_status"
    family = FAMILY

    def __init__(self, jobs: Statements, project: str, id_: str, *, cancel: bool) -> None:
        self._jobs = jobs
        self._project = project
        self._id = id_
        self._cancel = cancel

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        job = _job(self._jobs, self._project, self._jobs.get(self._id))
        return plain({"kind": "bigquery#jobCancelResponse", "job": job} if self._cancel else job)


def _reference(project: str, job: Statement) -> dict[str, object]:
    return {"projectId": project, "jobId": job.id, "location": "US"}


def _job(jobs: Statements, project: str, job: Statement) -> dict[str, object]:
    created = str(job.created * 1000)
    kind = "SELECT" if job.selects else "INSERT"
    query = {"query": job.sql, "useLegacySql": False, "priority": "INTERACTIVE"}
    return {
        "kind": "bigquery#job",
        "id": f"{project}:US.{job.id}",
        "jobReference": _reference(project, job),
        "configuration": {"jobType": "QUERY", "query": query},
        "status": {"state": "DONE" if jobs.done(job) else "RUNNING"},
        "statistics": {"creationTime": created, "startTime": created, "query": {"statementType": kind}},
        "user_email": "agent@lab.iam.gserviceaccount.com",
    }


def _results(jobs: Statements, project: str, job: Statement, start: int, most: int) -> Answer:
    told: dict[str, object] = {"jobReference": _reference(project, job), "jobComplete": jobs.done(job)}
    if not jobs.done(job):
        return plain(told)
    rows = job.result()
    shown = rows[start : start + most]
    told |= {
        "schema": {"fields": [{"name": name, "type": kind, "mode": "NULLABLE"} for name, kind in _COLUMNS]},
        "totalRows": str(len(rows)),
        "rows": [{"f": [{"v": str(value)} for value in row]} for row in shown],
        "totalBytesProcessed": "0",
        "cacheHit": False,
    }
    if not job.selects:
        told["numDmlAffectedRows"] = "1"
    if start + most < len(rows):
        told["pageToken"] = str(start + most)
    return plain(told)
