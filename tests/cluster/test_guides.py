"""The commands of the guides, typed as they stand, beside a running operator and a sidecar."""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kube import Cluster
from kube_objects import route
from kube_world import WAIT, World, status, world_in
from operating import operating
from processes import served

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def inline(page: str, begin: str) -> list[str]:
    """Commands within its sentences, which may be broken into lines."""
    text = " ".join((DOCS / page).read_text(encoding="utf-8").split())
    return [one for one in re.findall(r"`(kubectl [^`]+)`", text) if one.startswith(begin)]


@pytest.fixture
async def world(kube: Cluster, tmp_path: Path) -> AsyncIterator[World]:
    async with world_in(kube, tmp_path) as found:
        yield found


def typed(world: World, text: str, namespace: str) -> str:
    """In a shell, for the world's namespace in place of the guide's; it must succeed."""
    kube = world.kube
    folders = os.pathsep.join([str(kube.kubectl_path.parent), os.environ["PATH"]])
    environment = {**os.environ, "KUBECONFIG": str(kube.kubeconfig), "HOME": str(kube.folder), "PATH": folders}
    command = ["bash", "-euo", "pipefail", "-c", text.replace(namespace, world.namespace)]
    done = subprocess.run(
        command, cwd=world.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done.stdout


async def test_the_commands_of_the_guides_do_what_they_say(world: World) -> None:
    async def run(text: str, namespace: str = "team-a") -> str:
        return await asyncio.to_thread(typed, world, text, namespace)

    async def decided(path: str) -> tuple[str, str]:
        found = await world.kubectl(
            "get", "effpol", "chat", "-o", f'jsonpath={{.status.fields[?(@.path=="rules[0].{path}")]}}'
        )
        one = json.loads(found)
        return str(one["value"]), one["source"]

    await asyncio.to_thread(world.kube.kubectl, "config", "set-context", "test", f"--namespace={world.namespace}")
    try:
        async with operating(world.kube, world.folder) as operator:
            await world.apply(world.upstream("openai"), world.upstream("other"), route("chat", "openai", "other"))
            await world.kubectl("wait", "--for=condition=Programmed", "agentroute/chat", WAIT)
            policy, folder, words = await world.sidecar_words(operator, "agent-1")
            async with served(policy, folder, *words) as proxy:
                assert await status(proxy, "chat") == 200
                (tune,) = blocks("tuning.md")
                await run(tune)
                assert await decided("timeouts.firstContent") == (
                    "20s", f"ResiliencePolicy {world.namespace}/tuning defaults",
                )  # fmt: skip
                (patch,) = inline("tuning.md", "kubectl patch")
                await run(patch)
                await world.kubectl("wait", "--for=condition=Programmed", "agentroute/chat", WAIT)
                assert await status(proxy, "chat") == 200
                (taken_back,) = inline("tuning.md", "kubectl delete")
                await run(taken_back)
                (secret,) = inline("tuning.md", "kubectl create secret")
                assert "created" in await run(secret) and "unchanged" in await run(secret)

                (world.folder / "policy.yaml").write_text(tune.partition("'YAML'\n")[2].partition("YAML")[0])
                wait, look = blocks("status.md")
                await run(wait)
                found = await run(look)
                assert "rules[0].timeouts.firstContent=20s" in found and "(server dry run)" in found
            assert await operator.stop() == 0
    finally:
        await asyncio.to_thread(world.kube.kubectl, "config", "set-context", "test", "--namespace=default")
