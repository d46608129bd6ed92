"""What was checked, how long it took, and what was measured: printed at the end of a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Row:
    name: str
    seconds: float
    outcome: str
    figure: str = ""


@dataclass(slots=True)
class Table:
    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """A step before the tests: a row of its own, if it comes to its end."""
        began = time.monotonic()
        yield
        self.rows.append(Row(name, time.monotonic() - began, "done"))

    def lines(self) -> list[str]:
        width = max((len(row.name) for row in self.rows), default=0)
        return [f"{row.seconds:7.1f} s  {row.outcome:7} {row.name:{width}}  {row.figure}".rstrip() for row in self.rows]
