"""The Snowflake dialect: what it reads of requests, how it judges answers, and what it hands to Cortex's protocols."""

import json
from typing import Any

import pytest

from seawall.dialects import REGISTRY
from seawall.dialects.base import Finish, Form, Material, Never
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety

SNOWFLAKE = REGISTRY["Snowflake"]
JSON: Headers = [(b"Content-Type", b"application/json")]
STATEMENTS = "/api/v2/statements"
SELECT, INSERT = "SELECT a FROM t", "INSERT INTO t VALUES (1)"
HANDLE = "01b66701-0000-001c-0000-0030000b91521"


def read(path: str, body: object = b"", method: str = "POST") -> Facts:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SNOWFLAKE.read(Head(method, path, []), path, data)


def statement(sql: str = SELECT, query: str = "", **more: object) -> Facts:
    return read(STATEMENTS + query, {"statement": sql, "warehouse": "wh", **more})


@pytest.mark.parametrize(
    ("sql", "query", "safety", "again"),
    [
        (SELECT, "", Safety.SAFE, ""),
        (SELECT, "?requestId=1", Safety.SAFE, "retry=true"),
        (INSERT, "", Safety.UNSAFE, ""),
        (INSERT, "?requestId=", Safety.UNSAFE, ""),
        (INSERT, "?requestId=1", Safety.KEYED, "retry=true"),
        (INSERT, "?async=true&requestId=1", Safety.KEYED, "retry=true"),
        (INSERT, "?requestId=1&retry=true", Safety.KEYED, ""),
        (INSERT, "?notRequestId=1", Safety.UNSAFE, ""),
        ("SELECT 1; DROP TABLE t", "", Safety.UNSAFE, ""),
        ("CALL f()", "?requestId=1", Safety.KEYED, "retry=true"),
    ],
)
def test_a_statement_is_as_safe_as_its_sql_and_its_request_id(sql: str, query: str, safety: Safety, again: str) -> None:
    facts = statement(sql, query)
    assert (facts.operation, facts.model, facts.safety, facts.again) == ("statement", "wh", safety, again)
    assert not facts.pinned and facts.made is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", {"statement": 3}, {"statement": None, "warehouse": 3}])
def test_what_can_not_be_read_is_unsafe(body: object) -> None:
    facts = read(STATEMENTS, body)
    assert (facts.operation, facts.safety, facts.model) == ("statement", Safety.UNSAFE, "")


@pytest.mark.parametrize(
    ("method", "path", "operation", "safety"),
    [
        ("GET", f"{STATEMENTS}/{HANDLE}?partition=1", "poll", Safety.SAFE),
        ("GET", f"/statements/{HANDLE}", "poll", Safety.SAFE),
        ("POST", f"{STATEMENTS}/{HANDLE}/cancel", "cancel", Safety.SAFE),
        ("POST", f"{STATEMENTS}/{HANDLE}", "other", Safety.UNSAFE),
        ("GET", "/api/v2/databases", "other", Safety.SAFE),
        ("POST", "/api/v2/databases", "other", Safety.UNSAFE),
        ("DELETE", "/api/v2/databases/d", "other", Safety.UNSAFE),
        ("GET", f"/queries/{HANDLE}/result", "poll", Safety.SAFE),
        ("GET", f"/monitoring/queries/{HANDLE}", "poll", Safety.SAFE),
        ("POST", "/session/v1/login-request?requestId=1", "session", Safety.SAFE),
        ("POST", "/session?delete=true", "session", Safety.SAFE),
        ("POST", "/session/heartbeat", "session", Safety.SAFE),
        ("POST", "/queries/v1/abort-request", "session", Safety.SAFE),
        ("POST", "/telemetry/send", "other", Safety.UNSAFE),
    ],
)
def test_what_belongs_to_one_account_stays_there(method: str, path: str, operation: str, safety: Safety) -> None:
    facts = read(path, method=method)
    assert (facts.operation, facts.safety, facts.pinned) == (operation, safety, True)


@pytest.mark.parametrize(
    ("sql", "query", "safety", "again"),
    [
        (SELECT, "?requestId=1&request_guid=2", Safety.SAFE, "retryCount=1"),
        (INSERT, "?requestId=1", Safety.KEYED, "retryCount=1"),
        (INSERT, "?requestId=1&retryCount=1&retryReason=503", Safety.KEYED, ""),
        (INSERT, "", Safety.UNSAFE, ""),
    ],
)
def test_a_drivers_query_stays_in_its_session(sql: str, query: str, safety: Safety, again: str) -> None:
    facts = read(f"/queries/v1/query-request{query}", {"sqlText": sql})
    assert (facts.operation, facts.safety, facts.again, facts.pinned) == ("driver", safety, again, True)


