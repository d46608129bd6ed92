"""Documents as somebody applies them with kubectl, and pods that poll for what became of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from kube import Cluster

WAIT = "--timeout=20s"


def plain(obj: dict[str, Any], namespace: str) -> dict[str, Any]:
    """As somebody applies it."""
    meta = obj["metadata"]
    kept = {"name": meta["name"], **({"namespace": namespace} if "namespace" in meta else {})}
    return {**obj, "metadata": kept}


async def apply(kube: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    done = await asyncio.to_thread(kube.apply, *(plain(obj, namespace) for obj in objects))
    assert done.returncode == 0, done.stderr


async def kubectl(kube: Cluster, *words: str) -> str:
    return await asyncio.to_thread(kube.kubectl, *words)


async def wait_for(kube: Cluster, namespace: str, condition: str, name: str) -> None:
    await kubectl(kube, "wait", "-n", namespace, f"--for=condition={condition}", name, WAIT)


def condition(kube: Cluster, namespace: str, name: str, kind: str = "Programmed") -> tuple[str, str, str]:
    """Status, reason and message, as they are now. `name`: `agentroute/chat`."""
    found = kube.get("-n", namespace, name)["status"]["conditions"]
    one = next(one for one in found if one["type"] == kind)
    return one["status"], one["reason"], one["message"]


class Pod:
    """Polls as a sidecar does, with a real token."""

    def __init__(self, client: httpx.AsyncClient, token: str, url: str) -> None:
        self.client, self.token, self.url = client, token, url

    async def poll(self, running: str = "", **headers: str) -> httpx.Response:
        known = {"If-None-Match": f'"{running}"'} if running else {}
        return await self.client.get(self.url, headers={"Authorization": f"Bearer {self.token}", **known, **headers})

    async def revision(self) -> str:
        """What is served."""
        return (await self.poll()).headers["ETag"].strip('"')


MakePod = Callable[..., Awaitable[Pod]]


def maker(kube: Cluster, client: httpx.AsyncClient, url: str) -> MakePod:
    """Of pods that poll the operator at `url`."""

    async def pod(
        namespace: str, audience: str = "seawall-operator", of: str = "", profile: str = "default", name: str = ""
    ) -> Pod:
        """`of`: the namespace whose bundle it asks for. `name`: of a real pod, to which its token is bound."""
        bound: list[str] = []
        if name:
            spec = {"containers": [{"name": "agent", "image": "none"}]}
            metadata = {"name": name, "namespace": namespace}
            done = await asyncio.to_thread(
                kube.apply, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
            )
            assert done.returncode == 0, done.stderr
            bound = ["--bound-object-kind=Pod", f"--bound-object-name={name}"]
        token = await kubectl(kube, "create", "token", "default", "-n", namespace, "--audience", audience, *bound)
        return Pod(client, token, f"{url}/v1/bundles/{of or namespace}/{profile}")

    return pod
