"""What `make e2e` tests."""

from collections.abc import Iterator

import pytest
from building import Image, built


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    with built() as made:
        yield made
