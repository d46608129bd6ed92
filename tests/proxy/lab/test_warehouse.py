"""The small generic warehouse."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from seawall.lab import Lab, start_lab
from seawall.lab.warehouse import Store

SQL = {"sql": "SELECT * FROM sales"}


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
    async with httpx.AsyncClient(base_url=f"{timed.url}/u/wh", timeout=10) as client:
        yield client


async def test_a_query_answers_with_the_same_rows_for_the_same_statement(http: httpx.AsyncClient) -> None:
    one, again = [(await http.post("/warehouse/queries", json=SQL)).json() for _ in range(2)]
    assert one["status"] == "SUCCEEDED"
    assert one["columns"] == ["id", "region", "amount"]
    assert len(one["rows"]) == 3
    assert one["rows"] == again["rows"]
    assert one["id"] != again["id"]


async def test_a_query_that_does_not_wait_is_polled(http: httpx.AsyncClient, clock: Stepped) -> None:
    begun = await http.post("/warehouse/queries", json={**SQL, "wait": False})
    assert begun.status_code == 202
    place = begun.headers["location"]
    assert (await http.get(place)).json()["status"] == "RUNNING"
    clock.at += 0.2
    assert (await http.get(place)).json()["row_count"] == 3


async def test_results_come_as_csv_or_as_a_stream_of_lines(http: httpx.AsyncClient) -> None:
    csv = await http.post("/warehouse/queries", json={**SQL, "format": "csv", "rows": 2})
    assert csv.text.splitlines()[0] == "id,region,amount"
    assert len(csv.text.splitlines()) == 3
    lines = (await http.post("/warehouse/queries", json={**SQL, "format": "ndjson", "rows": 5})).text.splitlines()
    assert len(lines) == 7
    assert json.loads(lines[-1]) == {"status": "SUCCEEDED", "row_count": 5}


async def test_a_cut_stream_of_lines_lacks_its_last(http: httpx.AsyncClient) -> None:
    answer = await http.post("/warehouse/queries", json={**SQL, "format": "ndjson", "warehouse": "lab-no-terminal"})
    assert "SUCCEEDED" not in answer.text
    broken = await http.post("/warehouse/queries", json={**SQL, "format": "ndjson", "warehouse": "lab-error-2-quota"})
    assert json.loads(broken.text.splitlines()[-1])["error"]["code"] == "QUOTA_EXCEEDED"


async def test_a_job_moves_through_its_states(http: httpx.AsyncClient, clock: Stepped) -> None:
    made = await http.post("/warehouse/jobs", json={"name": "nightly"})
    assert made.status_code == 201
    states = []
    for _ in range(3):
        states.append((await http.get(made.headers["location"])).json()["status"])
        clock.at += 0.25
    assert states == ["QUEUED", "RUNNING", "SUCCEEDED"]


async def test_an_idempotency_key_makes_one_job(http: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "k1"}
    one, again = [await http.post("/warehouse/jobs", json={"name": "nightly"}, headers=headers) for _ in range(2)]
    assert (one.status_code, again.status_code) == (201, 200)
    assert one.json()["id"] == again.json()["id"]
    assert (await http.post("/warehouse/jobs", json={"name": "nightly"})).json()["id"] != one.json()["id"]


async def test_a_pipeline_has_a_status_and_an_etag(http: httpx.AsyncClient) -> None:
    one, again = [await http.get("/warehouse/pipelines/daily_sales/status") for _ in range(2)]
    assert one.json()["pipeline"] == "daily_sales"
    assert one.json() == again.json()
    assert one.headers["etag"] == again.headers["etag"]


async def test_faults_by_warehouse_and_by_pipeline_name(http: httpx.AsyncClient) -> None:
    busy = await http.post("/warehouse/queries", json={**SQL, "warehouse": "lab-503-retry-after-1"})
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
    assert busy.json()["error"]["code"] == "UNAVAILABLE"
    assert (await http.get("/warehouse/pipelines/lab-500/status")).status_code == 500


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/warehouse/queries", {}, 400),
        ("POST", "/warehouse/queries", [1], 400),
        ("POST", "/warehouse/queries", {**SQL, "format": "xml"}, 400),
        ("POST", "/warehouse/queries", {**SQL, "rows": -1}, 400),
        ("POST", "/warehouse/jobs", {}, 400),
        ("GET", "/warehouse/jobs/none", None, 404),
        ("GET", "/warehouse/queries/none", None, 404),
        ("DELETE", "/warehouse/queries/none", None, 404),
        ("GET", "/warehouse/pipelines", None, 404),
    ],
)
async def test_bad_requests_are_refused(
    http: httpx.AsyncClient, method: str, path: str, body: object, status: int
) -> None:
    answer = await http.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


async def test_what_the_warehouse_keeps_is_bounded(http: httpx.AsyncClient) -> None:
    big = "x" * 33_000
    for path, body in (("queries", {"sql": big}), ("jobs", {"name": "n", "steps": [big]})):
        refused = await http.post(f"/warehouse/{path}", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "REQUEST_TOO_LARGE")


def test_a_key_whose_job_is_forgotten_makes_a_new_one() -> None:
    store = Store()
    store.put("job-1", 0.0, {"name": "n"}, "key")
    assert store.by_key("key") == "job-1"
    for number in range(2_000):
        store.put(f"other-{number}", 0.0, {})
    assert store.by_key("key") is None
