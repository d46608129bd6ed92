"""One control plane for all tests of a worker process, with seawall's definitions in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kube import Cluster, cluster

CRDS = Path(__file__).parents[2] / "charts" / "seawall-crds" / "templates"


@pytest.fixture(scope="session")
def kube() -> Iterator[Cluster]:
    with cluster() as running:
        running.kubectl("apply", "--server-side", "-f", str(CRDS))
        running.kubectl("wait", "--for=condition=Established", "crd", "-l", "!none", "--timeout=20s")
        running.furnished("kube-system")
        yield running
