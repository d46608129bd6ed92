"""The BigQuery dialect: what it reads of requests, how it judges answers, and what of them may be kept."""

import json
from typing import Any

import pytest

from seawall.dialects import REGISTRY
from seawall.dialects.base import Finish, Form, Material, Never
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety

BIGQUERY = REGISTRY["BigQuery"]
JSON: Headers = [(b"Content-Type", b"application/json; charset=UTF-8")]
PROJECT = "/bigquery/v2/projects/p"
SELECT, INSERT = "SELECT a FROM t", "INSERT INTO t VALUES (1)"


def read(path: str, body: object = b"", method: str = "POST") -> Facts:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return BIGQUERY.read(Head(method, path, []), path, data)


@pytest.mark.parametrize(
    ("body", "safety"),
    [
        ({"query": SELECT}, Safety.SAFE),
        ({"query": SELECT, "requestId": "1"}, Safety.SAFE),
        ({"query": INSERT}, Safety.UNSAFE),
        ({"query": INSERT, "requestId": ""}, Safety.UNSAFE),
        ({"query": INSERT, "requestId": "1"}, Safety.KEYED),
        ({"query": INSERT, "dryRun": True}, Safety.SAFE),
        ({"query": SELECT, "createSession": True}, Safety.UNSAFE),
        ({"query": "SELECT 1; SELECT 2"}, Safety.UNSAFE),
        (b"{", Safety.UNSAFE),
        (b"", Safety.UNSAFE),
    ],
)
def test_a_query_is_as_safe_as_its_sql_and_its_request_id(body: object, safety: Safety) -> None:
    facts = read(f"{PROJECT}/queries?prettyPrint=false", body)
    assert (facts.operation, facts.model, facts.safety, facts.made) == ("query", "p", safety, None)


def job(sql: str = SELECT, job_id: str = "", location: str = "", **query: object) -> dict[str, Any]:
    reference = (
        {"projectId": "p"} | ({"jobId": job_id} if job_id else {}) | ({"location": location} if location else {})
    )
    return {"jobReference": reference, "configuration": {"query": {"query": sql, **query}}}


@pytest.mark.parametrize(
    ("body", "safety", "made"),
    [
        (job(), Safety.SAFE, ""),
        (job(job_id="j"), Safety.SAFE, f"{PROJECT}/jobs/j?prettyPrint=false"),
        (job(INSERT), Safety.UNSAFE, ""),
        (job(INSERT, "j"), Safety.KEYED, f"{PROJECT}/jobs/j?prettyPrint=false"),
        (job(INSERT, "j", "EU"), Safety.KEYED, f"{PROJECT}/jobs/j?prettyPrint=false&location=EU"),
        (job(destinationTable={"tableId": "t"}), Safety.UNSAFE, ""),
        (job(createSession=True), Safety.UNSAFE, ""),
        ({"configuration": {"load": {}}}, Safety.UNSAFE, ""),
        (
            {"configuration": {"copy": {}}, "jobReference": {"jobId": "j"}},
            Safety.KEYED, f"{PROJECT}/jobs/j?prettyPrint=false",
        ),
        ({"configuration": {"query": {"query": INSERT}, "dryRun": True}}, Safety.SAFE, ""),
        (b"", Safety.UNSAFE, ""),
    ],
)  # fmt: skip
def test_a_job_is_as_safe_as_its_sql_and_its_id(body: object, safety: Safety, made: str) -> None:
    facts = read(f"{PROJECT}/jobs?prettyPrint=false", body)
    path = "" if facts.made is None else facts.made.path
    assert (facts.operation, facts.model, facts.safety, path) == ("job", "p", safety, made)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(5000, 5.0), ("2500", 2.5), (0, 0.0), (-5, 0.0), (None, 0.0), ("x", 0.0), ("9" * 400, 0.0), (10**12, 0.0)],
)
def test_a_query_says_how_long_it_is_waited_for(given: object, seconds: float) -> None:
    assert read(f"{PROJECT}/queries", {"query": SELECT, "timeoutMs": given}).patience == seconds
    assert read(f"{PROJECT}/queries/j?timeoutMs={given}", method="GET").patience == seconds


