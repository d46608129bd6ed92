"""Trino: what a request is, what an answer means, and what is told of it (SEMANTICS §1, §6 and §9)."""

import json
from typing import Any

import pytest

from seawall.dialects.base import Form, Material, Never
from seawall.dialects.trino import Trino
from seawall.faults import Code, Fault, Problem, Retry
from seawall.types import Facts, Head, Headers, Safety

TRINO = Trino()
POLL = "/v1/statement/executing/20260101_000000_00001_abcde/y1a/3"
BEGUN = {"id": "20260101_000000_00001_abcde", "infoUri": "http://t/ui", "nextUri": f"http://t{POLL}", "stats": {}}
JSON: Headers = [(b"content-type", b"application/json")]


def read(statement: bytes, *fields: tuple[bytes, bytes], method: str = "POST", path: str = "/v1/statement") -> Facts:
    return TRINO.read(Head(method, path, list(fields)), path, statement)


def judged(body: Any, status: int = 200, operation: str = "statement", headers: Headers = JSON) -> Fault | None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return TRINO.judge(Facts(operation), status, headers, data, 0.0, whole=True)


def failed(name: str, kind: str) -> dict[str, Any]:
    return {**BEGUN, "nextUri": None, "error": {"message": "no", "errorCode": 1, "errorName": name, "errorType": kind}}


@pytest.mark.parametrize("statement", [b"SELECT 1", b"SHOW TABLES", b"WITH a AS (SELECT 1) SELECT * FROM a"])
def test_a_query_may_be_sent_again_but_never_at_once(statement: bytes) -> None:
    facts = read(statement)
    assert (facts.operation, facts.safety, facts.writes, facts.pinned) == ("statement", Safety.SAFE, "", False)
    assert not facts.raceable, "the first answer only tells that it is queued"


@pytest.mark.parametrize(
    "statement",
    [b"INSERT INTO t VALUES (1)", b"CALL p()", b"SELECT 1; SELECT 2", b"", b"\xff", b"SET SESSION a = 1", b"EXECUTE q"],
)
def test_everything_else_runs_once(statement: bytes) -> None:
    facts = read(statement)
    assert facts.safety is Safety.UNSAFE
    assert facts.writes


def test_what_is_executed_decides() -> None:
    prepared = (b"x-trino-prepared-statement", b"q=SELECT+a+FROM+t+WHERE+b+%3D+%3F,w=DELETE+FROM+t")
    assert read(b"EXECUTE q USING 'x'", prepared).writes == ""
    assert read(b"EXECUTE w", prepared).writes
    assert read(b"EXECUTE q USING f(1)", prepared).writes, "a parameter may call anything"
    assert read(b"EXECUTE IMMEDIATE 'SELECT ''a'' WHERE b = ?' USING 1").writes == ""
    assert read(b"EXECUTE IMMEDIATE 'DELETE FROM t'").writes
    assert read(b"EXECUTE q", prepared, (b"X-Trino-Prepared-Statement", b"q=DELETE+FROM+t")).writes, "twice the name"


def test_an_encoded_statement_is_not_looked_into() -> None:
    assert read(b"SELECT 1", (b"content-encoding", b"gzip")).writes == "is in a coding"


def test_polls_and_cancelling_belong_to_the_upstream_that_began_the_query() -> None:
    poll, cancel = read(b"", method="GET", path=POLL), read(b"", method="DELETE", path=POLL)
    assert (poll.operation, poll.safety, poll.pinned) == ("poll", Safety.SAFE, True)
    assert (cancel.operation, cancel.safety, cancel.pinned, cancel.writes) == ("cancel", Safety.SAFE, True, "")
    assert TRINO.state_made(json.dumps(BEGUN).encode(), []) == "20260101_000000_00001_abcde"
    assert TRINO.state_named(POLL + "?a=b", b"") == ("20260101_000000_00001_abcde",)
    assert TRINO.state_named("/v1/query/20260101_000000_00001_abcde/killed", b"") == ("20260101_000000_00001_abcde",)
    assert not poll.raceable


