"""What the tests of warehouses share: two upstreams in the lab, `east` before `west`, and a route to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from harness import Running, lab, proxy, route, upstream
from stage import LENIENT, QUICK_RETRIES

from seawall.lab import Lab

SELECT = "SELECT id, region, amount FROM sales ORDER BY id"
INSERT = "INSERT INTO sales VALUES (1, 'north', 2.5)"


@dataclass(frozen=True)
class Stage:
    lab: Lab
    running: Running

    @property
    def url(self) -> str:
        """With the route's prefix."""
        return f"{self.running.url}/wh"

    @property
    def seen(self) -> list[tuple[str, int | None]]:
        """Each attempt: where it went, and how it was answered."""
        return [(attempt.upstream, attempt.status) for attempt in self.lab.attempts()]


@asynccontextmanager
async def warehouse(
    folder: Path,
    dialect: str,
    rule: str = QUICK_RETRIES,
    *,
    base: str = "",
    upstreams: str = "east west",
    extra: str = "",
) -> AsyncIterator[Stage]:
    """base: path of the upstreams' base URLs. extra: of every upstream."""
    async with lab(seed=7) as started:
        policy = "".join(
            upstream(name, f"{started.url}/u/{name}{base}", dialect, dedent(LENIENT) + extra)
            for name in upstreams.split()
        )
        async with proxy(policy + route("wh", "/wh", upstreams, rule), folder) as running:
            yield Stage(started, running)
