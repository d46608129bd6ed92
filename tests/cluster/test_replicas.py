"""Two replicas, and what is cut between them and the API server: never two that write, and nothing that is lost."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import create_default_context

import httpx
import pytest
from kube import Cluster
from kube_objects import route, upstream
from kube_world import seconds_until
from operating import Operating, operating
from polling import WAIT, apply, condition, kubectl, maker, wait_for
from ports import free_port
from relay import relaying


async def leads(client: httpx.AsyncClient, operator: Operating) -> bool:
    return "seawall_operator_leader 1.0" in (await client.get(f"{operator.admin_url}/metrics")).text


@asynccontextmanager
async def two_replicas(
    kube: Cluster, folder: Path, *, through: str = "", advertise: str = "", port: int = 0
) -> AsyncIterator[tuple[Operating, Operating]]:
    """The first one leads. `through`: its line to the API server; `advertise`: where the other one reaches it."""
    token = folder / "peer-token"
    made = ("create", "token", "default", "-n", "kube-system", "--audience=seawall-operator")
    token.write_text(await kubectl(kube, *made))
    shared = ["--peer-token", str(token), "--ca", str(folder / "operator-ca.pem"), "--url", "https://localhost:1"]
    first = [*shared, "--identity", "one", "--advertise", advertise or f"https://127.0.0.1:{port}"]
    async with operating(kube, folder, *first, port=port, through=through) as one, httpx.AsyncClient() as client:
        await seconds_until(lambda: leads(client, one), 40)
        other = folder / "other"
        other.mkdir()
        for name in ("operator-ca.pem", "operator.pem"):
            shutil.copy(folder / name, other / name)
        async with operating(kube, other, *shared, "--identity", "two") as two:
            yield one, two
            assert [await two.stop(), await one.stop()] == [0, 0]


@pytest.mark.timeout(180)
async def test_a_leader_that_cannot_reach_the_api_server_stops_before_another_one_begins(
    kube: Cluster, tmp_path: Path, namespace: str
) -> None:
    async with (
        relaying(kube.url) as line,
        two_replicas(kube, tmp_path, through=line.url, port=free_port()) as (one, two),
        httpx.AsyncClient() as client,
    ):
        await apply(kube, namespace, upstream(), route())
        await wait_for(kube, namespace, "Programmed", "agentroute/chat")
        both = []

        async def watching() -> None:
            while True:
                both.append(await asyncio.gather(leads(client, one), leads(client, two)))
                await asyncio.sleep(0.05)

        watcher = asyncio.create_task(watching())
        await line.down()
        await apply(kube, namespace, route(path="/edited"), route("new"))
        took = await seconds_until(lambda: leads(client, two), 40)
        print(f"another one leads {took:.1f} s after the cut")
        await wait_for(kube, namespace, "Programmed", "agentroute/new")
        await wait_for(kube, namespace, "Programmed", "agentroute/chat")
        await line.up()

        async def agree() -> bool:
            """Both serve the same, the edits that one of them could not see included."""
            served = []
            for operator in (one, two):
                context = create_default_context(cafile=operator.ca_file)
                async with httpx.AsyncClient(verify=context) as polling:
                    pod = await maker(kube, polling, operator.url)(namespace)
                    served.append(await pod.revision())
            return served[0] == served[1]

        await seconds_until(agree, 40)
        await asyncio.sleep(3)
        watcher.cancel()
        assert [True, True] not in both
        assert both[0] == [True, False] and both[-1] == [False, True]


async def test_what_sidecars_said_while_replicas_were_cut_off_from_each_other_is_passed_on_after(
    kube: Cluster, tmp_path: Path, namespace: str
) -> None:
    port = free_port()
    async with (
        relaying(f"https://127.0.0.1:{port}") as line,
        two_replicas(kube, tmp_path, advertise=line.url, port=port) as (_, two),
        httpx.AsyncClient(verify=create_default_context(cafile=two.ca_file), timeout=60) as client,
    ):
        await apply(kube, namespace, upstream(), route())
        await wait_for(kube, namespace, "Programmed", "agentroute/chat")
        pod = await maker(kube, client, two.url)(namespace, name="agent")
        polling = asyncio.create_task(pod.poll(await pod.revision()))
        await kubectl(kube, "wait", "-n", namespace, "--for=jsonpath={.status.synced}=1/1", "agentroute/chat", WAIT)
        await line.down()
        await apply(kube, namespace, route(retry={"attempts": 7}))
        revision = (await polling).headers["ETag"].strip('"')
        polling = asyncio.create_task(pod.poll(revision))
        await asyncio.sleep(3)
        assert condition(kube, namespace, "agentroute/chat")[1] == "Pending"
        await line.up()

        async def programmed() -> bool:
            return (await asyncio.to_thread(condition, kube, namespace, "agentroute/chat"))[1] == "Programmed"

        # Long before the sidecar's next question.
        await seconds_until(programmed, 15)
        polling.cancel()
