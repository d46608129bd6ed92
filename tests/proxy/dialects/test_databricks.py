"""The Databricks dialect: what it reads of requests, how it judges answers, and what of them may be kept."""

import json
from typing import Any

import pytest

from seawall.dialects import REGISTRY
from seawall.dialects.base import Finish, Form, Material, Never
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety

DATABRICKS = REGISTRY["Databricks"]
JSON: Headers = [(b"Content-Type", b"application/json")]
STATEMENTS = "/api/2.0/sql/statements"
SELECT, INSERT = "SELECT a FROM t", "INSERT INTO t VALUES (1)"
ID = "01ee0c4f-8a2b-1f3e-9d6c-3b1a5c7e9f00"


def read(path: str, body: object = b"", method: str = "POST") -> Facts:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return DATABRICKS.read(Head(method, path, []), path, data)


@pytest.mark.parametrize("path", [STATEMENTS, f"{STATEMENTS}/", "/2.0/sql/statements"])
@pytest.mark.parametrize(("sql", "safety"), [(SELECT, Safety.SAFE), (INSERT, Safety.UNSAFE), ("", Safety.UNSAFE)])
def test_a_statement_is_as_safe_as_its_sql(path: str, sql: str, safety: Safety) -> None:
    facts = read(path, {"statement": sql, "warehouse_id": "w"})
    assert (facts.operation, facts.model, facts.safety, facts.pinned) == ("statement", "w", safety, False)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", {"statement": 3, "warehouse_id": 3}])
def test_what_can_not_be_read_is_unsafe(body: object) -> None:
    facts = read(STATEMENTS, body)
    assert (facts.operation, facts.model, facts.safety) == ("statement", "", Safety.UNSAFE)


@pytest.mark.parametrize(
    ("method", "path", "operation", "safety"),
    [
        ("GET", f"{STATEMENTS}/{ID}", "poll", Safety.SAFE),
        ("GET", f"{STATEMENTS}/{ID}/result/chunks/2?x=y", "poll", Safety.SAFE),
        ("POST", f"{STATEMENTS}/{ID}/cancel", "cancel", Safety.SAFE),
        ("POST", f"{STATEMENTS}/{ID}/other", "other", Safety.UNSAFE),
        ("GET", "/api/2.1/unity-catalog/catalogs", "other", Safety.SAFE),
        ("POST", "/api/2.1/jobs/create", "other", Safety.UNSAFE),
        ("DELETE", f"{STATEMENTS}/{ID}", "other", Safety.UNSAFE),
    ],
)
def test_what_belongs_to_one_workspace_stays_there(method: str, path: str, operation: str, safety: Safety) -> None:
    facts = read(path, method=method)
    assert (facts.operation, facts.safety, facts.pinned) == (operation, safety, True)


@pytest.mark.parametrize("path", ["/api/2.1/jobs/run-now", "/api/2.1/jobs/runs/submit"])
def test_runs_with_a_token_are_keyed(path: str) -> None:
    assert read(path, {"job_id": 1, "idempotency_token": "t"}).safety is Safety.KEYED
    assert read(path, {"job_id": 1}).safety is Safety.UNSAFE
    assert read("/api/2.1/jobs/delete", {"idempotency_token": "t"}).safety is Safety.UNSAFE


@pytest.mark.parametrize(
    ("status", "name", "code", "undone"),
    [
        (429, "REQUEST_LIMIT_EXCEEDED", Code.RATE_LIMITED, True),
        (503, "TEMPORARILY_UNAVAILABLE", Code.OVERLOADED, True),
        (500, "INTERNAL_ERROR", Code.SERVER_ERROR, False),
        (502, "", Code.SERVER_ERROR, False),
        (504, "DEADLINE_EXCEEDED", Code.UPSTREAM_TIMEOUT, False),
        (400, "BAD_REQUEST", Code.INVALID_REQUEST, False),
        (401, "UNAUTHENTICATED", Code.UNAUTHORIZED, False),
        (403, "PERMISSION_DENIED", Code.FORBIDDEN, False),
        (404, "NOT_FOUND", Code.NOT_FOUND, False),
        (409, "RESOURCE_CONFLICT", Code.CONFLICT, False),
    ],
)
def test_errors_by_status(status: int, name: str, code: Code, undone: bool) -> None:
    body = json.dumps({"error_code": name, "message": "no"}).encode()
    fault = DATABRICKS.judge(Facts("statement"), status, JSON, body, 0.0)
    assert fault is not None and (fault.code, fault.undone) == (code, undone)
    assert fault.detail == f"{status} {name}".strip()


def failed(code: str) -> bytes:
    return json.dumps({"statement_id": ID, "status": {"state": "FAILED", "error": {"error_code": code}}}).encode()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("INTERNAL_ERROR", Code.SERVER_ERROR),
        ("IO_ERROR", Code.SERVER_ERROR),
        ("TEMPORARILY_UNAVAILABLE", Code.OVERLOADED),
        ("SERVICE_UNDER_MAINTENANCE", Code.OVERLOADED),
        ("RESOURCE_EXHAUSTED", Code.RATE_LIMITED),
        ("BAD_REQUEST", Code.INVALID_REQUEST),
        ("NOT_FOUND", Code.INVALID_REQUEST),
        ("DEADLINE_EXCEEDED", Code.INVALID_REQUEST),
        ("UNAUTHENTICATED", Code.UNAUTHORIZED),
        ("SOMETHING_NEW", Code.SERVER_ERROR),
    ],
)
def test_a_statement_that_failed_is_judged_by_its_own_code(name: str, code: Code) -> None:
    fault = DATABRICKS.judge(Facts("statement"), 200, JSON, failed(name), 0.0, whole=True)
    assert fault is not None and fault.code is code and not fault.undone
    assert DATABRICKS.judge(Facts("poll"), 200, JSON, failed(name), 0.0, whole=True) is None, "the poll is good"


