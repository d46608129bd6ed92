"""From `kubectl apply` to an agent's call: an API server, the operator, and proxies that follow it."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from kube import Cluster
from kube_objects import route, upstream
from kube_world import WAIT, World, seconds_until, status, world_in
from operating import operating
from peers import Recorder, serving
from processes import served


@pytest.fixture
async def world(kube: Cluster, tmp_path: Path) -> AsyncIterator[World]:
    async with world_in(kube, tmp_path) as found:
        yield found


async def slow_stream(url: str, began: asyncio.Event) -> list[str]:
    """The data of its events; the lab takes seconds for them."""
    body = {"model": "lab-gap-400ms", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with httpx.AsyncClient(timeout=60) as client, client.stream("POST", url, json=body) as answer:
        assert answer.status_code == 200
        found = []
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                found.append(line.removeprefix("data: "))
                began.set()
        return found


async def test_what_is_applied_is_in_effect_within_three_seconds_while_streams_go_on(world: World) -> None:
    async with operating(world.kube, world.folder) as operator:
        await world.apply(world.upstream(), route("first"))
        await world.kubectl("wait", "--for=condition=Programmed", "agentroute/first", WAIT)
        policy, folder, words = await world.sidecar_words(operator, "agent-1")
        async with served(policy, folder, *words) as proxy:
            assert await status(proxy, "first") == 200
            took, began_streaming = [], asyncio.Event()
            streaming = asyncio.create_task(slow_stream(f"{proxy.url}/first/chat/completions", began_streaming))
            await began_streaming.wait()
            for number in range(5):
                began = time.monotonic()
                await world.apply(route(f"more-{number}"))

                async def answers(name: str = f"more-{number}") -> bool:
                    return await status(proxy, name) == 200

                await seconds_until(answers)
                took.append(time.monotonic() - began)
            print("seconds from apply to effect:", *(f"{one:.2f}" for one in took))
            assert max(took) <= 3.0
            assert await status(proxy, "first") == 200
            events = await streaming
            assert events[-1] == "[DONE]" and not any("error" in json.loads(event) for event in events[:-1])
        assert await operator.stop() == 0


async def test_wait_returns_only_once_the_sidecars_run_it(world: World) -> None:
    async with operating(world.kube, world.folder) as operator:
        await world.apply(world.upstream(), route("chat"))
        await world.kubectl("wait", "--for=condition=Programmed", "agentroute/chat", WAIT)
        one, two = await world.sidecar_words(operator, "agent-1"), await world.sidecar_words(operator, "agent-2")
        async with served(one[0], one[1], *one[2]) as first, served(two[0], two[1], *two[2]) as second:

            async def synced() -> bool:
                return "2/2" in await world.kubectl("get", "agentroute", "chat")

            await seconds_until(synced)
            for number in range(3):
                await world.apply(route("chat", path=f"/chat-{number}"))
                await world.kubectl("wait", "--for=condition=Programmed", "agentroute/chat", WAIT)
                # At once, without another try.
                assert [await status(proxy, f"chat-{number}") for proxy in (first, second)] == [200, 200]
            conditions = world.kube.get("-n", world.namespace, "agentroute", "chat")["status"]["conditions"]
            assert {c["type"]: c["reason"] for c in conditions}["Programmed"] == "Programmed"
        assert await operator.stop() == 0


async def test_an_edit_that_is_wrong_takes_no_traffic_down(world: World) -> None:
    async with operating(world.kube, world.folder) as operator:
        await world.apply(world.upstream(), route("chat"), route("other"))
        await world.kubectl("wait", "--for=condition=Programmed", "agentroute/chat", WAIT)
        policy, folder, words = await world.sidecar_words(operator, "agent-1")
        async with served(policy, folder, *words) as proxy:
            assert await status(proxy, "chat") == 200
            await world.apply(route("chat", path="/other"))
            await world.kubectl("wait", "--for=condition=Accepted=False", "agentroute/chat", WAIT)
            assert await status(proxy, "chat") == 200
            assert await status(proxy, "other") == 200
        assert await operator.stop() == 0


def bring(folder: Path, **keys: str) -> None:
    """Files of a mounted Secret, swapped in all at once as the kubelet does it."""
    folder.mkdir(exist_ok=True)
    version = folder / f"..{secrets.token_hex(4)}"
    version.mkdir()
    for name, text in keys.items():
        (version / name).write_text(text)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data", name))
    (folder / "..data.tmp").symlink_to(version.name)
    (folder / "..data.tmp").rename(folder / "..data")


async def test_keys_of_the_namespace_s_secret_come_and_change_without_a_restart(world: World) -> None:
    seen, mounted = Recorder(), world.folder / "credentials"
    bring(mounted)
    async with serving(seen) as port, operating(world.kube, world.folder) as operator:
        auth = {"type": "APIKey", "keyFile": str(mounted / "openai")}
        await world.apply(upstream("a", baseURL=f"http://127.0.0.1:{port}", auth=auth), route("chat"))
        await world.kubectl("wait", "--for=condition=Programmed", "agentroute/chat", WAIT)
        policy, folder, words = await world.sidecar_words(operator, "agent-1")
        async with served(policy, folder, *words) as proxy:

            async def sent(key: str) -> bool:
                await status(proxy, "chat")
                return bool(seen.heads) and seen.fields(b"authorization")[-1:] == [f"Bearer {key}".encode()]

            assert await status(proxy, "chat") == 502
            bring(mounted, openai="first", anthropic="other")
            await seconds_until(lambda: sent("first"))
            bring(mounted, openai="second", anthropic="other")
            await seconds_until(lambda: sent("second"))
        assert await operator.stop() == 0