def test_cortex_speaks_the_protocols_of_others() -> None:
    chat = {"model": "claude", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    facts = read("/api/v2/cortex/v1/chat/completions", chat)
    assert facts == REGISTRY["OpenAI"].read(Head("POST", "", []), "/v1/chat/completions", json.dumps(chat).encode())
    assert type(SNOWFLAKE.watch(facts)) is type(REGISTRY["OpenAI"].watch(facts))
    body = {"model": "claude", "max_tokens": 5, "messages": [], "stream": True}
    messages = read("/api/v2/cortex/v1/messages", body)
    assert (messages.operation, messages.model, messages.stream) == ("messages", "claude", True)
    assert type(SNOWFLAKE.watch(messages)) is type(REGISTRY["Anthropic"].watch(messages))
    own = read("/api/v2/cortex/inference:complete", {"model": "claude", "messages": []})
    assert (own.operation, own.model, own.safety) == ("inference", "claude", Safety.SAFE_BILLED)
    search = read("/api/v2/databases/d/schemas/s/cortex-search-services/n:query", {"query": "q"})
    assert (search.operation, search.safety) == ("search", Safety.SAFE_BILLED)
    assert read("/api/v2/cortex/agent:run").safety is Safety.UNSAFE


@pytest.mark.parametrize(
    ("operation", "status", "body", "code", "undone"),
    [
        ("statement", 429, {"code": "391908"}, Code.RATE_LIMITED, True),
        ("poll", 429, {}, Code.RATE_LIMITED, True),
        ("statement", 500, {}, Code.SERVER_ERROR, False),
        ("statement", 503, {}, Code.OVERLOADED, False),
        ("statement", 504, {}, Code.UPSTREAM_TIMEOUT, False),
        ("statement", 408, {"code": "000630"}, Code.INVALID_REQUEST, False),
        ("poll", 408, {"code": "000630"}, Code.INVALID_REQUEST, False),
        ("statement", 422, {"code": "001003"}, Code.INVALID_REQUEST, False),
        ("statement", 400, {"code": "391911"}, Code.INVALID_REQUEST, False),
        ("statement", 401, {"code": "390303"}, Code.UNAUTHORIZED, False),
        ("statement", 403, {}, Code.FORBIDDEN, False),
        ("statement", 404, {}, Code.NOT_FOUND, False),
        ("other", 408, {}, Code.UPSTREAM_TIMEOUT, False),
    ],
)
def test_errors_by_status(operation: str, status: int, body: object, code: Code, undone: bool) -> None:
    fault = SNOWFLAKE.judge(Facts(operation), status, JSON, json.dumps(body).encode(), 0.0)
    assert fault is not None and (fault.code, fault.undone, fault.status) == (code, undone, status)


def test_a_hint_is_read() -> None:
    fault = SNOWFLAKE.judge(Facts("statement"), 429, [*JSON, (b"retry-after", b"3")], b"{}", 0.0)
    assert fault is not None and fault.hint == 3.0


@pytest.mark.parametrize(
    ("operation", "status", "body", "code"),
    [
        ("statement", 200, b'{"code": "090001", "data": []}', None),
        ("statement", 202, b'{"code": "333334"}', None),
        ("statement", 200, b'{"code": "090001", "da', Code.TRUNCATED),
        ("poll", 200, b'{"data": [["', Code.TRUNCATED),
        ("other", 200, b'{"data": [["', None),
        ("driver", 200, b'{"success": true, "data": {}}', None),
        ("driver", 200, b'{"success": false, "code": "001003", "message": "no"}', Code.INVALID_REQUEST),
        ("driver", 200, b'{"success": false, "code": "390112"}', Code.UNAUTHORIZED),
        ("driver", 200, b'{"success": false, "code": "333334"}', None),
        ("session", 200, b'{"success": false, "code": "390100"}', Code.UNAUTHORIZED),
        ("session", 200, b'{"success": false, "code": null}', Code.INVALID_REQUEST),
    ],
)
def test_good_answers_and_those_that_are_not(operation: str, status: int, body: bytes, code: Code | None) -> None:
    fault = SNOWFLAKE.judge(Facts(operation), status, JSON, body, 0.0, whole=True)
    assert (fault and fault.code) == code


def test_a_handle_is_found_before_and_behind_the_rows() -> None:
    named = b'"statementHandle" : "%b"' % HANDLE.encode()
    many = json.dumps([["x" * 100]] * 1000).encode()
    assert SNOWFLAKE.state_made(b"{%b}" % named, []) == HANDLE
    assert SNOWFLAKE.state_made(b'{"data": %b, %b}' % (many, named), []) == HANDLE
    said = json.dumps({"data": [[f'"statementHandle": "{HANDLE}"']]}).encode()
    assert SNOWFLAKE.state_made(said, []) == ""
    assert SNOWFLAKE.state_named(f"{STATEMENTS}/{HANDLE}?partition=3", b"") == (HANDLE,)
    assert SNOWFLAKE.state_named(f"{STATEMENTS}/{HANDLE}/cancel", b"") == (HANDLE,)
    assert SNOWFLAKE.state_named(STATEMENTS, b"") == ()


def material(body: dict[str, Any], query: str = "") -> Material | Never:
    return SNOWFLAKE.cache_material(read(STATEMENTS + query, body), json.dumps(body).encode())


BODY: dict[str, Any] = {
    "statement": SELECT, "warehouse": "wh", "role": "R", "database": "D", "schema": "S",
    "parameters": {"TIMEZONE": "UTC"}, "bindings": {"1": {"type": "FIXED", "value": "1"}},
}  # fmt: skip


@pytest.mark.parametrize("member", ["statement", "warehouse", "role", "database", "schema", "parameters", "bindings"])
def test_what_a_statement_runs_as_and_where_is_part_of_its_key(member: str) -> None:
    kept = material(BODY)
    other = material({**BODY, member: {"x": "y"} if isinstance(BODY[member], dict) else "SELECT b FROM t"})
    assert isinstance(kept, Material) and kept.deterministic
    assert isinstance(other, Material) and other.body != kept.body


def test_how_long_it_may_take_and_what_this_sending_is_called_are_not() -> None:
    kept, same = material(BODY), material({**BODY, "timeout": 3}, "?requestId=1")
    assert isinstance(kept, Material) and isinstance(same, Material)
    assert kept == same and "requestid" in kept.without and "nullable" not in kept.without


@pytest.mark.parametrize(
    "facts",
    [Facts(o, safety=Safety.SAFE, pinned=True) for o in ("poll", "cancel", "session", "driver")]
    + [statement(INSERT), Facts("other")],
)
def test_polls_partitions_sessions_and_what_changes_rows_are_never_kept(facts: Facts) -> None:
    assert isinstance(SNOWFLAKE.cache_material(facts, json.dumps(BODY).encode()), Never)


def test_what_depends_on_the_clock_is_not_deterministic() -> None:
    kept = material({**BODY, "statement": "SELECT CURRENT_TIMESTAMP"})
    assert isinstance(kept, Material) and not kept.deterministic


def test_metadata_goes_by_http() -> None:
    assert isinstance(SNOWFLAKE.cache_material(read("/api/v2/databases", method="GET"), b""), Material)


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        ({"code": "090001", "resultSetMetaData": {"partitionInfo": [{"rowCount": 3}]}}, True),
        ({"code": "090001", "resultSetMetaData": {"partitionInfo": [{}, {}]}}, False),
        ({"code": "090001", "statementHandles": ["a"]}, False),
        ({"code": "333334"}, False),
        ({}, False),
    ],
)
def test_only_a_whole_result_is_kept(body: object, whole: bool) -> None:
    found = SNOWFLAKE.finish(statement(), json.dumps(body).encode(), Form.PLAIN)
    assert (found == Finish()) is whole


