"""What somebody else does to the operator's own objects is made good, and what cannot be written keeps nobody else."""

import asyncio
import base64
import json
from pathlib import Path

import pytest
from kube import Cluster
from kube_objects import policy, route, upstream
from operating import Operating, operating
from polling import apply, kubectl, wait_for

from seawall.policy.bundle import unpack
from seawall_operator.control import FIRST_RELIST

BUNDLE = ("configmap", "seawall-bundle-default")


def stored(kube: Cluster, namespace: str) -> str:
    """The revision of the bundle that new pods start from; "" where there is none."""
    found = kube.run("get", "-n", namespace, *BUNDLE, "-o", "json")
    try:
        return unpack(base64.b64decode(json.loads(found.stdout)["binaryData"]["bundle.json.gz"])).revision
    except ValueError:
        return ""


async def until_stored(kube: Cluster, namespace: str, revision: str = "") -> str:
    """This one; "": any."""
    async with asyncio.timeout(30):
        while (found := await asyncio.to_thread(stored, kube, namespace)) == "" or revision not in ("", found):
            await asyncio.sleep(0.2)
    return found


async def repaired(kube: Cluster, folder: Path, namespace: str, *spoiling: str) -> None:
    """What kubectl does to the bundle is made good at the first time that everything is read anew, ten seconds after
    the start. What comes later waits for five minutes: then another operator begins."""
    await apply(kube, namespace, upstream(), route())
    loop = asyncio.get_running_loop()
    for _ in range(5):
        async with operating(kube, folder) as operator:
            began = loop.time()
            revision = await until_stored(kube, namespace)
            await kubectl(kube, *spoiling)
            in_time = loop.time() - began < FIRST_RELIST - 1.0
            if in_time:
                assert stored(kube, namespace) == ""
                await until_stored(kube, namespace, revision)
            assert await operator.stop() == 0
            if in_time:
                return
    pytest.fail("five times kubectl took longer than ten seconds on this machine")


async def test_a_bundle_that_is_edited_by_hand_is_put_right(kube: Cluster, tmp_path: Path, namespace: str) -> None:
    spoiled = json.dumps({"binaryData": {"bundle.json.gz": base64.b64encode(b"spoiled").decode()}})
    await repaired(kube, tmp_path, namespace, "patch", "-n", namespace, *BUNDLE, "--type=merge", "-p", spoiled)


async def test_a_bundle_that_is_deleted_by_hand_comes_back(kube: Cluster, tmp_path: Path, namespace: str) -> None:
    await repaired(kube, tmp_path, namespace, "delete", "-n", namespace, *BUNDLE)


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
