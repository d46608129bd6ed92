"""What somebody else does to the operator's own objects is made good, and what cannot be written keeps nobody else."""

import asyncio
import base64
import json
from pathlib import Path

from kube import Cluster
from kube_objects import policy, route, upstream
from operating import Operating, operating
from polling import apply, kubectl, wait_for

from seawall.policy.bundle import unpack

BUNDLE = ("configmap", "seawall-bundle-default")


def stored(kube: Cluster, namespace: str) -> str:
    """The revision of the bundle that new pods start from; "" where there is none."""
    found = kube.run("get", "-n", namespace, *BUNDLE, "-o", "json")
    try:
        return unpack(base64.b64decode(json.loads(found.stdout)["binaryData"]["bundle.json.gz"])).revision
    except ValueError:
        return ""


async def repaired(kube: Cluster, namespace: str, revision: str) -> None:
    """At the first time that everything is read anew, ten seconds after the start."""
    async with asyncio.timeout(20):
        while await asyncio.to_thread(stored, kube, namespace) != revision:
            await asyncio.sleep(0.2)


async def test_a_bundle_that_is_edited_by_hand_is_put_right(kube: Cluster, tmp_path: Path, namespace: str) -> None:
    async with operating(kube, tmp_path) as operator:
        await apply(kube, namespace, upstream(), route())
        await wait_for(kube, namespace, "Programmed", "agentroute/chat")
        revision = stored(kube, namespace)
        assert revision
        spoiled = json.dumps({"binaryData": {"bundle.json.gz": base64.b64encode(b"spoiled").decode()}})
        await kubectl(kube, "patch", "-n", namespace, *BUNDLE, "--type=merge", "-p", spoiled)
        assert stored(kube, namespace) == ""
        await repaired(kube, namespace, revision)
        assert await operator.stop() == 0


async def test_a_bundle_that_is_deleted_by_hand_comes_back(kube: Cluster, tmp_path: Path, namespace: str) -> None:
    async with operating(kube, tmp_path) as operator:
        await apply(kube, namespace, upstream(), route())
        await wait_for(kube, namespace, "Programmed", "agentroute/chat")
        revision = stored(kube, namespace)
        await kubectl(kube, "delete", "-n", namespace, *BUNDLE)
        await repaired(kube, namespace, revision)
        assert await operator.stop() == 0


async def test_what_is_left_of_a_namespace_whose_documents_went_meanwhile_is_taken_away(
    kube: Cluster, tmp_path: Path, namespace: str
) -> None:
    async with operating(kube, tmp_path) as operator:
        await apply(kube, namespace, upstream(), route())
        await wait_for(kube, namespace, "Programmed", "agentroute/chat")
        assert await operator.stop() == 0
    await kubectl(kube, "delete", "-n", namespace, "agentroute/chat", "upstream/a")
    async with operating(kube, tmp_path) as operator:
        await kubectl(kube, "wait", "-n", namespace, "--for=delete", "/".join(BUNDLE), "--timeout=10s")
        await kubectl(kube, "wait", "-n", namespace, "--for=delete", "configmap/seawall-accepted", "--timeout=10s")
        assert await operator.stop() == 0


async def test_a_quota_on_config_maps_keeps_no_status_from_being_written(
    kube: Cluster, operator: Operating, namespace: str
) -> None:
    await kubectl(kube, "create", "quota", "none", "-n", namespace, "--hard=count/configmaps=0")
    await apply(kube, namespace, upstream(), route(), policy(retry={"attempts": 5}))
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    await wait_for(kube, namespace, "Accepted", "resiliencepolicy/p")
    assert kube.run("get", "-n", namespace, *BUNDLE).returncode != 0
    assert "ConfigMap seawall-bundle-default could not be written" in operator.log.read_text()
    await kubectl(kube, "delete", "quota", "none", "-n", namespace)
    await kubectl(kube, "wait", "-n", namespace, "--for=create", "/".join(BUNDLE), "--timeout=20s")


async def test_a_status_that_somebody_else_writes_is_put_right(
    kube: Cluster, operator: Operating, namespace: str
) -> None:
    await apply(kube, namespace, upstream(), route())
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    lie = json.dumps({"status": {"synced": "9/9", "conditions": []}})
    await kubectl(kube, "patch", "-n", namespace, "agentroute/chat", "--subresource=status", "--type=merge", "-p", lie)
    await wait_for(kube, namespace, "Programmed", "agentroute/chat")
    await kubectl(
        kube, "wait", "-n", namespace, "--for=jsonpath={.status.synced}=0/0", "agentroute/chat", "--timeout=9s"
    )