def test_a_jobs_place_is_below_the_base_url_however_that_ends() -> None:
    made = read("/projects/p/jobs/", job(INSERT, "a b/c")).made
    assert made is not None and made.path == "/projects/p/jobs/a%20b%2Fc"


@pytest.mark.parametrize(
    ("method", "path", "operation", "safety", "pinned"),
    [
        ("GET", f"{PROJECT}/queries/j?pageToken=x", "poll", Safety.SAFE, True),
        ("GET", f"{PROJECT}/jobs/j", "poll", Safety.SAFE, True),
        ("POST", f"{PROJECT}/jobs/j/cancel?location=EU", "cancel", Safety.SAFE, True),
        ("GET", f"{PROJECT}/datasets/d/tables/t/data?pageToken=x", "page", Safety.SAFE, True),
        ("GET", f"{PROJECT}/datasets/d/tables/t/data?startIndex=5", "page", Safety.SAFE, True),
        ("GET", f"{PROJECT}/datasets", "other", Safety.SAFE, False),
        ("GET", f"{PROJECT}/jobs?maxResults=5", "other", Safety.SAFE, False),
        ("POST", f"{PROJECT}/datasets", "other", Safety.UNSAFE, False),
        ("POST", f"{PROJECT}/datasets/d/tables/t/insertAll", "other", Safety.UNSAFE, False),
        ("DELETE", f"{PROJECT}/jobs/j/delete", "other", Safety.UNSAFE, False),
        ("PUT", "/upload/bigquery/v2/projects/p/jobs?upload_id=x", "other", Safety.UNSAFE, False),
        ("POST", "/upload/bigquery/v2/projects/p/jobs?uploadType=resumable", "job", Safety.UNSAFE, False),
    ],
)
def test_polls_and_pages_stay_where_the_job_runs(
    method: str, path: str, operation: str, safety: Safety, pinned: bool
) -> None:
    facts = read(path, method=method)
    assert (facts.operation, facts.safety, facts.pinned) == (operation, safety, pinned)


def error(reason: str, status: int, name: str = "") -> bytes:
    errors = [{"reason": reason, "domain": "global", "message": "m"}]
    return json.dumps({"error": {"code": status, "message": "m", "errors": errors, "status": name}}).encode()


@pytest.mark.parametrize(
    ("status", "reason", "code", "undone"),
    [
        (403, "rateLimitExceeded", Code.RATE_LIMITED, True),
        (429, "rateLimitExceeded", Code.RATE_LIMITED, True),
        (400, "jobRateLimitExceeded", Code.RATE_LIMITED, True),
        (429, "", Code.RATE_LIMITED, True),
        (403, "quotaExceeded", Code.QUOTA_EXHAUSTED, True),
        (403, "billingNotEnabled", Code.QUOTA_EXHAUSTED, True),
        (403, "accessDenied", Code.FORBIDDEN, False),
        (403, "responseTooLarge", Code.INVALID_REQUEST, False),
        (400, "invalidQuery", Code.INVALID_REQUEST, False),
        (400, "backendError", Code.SERVER_ERROR, False),
        (400, "resourcesExceeded", Code.INVALID_REQUEST, False),
        (400, "jobBackendError", Code.INVALID_REQUEST, False),
        (400, "tableUnavailable", Code.SERVER_ERROR, False),
        (401, "authError", Code.UNAUTHORIZED, False),
        (404, "notFound", Code.NOT_FOUND, False),
        (409, "duplicate", Code.INVALID_REQUEST, False),
        (409, "alreadyExists", Code.INVALID_REQUEST, False),
        (500, "internalError", Code.SERVER_ERROR, False),
        (503, "backendError", Code.OVERLOADED, False),
        (502, "", Code.SERVER_ERROR, False),
        (504, "", Code.UPSTREAM_TIMEOUT, False),
    ],
)
def test_errors_by_reason_and_status(status: int, reason: str, code: Code, undone: bool) -> None:
    fault = BIGQUERY.judge(Facts("query"), status, JSON, error(reason, status), 0.0)
    assert fault is not None and (fault.code, fault.undone, fault.status) == (code, undone, status)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": 3}', b'{"error": {"errors": [{"reason": 3}]}}'])
