"""`clickhouse-connect` through a route of its dialect, before a lab that fails as ClickHouse does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from harness import Running, lab, proxy, route, upstream
from stage import LENIENT, QUICK_RETRIES

from seawall.lab import Lab
from seawall.lab.script import Step
from seawall.types import Outcome

OPENING = 3
"""Requests by which the client gets to know a server."""


def opened(*faults: str) -> list[str | Step]:
    """Faults of what a client asks after it has got to know the server."""
    return [*["ok"] * OPENING, *faults]


@dataclass(frozen=True)
class Stage:
    lab: Lab
    running: Running

    async def use(self, work: Callable[[Client], Any], **more: Any) -> Any:
        """Do something with a client, without its sessions, its own retries, and codings that the lab does not read."""

        def run() -> Any:
            options: dict[str, Any] = {
                "username": "agent",
                "password": "secret",
                "proxy_path": "/clickhouse",
                "query_retries": 0,
            }
            options |= {"autogenerate_session_id": False, "compress": False, **more}
            client = clickhouse_connect.get_client(host="127.0.0.1", port=self.running.service.port, **options)
            try:
                return work(client)
            finally:
                client.close()

        return await asyncio.to_thread(run)

    async def rows(self, statement: str, **more: Any) -> Any:
        return await self.use(lambda client: client.query(statement).result_rows, **more)


@asynccontextmanager
async def stage(
    folder: Path, backends: str = "east", rule: str = QUICK_RETRIES, extra: str = LENIENT
) -> AsyncIterator[Stage]:
    async with lab() as upstreams:
        policy = "".join(
            upstream(name, f"{upstreams.url}/u/{name}", "ClickHouse", extra)
            for name in backends.replace("|", " ").split()
        )
        async with proxy(policy + route("clickhouse", "/clickhouse", backends, rule), folder) as running:
            yield Stage(upstreams, running)


def insert(client: Client, **settings: Any) -> Any:
    names, types = ["id", "region", "amount"], ["UInt64", "String", "Float64"]
    return client.insert("orders", [[1, "a", 2.0]], names, column_type_names=types, settings=settings)


async def test_queries_commands_and_inserts_come_through(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        assert len(await at.rows("SELECT * FROM orders")) == 6
        assert await at.use(lambda client: client.command("SELECT 42")) == 42
        assert await at.use(lambda client: client.ping())
        await at.use(insert)
        assert at.lab.clickhouse.inserts == 1


async def test_a_route_that_is_the_root_takes_clients_without_a_path(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        assert await at.use(lambda client: client.command("SELECT 7"), proxy_path="") == 7


@pytest.mark.parametrize(
    "fault", ["reset", "reset-0", "close", "server", "overloaded", "503", "error-0", "truncated-0"]
)
async def test_a_read_that_fails_is_made_good(tmp_path: Path, fault: str) -> None:
    async with stage(tmp_path, "east west") as at:
        direct = await at.rows("SELECT * FROM orders")
        at.lab.script(opened(fault, "ok"), upstream="east")
        assert await at.rows("SELECT * FROM orders") == direct
        assert at.running.calls[-1].attempts == 2


async def test_rows_before_an_exception_are_not_passed_off_as_all(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        # The first rows have gone out before it comes.
        at.lab.script(opened("error-2+gap-50ms"), upstream="east")
        with pytest.raises(StreamFailureError, match="NETWORK_ERROR"):
            await at.rows("SELECT * FROM orders")
        call = await at.running.call(OPENING + 1)
        assert (call.fault, call.status, call.attempts) == ("SERVER_ERROR", 200, 1)


async def test_with_complete_answers_even_that_is_made_good(tmp_path: Path) -> None:
    rule = QUICK_RETRIES + "\nstreaming: {commit: Complete}"
    async with stage(tmp_path, rule=rule) as at:
        at.lab.script(opened("error-2+gap-20ms"), upstream="east")
        assert len(await at.rows("SELECT * FROM orders")) == 6
        assert (await at.running.call(OPENING + 1)).outcome is Outcome.RETRY


async def test_an_answer_that_breaks_off_ends_uncleanly(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        at.lab.script(opened("unclean-2+gap-50ms"), upstream="east")
        with pytest.raises(Exception):  # noqa: B017 - urllib3's or the client's own
            await at.rows("SELECT * FROM orders")
        assert (await at.running.call(OPENING + 1)).fault == "TRUNCATED"


@pytest.mark.parametrize(
    ("fault", "name"), [("invalid", "SYNTAX_ERROR"), ("not-found", "UNKNOWN_TABLE"), ("timeout", "TIMEOUT_EXCEEDED")]
)
async def test_what_the_query_itself_did_wrong_is_passed_on(tmp_path: Path, fault: str, name: str) -> None:
    async with stage(tmp_path, "east west") as at:
        at.lab.script(opened(), upstream="east", then=fault)
        with pytest.raises(DatabaseError, match=name):
            await at.rows("SELECT * FROM orders")
        assert (await at.running.call(OPENING + 1)).attempts == 1
        assert at.running.upstream("east").breaker("", 0.0).state(0.0).value == "closed"


async def test_an_insert_without_a_token_is_sent_once(tmp_path: Path) -> None:
    async with stage(tmp_path, "east west") as at:
        at.lab.script(opened("reset"), upstream="east")
        with pytest.raises(Exception):  # noqa: B017 - what the client makes of it is its own
            await at.use(insert)
        assert at.lab.clickhouse.inserts == 1
        assert at.lab.attempts(upstream="west") == []


async def test_an_insert_with_a_token_is_sent_again_and_done_once(tmp_path: Path) -> None:
    async with stage(tmp_path, "east west") as at:
        at.lab.script(opened("reset", "reset", "ok"), upstream="east")
        async with httpx.AsyncClient(base_url=at.running.url) as client:
            for _ in range(OPENING):
                await client.get("/clickhouse/ping")
            query = {"query": "INSERT INTO orders VALUES (1)", "insert_deduplication_token": "a"}
            answer = await client.post("/clickhouse/", params=query)
        assert (answer.status_code, answer.headers["x-seawall-attempts"]) == (200, "3")
        assert at.lab.clickhouse.inserts == 1
        assert at.lab.attempts(upstream="west") == [], "the token is known to one upstream"


async def test_requests_of_a_session_go_one_after_another_to_one_upstream(tmp_path: Path) -> None:
    async with stage(tmp_path, "east|west") as at, httpx.AsyncClient(base_url=at.running.url, timeout=20) as client:
        at.lab.script([], then="latency-20ms")

        async def ask(session: str) -> str:
            query = {"query": "SELECT 1", "session_id": session}
            answer = await client.post("/clickhouse/", params=query)
            assert answer.status_code == 200
            return str(answer.headers["x-seawall-upstream"])

        homes = {session: await ask(session) for session in ("a", "b", "c", "d")}
        at.lab.ring.clear()
        found = await asyncio.gather(*(ask("a") for _ in range(6)))
        assert set(found) == {homes["a"]}
        seen = sorted(at.lab.attempts(), key=lambda attempt: attempt.received)
        ends = [attempt.end or 0.0 for attempt in seen]
        assert all(end <= after.received for end, after in zip(ends, seen[1:], strict=False)), "two at once"
        assert {session: await ask(session) for session in homes} == homes


async def test_sessions_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, httpx.AsyncClient(base_url=at.running.url, timeout=20) as client:
        at.lab.script([], then="latency-200ms")
        asked = [{"query": "SELECT 1", "session_id": str(n)} for n in range(5)]
        await asyncio.gather(*(client.post("/clickhouse/", params=query) for query in asked))
        seen = at.lab.attempts()
        assert max(a.received for a in seen) < min(a.end or 0.0 for a in seen)


async def test_an_agent_that_leaves_gives_its_sessions_turn_to_the_next(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, httpx.AsyncClient(base_url=at.running.url, timeout=20) as client:
        at.lab.script(["silent", "ok", "ok"], upstream="east")
        query = {"query": "SELECT 1", "session_id": "s"}
        first = asyncio.create_task(client.post("/clickhouse/", params=query))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(client.post("/clickhouse/", params=query))
        last = asyncio.create_task(client.post("/clickhouse/", params=query))
        await asyncio.sleep(0.05)
        waiting.cancel()
        first.cancel()
        assert (await last).text == "1\n"


READ_ONLY = LENIENT + "    statements: ReadOnly\n"


async def test_a_read_only_upstream_takes_reads(tmp_path: Path) -> None:
    async with stage(tmp_path, extra=READ_ONLY) as at:
        assert len(await at.rows("SELECT region, sumIf(amount, id > 1) FROM orders GROUP BY region")) == 6


@pytest.mark.parametrize(
    "statement", ["DROP TABLE orders", "SELECT * FROM url('http://example.com', CSV)", "SYSTEM SHUTDOWN"]
)
async def test_a_read_only_upstream_gets_nothing_else(tmp_path: Path, statement: str) -> None:
    async with stage(tmp_path, extra=READ_ONLY) as at:
        with pytest.raises(DatabaseError, match="READONLY"):
            await at.use(lambda client: client.command(statement))
        assert len(at.lab.attempts()) == OPENING
        with pytest.raises(DatabaseError, match="READONLY"):
            await at.use(insert)


async def test_a_query_that_may_take_longer_than_the_default_is_waited_for(tmp_path: Path) -> None:
    async with stage(tmp_path, rule=QUICK_RETRIES + "\ntimeouts: {connect: 1s}") as at:
        plan = at.running.service._current().plans[0]
        assert not plan.timeouts.request_set
        object.__setattr__(plan.timeouts, "request", 0.2)
        at.lab.script([], then="latency-500ms")
        async with httpx.AsyncClient(base_url=at.running.url) as client:
            late = await client.post("/clickhouse/", params={"query": "SELECT 1"})
            assert late.status_code == 504
            waited = await client.post("/clickhouse/", params={"query": "SELECT 1", "max_execution_time": "5"})
            assert waited.text == "1\n"


async def test_reads_may_be_raced_and_nothing_else(tmp_path: Path) -> None:
    rule = QUICK_RETRIES + "\nhedging: {maxAttempts: 2, hedgingDelay: 0s}"
    async with stage(tmp_path, "east|west", rule) as at, httpx.AsyncClient(base_url=at.running.url) as client:
        at.lab.script([], then="latency-50ms")
        for query, attempts in (("SELECT 1", 2), ("INSERT INTO t VALUES (1)", 1), ("SELECT f(1)", 1)):
            at.lab.ring.clear()
            assert (await client.post("/clickhouse/", params={"query": query})).status_code == 200
            assert len(at.lab.attempts()) == attempts, query
