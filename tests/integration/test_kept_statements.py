"""What a cache and `statements: ReadOnly` make of statements to Snowflake, Databricks and BigQuery, over sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from warehouses import INSERT, SELECT, Stage, warehouse

TTL = "cache: {mode: Enabled, ttl: 1m}\nretry: {attempts: 0}\n"
DIALECTS = ["Snowflake", "Databricks", "BigQuery"]
NOW = "SELECT CURRENT_TIMESTAMP"
PATHS = {
    "Snowflake": "/api/v2/statements",
    "Databricks": "/api/2.0/sql/statements",
    "BigQuery": "/bigquery/v2/projects/harbour/queries",
}
NEXT = {
    "Snowflake": "/api/v2/statements/{handle}",
    "Databricks": "/api/2.0/sql/statements/{handle}",
    "BigQuery": "/bigquery/v2/projects/harbour/queries/{handle}",
}


@dataclass(frozen=True)
class Place(Stage):
    dialect: str
    client: httpx.AsyncClient

    async def ask(self, sql: str = SELECT, token: str = "one", **more: Any) -> httpx.Response:
        body = {"query": sql} if self.dialect == "BigQuery" else {"statement": sql, "warehouse_id": "w"}
        fields = {"authorization": f"Bearer {token}"}
        return await self.client.post(PATHS[self.dialect], json={**body, **more}, headers=fields)

    async def poll(self, answer: httpx.Response) -> httpx.Response:
        told = answer.json()
        job = told.get("jobReference", {}).get("jobId")
        handle = told.get("statementHandle") or told.get("statement_id") or job
        return await self.client.get(NEXT[self.dialect].format(handle=handle))


@asynccontextmanager
async def place(folder: Path, dialect: str, rule: str = TTL, extra: str = "") -> AsyncIterator[Place]:
    async with (
        warehouse(folder, dialect, rule, upstreams="east", extra=extra) as at,
        httpx.AsyncClient(base_url=at.url, trust_env=False) as client,
    ):
        yield Place(at.lab, at.running, dialect, client)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_result_is_given_again_to_who_asks_the_same(tmp_path: Path, dialect: str) -> None:
    async with place(tmp_path, dialect) as at:
        first, second = await at.ask(), await at.ask()
        assert first.content == second.content
        assert (second.headers["x-seawall-outcome"], len(at.lab.attempts())) == ("cache", 1)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_another_credential_schema_or_statement_has_its_own(tmp_path: Path, dialect: str) -> None:
    async with place(tmp_path, dialect) as at:
        await at.ask()
        await at.ask(token="two")
        await at.ask(schema="s")
        await at.ask(sql=f"{SELECT} LIMIT 2")
        assert len(at.lab.attempts()) == 4


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("sql", [INSERT, NOW, f"{SELECT} LIMIT 1500"])
async def test_what_changes_rows_or_with_time_or_has_more_pages_is_asked_again(
    tmp_path: Path, dialect: str, sql: str
) -> None:
    async with place(tmp_path, dialect) as at:
        for _ in range(2):
            assert (await at.ask(sql)).status_code == 200
        assert len(at.lab.attempts()) == 2


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_polls_are_asked_again(tmp_path: Path, dialect: str) -> None:
    async with place(tmp_path, dialect) as at:
        answer = await at.ask()
        for _ in range(2):
            assert (await at.poll(answer)).status_code == 200
        assert len(at.lab.attempts()) == 3


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_read_only_upstream_gets_nothing_that_may_write(tmp_path: Path, dialect: str) -> None:
    async with place(tmp_path, dialect, "retry: {attempts: 0}\n", "statements: ReadOnly\n") as at:
        answer = await at.ask()
        assert answer.status_code == 200 and (await at.poll(answer)).status_code == 200
        refused = await at.ask(INSERT)
        removed = await at.client.delete(PATHS[dialect])
        assert refused.status_code == removed.status_code == 403
        assert refused.json()["seawall"]["code"] == "STATEMENT_REFUSED"
        assert "begins with INSERT" in refused.text
        assert len(at.lab.attempts()) == 2