@pytest.mark.parametrize("state", ["SUCCEEDED", "RUNNING", "PENDING", "CANCELED", "CLOSED"])
def test_other_states_are_good_answers(state: str) -> None:
    body = json.dumps({"status": {"state": state}}).encode()
    assert DATABRICKS.judge(Facts("statement"), 200, JSON, body, 0.0, whole=True) is None


@pytest.mark.parametrize("operation", ["statement", "poll"])
def test_half_an_answer_is_none(operation: str) -> None:
    fault = DATABRICKS.judge(Facts(operation), 200, JSON, b'{"status": {"sta', 0.0, whole=True)
    assert fault is not None and fault.code is Code.TRUNCATED


def test_ids_are_found_where_they_stand() -> None:
    assert DATABRICKS.state_made(b'{"statement_id":"%b","status":{}}' % ID.encode(), []) == ID
    assert DATABRICKS.state_named(f"{STATEMENTS}/{ID}/result/chunks/1", b"") == (ID,)
    assert DATABRICKS.state_named(STATEMENTS, b"") == ()


BODY: dict[str, Any] = {
    "statement": SELECT, "warehouse_id": "w", "catalog": "c", "schema": "s", "row_limit": 5,
    "parameters": [{"name": "n", "value": "1"}],
}  # fmt: skip


def material(body: dict[str, Any]) -> Material | Never:
    return DATABRICKS.cache_material(read(STATEMENTS, body), json.dumps(body).encode())


@pytest.mark.parametrize("member", ["statement", "warehouse_id", "catalog", "schema", "row_limit", "parameters"])
def test_what_a_statement_asks_and_where_is_part_of_its_key(member: str) -> None:
    kept = material(BODY)
    other = material({**BODY, member: 6 if member == "row_limit" else "SELECT b FROM t"})
    assert isinstance(kept, Material) and kept.deterministic
    assert isinstance(other, Material) and other.body != kept.body


def test_how_long_it_is_waited_for_is_not() -> None:
    assert material({**BODY, "wait_timeout": "30s", "on_wait_timeout": "CANCEL"}) == material(BODY)


@pytest.mark.parametrize("body", [{**BODY, "disposition": "EXTERNAL_LINKS"}, {**BODY, "statement": INSERT}])
def test_presigned_links_and_what_changes_rows_are_never_kept(body: dict[str, Any]) -> None:
    assert isinstance(material(body), Never)


@pytest.mark.parametrize("operation", ["poll", "cancel"])
def test_polls_and_chunks_are_never_kept(operation: str) -> None:
    assert isinstance(DATABRICKS.cache_material(Facts(operation, safety=Safety.SAFE, pinned=True), b""), Never)


@pytest.mark.parametrize(
    ("more", "whole"),
    [
        ({}, True),
        ({"manifest": {"total_chunk_count": 1}, "result": {"data_array": []}}, True),
        ({"manifest": {"total_chunk_count": 2}}, False),
        ({"result": {"next_chunk_internal_link": "/x"}}, False),
        ({"result": {"external_links": [{"external_link": "https://x"}]}}, False),
        ({"status": {"state": "RUNNING"}}, False),
        ({"status": {"state": "FAILED"}}, False),
        ({"status": None}, False),
    ],
)
def test_only_a_whole_inline_result_is_kept(more: dict[str, Any], whole: bool) -> None:
    body = json.dumps({"status": {"state": "SUCCEEDED"}, **more}).encode()
    facts = read(STATEMENTS, BODY)
    assert (DATABRICKS.finish(facts, body, Form.PLAIN) == Finish()) is whole


@pytest.mark.parametrize("path", [STATEMENTS, "/api/2.1/jobs/list", "/oidc/v1/token", "/.well-known/databricks-config"])
def test_its_own_paths_are_claimed_without_a_prefix(path: str) -> None:
    assert [one.name for one in REGISTRY.values() if one.claims(Head("POST", path, []))] == ["Databricks"]


@pytest.mark.parametrize("path", ["/api/v2/statements", "/api/2/x", "/api/20.1/x", "/.well-known/openid-configuration"])
def test_other_paths_are_not(path: str) -> None:
    assert not DATABRICKS.claims(Head("POST", path, []))


def test_another_warehouse_is_spliced_in() -> None:
    assert DATABRICKS.with_model("/p", b'{ "warehouse_id":"a" , "x": 1}', "b") == (
        "/p",
        b'{ "warehouse_id":"b" , "x": 1}',
    )
    assert DATABRICKS.with_model("/p", b'{"statement": "SELECT 1"}', "b") is None


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (Code.RATE_LIMITED, "RESOURCE_EXHAUSTED"),
        (Code.OVERLOADED, "TEMPORARILY_UNAVAILABLE"),
        (Code.TIMEOUT_ATTEMPT, "DEADLINE_EXCEEDED"),
        (Code.CONNECTION_LOST, "INTERNAL_ERROR"),
        (Code.NO_ROUTE, "NOT_FOUND"),
    ],
)
def test_errors_of_ours_look_like_its_own(code: Code, name: str) -> None:
    told = json.loads(DATABRICKS.error(None, Problem(Fault(code), "m", "sw_1")))
    assert (told["error_code"], told["message"], told["seawall"]["code"]) == (name, "m", code.value)
    assert told["details"][0]["reason"] == code.value
