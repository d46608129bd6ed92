"""Snowflake's SQL API through a route of the Snowflake dialect, spoken by hand: its SDKs speak another protocol (see
test_snowflake_connector.py), and those who use this API do so over plain HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from harness import proxy, route, upstream
from peers import closed_port, serving
from recorder import Recorder, ok
from stage import ONE_TRY, QUICK_RETRIES
from warehouses import INSERT, SELECT, Stage, warehouse

STATEMENTS = "/api/v2/statements"


@dataclass(frozen=True)
class Account(Stage):
    client: httpx.AsyncClient

    async def execute(self, statement: str = SELECT, parameters: dict[str, str] | None = None, **more: Any) -> Any:
        body = {"statement": statement, "warehouse": "wh_1", "role": "ANALYST", "timeout": 60, **more}
        return await self.client.post(STATEMENTS, json=body, params=parameters)


@asynccontextmanager
async def account(folder: Path, rule: str = QUICK_RETRIES, upstreams: str = "east west") -> AsyncIterator[Account]:
    async with warehouse(folder, "Snowflake", rule, upstreams=upstreams) as at:
        own = {
            "authorization": "Bearer agents-own",
            "x-snowflake-authorization-token-type": "PROGRAMMATIC_ACCESS_TOKEN",
        }
        async with httpx.AsyncClient(base_url=at.url, headers=own, trust_env=False, timeout=10) as client:
            yield Account(at.lab, at.running, client)


def keyed() -> dict[str, str]:
    return {"requestId": str(uuid4())}


async def test_a_query_is_answered_through_the_proxy(tmp_path: Path) -> None:
    async with account(tmp_path) as at:
        answer = await at.execute()
        assert answer.json()["code"] == "090001" and len(answer.json()["data"]) == 3
        call = await at.running.call()
        assert (call.dialect, call.operation, call.model) == ("Snowflake", "statement", "wh_1")
        assert (call.outcome.value, at.seen) == ("primary", [("east", 200)])


async def test_bare_paths_find_the_route(tmp_path: Path) -> None:
    async with account(tmp_path) as at:
        answer = await at.client.post(at.running.url + STATEMENTS, json={"statement": SELECT})
        assert answer.status_code == 200


async def test_a_statement_is_polled_and_its_partitions_are_read_where_it_runs(tmp_path: Path) -> None:
    async with account(tmp_path) as at:
        at.lab.script(["503"], upstream="east")
        started = await at.execute(f"{SELECT} LIMIT 2500", {"async": "true"})
        assert started.status_code == 202
        url = started.json()["statementStatusUrl"]
        answer = await at.client.get(url)
        while answer.status_code == 202:
            await asyncio.sleep(0.05)
            answer = await at.client.get(url)
        sizes = [part["rowCount"] for part in answer.json()["resultSetMetaData"]["partitionInfo"]]
        assert sizes == [1000, 1000, 500]
        handle = answer.json()["statementHandle"]
        for number in (1, 2):
            part = await at.client.get(f"{STATEMENTS}/{handle}", params={"partition": str(number)})
            assert len(part.json()["data"]) == sizes[number]
        cancelled = await at.client.post(f"{STATEMENTS}/{handle}/cancel")
        assert cancelled.status_code == 200
        assert {upstream for upstream, _ in at.seen[1:]} == {"west"}, "east has never heard of it"


async def test_a_large_result_gives_out_its_handle_at_its_end(tmp_path: Path) -> None:
    """Behind the rows."""
    async with account(tmp_path) as at:
        at.lab.script(["503"], upstream="east")
        answer = await at.execute(f"{SELECT} LIMIT 900")
        assert len(answer.content) > 16_384
        await at.client.get(f"{STATEMENTS}/{answer.json()['statementHandle']}")
        assert [upstream for upstream, _ in at.seen] == ["east", "west", "west"]


@pytest.mark.parametrize("fault", ["429", "503", "500", "504", "reset", "reset-0", "truncated", "malformed"])
async def test_a_query_that_fails_is_made_good_elsewhere_or_again(tmp_path: Path, fault: str) -> None:
    async with account(tmp_path) as at:
        at.lab.script([], upstream="east", then=fault)
        answer = await at.execute()
        assert answer.json()["code"] == "090001"
        assert at.seen[-1] == ("west", 200)
        assert (await at.running.call()).outcome.value == "failover"


@pytest.mark.parametrize("fault", ["503", "500", "504", "reset-0", "truncated"])
async def test_what_changes_rows_is_sent_again_with_its_request_id_and_says_so(tmp_path: Path, fault: str) -> None:
    """To the upstream that may know of it only, and carried out once."""
    async with account(tmp_path) as at:
        at.lab.script([fault], upstream="east")
        own = keyed()
        answer = await at.execute(INSERT, own)
        assert answer.status_code == 200 and answer.json()["requestId"] == own["requestId"]
        assert [upstream for upstream, _ in at.seen] == ["east", "east"]
        again = await at.execute(INSERT, {**own, "retry": "true"})
        assert again.json()["statementHandle"] == answer.json()["statementHandle"], "carried out once"


@pytest.mark.parametrize(
    ("query", "first", "second"),
    [
        ("requestId=1", "requestId=1", "requestId=1&retry=true"),
        ("async=true&requestId=1", "async=true&requestId=1", "async=true&requestId=1&retry=true"),
        ("requestId=1&retry=true", "requestId=1&retry=true", "requestId=1&retry=true"),
        ("async=true", "async=true", "async=true"),
    ],
)
async def test_a_second_sending_says_so_and_the_first_is_as_it_came(
    tmp_path: Path, query: str, first: str, second: str
) -> None:
    recorder = Recorder(ok(b"{}", status=b"500 Down"))
    async with serving(recorder) as port:
        policy = upstream("main", f"http://127.0.0.1:{port}", "Snowflake") + route(
            "wh", "/wh", "main", "retry: {attempts: 1, backoff: {base: 1ms, max: 1ms}}"
        )
        async with proxy(policy, tmp_path) as running, httpx.AsyncClient(trust_env=False) as client:
            await client.post(f"{running.url}/wh{STATEMENTS}?{query}", json={"statement": SELECT})
    sent = [message.line.split(b" ")[1].decode() for message in recorder.requests]
    assert sent == [f"{STATEMENTS}?{first}", f"{STATEMENTS}?{second}"]
    assert recorder.requests[0].body == recorder.requests[1].body


async def test_another_account_gets_the_request_as_it_came(tmp_path: Path) -> None:
    recorder = Recorder(ok(b"{}"))
    async with serving(recorder) as port:
        policy = upstream("gone", f"http://127.0.0.1:{closed_port()}", "Snowflake") + upstream(
            "main", f"http://127.0.0.1:{port}", "Snowflake"
        )
        policy += route("wh", "/wh", "gone main", "retry: {attempts: 0}")
        async with proxy(policy, tmp_path) as running, httpx.AsyncClient(trust_env=False) as client:
            await client.post(f"{running.url}/wh{STATEMENTS}?requestId=1", json={"statement": INSERT})
    assert recorder.last.line == f"POST {STATEMENTS}?requestId=1 HTTP/1.1".encode()


@pytest.mark.parametrize("fault", ["503", "500", "504", "408", "reset-0", "truncated"])
async def test_what_changes_rows_without_a_request_id_is_never_sent_twice(tmp_path: Path, fault: str) -> None:
    async with account(tmp_path) as at:
        at.lab.script([], then=fault)
        answer = await at.execute(INSERT)
        assert answer.status_code >= 400
        assert len(at.lab.attempts()) == 1


async def test_what_was_refused_for_its_number_is_sent_again_whatever_it_is(tmp_path: Path) -> None:
    """429: nothing was begun."""
    async with account(tmp_path) as at:
        at.lab.script(["429"], upstream="east")
        answer = await at.execute(INSERT)
        assert answer.status_code == 200
        assert at.seen == [("east", 429), ("west", 200)]


@pytest.mark.parametrize(("fault", "status"), [("invalid", 422), ("timeout", 408), ("filter", 422)])
async def test_the_statements_own_errors_are_final(tmp_path: Path, fault: str, status: int) -> None:
    """Told as they came, and against nobody: even a query with a request id is not tried again."""
    async with account(tmp_path) as at:
        at.lab.script([], then=fault)
        answer = await at.execute(SELECT, keyed())
        assert answer.status_code == status and answer.json()["sqlState"]
        assert "seawall" not in answer.json()
        assert at.seen == [("east", status)]
        call = await at.running.call()
        assert (call.fault, call.attempts) == ("INVALID_REQUEST", 1)
        assert at.running.moves == []


async def test_a_poll_of_a_statement_that_failed_is_final_too(tmp_path: Path) -> None:
    async with account(tmp_path) as at:
        started = await at.execute(SELECT, {"async": "true"})
        at.lab.script([], then="timeout")
        answer = await at.client.get(started.json()["statementStatusUrl"])
        assert answer.status_code == 408
        assert len(at.lab.attempts()) == 2


@pytest.mark.parametrize("fault", ["429", "503", "500", "reset"])
async def test_a_poll_is_tried_again_where_the_statement_runs(tmp_path: Path, fault: str) -> None:
    async with account(tmp_path) as at:
        started = await at.execute(SELECT, {"async": "true"})
        at.lab.script([fault])
        answer = await at.client.get(started.json()["statementStatusUrl"])
        assert answer.status_code in (200, 202)
        assert {upstream for upstream, _ in at.seen} == {"east"}


@pytest.mark.parametrize(("fault", "status"), [("reset", 502), ("silent", 504)])
async def test_seawalls_own_errors_look_like_snowflakes(tmp_path: Path, fault: str, status: int) -> None:
    async with account(tmp_path, f"{ONE_TRY}\ntimeouts: {{backendRequest: 300ms}}") as at:
        at.lab.script([], then=fault)
        answer = await at.execute(INSERT)
        told = answer.json()
        assert answer.status_code == status
        assert told["message"].startswith("seawall: ") and told["sqlState"] == "08006"
        assert told["code"] == told["seawall"]["code"]


async def test_cortex_speaks_openais_protocol_on_the_same_route(tmp_path: Path) -> None:
    async with account(tmp_path) as at:
        at.lab.script(["503"], upstream="east")
        body: dict[str, Any] = {
            "model": "claude-sonnet-4-6",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
        }
        body["stream_options"] = {"include_usage": True}
        answer = await at.client.post("/api/v2/cortex/v1/chat/completions", json=body)
        assert answer.text.rstrip().endswith("data: [DONE]")
        call = await at.running.call()
        assert (call.operation, call.model, call.stream) == ("chat", "claude-sonnet-4-6", True)
        assert call.outcome.value == "failover" and call.usage is not None
