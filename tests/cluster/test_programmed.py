"""`Programmed` does not lie: not across namespaces, not of sidecars whose profile is gone, not after a restart."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import create_default_context

import httpx
from kube import Cluster
from kube_objects import made, policy, route, upstream
from operating import Operating, operating
from polling import WAIT, MakePod, Pod, apply, condition, kubectl, maker, wait_for
from ports import free_port


async def test_an_upstream_and_its_policy_follow_the_sidecars_of_the_namespaces_that_use_it(
    kube: Cluster, operator: Operating, namespace: str, pods: MakePod
) -> None:
    home = await asyncio.to_thread(kube.namespace, f"{namespace}-home")
    await apply(kube, home, upstream(), policy("p", "Upstream", "a", timeouts={"request": "90s"}))
    await wait_for(kube, home, "Programmed", "upstream/a")
    await becomes(kube, home, "upstream/a", "NotUsed")
    await apply(kube, namespace, route("chat", f"{home}/a"))
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    await becomes(kube, home, "upstream/a", "NoSidecars")
    pod = await pods(namespace)
    polling = asyncio.create_task(pod.poll("sha256:older", **{"X-Seawall-Refused": await pod.revision()}))
    await becomes(kube, home, "upstream/a", "Rejected")
    await becomes(kube, home, "resiliencepolicy/p", "Rejected")
    polling.cancel()
    polling = asyncio.create_task(pod.poll(await pod.revision()))
    await becomes(kube, home, "upstream/a", "Programmed")
    await becomes(kube, home, "resiliencepolicy/p", "Programmed")
    polling.cancel()
    # And when nobody uses it any more, it says so.
    await kubectl(kube, "delete", "-n", namespace, "agentroute", "chat")
    await becomes(kube, home, "upstream/a", "NotUsed")


async def becomes(kube: Cluster, namespace: str, name: str, reason: str) -> None:
    """Sooner than everything is read anew."""
    async with asyncio.timeout(8):
        while (await asyncio.to_thread(condition, kube, namespace, name))[1] != reason:
            await asyncio.sleep(0.1)


async def test_a_sidecar_whose_profile_is_gone_counts_like_the_others(
    kube: Cluster, operator: Operating, namespace: str, pods: MakePod
) -> None:
    profile = made("SidecarProfile", "gpu", {"selector": {"matchLabels": {"gpu": "yes"}}})
    await apply(kube, namespace, upstream(), route(), profile)
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    pod = await pods(namespace, profile="gpu")
    polling = asyncio.create_task(pod.poll(await pod.revision()))
    await becomes(kube, namespace, "agentroute/chat", "Programmed")
    await kubectl(kube, "delete", "-n", namespace, "sidecarprofile", "gpu")
    await apply(kube, namespace, route(retry={"attempts": 7}))
    answer = await polling
    waiting = asyncio.create_task(wait_for(kube, namespace, "Programmed", "agentroute/chat"))
    await asyncio.sleep(1.5)
    assert not waiting.done(), "it was sent, but nobody runs it"
    polling = asyncio.create_task(pod.poll(answer.headers["ETag"].strip('"')))
    await waiting
    polling.cancel()


@asynccontextmanager
async def operating_at(kube: Cluster, folder: Path, port: int, *words: str) -> AsyncIterator[tuple[Operating, MakePod]]:
    async with operating(kube, folder, *words, port=port) as operator:
        context = create_default_context(cafile=operator.ca_file)
        async with httpx.AsyncClient(verify=context, timeout=60) as client:
            yield operator, maker(kube, client, operator.url)


async def test_an_operator_that_starts_anew_takes_nobody_for_gone_who_has_not_spoken_yet(
    kube: Cluster, tmp_path: Path, namespace: str
) -> None:
    port = free_port()
    async with operating_at(kube, tmp_path, port) as (operator, pods):
        await apply(kube, namespace, upstream(), route())
        await wait_for(kube, namespace, "Programmed", "agentroute/chat")
        pod = await pods(namespace)
        first = await pod.revision()
        polling = asyncio.create_task(pod.poll(first))
        await kubectl(kube, "wait", "-n", namespace, "--for=jsonpath={.status.synced}=1/1", "agentroute/chat", WAIT)
        assert await operator.stop() == 0
        await polling
    async with operating_at(kube, tmp_path, port) as (operator, pods):
        # Nothing has changed, and so nothing is said to have.
        await asyncio.sleep(1.5)
        assert kube.get("-n", namespace, "agentroute", "chat")["status"]["synced"] == "1/1"
        await apply(kube, namespace, route(retry={"attempts": 7}))
        waiting = asyncio.create_task(wait_for(kube, namespace, "Programmed", "agentroute/chat"))
        await asyncio.sleep(3)
        assert not waiting.done(), "there is a sidecar, which has not asked yet"
        assert condition(kube, namespace, "agentroute/chat")[1] == "Pending"
        pod = await pods(namespace)
        second = await pod.revision()
        assert second != first
        polling = asyncio.create_task(pod.poll(second))
        await waiting
        polling.cancel()
        assert await operator.stop() == 0


async def test_two_sidecars_of_one_namespace_are_both_waited_for(
    kube: Cluster, operator: Operating, namespace: str, pods: MakePod
) -> None:
    await apply(kube, namespace, upstream(), route())
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    one, two = await pods(namespace, name="one"), await pods(namespace, name="two")
    served = await one.revision()

    def polling(pod: Pod, revision: str) -> "asyncio.Task[httpx.Response]":
        return asyncio.create_task(pod.poll(revision))

    polls = [polling(one, served), polling(two, "sha256:older")]
    await becomes(kube, namespace, "agentroute/chat", "Pending")
    assert condition(kube, namespace, "agentroute/chat")[2] == "1/2 sidecars run it."
    polls.append(polling(two, served))
    await becomes(kube, namespace, "agentroute/chat", "Programmed")
    async with httpx.AsyncClient() as client, asyncio.timeout(15):
        wanted = {
            'seawall_operator_sidecars{state="current"} 2.0', 'seawall_operator_sidecars{state="stale"} 0.0',
            "seawall_operator_waiting 0.0", 'seawall_operator_watch_stale_seconds{kind="AgentRoute"} 0.0',
        }  # fmt: skip
        while not wanted <= {*(found := (await client.get(f"{operator.admin_url}/metrics")).text).splitlines()}:
            await asyncio.sleep(0.2)
        assert 'seawall_operator_reconcile_seconds_count{outcome="good"}' in found
    for poll in polls:
        poll.cancel()
    lines = [json.loads(line) for line in operator.log.read_text().splitlines()]
    assert lines and all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