@pytest.mark.parametrize(
    "path",
    [STATEMENTS, "/api/v2/cortex/v1/chat/completions", "/queries/v1/query-request", "/session", "/telemetry/send"],
)
def test_its_own_paths_are_claimed_without_a_prefix(path: str) -> None:
    assert [one.name for one in REGISTRY.values() if one.claims(Head("POST", path, []))] == ["Snowflake"]


@pytest.mark.parametrize("path", ["/api/v1/x", "/api/2.0/sql/statements", "/sessions", "/v1/statement", "/queriesx"])
def test_other_paths_are_not(path: str) -> None:
    assert not SNOWFLAKE.claims(Head("POST", path, []))


def test_another_warehouse_or_model_is_spliced_in() -> None:
    body = b'{ "statement": "SELECT 1 -- \\"warehouse\\": \\"x\\"", "warehouse" : "x" }'
    assert SNOWFLAKE.with_model(STATEMENTS, body, "y") == (STATEMENTS, body[:-6] + b' "y" }')
    assert SNOWFLAKE.with_model("/chat", b'{"model": "a"}', "b") == ("/chat", b'{"model": "b"}')
    assert SNOWFLAKE.with_model(STATEMENTS, b'{"statement": "SELECT 1"}', "y") is None


def test_errors_of_ours_look_like_its_own() -> None:
    problem = Problem(Fault(Code.TIMEOUT_ATTEMPT), "late", "sw_1")
    told = json.loads(SNOWFLAKE.error(statement(), problem))
    assert (told["code"], told["sqlState"], told["success"], told["message"]) == (
        "TIMEOUT_ATTEMPT", "08006", False, "late",
    )  # fmt: skip
    assert json.loads(SNOWFLAKE.error(Facts("chat"), problem))["error"]["message"] == "late"
    assert json.loads(SNOWFLAKE.error(Facts("messages"), problem))["type"] == "error"
    assert SNOWFLAKE.error_event(Facts("chat"), problem).startswith(b"data: ")
    assert SNOWFLAKE.error_event(Facts("inference"), problem) == b""


def test_a_fixed_answer_is_the_policys_own_result() -> None:
    assert SNOWFLAKE.static(statement(), '{"data": []}', "i", 1) == (b"application/json", b'{"data": []}')
    assert SNOWFLAKE.static(statement(), "Later.", "i", 1) is None
    assert SNOWFLAKE.static(Facts("chat", "m"), "Later.", "i", 1) is not None
