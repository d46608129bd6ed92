"""google-cloud-bigquery through a route of the BigQuery dialect: queries and jobs, failures made good, a job whose
answer was lost found again, and its usual exceptions."""

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from harness import lab, proxy, route, until, upstream
from peers import closed_port
from stage import ONE_TRY, QUICK_RETRIES
from warehouses import INSERT, SELECT, Stage, warehouse

PROJECT = "harbour"
JOBS = f"/bigquery/v2/projects/{PROJECT}/jobs"
QUERIES = f"/bigquery/v2/projects/{PROJECT}/queries"


class Agents(AnonymousCredentials):  # type: ignore[misc, no-untyped-call, unused-ignore]
    """Of an agent whose token is renewed by whatever it is told."""

    def refresh(self, request: object) -> None:
        pass


@dataclass(frozen=True)
class Project(Stage):
    client: Any

    async def use(self, use: Callable[[Any], Any]) -> Any:
        return await asyncio.to_thread(use, self.client)

    async def rows(self, sql: str = SELECT, **more: Any) -> list[tuple[Any, ...]]:
        """By jobs.query, without retries of the client's own."""
        more = {"retry": None, "job_retry": None, **more}
        rows: list[tuple[Any, ...]] = await self.use(
            lambda client: [row.values() for row in client.query_and_wait(sql, **more)]
        )
        return rows


@asynccontextmanager
async def project(
    folder: Path, rule: str = QUICK_RETRIES, upstreams: str = "east west", prefix: str = "/wh"
) -> AsyncIterator[Project]:
    async with warehouse(folder, "BigQuery", rule, upstreams=upstreams) as at:
        client: Any = bigquery.Client(
            project=PROJECT,
            credentials=Agents(),  # type: ignore[no-untyped-call]
            client_options=ClientOptions(api_endpoint=at.running.url + prefix),
        )
        try:
            yield Project(at.lab, at.running, client)
        finally:
            client.close()


@pytest.mark.parametrize("prefix", ["/wh", ""])
async def test_a_query_is_answered_through_the_proxy(tmp_path: Path, prefix: str) -> None:
    async with project(tmp_path, prefix=prefix) as at:
        rows = await at.rows()
        assert [row[0] for row in rows] == [1, 2, 3]
        call = at.running.calls[0]
        assert (call.dialect, call.operation, call.model) == ("BigQuery", "query", PROJECT)
        assert (call.outcome.value, at.seen) == ("primary", [("east", 200)])


async def test_a_job_is_polled_and_its_pages_are_read_where_it_runs(tmp_path: Path) -> None:
    async with project(tmp_path) as at:
        at.lab.script(["503"], upstream="east", path=JOBS)
        job = await at.use(lambda client: client.query(f"{SELECT} LIMIT 2500"))
        rows = await at.use(lambda client: [row["id"] for row in job.result(page_size=1000)])
        assert rows == list(range(1, 2501))
        await until(lambda: len(at.running.calls) == len(at.lab.attempts()) - 2)
        # East has made it although it said 503: the project is the same everywhere.
        assert at.seen[:3] == [("east", 503), ("west", 409), ("west", 200)]
        assert {upstream for upstream, _ in at.seen[3:]} == {"west"}, "who gave the job out is asked for it"
        assert {call.operation for call in at.running.calls} == {"job", "poll"}


@pytest.mark.parametrize("fault", ["rate-limit", "503", "500", "502", "reset", "truncated", "reset-0"])
async def test_a_query_that_fails_is_made_good_elsewhere_or_again(tmp_path: Path, fault: str) -> None:
    async with project(tmp_path) as at:
        at.lab.script([], upstream="east", then=fault)
        assert len(await at.rows()) == 3
        assert at.seen[-1] == ("west", 200)
        assert (await at.running.call()).outcome.value == "failover"


@pytest.mark.parametrize("fault", ["500", "503", "reset-0", "rate-limit"])
async def test_what_changes_rows_is_sent_again_with_its_request_id(tmp_path: Path, fault: str) -> None:
    """To the upstream that may know of it only, and carried out once."""
    async with project(tmp_path, upstreams="east") as at:
        at.lab.script([fault], upstream="east")
        await at.rows(INSERT)
        assert [status for _, status in at.seen[:2]][1] == 200
        first = await at.running.call()
        assert (first.attempts, first.outcome.value) == (2, "retry")