def test_errors_without_words_go_by_their_status(body: bytes) -> None:
    fault = BIGQUERY.judge(Facts("query"), 503, JSON, body, 0.0)
    assert fault is not None and fault.code is Code.OVERLOADED


def test_whatever_a_job_says_of_itself_it_was_made() -> None:
    body = json.dumps({"status": {"state": "DONE", "errorResult": {"reason": "backendError"}}}).encode()
    assert BIGQUERY.judge(Facts("job"), 200, JSON, body, 0.0, whole=True) is None
    cut = BIGQUERY.judge(Facts("query"), 200, JSON, b'{"jobComplete": tr', 0.0, whole=True)
    assert cut is not None and cut.code is Code.TRUNCATED


@pytest.mark.parametrize(
    ("created", "good"),
    [("1000000000000", True), ("999999200000", True), ("999999000000", False), (None, False), ("x", False)],
)  # fmt: skip
def test_a_job_from_before_is_another_one(created: str | None, good: bool) -> None:
    asked = read(f"{PROJECT}/jobs", job(INSERT, "j"))
    body = {**job(INSERT, "j"), "statistics": {"creationTime": created}}
    fault = looked_up(asked, body)
    assert (fault is None) is good


def test_a_job_of_another_statement_is_another_one() -> None:
    now = {"statistics": {"creationTime": "1000000000000"}}
    asked = read(f"{PROJECT}/jobs", job(INSERT, "j"))
    assert looked_up(asked, {**job(INSERT, "j"), **now}) is None
    assert looked_up(asked, {**job(SELECT, "j"), **now}) is not None
    copied = {"configuration": {"copy": {}}, "jobReference": {"jobId": "j"}}
    assert looked_up(read(f"{PROJECT}/jobs", copied), {**copied, **now}) is None
    assert looked_up(asked, {**copied, **now}) is not None


def looked_up(asked: Facts, body: object) -> Fault | None:
    """What is said of a job that was read because of a conflict, a billion seconds after 1970."""
    facts = Facts("made", made=asked.made)
    return BIGQUERY.judge(facts, 200, JSON, json.dumps(body).encode(), 1_000_000_000.0, whole=True)


def test_ids_are_found_where_they_stand() -> None:
    reference = {"jobReference": {"projectId": "p", "jobId": "job_1", "location": "US"}}
    assert BIGQUERY.state_made(json.dumps({"schema": {}, **reference}).encode(), []) == "job_1"
    assert BIGQUERY.state_made(json.dumps({"rows": ['"jobId": "x"']}).encode(), []) == ""
    assert BIGQUERY.state_named(f"{PROJECT}/queries/job_1?pageToken=x", b"") == ("job_1",)
    assert BIGQUERY.state_named(f"{PROJECT}/jobs/job_1/cancel", b"") == ("job_1",)
    assert BIGQUERY.state_named(f"{PROJECT}/queries", b"") == ()


BODY: dict[str, Any] = {
    "query": SELECT, "location": "EU", "defaultDataset": {"datasetId": "d"}, "maxResults": 5, "useLegacySql": False,
    "connectionProperties": [{"key": "time_zone", "value": "UTC"}],
}  # fmt: skip


def material(body: dict[str, Any]) -> Material | Never:
    return BIGQUERY.cache_material(read(f"{PROJECT}/queries", body), json.dumps(body).encode())


