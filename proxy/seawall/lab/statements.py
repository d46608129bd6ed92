"""What the emulated warehouses have in common: statements that were submitted, how far they are, and what they return.

Every statement has the same three columns; so many rows as its LIMIT says, three without one. What does not select
returns the number of rows that it has changed. Deterministic for a seed and a statement.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from seawall.lab.answer import RejectedError
from seawall.lab.plan import Trouble
from seawall.lab.warehouse import Store
from seawall.types import Head

RUNNING_SECONDS = 0.2
"""How long a statement runs that is not waited for."""

_LARGEST = 32 * 1024
_MOST_ROWS = 100_000
_LIMIT = re.compile(r"\blimit\s+(\d{1,9})\s*;?\s*$", re.IGNORECASE)
_SELECTS = re.compile(r"\s*(?:select|with|show|describe|explain|values)\b", re.IGNORECASE)
_REGIONS = ("north", "east", "south", "west")


@dataclass(frozen=True, slots=True)
class Statement:
    """rows: how many its result has. ready: when it is done, in seconds since the lab's start."""

    id: str
    sql: str
    rows: int
    ready: float
    created: int
    """Seconds since 1970."""
    seed: int
    more: dict[str, object] = field(default_factory=dict)

    @property
    def selects(self) -> bool:
        return _SELECTS.match(self.sql) is not None

    def result(self) -> list[tuple[int, str, float]]:
        """`id`, `region`, `amount`; empty for what changes rows."""
        if not self.selects:
            return []
        rng = random.Random(f"{self.seed}/{self.sql}")
        return [(at + 1, rng.choice(_REGIONS), round(rng.uniform(10, 1000), 2)) for at in range(self.rows)]


class Statements:
    """A bounded memory of them; `elapsed` gives the seconds since the lab's start."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._store = Store()

    def submit(
        self, id_: str, sql: object, *, name: str, seed: int, now: int, waited: bool, key: str | None = None,
        more: dict[str, object] | None = None,
    ) -> Statement:  # fmt: skip
        """A new statement. name: of the member that holds it, for errors. waited: its result is waited for. key: under
        which it can be found by `known`."""
        if not isinstance(sql, str) or not sql.strip():
            raise RejectedError(Trouble.INVALID, f"{name}: must be a statement")
        if len(sql) > _LARGEST:
            raise RejectedError(Trouble.CONTEXT, f"{name}: at most {_LARGEST} characters")
        limit = _LIMIT.search(sql)
        rows = min(int(limit[1]), _MOST_ROWS) if limit else 3
        ready = self._elapsed() + (0.0 if waited else RUNNING_SECONDS)
        statement = Statement(id_, sql, rows, ready, now, seed, more or {})
        self._store.put(id_, ready, {"statement": statement}, key)
        return statement

    def known(self, key: str | None) -> Statement | None:
        """What was submitted under a key before."""
        id_ = self._store.by_key(key)
        return None if id_ is None else self.get(id_)

    def get(self, id_: str) -> Statement:
        """Raises RejectedError for an unknown one."""
        found = self._store.get(id_)[1]["statement"]
        assert isinstance(found, Statement)
        return found

    def done(self, statement: Statement) -> bool:
        return self._elapsed() >= statement.ready


def parameter(head: Head, name: str) -> str:
    """The first value of a query's parameter; "" where it has none."""
    return parse_qs(head.target.partition("?")[2]).get(name, [""])[0]
