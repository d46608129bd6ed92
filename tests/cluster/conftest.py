"""One control plane for all tests of a worker process, with seawall's definitions in it."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from ssl import create_default_context

import httpx
import pytest
from kube import Cluster, cluster
from operating import Operating, operating
from polling import MakePod, maker

CRDS = Path(__file__).parents[2] / "charts" / "seawall-crds" / "templates"


@pytest.fixture(scope="session")
def kube() -> Iterator[Cluster]:
    with cluster() as running:
        running.kubectl("apply", "--server-side", "-f", str(CRDS))
        running.kubectl("wait", "--for=condition=Established", "crd", "-l", "!none", "--timeout=20s")
        running.furnished("kube-system")
        yield running


@pytest.fixture
async def operator(kube: Cluster, tmp_path: Path) -> AsyncIterator[Operating]:
    async with operating(kube, tmp_path) as running:
        yield running
        assert await running.stop() == 0


@pytest.fixture
def namespace(kube: Cluster) -> str:
    return kube.namespace(f"t-{secrets.token_hex(4)}")


@pytest.fixture
async def pods(kube: Cluster, operator: Operating) -> AsyncIterator[MakePod]:
    async with httpx.AsyncClient(verify=create_default_context(cafile=operator.ca_file), timeout=60) as client:
        yield maker(kube, client, operator.url)