@pytest.mark.parametrize("member", ["query", "location", "defaultDataset", "maxResults", "connectionProperties"])
def test_what_a_query_asks_and_where_is_part_of_its_key(member: str) -> None:
    kept = material(BODY)
    values: dict[str, object] = {"query": "SELECT b FROM t", "maxResults": 6, "connectionProperties": []}
    other = material({**BODY, member: values.get(member, "US")})
    assert isinstance(kept, Material) and kept.deterministic
    assert isinstance(other, Material) and other.body != kept.body


def test_what_this_sending_is_called_is_not() -> None:
    assert material({**BODY, "requestId": "1", "timeoutMs": 5, "labels": {"a": "b"}}) == material(BODY)


@pytest.mark.parametrize(
    "body",
    [
        {**BODY, "query": INSERT, "requestId": "1"},
        {**BODY, "connectionProperties": [{"key": "session_id", "value": "s"}]},
        {**BODY, "createSession": True},
        {**BODY, "query": INSERT, "dryRun": True},
    ],
)
def test_sessions_and_what_changes_rows_are_never_kept(body: dict[str, Any]) -> None:
    assert isinstance(material(body), Never)


@pytest.mark.parametrize("operation", ["poll", "cancel", "page", "job"])
def test_polls_pages_and_jobs_are_never_kept(operation: str) -> None:
    assert isinstance(BIGQUERY.cache_material(Facts(operation, safety=Safety.SAFE), b""), Never)


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        ({"jobComplete": True, "rows": []}, True),
        ({"jobComplete": False}, False),
        ({"jobComplete": True, "pageToken": "x"}, False),
        ({"jobComplete": True, "errors": [{"reason": "invalid"}]}, False),
        ({}, False),
    ],
)
def test_only_a_whole_result_is_kept(body: object, whole: bool) -> None:
    facts = read(f"{PROJECT}/queries", BODY)
    assert (BIGQUERY.finish(facts, json.dumps(body).encode(), Form.PLAIN) == Finish()) is whole


@pytest.mark.parametrize("path", [f"{PROJECT}/jobs", "/upload/bigquery/v2/projects/p/jobs", f"{PROJECT}/queries/j"])
def test_its_own_paths_are_claimed_without_a_prefix(path: str) -> None:
    assert [one.name for one in REGISTRY.values() if one.claims(Head("POST", path, []))] == ["BigQuery"]


@pytest.mark.parametrize("path", ["/bigquery/v3/projects/p", "/projects/p/jobs", "/v1/projects/p/locations/l/x"])
def test_other_paths_are_not(path: str) -> None:
    assert not BIGQUERY.claims(Head("POST", path, []))


@pytest.mark.parametrize(
    ("code", "status", "reason", "name"),
    [
        (Code.RATE_LIMITED, 429, "rateLimitExceeded", "RESOURCE_EXHAUSTED"),
        (Code.QUOTA_EXHAUSTED, 429, "quotaExceeded", "RESOURCE_EXHAUSTED"),
        (Code.CONNECTION_LOST, 502, "backendError", "INTERNAL"),
        (Code.BREAKER_OPEN, 503, "backendError", "UNAVAILABLE"),
        (Code.TIMEOUT_ATTEMPT, 504, "backendError", "DEADLINE_EXCEEDED"),
        (Code.NO_ROUTE, 404, "notFound", "NOT_FOUND"),
        (Code.BODY_TOO_LARGE, 413, "invalid", "INVALID_ARGUMENT"),
    ],
)
def test_errors_of_ours_look_like_its_own(code: Code, status: int, reason: str, name: str) -> None:
    told = json.loads(BIGQUERY.error(None, Problem(Fault(code), "m", "sw_1")))["error"]
    assert (told["code"], told["errors"][0]["reason"], told["status"]) == (status, reason, name)
    assert told["seawall"]["code"] == code.value
