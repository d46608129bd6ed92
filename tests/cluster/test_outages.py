"""What goes on while the API server, its watches or the operator that leads are away, and what is made up for after."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from ssl import create_default_context
from typing import Any

import httpx
import pytest
from kube import Cluster
from kube_objects import route
from kube_world import WAIT, World, seconds_until, status, world_in
from operating import operating
from ports import free_port
from processes import served
from relay import relaying

AWAY = 60.0


@pytest.fixture
async def world(kube: Cluster, tmp_path: Path) -> AsyncIterator[World]:
    async with world_in(kube, tmp_path) as found:
        yield found


async def leads(url: str) -> bool:
    async with httpx.AsyncClient() as client:
        return "seawall_operator_leader 1.0" in (await client.get(f"{url}/metrics")).text


@pytest.mark.timeout(240)
async def test_an_api_server_that_is_away_for_a_minute_changes_nothing_and_is_caught_up_with(world: World) -> None:
    async with relaying(world.kube.url) as line, operating(world.kube, world.folder, through=line.url) as operator:
        await world.apply(world.upstream(), route("chat"), route("old"))
        await world.kubectl("wait", "--for=condition=Programmed", "agentroute/chat", "agentroute/old", WAIT)
        policy, folder, words = await world.sidecar_words(operator, "agent-1")
        async with served(policy, folder, *words) as proxy:
            assert await status(proxy, "chat") == 200
            await line.down()
            began = time.monotonic()
            await world.apply(route("new"))
            await world.kubectl("delete", "agentroute", "old")
            calls = 0
            while time.monotonic() - began < AWAY:
                assert await status(proxy, "chat") == 200
                calls += 1
                await asyncio.sleep(0.5)
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"{operator.admin_url}/livez")).status_code == 200
            assert not await leads(operator.admin_url)
            assert await status(proxy, "new") == 404 and await status(proxy, "old") == 200
            await line.up()

            async def caught_up() -> bool:
                return (await status(proxy, "new"), await status(proxy, "old")) == (200, 404)

            took = await seconds_until(caught_up, 60)
            print(f"{calls} calls while it was away; caught up {took:.1f} s after it was back")
            await world.kubectl("wait", "--for=condition=Programmed", "agentroute/new", "--timeout=40s")
            assert await leads(operator.admin_url)
        assert await operator.stop() == 0


@pytest.mark.timeout(120)
async def test_an_operator_is_ready_only_once_it_knows_everything_and_has_a_certificate(world: World) -> None:
    async def answers(path: str) -> int:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{operator.admin_url}{path}")).status_code

    async def ready() -> bool:
        return await answers("/readyz") == 200

    async with relaying(world.kube.url) as line:
        words = ("--tls-secret", f"tls-{world.namespace}")
        await line.down()
        async with operating(
            world.kube, world.folder, *words, through=line.url, own_certificate=True, ready=False
        ) as operator:
            await asyncio.sleep(2)
            assert (await answers("/livez"), await answers("/readyz")) == (200, 503)
            await line.up()
            # It knows everything soon, and may not read this Secret, nor has it been made: no certificate, not ready.
            await seconds_until(lambda: leads(operator.admin_url), 40)
            assert (await answers("/livez"), await answers("/readyz")) == (200, 503)
            assert await operator.stop() == 0
        async with operating(world.kube, world.folder, through=line.url, own_certificate=True, ready=False) as operator:
            await seconds_until(ready, 40)
            assert await operator.stop() == 0
        await asyncio.to_thread(world.kube.kubectl, "delete", "-n", "kube-system", "secret", "seawall-operator-tls")


async def test_a_watch_that_is_cut_misses_nothing(world: World) -> None:
    async with relaying(world.kube.url) as line, operating(world.kube, world.folder, through=line.url) as operator:
        await world.apply(world.upstream(), route("first"))
        await world.kubectl("wait", "--for=condition=Programmed", "agentroute/first", WAIT)
        policy, folder, words = await world.sidecar_words(operator, "agent-1")
        async with served(policy, folder, *words) as proxy:
            for number in range(3):
                line.cut()
                await world.apply(route(f"more-{number}"))

                async def answers(name: str = f"more-{number}") -> bool:
                    return await status(proxy, name) == 200

                # Sooner than everything is read anew.
                assert await seconds_until(answers, 9) < 9
        assert await operator.stop() == 0


@pytest.mark.timeout(180)
async def test_a_leader_that_is_killed_loses_nothing(world: World) -> None:
    token, port = world.folder / "peer-token", free_port()
    made = ("create", "token", "default", "-n", "kube-system", "--audience=seawall-operator")
    token.write_text(await asyncio.to_thread(world.kube.kubectl, *made))
    shared = ["--peer-token", str(token), "--ca", str(world.folder / "operator-ca.pem"), "--url", "https://localhost:1"]
    first = [*shared, "--identity", "one", "--advertise", f"https://127.0.0.1:{port}"]
    async with (
        operating(world.kube, world.folder, *first, port=port) as one,
        operating(world.kube, world.folder, *shared, "--identity", "two") as two,
    ):
        names = [f"r-{number}" for number in range(12)]
        await world.apply(world.upstream(), *(route(name) for name in names))
        await world.kubectl("wait", "--for=condition=Programmed", *(f"agentroute/{name}" for name in names), WAIT)
        assert await leads(one.admin_url) and not await leads(two.admin_url)
        policy, folder, words = await world.sidecar_words(two, "agent-1")
        async with served(policy, folder, *words) as proxy:
            assert await status(proxy, "r-0") == 200
            # In the midst of writing what became of them.
            await world.apply(*(route(name, path=f"/again-{name}") for name in names))
            assert await one.stop(signal.SIGKILL) == -signal.SIGKILL
            await world.apply(route("late"))

            async def answers() -> bool:
                return await status(proxy, "late") == 200

            assert await seconds_until(answers) < 3, "bundles need no leader"
            await world.kubectl(
                "wait", "--for=condition=Programmed", *(f"agentroute/{name}" for name in [*names, "late"]),
                "--timeout=60s",
            )  # fmt: skip
            assert await leads(two.admin_url)
            assert [await status(proxy, f"again-{name}") for name in names] == [200] * len(names)
            await settled(world, two.url, two.ca_file)
        assert await two.stop() == 0


async def settled(world: World, url: str, ca_file: Path) -> None:
    """What is served, what new pods would start from, and what is said of every object are of one revision."""
    token = (await world.kubectl("create", "token", "default", "--audience=seawall-operator")).strip()
    async with httpx.AsyncClient(verify=create_default_context(cafile=ca_file)) as client:
        path = f"{url}/v1/bundles/{world.namespace}/default"
        answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
    revision = answer.headers["ETag"].strip('"')
    kept = world.kube.get("-n", world.namespace, "configmap", "seawall-bundle-default")
    assert kept["metadata"]["annotations"]["seawall.dev/revision"] == revision
    objects: list[dict[str, Any]] = world.kube.get("-n", world.namespace, "agentroutes,effectivepolicies")["items"]
    for one in objects:
        assert one["status"]["revision"] == revision, one["metadata"]["name"]
        if one["kind"] == "AgentRoute":
            assert one["status"]["observedGeneration"] == one["metadata"]["generation"]


@pytest.mark.timeout(180)
async def test_policies_that_change_and_pods_that_start_while_the_operator_is_down_meet_when_it_is_back(
    world: World,
) -> None:
    port = free_port()
    async with operating(world.kube, world.folder, port=port) as operator:
        await world.apply(world.upstream(), route("chat"), route("old"))
        await world.kubectl("wait", "--for=condition=Programmed", "agentroute/chat", "agentroute/old", WAIT)
        older, newer = await world.sidecar_words(operator, "agent-1"), await world.sidecar_words(operator, "agent-2")
        assert await operator.stop() == 0
    async with served(older[0], older[1], *older[2]) as first:
        await world.apply(route("new"))
        await world.kubectl("delete", "agentroute", "old")
        async with served(newer[0], newer[1], *newer[2]) as second:
            assert [await status(proxy, "chat") for proxy in (first, second)] == [200, 200]
            assert [await status(proxy, "old") for proxy in (first, second)] == [200, 200]
            async with operating(world.kube, world.folder, port=port) as operator:

                async def caught_up() -> bool:
                    found = [(await status(one, "new"), await status(one, "old")) for one in (first, second)]
                    return found == [(200, 404)] * 2

                await seconds_until(caught_up, 40)
                await world.kubectl("wait", "--for=condition=Programmed", "agentroute/new", "--timeout=30s")

                async def counted() -> bool:
                    return "2/2" in await world.kubectl("get", "agentroute", "new")

                # Counts are written every 5 s at most.
                await seconds_until(counted)
                assert await operator.stop() == 0
