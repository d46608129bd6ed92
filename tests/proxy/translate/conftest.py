"""A pool and a lab for each test that asks a provider."""

from collections.abc import AsyncIterator

import pytest
from asking import CLOCK
from harness import lab as running_lab

from seawall.lab import Lab
from seawall.upstream.pool import Pool


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool(CLOCK)
    yield made
    await made.close()


@pytest.fixture
async def lab(pool: Pool) -> AsyncIterator[Lab]:
    async with running_lab(seed=3) as running:
        yield running
        # It waits until all have left.
        await pool.close()
