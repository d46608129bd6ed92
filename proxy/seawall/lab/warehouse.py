"""A small generic warehouse: queries, jobs, pipelines, with JSON over HTTP. It keeps a bounded memory of both.

States move with the time that is passed in; answers are the same for the same seed and statement.
"""

import random
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from seawall.lab.answer import Answer, Json, Mint, RejectedError, count, encode, plain
from seawall.lab.families import Warehouse
from seawall.lab.plan import Scenario, Status, Trouble

FAMILY = Warehouse()
_KEPT = 2_000
_LARGEST = 32 * 1024
"""Bytes of one query or job; 64 MB of them are kept at most."""
_QUERY_SECONDS = 0.2
_JOB_SECONDS = (0.1, 0.5)
"""Until a job runs, and until it is done, counted from its creation."""
REGIONS = ("north", "east", "south", "west")


class Store:
    """What was submitted, oldest forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, dict[str, Any]]] = OrderedDict()
        self._keys: OrderedDict[str, str] = OrderedDict()

    def put(self, id_: str, now: float, document: dict[str, Any], key: str | None = None) -> None:
        self._kept[id_] = (now, document)
        if key is not None:
            self._keys[key] = id_
        for memory in (self._kept, self._keys):
            while len(memory) > _KEPT:
                memory.popitem(last=False)

    def get(self, id_: str) -> tuple[float, dict[str, Any]]:
        """When it came, and what it was. Raises RejectedError where nothing is known by that id."""
        found = self._kept.get(id_)
        if found is None:
            raise RejectedError(Trouble.NOT_FOUND, f"nothing is known by the id {id_!r}")
        return found

    def by_key(self, key: str | None) -> str | None:
        """The id that was made under an idempotency key."""
        id_ = self._keys.get(key) if key is not None else None
        return id_ if id_ in self._kept else None


class PostQuery:
    """`{"sql": …, "rows": 3, "format": json | csv | ndjson, "wait": true}`; without waiting: 202 and where to poll."""

    name = "query"
    family = FAMILY

    def __init__(self, store: Store, now: float) -> None:
        self._store = store
        self._now = now

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        sql = body.get("sql")
        if not isinstance(sql, str) or not sql.strip():
            raise RejectedError(Trouble.INVALID, "sql: must be a statement")
        _check_size(sql)
        id_ = mint.id("q-", 16)
        query = {"id": id_, "sql": sql, "rows": min(count(body, "rows", 3) or 3, 100_000)}
        self._store.put(id_, self._now, query)
        if body.get("wait") is False:
            headers = [(b"location", f"/warehouse/queries/{id_}".encode()), (b"retry-after", b"1")]
            answer = plain({"id": id_, "status": "RUNNING", "sql": sql}, 202)
            answer.headers = headers
            return answer
        done = _done(query, mint.seed)
        match body.get("format", "json"):
            case "csv":
                lines = [done["columns"], *done["rows"]]
                return Answer([b"".join(_csv_line(line) for line in lines)], b"text/csv; charset=utf-8")
            case "ndjson":
                return _lines(done)
            case "json":
                return plain(done)
            case other:
                raise RejectedError(Trouble.INVALID, f"format: unknown format {other!r}")


class GetQuery:
    name = "query_status"
    family = FAMILY

    def __init__(self, store: Store, now: float, id_: str) -> None:
        self._store = store
        self._now = now
        self._id = id_

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        since, query = self._store.get(self._id)
        if self._now - since < _QUERY_SECONDS:
            return plain({"id": self._id, "status": "RUNNING", "sql": query["sql"]})
        return plain(_done(query, mint.seed))


class PostJob:
    """`{"name": …}` and anything else. An Idempotency-Key that was seen before answers with the job made then."""

    name = "job"
    family = FAMILY

    def __init__(self, store: Store, now: float, key: str | None) -> None:
        self._store = store
        self._now = now
        self._key = key

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        name = body.get("name")
        if not isinstance(name, str) or not name:
            raise RejectedError(Trouble.INVALID, "name: a job needs a name")
        known = self._store.by_key(self._key)
        if known is not None:
            return plain(_job(*self._store.get(known), self._now))
        id_ = mint.id("job-", 16)
        _check_size(encode(body))
        self._store.put(id_, self._now, {**body, "id": id_}, self._key)
        answer = plain(_job(*self._store.get(id_), self._now), 201)
        answer.headers = [(b"location", f"/warehouse/jobs/{id_}".encode())]
        return answer


class GetJob:
    name = "job_status"
    family = FAMILY

    def __init__(self, store: Store, now: float, id_: str) -> None:
        self._store = store
        self._now = now
        self._id = id_

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        return plain(_job(*self._store.get(self._id), self._now))


class GetPipeline:
    name = "pipeline_status"
    family = FAMILY

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        rng = random.Random(f"{mint.seed}/{self._pipeline}")
        status = {
            "pipeline": self._pipeline,
            "status": "HEALTHY" if rng.random() < 0.8 else "DELAYED",
            "lag_seconds": rng.randrange(1, 900),
            "rows_processed": rng.randrange(1_000, 1_000_000),
        }
        answer = plain(status)
        answer.headers = [(b"etag", b'"%d"' % rng.getrandbits(48)), (b"cache-control", b"max-age=5")]
        return answer


def _job(since: float, document: Mapping[str, Any], now: float) -> dict[str, Any]:
    age = now - since
    status = "QUEUED" if age < _JOB_SECONDS[0] else "RUNNING" if age < _JOB_SECONDS[1] else "SUCCEEDED"
    return {**document, "status": status}


def _check_size(given: str | bytes) -> None:
    if len(given) > _LARGEST:
        raise RejectedError(Trouble.CONTEXT, f"at most {_LARGEST} bytes")


def _done(query: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The result, made anew for whoever asks rather than kept: the same for the same seed and statement."""
    rng = random.Random(f"{seed}/{query['sql']}")
    rows = [[at + 1, rng.choice(REGIONS), round(rng.uniform(10, 1000), 2)] for at in range(query["rows"])]
    told = {"id": query["id"], "status": "SUCCEEDED", "sql": query["sql"]}
    return {**told, "columns": ["id", "region", "amount"], "rows": rows, "row_count": len(rows)}


def _csv_line(values: list[Any]) -> bytes:
    return ",".join(str(value) for value in values).encode() + b"\r\n"


def _lines(done: Json) -> Answer:
    """A stream: the columns, a line per row, and a last line that says that it is whole."""

    def error_event(trouble: Trouble, failed: bool, sent: int) -> bytes:
        return FAMILY.error(trouble, Status(), Mint(0, 0, 0)) + b"\n"

    frames = [encode({"id": done["id"], "columns": done["columns"]}) + b"\n"]
    frames += [encode(dict(zip(done["columns"], row, strict=True))) + b"\n" for row in done["rows"]]
    frames.append(encode({"status": done["status"], "row_count": done["row_count"]}) + b"\n")
    return Answer(frames, b"application/x-ndjson", stream=True, prelude=1, terminal=1, error_event=error_event)