def test_a_transaction_lives_where_it_was_begun() -> None:
    field = (b"X-Trino-Transaction-Id", b"tx-1")
    assert (read(b"SELECT 1", field).session, read(b"SELECT 1", field).pinned) == ("tx-1", True)
    assert read(b"START TRANSACTION", (b"x-trino-transaction-id", b"NONE")).session == ""
    started: Headers = [(b"X-Trino-Started-Transaction-Id", b"tx-1")]
    assert TRINO.state_made(json.dumps(BEGUN).encode(), started) == "tx-1"


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("SYNTAX_ERROR", "USER_ERROR", Code.INVALID_REQUEST),
        ("PERMISSION_DENIED", "USER_ERROR", Code.FORBIDDEN),
        ("TABLE_NOT_FOUND", "USER_ERROR", Code.NOT_FOUND),
        ("QUERY_QUEUE_FULL", "INSUFFICIENT_RESOURCES", Code.RATE_LIMITED),
        ("CLUSTER_OUT_OF_MEMORY", "INSUFFICIENT_RESOURCES", Code.OVERLOADED),
        ("EXCEEDED_TIME_LIMIT", "INSUFFICIENT_RESOURCES", Code.INVALID_REQUEST),
        ("GENERIC_INTERNAL_ERROR", "INTERNAL_ERROR", Code.SERVER_ERROR),
        ("JDBC_ERROR", "EXTERNAL", Code.SERVER_ERROR),
        ("A_NEW_ONE", "ANOTHER", Code.SERVER_ERROR),
    ],
)
def test_an_error_in_a_200_counts_by_its_name(name: str, kind: str, code: Code) -> None:
    fault = judged(failed(name, kind))
    assert fault is not None
    assert (fault.code, fault.final) == (code, False)
    polled = judged(failed(name, kind), operation="poll")
    assert polled is not None
    assert (polled.code, polled.final) == (code, True), "to poll again is told the same"


def test_good_answers_have_no_fault() -> None:
    assert judged(BEGUN) is None
    assert judged({**BEGUN, "error": None}, operation="poll") is None
    assert judged(b"", status=204, operation="cancel") is None


def test_an_answer_that_is_cut_off_is_one() -> None:
    fault = judged(json.dumps(BEGUN).encode()[:-5], operation="poll")
    assert fault is not None and fault.code is Code.TRUNCATED
    empty = judged(b"", operation="poll")
    assert empty is not None and empty.code is Code.TRUNCATED


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_is_asked_again_after_50_to_100_ms(status: int) -> None:
    fault = judged(b"<html>", status, "poll", [])
    assert fault is not None
    assert (fault.code, fault.hint, fault.rule.retry, fault.rule.hinted) == (Code.GATEWAY_ERROR, 0.05, Retry.YES, True)
    told = judged(b"", status, "poll", [(b"retry-after", b"2")])
    assert told is not None and told.hint == 2.0


def test_other_statuses_mean_what_they_say() -> None:
    codes = {status: judged(b"", status, headers=[]) for status in (401, 403, 404, 410, 429, 500)}
    assert [fault.code for fault in codes.values() if fault is not None] == [
        Code.UNAUTHORIZED,
        Code.FORBIDDEN,
        Code.NOT_FOUND,
        Code.INVALID_REQUEST,
        Code.RATE_LIMITED,
        Code.SERVER_ERROR,
    ]


def test_only_an_answer_without_a_next_page_is_kept() -> None:
    material = TRINO.cache_material(read(b"SELECT 1"), b"SELECT 1")
    assert isinstance(material, Material) and material.deterministic
    varying = TRINO.cache_material(read(b"SELECT now()"), b"SELECT now()")
    assert isinstance(varying, Material) and not varying.deterministic
    for facts in (
        read(b"DELETE FROM t"),
        read(b"", method="GET", path=POLL),
        read(b"SELECT 1", (b"x-trino-transaction-id", b"t")),
    ):
        assert isinstance(TRINO.cache_material(facts, b""), Never)
    facts = read(b"SELECT 1")
    assert TRINO.finish(facts, json.dumps(BEGUN).encode(), Form.PLAIN).unfinished
    done = {name: value for name, value in BEGUN.items() if name != "nextUri"}
    assert TRINO.finish(facts, json.dumps(done).encode(), Form.PLAIN).unfinished == ""
    assert {b"x-trino-user", b"x-trino-role", b"x-trino-catalog", b"x-trino-schema", b"x-trino-session"} <= set(
        TRINO.cache_fields
    )


def test_a_refused_statement_is_a_query_that_failed() -> None:
    problem = Problem(Fault(Code.STATEMENT_REFUSED, "the statement begins with DROP"), "no", "sw_1")
    status, fields = TRINO.error_head(problem)
    body = json.loads(TRINO.error(None, problem))
    assert (status, fields) == (200, [(b"content-type", b"application/json")])
    assert (body["error"]["errorName"], body["error"]["errorType"]) == ("PERMISSION_DENIED", "USER_ERROR")
    assert body["seawall"]["code"] == "STATEMENT_REFUSED"
    assert TRINO.error_head(Problem(Fault(Code.OVERLOADED), "no", "sw_1"))[0] == 503, "clients ask again by themselves"
