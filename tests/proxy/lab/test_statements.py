"""The emulated Snowflake, Databricks and BigQuery, spoken to by hand: states, pages, keys, and failures in each one's
own shape. Their own clients are in tests/integration."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from seawall.lab import Lab, start_lab

SELECT, INSERT = "SELECT * FROM sales", "INSERT INTO sales VALUES (1)"
SNOWFLAKE = "/api/v2/statements"
DATABRICKS = "/api/2.0/sql/statements"
QUERIES, JOBS = (f"/bigquery/v2/projects/p/{kind}" for kind in ("queries", "jobs"))


class Stepped:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1_700_000_000.0 + self.at


@pytest.fixture
def clock() -> Stepped:
    return Stepped()


@pytest.fixture
async def timed(clock: Stepped) -> AsyncIterator[Lab]:
    lab = await start_lab(seed=7, clock=clock)
    yield lab
    await lab.close()


@pytest.fixture
async def http(timed: Lab) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{timed.url}/u/wh", timeout=10, trust_env=False) as client:
        yield client


def databricks(sql: str = SELECT, **more: Any) -> dict[str, Any]:
    return {"statement": sql, "warehouse_id": "w", **more}


def job(sql: str = SELECT, id_: str = "") -> dict[str, Any]:
    return {"jobReference": {"jobId": id_} if id_ else {}, "configuration": {"query": {"query": sql}}}


async def test_all_have_the_same_rows_for_the_same_statement(http: httpx.AsyncClient) -> None:
    one = (await http.post(SNOWFLAKE, json={"statement": SELECT})).json()["data"]
    two = (await http.post(DATABRICKS, json=databricks())).json()["result"]["data_array"]
    three = (await http.post(QUERIES, json={"query": SELECT})).json()["rows"]
    assert one == two == [[cell["v"] for cell in row["f"]] for row in three] and len(one) == 3


async def test_snowflake_runs_on_when_it_is_not_waited_for(http: httpx.AsyncClient, clock: Stepped) -> None:
    begun = await http.post(f"{SNOWFLAKE}?async=true", json={"statement": f"{SELECT} LIMIT 1500"})
    place = begun.json()["statementStatusUrl"]
    assert (begun.status_code, begun.json()["code"]) == (202, "333334")
    assert (await http.get(place)).status_code == 202
    clock.at += 0.2
    done = (await http.get(place)).json()
    assert [part["rowCount"] for part in done["resultSetMetaData"]["partitionInfo"]] == [1000, 500]
    part = await http.get(f"{SNOWFLAKE}/{done['statementHandle']}?partition=1")
    assert len(part.json()["data"]) == 500
    assert (await http.get(f"{SNOWFLAKE}/{done['statementHandle']}?partition=2")).status_code == 422
    assert (await http.post(f"{SNOWFLAKE}/{done['statementHandle']}/cancel")).json()["code"] == "000604"


async def test_a_request_id_is_carried_out_once(http: httpx.AsyncClient) -> None:
    one, two, other = [
        (await http.post(f"{SNOWFLAKE}?requestId={key}", json={"statement": INSERT})).json()["statementHandle"]
        for key in ("a", "a", "b")
    ]
    assert one == two != other
    first, second = [(await http.post(QUERIES, json={"query": INSERT, "requestId": "a"})).json() for _ in range(2)]
    assert first["jobReference"] == second["jobReference"] and first["numDmlAffectedRows"] == "1"


async def test_databricks_runs_on_when_it_is_not_waited_for(http: httpx.AsyncClient, clock: Stepped) -> None:
    begun = (await http.post(DATABRICKS, json=databricks(f"{SELECT} LIMIT 1500", wait_timeout="0s"))).json()
    assert begun["status"] == {"state": "RUNNING"}
    clock.at += 0.2
    done = (await http.get(f"{DATABRICKS}/{begun['statement_id']}")).json()
    assert done["status"]["state"] == "SUCCEEDED" and done["manifest"]["total_chunk_count"] == 2
    rest = (await http.get(done["result"]["next_chunk_internal_link"])).json()
    assert rest["row_count"] == len(rest["data_array"]) == 500 and "next_chunk_index" not in rest
    assert (await http.get(f"{DATABRICKS}/{begun['statement_id']}/result/chunks/2")).status_code == 404


async def test_databricks_links_lead_to_the_rows(http: httpx.AsyncClient) -> None:
    linked = (await http.post(DATABRICKS, json=databricks(disposition="EXTERNAL_LINKS"))).json()
    [link] = linked["result"]["external_links"]
    assert len((await http.get(link["external_link"])).json()) == 3


async def test_bigquery_makes_a_job_once(http: httpx.AsyncClient, clock: Stepped) -> None:
    made = (await http.post(JOBS, json=job(f"{SELECT} LIMIT 1500", "mine"))).json()
    assert made["status"] == {"state": "RUNNING"} and made["statistics"]["creationTime"] == "1700000000000"
    again = await http.post(JOBS, json=job(INSERT, "mine"))
    assert (again.status_code, again.json()["error"]["errors"][0]["reason"]) == (409, "duplicate")
    assert (await http.get(f"{QUERIES}/mine")).json()["jobComplete"] is False
    clock.at += 0.2
    assert (await http.get(f"{JOBS}/mine")).json()["status"] == {"state": "DONE"}
    page = (await http.get(f"{QUERIES}/mine?maxResults=5000")).json()
    assert len(page["rows"]) == 1000 and page["totalRows"] == "1500"
    rest = (await http.get(f"{QUERIES}/mine?pageToken={page['pageToken']}")).json()
    assert len(rest["rows"]) == 500 and "pageToken" not in rest
    assert (await http.post(f"{JOBS}/mine/cancel")).json()["job"]["id"] == made["id"]


FAILURES = [
    (SNOWFLAKE, {"statement": SELECT}, "timeout", 408, {"code": "000630"}),
    (SNOWFLAKE, {"statement": SELECT}, "invalid", 422, {"code": "001003", "sqlState": "42000"}),
    (SNOWFLAKE, {"statement": SELECT}, "auth", 401, {"code": "390303", "success": False}),
    (DATABRICKS, databricks(), "rate-limit", 429, {"error_code": "REQUEST_LIMIT_EXCEEDED"}),
    (DATABRICKS, databricks(), "overloaded", 503, {"error_code": "TEMPORARILY_UNAVAILABLE"}),
]


@pytest.mark.parametrize(("path", "body", "fault", "status", "members"), FAILURES)
async def test_errors_are_in_each_ones_own_shape(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], fault: str, status: int, members: dict[str, Any]
) -> None:
    answer = await http.post(path, json=body, headers={"x-lab-fault": fault})
    assert answer.status_code == status
    assert members.items() <= answer.json().items()


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [("rate-limit", 403, "rateLimitExceeded"), ("quota", 403, "quotaExceeded"), ("overloaded", 503, "backendError")],
)
async def test_bigquerys_errors_have_reasons(http: httpx.AsyncClient, fault: str, status: int, reason: str) -> None:
    answer = await http.post(QUERIES, json={"query": SELECT}, headers={"x-lab-fault": fault})
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (status, reason)


async def test_a_statement_of_databricks_fails_in_a_200(http: httpx.AsyncClient) -> None:
    answer = await http.post(DATABRICKS, json=databricks(), headers={"x-lab-fault": "error-body-overloaded"})
    told = answer.json()["status"]
    assert answer.status_code == 200
    assert (told["state"], told["error"]["error_code"]) == ("FAILED", "TEMPORARILY_UNAVAILABLE")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (SNOWFLAKE, {}, 422),
        (SNOWFLAKE, {"statement": "x" * 40_000}, 400),
        (f"{SNOWFLAKE}/unknown/cancel", {}, 404),
        ("/queries/v2/x", {}, 404),
        (DATABRICKS, {"statement": SELECT}, 400),
        (f"{DATABRICKS}/unknown/cancel", {}, 404),
        ("/api/2.0/clusters/list", {}, 404),
        (QUERIES, {"query": 3}, 400),
        ("/bigquery/v2/projects/p/datasets", {}, 404),
    ],
)
async def test_what_they_refuse_is_refused(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], status: int
) -> None:
    assert (await http.post(path, json=body)).status_code == status


async def test_faults_by_warehouse_and_by_project(http: httpx.AsyncClient, timed: Lab) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        (SNOWFLAKE, {"statement": SELECT, "warehouse": "lab-503"}),
        (DATABRICKS, {"statement": SELECT, "warehouse_id": "lab-503"}),
        (QUERIES.replace("/p/", "/lab-503/"), {"query": SELECT}),
    ]
    for path, body in asked:
        assert (await http.post(path, json=body)).status_code == 503
    assert [(seen.dialect, seen.operation, seen.model) for seen in timed.attempts()] == [
        ("Snowflake", "statement", "lab-503"), ("Databricks", "statement", "lab-503"), ("BigQuery", "query", "lab-503"),
    ]  # fmt: skip
