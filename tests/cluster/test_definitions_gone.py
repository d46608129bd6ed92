"""Definitions that are deleted under a running operator, and come back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from ssl import create_default_context

import httpx
import pytest
from helm import CRDS
from kube import Cluster, cluster
from kube_objects import route, upstream
from kube_world import seconds_until
from operating import operating
from polling import Pod, apply, kubectl, maker, wait_for

from seawall.policy.bundle import unpack


@pytest.fixture
def alone() -> Iterator[Cluster]:
    """A control plane that no other test has."""
    with cluster() as running:
        defined(running)
        running.furnished("kube-system")
        running.namespace("team")
        yield running


def defined(kube: Cluster) -> None:
    kube.kubectl("apply", "--server-side", "-f", str(CRDS / "templates"))
    kube.kubectl("wait", "--for=condition=Established", "crd", "-l", "!none", "--timeout=20s")


async def names(pod: Pod) -> list[str]:
    return [one.name for one in unpack((await pod.poll()).content).policy.routes]


@pytest.mark.timeout(240)
async def test_an_operator_outlives_its_definitions_and_goes_on_when_they_are_back(
    alone: Cluster, tmp_path: Path
) -> None:
    async with (
        operating(alone, tmp_path) as operator,
        httpx.AsyncClient(verify=create_default_context(cafile=operator.ca_file), timeout=60) as client,
    ):
        await apply(alone, "team", upstream(), route())
        await wait_for(alone, "team", "Programmed", "agentroute/chat")
        pod = await maker(alone, client, operator.url)("team")
        assert await names(pod) == ["chat"]
        await kubectl(alone, "delete", "crd", "agentroutes.seawall.dev")

        async def none_left() -> bool:
            return await names(pod) == []

        await seconds_until(none_left, 20)
        await asyncio.sleep(12)
        assert operator.process.returncode is None
        assert (await client.get(f"{operator.admin_url}/livez")).status_code == 200
        await asyncio.to_thread(defined, alone)
        await apply(alone, "team", route("again"))

        async def back() -> bool:
            return await names(pod) == ["again"]

        took = await seconds_until(back, 60)
        print(f"{took:.1f} s after the definitions were back")
        acknowledged = asyncio.create_task(pod.poll(await pod.revision()))
        await wait_for(alone, "team", "Programmed", "agentroute/again")
        # From then on as ever: the next edit answers the question.
        await apply(alone, "team", route("more"))
        async with asyncio.timeout(5):
            assert {one.name for one in unpack((await acknowledged).content).policy.routes} == {"again", "more"}
        assert await operator.stop() == 0
