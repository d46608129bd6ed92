"""The `trino` client through a route of its dialect, before a lab that fails as Trino and the gateways before it do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import Running, lab, proxy, route, upstream
from stage import LENIENT, QUICK_RETRIES
from trino import exceptions
from trino.auth import JWTAuthentication
from trino.dbapi import Connection

from seawall.lab import Lab
from seawall.types import Outcome


@dataclass(frozen=True)
class Stage:
    lab: Lab
    running: Running

    def connect(self, **more: Any) -> Connection:
        # Our retries are looked at here, not the client's own.
        options: dict[str, Any] = {"user": "agent", "catalog": "sales", "schema": "public", "max_attempts": 1, **more}
        return Connection(host="127.0.0.1", port=self.running.service.port, **options)

    async def rows(self, statement: str, *parameters: Any, **more: Any) -> Any:
        def run() -> Any:
            connection: Any = self.connect(**more)
            try:
                return connection.cursor().execute(statement, parameters or None).fetchall()
            finally:
                connection.close()

        return await asyncio.to_thread(run)


@asynccontextmanager
async def stage(
    folder: Path, backends: str = "east", rule: str = QUICK_RETRIES, extra: str = LENIENT
) -> AsyncIterator[Stage]:
    async with lab() as upstreams:
        policy = "".join(
            upstream(name, f"{upstreams.url}/u/{name}", "Trino", extra) for name in backends.replace("|", " ").split()
        )
        async with proxy(policy + route("trino", "/trino", backends, rule), folder) as running:
            yield Stage(upstreams, running)


async def test_a_query_and_all_its_pages_come_through(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        rows = await at.rows("SELECT * FROM orders")
        assert [row[0] for row in rows] == [1, 2, 3, 4]
        operations = [(await at.running.call(n)).operation for n in range(1, 5)]
        assert operations == ["statement", "poll", "poll", "poll"]
        assert {attempt.upstream for attempt in at.lab.attempts()} == {"east"}, "nextUri leads back through us"
        assert all("x-forwarded-host" in attempt.header_names for attempt in at.lab.attempts())


async def test_parameters_and_changes_come_through(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        assert len(await at.rows("SELECT * FROM orders WHERE id > ?", 1)) == 4
        assert await at.rows("INSERT INTO orders VALUES (1)") == [[1]]
        assert at.lab.trino.ran == ["INSERT INTO orders VALUES (1)"]


@pytest.mark.parametrize("fault", ["502", "503", "504", "reset", "reset-0", "cut-4", "truncated"])
async def test_a_page_is_asked_for_again_until_it_is_whole(tmp_path: Path, fault: str) -> None:
    async with stage(tmp_path) as at:
        direct = await at.rows("SELECT * FROM orders")
        at.lab.script(["ok", fault, "ok", fault, fault], upstream="east")
        assert await at.rows("SELECT * FROM orders") == direct
        assert [call.attempts for call in at.running.calls[4:]] == [1, 2, 3, 1]


async def test_a_gateway_is_asked_again_after_50_ms_at_least(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        at.lab.script(["ok", "503", "504"], upstream="east")
        await at.rows("SELECT 1")
        polls = [attempt for attempt in at.lab.attempts() if attempt.operation == "page"][:3]
        waits = [after.received - before.received for before, after in pairwise(polls)]
        assert all(0.05 <= wait < 0.5 for wait in waits), waits


async def test_polls_go_to_the_upstream_that_began_the_query(tmp_path: Path) -> None:
    async with stage(tmp_path, "east west") as at:
        at.lab.script(["500", "500", "500"], upstream="east")
        assert await at.rows("SELECT 7") == [[7]]
        begun, *polls = at.running.calls
        assert (begun.outcome, begun.upstream) == (Outcome.FAILOVER, "west")
        assert {poll.upstream for poll in polls} == {"west"}
        assert {poll.outcome for poll in polls} == {Outcome.PRIMARY}


async def test_a_poll_is_never_answered_by_another_upstream(tmp_path: Path) -> None:
    async with stage(tmp_path, "east west") as at:
        at.lab.script(["ok"], upstream="east", then="503")
        with pytest.raises(exceptions.Http503Error):
            await at.rows("SELECT 1")
        assert at.lab.attempts(upstream="west") == []
        assert at.running.calls[1].attempts == 3


@pytest.mark.parametrize("fault", ["503", "reset", "reset-0", "cut-4"])
async def test_what_changes_data_is_sent_once(tmp_path: Path, fault: str) -> None:
    async with stage(tmp_path, "east west") as at:
        at.lab.script([fault], upstream="east")
        with pytest.raises(Exception):  # noqa: B017 - what the client makes of each is its own
            await at.rows("DELETE FROM orders")
        assert len(at.lab.attempts()) == 1


async def test_what_changes_data_and_was_never_sent_is_sent(tmp_path: Path) -> None:
    async with stage(tmp_path, "east west") as at:
        dead = at.running.upstream("east").target.endpoint
        object.__setattr__(dead, "port", 1)
        assert await at.rows("DELETE FROM orders") == [[1]]
        assert at.running.calls[0].upstream == "west"


@pytest.mark.parametrize(
    ("fault", "error", "name"),
    [
        ("invalid", exceptions.TrinoUserError, "SYNTAX_ERROR"),
        ("forbidden", exceptions.TrinoUserError, "PERMISSION_DENIED"),
        ("server", exceptions.TrinoQueryError, "GENERIC_INTERNAL_ERROR"),
    ],
)
async def test_a_query_that_fails_is_told_once_in_trinos_own_words(
    tmp_path: Path, fault: str, error: type[Exception], name: str
) -> None:
    async with stage(tmp_path) as at:
        at.lab.script(["ok", "ok", fault], upstream="east", then=fault)
        with pytest.raises(error) as raised:
            await at.rows("SELECT * FROM orders")
        assert raised.value.error_name == name  # type: ignore[attr-defined]
        failed = await at.running.call(3)
        assert (failed.attempts, failed.status, failed.outcome) == (1, 200, Outcome.ERROR)


async def test_a_read_that_fails_at_once_for_trinos_own_reasons_is_submitted_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        at.lab.script(["server"], upstream="east")
        assert await at.rows("SELECT 3") == [[3]]
        assert at.running.calls[0].outcome is Outcome.RETRY


async def test_cancelling_reaches_the_upstream_that_runs_the_query(tmp_path: Path) -> None:
    async with stage(tmp_path, "east west") as at:
        at.lab.script(["500", "500", "500"], upstream="east")

        def run() -> None:
            with at.connect() as connection:
                cursor = connection.cursor()
                cursor.execute("SELECT * FROM orders")
                cursor.cancel()

        await asyncio.to_thread(run)
        assert [(a.upstream, a.status) for a in at.lab.attempts(operation="cancel")] == [("west", 204)]


async def test_a_transaction_stays_where_it_was_begun(tmp_path: Path) -> None:
    async with stage(tmp_path, "east west") as at, httpx.AsyncClient(base_url=at.running.url) as client:
        east = at.running.upstream("east").target.endpoint
        port = east.port
        object.__setattr__(east, "port", 1)
        user = {"x-trino-user": "u"}
        answer = await client.post("/v1/statement", content="START TRANSACTION", headers=user)
        assert answer.headers["x-seawall-upstream"] == "west"
        object.__setattr__(east, "port", port)
        transaction = ""
        while place := answer.json().get("nextUri"):
            answer = await client.get(place)
            transaction = answer.headers.get("x-trino-started-transaction-id", transaction)
        assert transaction
        within = {**user, "x-trino-transaction-id": transaction}
        for statement in ("SELECT 1", "INSERT INTO orders VALUES (1)", "COMMIT"):
            answer = await client.post("/v1/statement", content=statement, headers=within)
            assert answer.headers["x-seawall-upstream"] == "west"
        other = await client.post("/v1/statement", content="SELECT 1", headers=user)
        assert other.headers["x-seawall-upstream"] == "east"


async def test_a_prefix_is_told_to_upstreams_that_make_urls(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, httpx.AsyncClient() as client:
        begun = await client.post(
            f"{at.running.url}/trino/v1/statement", content="SELECT 1", headers={"x-trino-user": "u"}
        )
        place = begun.json()["nextUri"]
        assert place.startswith(f"{at.running.url}/trino/v1/statement/executing/")
        assert (await client.get(place)).status_code == 200


async def test_with_the_agents_host_nothing_need_be_forwarded(tmp_path: Path) -> None:
    async with stage(tmp_path, extra=LENIENT + "    hostHeader: Passthrough\n") as at:
        # The lab stands below a path, which the real one does not: its first answer tells enough.
        async with httpx.AsyncClient(base_url=at.running.url) as client:
            begun = await client.post("/v1/statement", content="SELECT 1", headers={"x-trino-user": "u"})
        assert begun.json()["nextUri"].startswith(at.running.url)
        assert not any(name.startswith("x-forwarded") for name in at.lab.attempts()[0].header_names)


READ_ONLY = LENIENT + "    statements: ReadOnly\n"


async def test_a_read_only_upstream_takes_reads(tmp_path: Path) -> None:
    async with stage(tmp_path, extra=READ_ONLY) as at:
        assert await at.rows("SELECT 9") == [[9]]
        assert len(await at.rows("SELECT * FROM orders WHERE id > ?", 1)) == 4, "EXECUTE IMMEDIATE of a query"


@pytest.mark.parametrize("statement", ["DROP TABLE orders", "SELECT my_function(1)", "SELECT 1; SELECT 2"])
async def test_a_read_only_upstream_gets_nothing_else(tmp_path: Path, statement: str) -> None:
    async with stage(tmp_path, extra=READ_ONLY) as at:
        with pytest.raises(exceptions.TrinoUserError, match="STATEMENT_REFUSED") as raised:
            await at.rows(statement)
        assert raised.value.error_name == "PERMISSION_DENIED"
        assert at.lab.attempts() == []
        call = await at.running.call(1)
        assert (call.fault, call.attempts) == ("STATEMENT_REFUSED", 0)


async def test_what_a_read_only_upstream_must_not_get_goes_to_one_that_takes_it(tmp_path: Path) -> None:
    async with lab() as upstreams:
        policy = (
            upstream("replica", f"{upstreams.url}/u/replica", "Trino", READ_ONLY)
            + upstream("main", f"{upstreams.url}/u/main", "Trino", LENIENT)
            + route("trino", "/trino", "replica main", QUICK_RETRIES)
        )
        async with proxy(policy, tmp_path) as running:
            at = Stage(upstreams, running)
            await at.rows("SELECT 1")
            await at.rows("DELETE FROM orders")
            assert [call.upstream for call in running.calls if call.operation == "statement"] == ["replica", "main"]
            changed = [call for call in running.calls if call.operation == "statement"][1]
            assert changed.skipped == ("replica: takes only statements that read",)


async def test_a_token_of_the_policy_replaces_the_agents(tmp_path: Path) -> None:
    key = tmp_path / "token"
    key.write_text("ours")
    async with stage(tmp_path, extra=f"{LENIENT}    auth: {{type: APIKey, keyFile: {key}}}\n") as at:
        assert await at.rows("SELECT 1", auth=JWTAuthentication("theirs"), allow_insecure_auth=True) == [[1]]
