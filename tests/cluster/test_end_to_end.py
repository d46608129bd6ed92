"""From `kubectl apply` to an agent's call: an API server, the operator, and proxies that follow it."""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import harness
import httpx
import pytest
from harness import lab
from kube import Cluster
from kube_objects import route, upstream
from operating import Operating, operating
from peers import Recorder, serving
from processes import Served, served

from seawall.follow import FILE
from seawall.lab import Lab

WAIT = "--timeout=20s"
NOTHING = harness.upstream("nowhere", "http://127.0.0.1:9")


class World:
    """A namespace, with everything around it."""

    def __init__(self, kube: Cluster, namespace: str, provider: Lab, folder: Path) -> None:
        self.kube, self.namespace, self.provider, self.folder = kube, namespace, provider, folder

    async def kubectl(self, *words: str) -> str:
        return await asyncio.to_thread(self.kube.kubectl, "-n", self.namespace, *words)

    async def apply(self, *objects: dict[str, Any]) -> None:
        plain = []
        for obj in objects:
            metadata = {"name": obj["metadata"]["name"], "namespace": self.namespace}
            plain.append({**obj, "metadata": metadata})
        done = await asyncio.to_thread(self.kube.apply, *plain)
        assert done.returncode == 0, done.stderr

    def upstream(self, name: str = "a") -> dict[str, Any]:
        return upstream(name, baseURL=f"{self.provider.url}/u/{name}/v1")

    async def sidecar_words(self, operator: Operating, pod: str) -> tuple[Path, Path, list[str]]:
        """Files and options of a pod's sidecar: a token that is bound to the pod, and what the operator left for it."""
        folder = self.folder / pod
        (folder / "state").mkdir(parents=True)
        body = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": self.namespace},
            "spec": {"containers": [{"name": "agent", "image": "none"}]},
        }  # fmt: skip
        done = await asyncio.to_thread(self.kube.apply, body)
        assert done.returncode == 0, done.stderr
        token = await self.kubectl(
            "create", "token", "default", "--audience=seawall-operator", "--bound-object-kind=Pod",
            f"--bound-object-name={pod}",
        )  # fmt: skip
        (folder / "token").write_text(token)
        (folder / "policy.yaml").write_text(NOTHING)
        stored = self.kube.get("-n", self.namespace, "configmap", "seawall-bundle-default")["binaryData"][FILE]
        trusted = self.kube.get("-n", self.namespace, "configmap", "seawall-ca")["data"]["ca.crt"]
        (folder / "ca.crt").write_text(trusted)
        (folder / FILE).write_bytes(base64.b64decode(stored))
        words = [
            "--operator", operator.url, "--profile", f"{self.namespace}/default",
            "--operator-token", str(folder / "token"),
            "--operator-ca", str(folder / "ca.crt"), "--state", str(folder / "state"), "--bundle", str(folder / FILE),
        ]  # fmt: skip
        return folder / "policy.yaml", folder, words


@pytest.fixture
async def world(kube: Cluster, tmp_path: Path) -> AsyncIterator[World]:
    namespace = await asyncio.to_thread(kube.namespace, f"e-{secrets.token_hex(4)}")
    async with lab() as provider:
        yield World(kube, namespace, provider, tmp_path)


async def status(proxy: Served, name: str) -> int:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    async with httpx.AsyncClient() as client:
        return (await client.post(f"{proxy.url}/{name}/chat/completions", json=body)).status_code


async def seconds_until(condition: Callable[[], Awaitable[bool]]) -> float:
    began = time.monotonic()
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_what_is_applied_is_in_effect_within_three_seconds(world: World) -> None:
    async with operating(world.kube, world.folder) as operator:
        await world.apply(world.upstream(), route("first"))
        await world.kubectl("wait", "--for=condition=Programmed", "agentroute/first", WAIT)
        policy, folder, words = await world.sidecar_words(operator, "agent-1")
        async with served(policy, folder, *words) as proxy:
            assert await status(proxy, "first") == 200
            took = []
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


async def test_pods_old_and_new_go_on_while_the_operator_is_away(world: World) -> None:
    async with operating(world.kube, world.folder) as operator:
        await world.apply(world.upstream(), route("chat"))
        await world.kubectl("wait", "--for=condition=Programmed", "agentroute/chat", WAIT)
        old, new = await world.sidecar_words(operator, "agent-1"), await world.sidecar_words(operator, "agent-2")
        async with served(old[0], old[1], *old[2]) as running:
            assert await status(running, "chat") == 200
            assert await operator.stop() == 0
            assert await status(running, "chat") == 200
            async with served(new[0], new[1], *new[2]) as started:
                assert await status(started, "chat") == 200


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
