"""Whatever agents and upstreams send, the dialects of warehouses never raise."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.dialects import REGISTRY
from seawall.dialects.base import Form
from seawall.types import Head, Headers, Safety

JSON: Headers = [(b"content-type", b"application/json")]
PATHS = {
    "Snowflake": [
        "/api/v2/statements", "/api/v2/statements/h", "/api/v2/statements/h/cancel", "/queries/v1/query-request",
        "/session/v1/login-request", "/api/v2/cortex/inference:complete", "/api/v2/databases",
    ],
    "Databricks": [
        "/api/2.0/sql/statements", "/api/2.0/sql/statements/i/result/chunks/1", "/api/2.1/jobs/run-now", "/api/2.0/x",
    ],
    "BigQuery": [
        "/bigquery/v2/projects/p/queries", "/bigquery/v2/projects/p/jobs", "/bigquery/v2/projects/p/queries/j",
        "/bigquery/v2/projects/p/jobs/j/cancel", "/bigquery/v2/projects/p/datasets",
    ],
}  # fmt: skip
NAMES = [
    "statement", "warehouse", "warehouse_id", "sqlText", "query", "requestId",
    "jobReference", "jobId", "location", "configuration", "dryRun", "createSession",
    "connectionProperties", "key", "timeoutMs", "disposition", "wait_timeout", "status",
    "state", "error", "error_code", "errors", "reason", "code",
    "success", "resultSetMetaData", "partitionInfo", "statementHandle", "statementHandles", "manifest",
    "total_chunk_count", "result", "statistics", "creationTime", "jobComplete", "pageToken",
    "model", "stream", "idempotency_token", "destinationTable",
]  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["FAILED", "SELECT 1"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
)
BODIES = st.binary(max_size=200) | st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6).map(
    lambda value: json.dumps(value).encode()
)
QUERIES = st.sampled_from(["", "?requestId=1", "?async=true&retry", "?timeoutMs=x&pageToken=%zz", "?=&&", "?requestId"])


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in PATHS.items() for path in paths])
@settings(max_examples=40, deadline=None)
@given(method=st.sampled_from(["GET", "POST", "DELETE"]), query=QUERIES, body=BODIES, answer=BODIES,
       status=st.sampled_from([200, 202, 400, 408, 409, 422, 429, 503]))  # fmt: skip
def test_they_never_raise(
    name: str, path: str, method: str, query: str, body: bytes, answer: bytes, status: int
) -> None:
    dialect = REGISTRY[name]
    head = Head(method, path + query, [])
    facts = dialect.read(head, path + query, body)
    assert facts.safety is not Safety.SAFE or not facts.writes
    fault = dialect.judge(facts, status, JSON, answer, 0.0, whole=True)
    assert (fault is not None) or status < 400
    dialect.cache_material(facts, body)
    dialect.finish(facts, answer, Form.PLAIN)
    dialect.answered(facts, answer)
    dialect.state_made(answer, JSON)
    dialect.state_named(path + query, body)
    dialect.needs(body)
    dialect.conversation(body)
    dialect.with_model(path, body, "other")