async def test_a_job_that_was_made_although_its_answer_was_lost_is_found(tmp_path: Path) -> None:
    """The second sending gets 409; the agent gets its job."""
    async with project(tmp_path, upstreams="east") as at:
        at.lab.script(["reset-0"], path=JOBS)
        job = await at.use(lambda client: client.query(INSERT, retry=None, job_retry=None))
        assert job.statement_type == "INSERT"
        posted = [(seen.method, seen.path, seen.status) for seen in at.lab.attempts()]
        assert posted == [("POST", JOBS, 200), ("POST", JOBS, 409), ("GET", f"{JOBS}/{job.job_id}", 200)]
        call = await at.running.call()
        assert (call.attempts, call.outcome.value, call.fault, call.status) == (3, "retry", "", 200)
        told = [(one.number, one.result, one.next) for one in at.running.attempts]
        assert told[1:] == [(2, "INVALID_REQUEST", "reading what was made"), (3, "ok", "")]
        await at.use(lambda client: job.result())


async def insert(at: Stage, job_id: str, sql: str = INSERT) -> httpx.Response:
    body = {
        "jobReference": {"projectId": PROJECT, "jobId": job_id},
        "configuration": {"query": {"query": sql, "useLegacySql": False}},
    }
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{at.url}{JOBS}?prettyPrint=false", json=body)


async def test_a_conflict_at_the_first_sending_is_the_agents(tmp_path: Path) -> None:
    async with project(tmp_path, upstreams="east") as at:
        assert (await insert(at, "mine")).status_code == 200
        again = await insert(at, "mine")
        assert again.status_code == 409 and again.json()["error"]["errors"][0]["reason"] == "duplicate"
        assert at.seen == [("east", 200), ("east", 409)]


async def test_a_job_of_that_name_from_before_is_not_passed_off_as_this_one(tmp_path: Path) -> None:
    async with project(tmp_path, upstreams="east") as at:
        old = {"configuration": {"query": {"query": INSERT}}, "statistics": {"creationTime": "1500000000000"}}
        at.lab.script(["reset-0"], path=JOBS)
        at.lab.script([f"200; body={json.dumps(old)}"], path=f"{JOBS}/mine")
        answer = await insert(at, "mine")
        assert answer.status_code == 409
        assert (await at.running.call()).status == 409
        assert [status for _, status in at.seen] == [200, 409, 200]


async def test_another_job_of_that_name_is_not_passed_off_as_this_one(tmp_path: Path) -> None:
    async with project(tmp_path, upstreams="east") as at:
        assert (await insert(at, "mine", SELECT)).status_code == 200
        at.lab.script(["500"], path=JOBS)
        assert (await insert(at, "mine", INSERT)).status_code == 409


async def test_a_conflict_before_anything_was_sent_is_the_agents(tmp_path: Path) -> None:
    """The first upstream cannot be reached."""
    async with lab() as upstreams:
        policy = upstream("gone", f"http://127.0.0.1:{closed_port()}", "BigQuery")
        policy += upstream("east", f"{upstreams.url}/u/east", "BigQuery") + route(
            "wh", "/wh", "gone east", QUICK_RETRIES
        )
        async with proxy(policy, tmp_path) as running:
            at = Stage(upstreams, running)
            assert (await insert(at, "mine")).status_code == 200
            assert (await insert(at, "mine")).status_code == 409
            assert at.seen == [("east", 200), ("east", 409)]


@pytest.mark.parametrize("fault", ["503", "reset", "404", "truncated"])
async def test_a_conflict_stands_where_what_was_made_can_not_be_read(tmp_path: Path, fault: str) -> None:
    async with project(tmp_path, upstreams="east") as at:
        at.lab.script(["reset-0"], path=JOBS)
        at.lab.script([], path=f"{JOBS}/mine", then=fault)
        answer = await insert(at, "mine")
        assert answer.status_code == 409 and answer.json()["error"]["errors"][0]["reason"] == "duplicate"
        assert len(at.lab.attempts()) == 3
        [told] = [one for one in at.running.attempts if one.number == 2]
        assert told.status == 409


