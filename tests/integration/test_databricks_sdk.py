"""databricks-sdk's statement execution through a route of the Databricks dialect: polls, chunks and links, failures
made good where nothing was begun, and its usual exceptions.

The SDK takes nothing but a host, so that it finds its route by its own paths (`/api/2.0/…`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.errors import (
    BadRequest,
    DeadlineExceeded,
    InternalError,
    NotFound,
    PermissionDenied,
    TemporarilyUnavailable,
    TooManyRequests,
    Unauthenticated,
)
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.service.sql import (
    Disposition,
    ExecuteStatementRequestOnWaitTimeout,
    StatementResponse,
    StatementState,
)
from harness import lab, proxy, until, upstream
from stage import ONE_TRY, QUICK_RETRIES
from warehouses import INSERT, SELECT, Stage, warehouse

WAREHOUSE = "warehouse-1"
DOCUMENT = """---
apiVersion: seawall.dev/v1alpha1
kind: AgentRoute
metadata: {{name: wh}}
spec: {{rules: [{{{rule}, backendRefs: {refs}}}]}}
"""


@dataclass(frozen=True)
class Workspace(Stage):
    client: Any

    async def use(self, use: Callable[[Any], Any]) -> Any:
        return await asyncio.to_thread(use, self.client)


async def begun(at: Stage) -> Workspace:
    """With a client, which has asked its host what it is (and goes by its settings where nobody says)."""

    def make() -> WorkspaceClient:
        # Its own retries end with the first answer that it would wait for.
        settings = Config(host=at.running.url, token="agents-own", retry_timeout_seconds=1, auth_type="pat")
        return WorkspaceClient(config=settings)

    client = await asyncio.to_thread(make)
    assert [seen.path for seen in at.lab.attempts()] == ["/.well-known/databricks-config"]
    await until(lambda: len(at.running.calls) == 1)
    at.lab.clear()
    at.running.events.clear()
    return Workspace(at.lab, at.running, client)


@asynccontextmanager
async def workspace(folder: Path, rule: str = QUICK_RETRIES, upstreams: str = "east west") -> AsyncIterator[Workspace]:
    async with warehouse(folder, "Databricks", rule, upstreams=upstreams) as at:
        yield await begun(at)


async def execute(at: Workspace, statement: str = SELECT, **more: Any) -> StatementResponse:
    answer = await at.use(lambda client: client.statement_execution.execute_statement(statement, WAREHOUSE, **more))
    assert isinstance(answer, StatementResponse)
    return answer


async def test_a_query_is_answered_through_the_proxy(tmp_path: Path) -> None:
    async with workspace(tmp_path) as at:
        answer = await execute(at)
        assert answer.status is not None and answer.status.state is StatementState.SUCCEEDED
        assert answer.result is not None and answer.result.data_array is not None
        assert [row[0] for row in answer.result.data_array] == ["1", "2", "3"]
        call = at.running.calls[-1]
        assert (call.dialect, call.operation, call.model) == ("Databricks", "statement", WAREHOUSE)
        assert call.outcome.value == "primary"


async def test_a_statement_is_polled_where_it_runs(tmp_path: Path) -> None:
    async with workspace(tmp_path) as at:
        at.lab.script(["503"], upstream="east")
        started = await execute(at, wait_timeout="0s")
        assert started.status is not None and started.status.state is StatementState.RUNNING
        assert started.statement_id is not None
        id_ = started.statement_id

        def poll(client: Any) -> Any:
            return client.statement_execution.get_statement(id_)

        answer = await at.use(poll)
        while answer.status.state is StatementState.RUNNING:
            await asyncio.sleep(0.05)
            answer = await at.use(poll)
        assert answer.status.state is StatementState.SUCCEEDED
        own = [attempt.upstream for attempt in at.lab.attempts() if attempt.path.endswith(id_)]
        assert own and set(own) == {"west"}, "east has never heard of it"
        await at.use(lambda client: client.statement_execution.cancel_execution(id_))
        assert at.seen[-1] == ("west", 200)


async def test_chunks_are_read_where_they_are(tmp_path: Path) -> None:
    async with workspace(tmp_path) as at:
        at.lab.script(["503"], upstream="east")
        answer = await execute(at, f"{SELECT} LIMIT 2500")
        assert answer.manifest is not None and answer.manifest.total_chunk_count == 3
        rows = len(answer.result.data_array or []) if answer.result is not None else 0
        for number in (1, 2):
            read = partial(at.client.statement_execution.get_statement_result_chunk_n, answer.statement_id, number)
            chunk = await asyncio.to_thread(read)
            rows += len(chunk.data_array)
        assert rows == 2500
        assert {attempt.upstream for attempt in at.lab.attempts() if "/chunks/" in attempt.path} == {"west"}


async def test_presigned_links_lead_past_the_proxy(tmp_path: Path) -> None:
    async with workspace(tmp_path) as at:
        answer = await execute(at, disposition=Disposition.EXTERNAL_LINKS)
        assert answer.result is not None and answer.result.external_links is not None
        link = answer.result.external_links[0].external_link
        assert link is not None and link.startswith(at.lab.url)
        async with httpx.AsyncClient(trust_env=False) as client:
            rows = (await client.get(link)).json()
        assert len(rows) == 3 and len(at.running.calls) == 1


@pytest.mark.parametrize(
    "fault", ["503", "429", "reset", "500", "504", "cut", "error-body-server", "error-body-overloaded"]
)
async def test_a_query_that_fails_is_made_good_elsewhere_or_again(tmp_path: Path, fault: str) -> None:
    async with workspace(tmp_path) as at:
        at.lab.script([], upstream="east", then=fault)
        answer = await execute(at)
        assert answer.status is not None and answer.status.state is StatementState.SUCCEEDED
        assert at.seen[-1] == ("west", 200)
        assert at.running.calls[0].outcome.value == "failover"


@pytest.mark.parametrize("fault", ["503", "429"])
async def test_what_changes_rows_is_sent_again_where_nothing_was_begun(tmp_path: Path, fault: str) -> None:
    async with workspace(tmp_path, upstreams="east") as at:
        at.lab.script([fault])
        answer = await execute(at, INSERT)
        assert answer.status is not None and answer.status.state is StatementState.SUCCEEDED
        assert at.seen == [("east", int(fault)), ("east", 200)]
        assert [call.attempts for call in at.running.calls] == [2]


@pytest.mark.parametrize("fault", ["500", "504", "reset-0", "truncated", "error-body-server"])
async def test_what_changes_rows_is_never_sent_twice_otherwise(tmp_path: Path, fault: str) -> None:
    async with workspace(tmp_path) as at:
        at.lab.script([], then=fault)
        try:
            answer = await execute(at, INSERT)
            assert answer.status is not None and answer.status.state is StatementState.FAILED
        except DatabricksError:
            pass
        assert len(at.lab.attempts()) == 1


async def test_the_statements_own_errors_are_its_agents(tmp_path: Path) -> None:
    """Told as they came, and against nobody."""
    async with workspace(tmp_path) as at:
        at.lab.script([], then="error-body-invalid")
        answer = await execute(at)
        assert answer.status is not None and answer.status.state is StatementState.FAILED
        assert answer.status.error is not None and answer.status.error.message is not None
        assert answer.status.error.message.startswith("[PARSE_SYNTAX_ERROR]")
        assert at.seen == [("east", 200)]
        assert at.running.calls[0].fault == "INVALID_REQUEST"
        at.lab.script([], then="invalid")
        with pytest.raises(BadRequest):
            await execute(at)


async def test_a_poll_that_tells_of_a_failed_statement_is_a_good_poll(tmp_path: Path) -> None:
    async with workspace(tmp_path) as at:
        started = await execute(at, wait_timeout="0s")
        failed = '{"statement_id": "x", "status": {"state": "FAILED", "error": {"error_code": "INTERNAL_ERROR"}}}'
        at.lab.script([f"200; body={failed}"])
        answer = await at.use(lambda client: client.statement_execution.get_statement(started.statement_id))
        assert answer.status.state is StatementState.FAILED
        assert (at.running.calls[-1].fault, at.running.calls[-1].attempts) == ("", 1)


ERRORS: list[tuple[str, type[DatabricksError]]] = [
    ("auth", Unauthenticated),
    ("forbidden", PermissionDenied),
    ("not-found", NotFound),
    ("server", InternalError),
    ("timeout", DeadlineExceeded),
]


@pytest.mark.parametrize(("trouble", "kind"), ERRORS)
async def test_the_providers_errors_raise_as_usual(tmp_path: Path, trouble: str, kind: type[DatabricksError]) -> None:
    async with workspace(tmp_path, ONE_TRY, upstreams="east") as at:
        at.lab.script([], then=trouble)
        with pytest.raises(kind):
            await execute(at)


@pytest.mark.parametrize(
    ("fault", "kind"),
    # The SDK has no exception of its own for 502.
    [("reset", DatabricksError), ("garbage", DatabricksError), ("silent", DeadlineExceeded)],
)
async def test_seawalls_own_errors_raise_as_usual(tmp_path: Path, fault: str, kind: type[DatabricksError]) -> None:
    async with workspace(tmp_path, f"{ONE_TRY}\ntimeouts: {{backendRequest: 300ms}}") as at:
        at.lab.script([], then=fault)
        with pytest.raises(kind, match="seawall: ") as caught:
            await execute(at, INSERT)
        info = caught.value.get_error_details().error_info
        assert info is not None and info.domain == "seawall.dev"
        assert len(at.lab.attempts()) == 1


@pytest.mark.parametrize(("fault", "kind"), [("429", TooManyRequests), ("503", TemporarilyUnavailable)])
async def test_what_stays_refused_is_told_in_databricks_own_words(
    tmp_path: Path, fault: str, kind: type[DatabricksError]
) -> None:
    async with workspace(tmp_path, QUICK_RETRIES) as at:
        at.lab.script([], then=fault)

        def use(client: Any) -> None:
            client.api_client._api_client._retry_timeout_seconds = 0
            client.statement_execution.execute_statement(SELECT, WAREHOUSE)

        with pytest.raises((kind, TimeoutError)):
            await at.use(use)


async def test_a_wait_that_ends_in_cancellation_is_an_answer(tmp_path: Path) -> None:
    async with workspace(tmp_path) as at:
        at.lab.script(['200; body={"statement_id": "x", "status": {"state": "CANCELED"}}'])
        answer = await execute(at, on_wait_timeout=ExecuteStatementRequestOnWaitTimeout.CANCEL)
        assert answer.status is not None and answer.status.state is StatementState.CANCELED
        assert (at.running.calls[-1].fault, at.running.calls[-1].attempts) == ("", 1)


async def test_each_workspace_has_a_warehouse_of_its_own(tmp_path: Path) -> None:
    """The warehouse stands where a model would, so that a policy names another one for another workspace."""
    async with lab() as upstreams:
        policy = "".join(upstream(name, f"{upstreams.url}/u/{name}", "Databricks") for name in ("east", "west"))
        refs = "[{name: east}, {name: west, priority: 1, model: warehouse-of-west}]"
        rule = "matches: [{path: {type: PathPrefix, value: /wh}}]"
        policy += DOCUMENT.format(rule=rule, refs=refs)
        async with proxy(policy, tmp_path) as running:
            at = await begun(Stage(upstreams, running))
            at.lab.script(["503"], upstream="east")
            await execute(at)
            assert [attempt.model for attempt in at.lab.attempts()] == [WAREHOUSE, "warehouse-of-west"]
