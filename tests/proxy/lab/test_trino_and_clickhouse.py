"""The lab's Trino and ClickHouse, asked directly: the flows and failures that clients know."""

import httpx
from hypothesis import given
from hypothesis import strategies as st

from seawall.dialects import REGISTRY
from seawall.lab import Lab, start_lab
from seawall.lab.answer import Mint, RejectedError
from seawall.lab.clickhouse import FAMILY as CLICKHOUSE
from seawall.lab.plan import Scenario, Status, Trouble
from seawall.lab.routes import Routes
from seawall.lab.trino import FAMILY as TRINO
from seawall.types import Facts, Head

USER = {"x-trino-user": "u"}


async def _with(lab: Lab) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=lab.url)


async def test_trino_leads_to_its_pages_one_by_one() -> None:
    lab = await start_lab()
    async with await _with(lab) as client:
        begun = (await client.post("/u/east/v1/statement", content="SELECT * FROM t", headers=USER)).json()
        assert begun["nextUri"].startswith(f"{lab.url}/u/east/v1/statement/executing/{begun['id']}/")
        rows, place = [], begun["nextUri"]
        while place:
            page = (await client.get(place)).json()
            again = (await client.get(place)).json()
            assert again == page, "a page may be read again"
            rows += page.get("data") or []
            place = page.get("nextUri")
        assert [row[0] for row in rows] == [1, 2, 3, 4]
        assert (await client.get(begun["nextUri"])).status_code == 410, "those before are acknowledged"
    await lab.close()


async def test_trino_goes_on_where_a_proxy_says_that_it_is() -> None:
    lab = await start_lab()
    told = {"x-forwarded-host": "agents.test:81", "x-forwarded-proto": "https", "x-forwarded-prefix": "/trino"}
    async with await _with(lab) as client:
        begun = (await client.post("/v1/statement", content="SELECT 1", headers={**USER, **told})).json()
        assert begun["nextUri"].startswith("https://agents.test:81/trino/v1/statement/executing/")
    await lab.close()


async def test_trino_cancels() -> None:
    lab = await start_lab()
    async with await _with(lab) as client:
        place = (await client.post("/v1/statement", content="SELECT 1", headers=USER)).json()["nextUri"]
        assert (await client.delete(place)).status_code == 204
        assert (await client.get(place)).json()["error"]["errorName"] == "USER_CANCELED"
        assert (await client.post("/v1/statement", content=" ", headers=USER)).json()["error"][
            "errorName"
        ] == "SYNTAX_ERROR"
        assert (await client.post("/v1/statement", content="SELECT 1")).status_code == 401
    await lab.close()


async def test_clickhouse_answers_in_formats_and_drops_repeated_inserts() -> None:
    lab = await start_lab()
    async with await _with(lab) as client:
        assert (await client.get("/ping")).text == "Ok.\n"
        assert (await client.post("/", content="SELECT 12")).text == "12\n"
        rows = (await client.post("/", content="SELECT * FROM t FORMAT JSON")).json()
        assert rows["rows"] == len(rows["data"]) == 6
        lines = (await client.get("/", params={"query": "SELECT * FROM t", "default_format": "JSONEachRow"})).text
        assert len(lines.splitlines()) == 6
        once = {"query": "INSERT INTO t VALUES (1)", "insert_deduplication_token": "a"}
        written = [(await client.post("/", params=once)).headers["x-clickhouse-summary"] for _ in range(2)]
        assert written == ['{"written_rows":"1"}', '{"written_rows":"0"}']
        refused = await client.get("/", params={"query": "INSERT INTO t VALUES (1)"})
        assert (refused.status_code, refused.headers["x-clickhouse-exception-code"]) == (403, "497")
    await lab.close()


async def test_clickhouse_frames_an_exception_behind_rows() -> None:
    lab = await start_lab()
    async with await _with(lab) as client:
        broken = await client.post("/", content="SELECT * FROM t", headers={"x-lab-fault": "error-1-overloaded"})
        assert broken.status_code == 200 and broken.text.startswith("1\t")
        watch = REGISTRY["ClickHouse"].watch(Facts("query"), broken.headers.raw)
        watch.feed(broken.content)
        assert watch.fault is not None and watch.fault.code.value == "OVERLOADED"
    await lab.close()


def test_every_trouble_is_told_as_its_dialect_reads_it() -> None:
    mint = Mint(0, 1, 0.0)
    for family in (TRINO, CLICKHOUSE):
        for trouble in Trouble:
            body, status = family.error(trouble, Status(), mint), family.status(trouble)
            headers = [(b"content-type", b"application/json"), *family.error_fields(trouble, Status())]
            fault = REGISTRY[family.name].judge(Facts("statement"), status, headers, body, 0.0, whole=True)
            assert fault is not None, (family.name, trouble)


@given(st.sampled_from(["/", "/v1/statement"]), st.text(max_size=40))
def test_no_statement_crashes_them(path: str, statement: str) -> None:
    operation = Routes(lambda: 0.0).find(Head("POST", path, [(b"x-trino-user", b"u")]), path)
    try:
        assert operation.answer({"statement": statement}, Scenario(), Mint(0, 1, 0.0)).frames
    except RejectedError as refused:
        assert refused.message