async def test_an_agent_that_leaves_while_its_job_is_read_leaves_nothing_behind(tmp_path: Path) -> None:
    """The look behind every test (conftest.py) sees to that."""
    async with project(tmp_path, upstreams="east") as at:
        at.lab.script(["reset-0"], path=JOBS)
        at.lab.script([], path=f"{JOBS}/mine", then="silent")
        leaving = asyncio.create_task(insert(at, "mine"))
        await until(lambda: len(at.lab.attempts()) == 3)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert (await at.running.call()).fault == "AGENT_GONE"


async def test_what_was_made_is_read_with_one_place_for_requests(tmp_path: Path) -> None:
    """The place that the conflict held is given back before."""
    limited = "concurrency: {maxParallelRequests: 1, maxPendingRequests: 0}"
    async with warehouse(tmp_path, "BigQuery", upstreams="east", extra=limited) as at:
        at.lab.script(["reset-0"], path=JOBS)
        assert (await insert(at, "mine")).status_code == 200


async def test_a_job_without_a_name_is_never_made_twice(tmp_path: Path) -> None:
    async with project(tmp_path) as at:
        at.lab.script([], path=JOBS, then="500")
        body = {"configuration": {"query": {"query": INSERT}}}
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{at.url}{JOBS}", json=body)
        assert answer.status_code == 500
        assert at.seen == [("east", 500)]


ERRORS: list[tuple[str, type[Exception], str]] = [
    ("invalid", exceptions.BadRequest, "INVALID_REQUEST"),
    ("auth", exceptions.Unauthorized, "UNAUTHORIZED"),
    ("forbidden", exceptions.Forbidden, "FORBIDDEN"),
    ("not-found", exceptions.NotFound, "NOT_FOUND"),
    ("filter", exceptions.BadRequest, "INVALID_REQUEST"),
    ("rate-limit", exceptions.Forbidden, "RATE_LIMITED"),
    ("quota", exceptions.Forbidden, "QUOTA_EXHAUSTED"),
    ("server", exceptions.InternalServerError, "SERVER_ERROR"),
    ("overloaded", exceptions.ServiceUnavailable, "OVERLOADED"),
    ("timeout", exceptions.GatewayTimeout, "UPSTREAM_TIMEOUT"),
]


@pytest.mark.parametrize(("trouble", "kind", "code"), ERRORS)
async def test_the_providers_errors_raise_as_usual(
    tmp_path: Path, trouble: str, kind: type[Exception], code: str
) -> None:
    async with project(tmp_path, ONE_TRY, upstreams="east") as at:
        at.lab.script([], then=trouble)
        with pytest.raises(kind):
            await at.rows()
        assert (await at.running.call()).fault == code


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("reset", exceptions.BadGateway), ("garbage", exceptions.BadGateway), ("silent", exceptions.GatewayTimeout)],
)
async def test_seawalls_own_errors_raise_as_usual(tmp_path: Path, fault: str, kind: type[Exception]) -> None:
    async with project(tmp_path, f"{ONE_TRY}\ntimeouts: {{backendRequest: 300ms}}", upstreams="east") as at:
        at.lab.script([], then=fault)
        with pytest.raises(kind, match="seawall: ") as caught:
            await at.rows()
        assert isinstance(caught.value, exceptions.GoogleAPICallError)
        assert caught.value.errors[0]["reason"] == "backendError", "the client may try again"


async def test_the_client_tries_again_by_itself_after_an_error_of_ours(tmp_path: Path) -> None:
    async with project(tmp_path, ONE_TRY, upstreams="east") as at:
        at.lab.script(["reset", "reset"])
        rows = await at.rows(retry=bigquery.DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.01))
        assert len(rows) == 3 and len(at.lab.attempts()) == 3


async def test_an_unknown_route_raises_with_the_known_ones(tmp_path: Path) -> None:
    async with project(tmp_path, prefix="/other") as at:
        with pytest.raises(exceptions.NotFound, match="/wh"):
            await at.rows()


async def test_a_dry_run_costs_nothing_and_is_sent_again(tmp_path: Path) -> None:
    async with project(tmp_path, upstreams="east") as at:
        at.lab.script(["500"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            settings = bigquery.QueryJobConfig(dry_run=True)
            await at.use(lambda client: client.query(INSERT, job_config=settings, retry=None, job_retry=None))
        assert [status for _, status in at.seen][:2] == [500, 409]
