"""A namespace of a real cluster, a lab behind it, and what a pod's sidecar finds there."""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import harness
import httpx
from kube import Cluster
from kube_objects import upstream
from operating import Operating
from processes import Served

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


async def status(proxy: Served, name: str) -> int:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    async with httpx.AsyncClient() as client:
        return (await client.post(f"{proxy.url}/{name}/chat/completions", json=body)).status_code


async def seconds_until(condition: Callable[[], Awaitable[bool]], most: float = 20.0) -> float:
    began = time.monotonic()
    async with asyncio.timeout(most):
        while not await condition():
            await asyncio.sleep(0.02)
    return time.monotonic() - began


@asynccontextmanager
async def world_in(kube: Cluster, folder: Path) -> AsyncIterator[World]:
    """A new namespace."""
    namespace = await asyncio.to_thread(kube.namespace, f"e-{secrets.token_hex(4)}")
    async with harness.lab() as provider:
        yield World(kube, namespace, provider, folder)
