"""snowflake-connector-python through a route of the Snowflake dialect. It speaks Snowflake's own drivers' protocol,
with a session, and takes a host and a port but no path, so that it finds its route by its own paths."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
from stage import QUICK_RETRIES
from warehouses import INSERT, SELECT, Stage, warehouse

QUERY = "/queries/v1/query-request"
LOGIN = "/session/v1/login-request"


def connect(port: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return snowflake.connector.connect(
            account="harbour", user="agent", password="agents-own", host="127.0.0.1", port=port, protocol="http",
            login_timeout=10, network_timeout=10,
        )  # fmt: skip


@dataclass(frozen=True)
class Session(Stage):
    connection: Any

    async def execute(self, sql: str = SELECT) -> tuple[list[tuple[Any, ...]], str]:
        """Its rows, and the id under which it ran."""

        def run() -> tuple[list[tuple[Any, ...]], str]:
            with self.connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall(), cursor.sfqid

        return await asyncio.to_thread(run)

    @property
    def queries(self) -> list[int | None]:
        return [attempt.status for attempt in self.lab.attempts(path=QUERY)]


@asynccontextmanager
async def session(folder: Path, rule: str = QUICK_RETRIES, upstreams: str = "east west") -> AsyncIterator[Session]:
    async with warehouse(folder, "Snowflake", rule, upstreams=upstreams) as at:
        connection = await asyncio.to_thread(connect, at.running.service.port)
        try:
            yield Session(at.lab, at.running, connection)
        finally:
            at.lab.scripts.clear()
            await asyncio.to_thread(connection.close)


async def test_a_session_runs_a_query_through_the_proxy(tmp_path: Path) -> None:
    async with session(tmp_path) as at:
        rows, _ = await at.execute()
        assert [row[0] for row in rows] == [1, 2, 3] and len(rows[0]) == 3
        assert {attempt.upstream for attempt in at.lab.attempts()} == {"east"}
        operations = {call.operation: call.dialect for call in at.running.calls}
        assert operations["driver"] == operations["session"] == "Snowflake"


@pytest.mark.parametrize("fault", ["503", "500", "429", "reset", "reset-0", "truncated"])
@pytest.mark.parametrize("sql", [SELECT, INSERT])
async def test_a_query_is_sent_again_within_its_session(tmp_path: Path, sql: str, fault: str) -> None:
    """With the request id that the driver gave it, so that it is carried out once; never at another account."""
    async with session(tmp_path) as at:
        at.lab.script([fault], path=QUERY)
        rows, _ = await at.execute(sql)
        assert rows
        assert len(at.queries) == 2 and at.queries[-1] == 200
        [call] = [call for call in at.running.calls if call.operation == "driver"]
        assert call.attempts == 2
        assert {attempt.upstream for attempt in at.lab.attempts()} == {"east"}


async def test_a_login_that_fails_is_tried_again(tmp_path: Path) -> None:
    async with warehouse(tmp_path, "Snowflake") as at:
        at.lab.script(["500"], path=LOGIN)
        connection = await asyncio.to_thread(connect, at.running.service.port)
        await asyncio.to_thread(connection.close)
        assert [attempt.status for attempt in at.lab.attempts(path=LOGIN)] == [500, 200]
        assert {attempt.upstream for attempt in at.lab.attempts()} == {"east"}


async def test_the_statements_own_errors_raise_as_usual_and_are_not_tried_again(tmp_path: Path) -> None:
    async with session(tmp_path) as at:
        failed = '{"data": {"sqlState": "42000"}, "code": "001003", "message": "syntax error", "success": false}'
        at.lab.script([f"200; body={failed}"], path=QUERY)
        with pytest.raises(snowflake.connector.errors.ProgrammingError, match="syntax error") as caught:
            await at.execute()
        assert caught.value.errno == 1003
        assert at.queries == [200]
        [call] = [call for call in at.running.calls if call.operation == "driver"]
        assert call.fault == "INVALID_REQUEST"


async def test_an_error_of_seawalls_raises_as_the_drivers_own(tmp_path: Path) -> None:
    async with session(tmp_path, "retry: {attempts: 0}") as at:
        at.lab.script([], path=QUERY, then="403")
        with pytest.raises(snowflake.connector.errors.Error):
            await at.execute()
        assert at.queries == [403]
