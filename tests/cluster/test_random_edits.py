"""Whatever is applied, changed, renamed and deleted, in whatever order, while watches are cut: in the end there is what
a compile from scratch makes of what is left."""

import asyncio
import copy
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from kube import Cluster
from kube_objects import NAMES, arbitrary, made, route, upstream
from operating import operating
from relay import relaying

from seawall_operator.connection import from_kubeconfig
from seawall_operator.kube import ApiError, Kube, path_of
from seawall_operator.render import Documents, render
from seawall_operator.resources import WRITTEN_BY_USERS, Object, identity

EDITS = 200


class Editor:
    """Somebody who edits two namespaces, and what belongs to none."""

    def __init__(self, api: Kube, rng: Random, spaces: dict[str, str]) -> None:
        self.api, self.rng, self.spaces = api, rng, spaces
        self.refused = 0

    def document(self) -> dict[str, Any]:
        """Of any kind that users write."""
        rng = self.rng
        if rng.random() < 0.1:
            labels = {rng.choice(["team", "gpu"]): "yes"}
            obj = made(
                "SidecarProfile", rng.choice(NAMES), {"selector": {"matchLabels": labels}}, rng.choice([*self.spaces])
            )
        else:
            obj = arbitrary(rng)
        return self.moved(obj)

    def moved(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Into the namespaces of this test; what belongs to none has a name of this test's own."""
        obj = copy.deepcopy(obj)
        own = self.spaces["team"]
        metadata: dict[str, Any] = {"name": obj["metadata"]["name"]}
        if obj["kind"].startswith("Cluster"):
            metadata["name"] = f"{own}-{metadata['name']}"
        else:
            metadata["namespace"] = self.spaces[obj["metadata"]["namespace"]]
        for rule in obj["spec"].get("rules", ()):
            for ref in rule["backendRefs"]:
                if "namespace" in ref:
                    ref["namespace"] = self.spaces[ref["namespace"]]
                if ref.get("kind") == "ClusterUpstream":
                    ref["name"] = f"{own}-{ref['name']}"
        if obj["kind"] == "ClusterResiliencePolicy":
            for ref in obj["spec"]["targetRefs"]:
                ref["namespace"] = self.rng.choice([*self.spaces.values()])
        return {**obj, "metadata": metadata}

    async def edit(self) -> None:
        obj, rng = self.document(), self.rng
        there = await self.documents()
        try:
            if there and rng.random() < 0.2:
                await self.delete(rng.choice(there))
            elif there and rng.random() < 0.1:
                # Under another name: one goes, the other comes.
                old = rng.choice(there)
                metadata = {**self._place(old), "name": f"{old['metadata']['name']}x"}
                await self.delete(old)
                await self.put({name: old[name] for name in ("apiVersion", "kind", "spec")} | {"metadata": metadata})
            else:
                await self.put(obj)
        except ApiError as error:
            # What one document says wrong by itself gets nowhere.
            assert error.status in (404, 422), error
            self.refused += 1

    async def put(self, obj: dict[str, Any]) -> None:
        """Again where the operator was faster: it may have written a status in between."""
        async with asyncio.timeout(30):
            while True:
                try:
                    return await self._put(obj)
                except ApiError as error:
                    if not error.conflict:
                        raise

    async def _put(self, obj: dict[str, Any]) -> None:
        try:
            await self.api.create(obj)
        except ApiError as error:
            if not error.conflict:
                raise
            kind, namespace, name = identity(obj)
            version = (await self.api.get(kind, namespace, name))["metadata"]["resourceVersion"]
            await self.api.replace({**obj, "metadata": {**obj["metadata"], "resourceVersion": version}})

    async def delete(self, obj: Object) -> None:
        await self.api.call("DELETE", path_of(*identity(obj)))

    async def everything(self) -> list[Object]:
        return [{**one, "kind": kind} for kind in WRITTEN_BY_USERS for one in (await self.api.list(kind))[0]]

    async def documents(self) -> list[Object]:
        """This test's."""
        own = self.spaces["team"]
        return [
            one
            for one in await self.everything()
            if identity(one)[1] in self.spaces.values() or (not identity(one)[1] and identity(one)[2].startswith(own))
        ]

    def _place(self, obj: Object) -> dict[str, str]:
        namespace = identity(obj)[1]
        return {"namespace": namespace} if namespace else {}


@pytest.fixture
async def editor(kube: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Editor]:
    spaces = {}
    for name in ("team", "other"):
        spaces[name] = await asyncio.to_thread(kube.namespace, f"r-{name}-{secrets.token_hex(4)}")
    api = Kube(from_kubeconfig(kube.kubeconfig))
    found = Editor(api, Random(request.param), spaces)
    yield found
    for one in await found.documents():
        await found.delete(one)
    await api.close()


async def served(api: Kube, spaces: list[str]) -> dict[tuple[str, str], str]:
    """The bundles that new pods would start from: namespace and name → revision."""
    maps, _ = await api.list("ConfigMap", "seawall.dev/content=bundle", metadata_only=True)
    return {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one["metadata"]["annotations"]["seawall.dev/revision"]
        for one in maps
        if one["metadata"]["namespace"] in spaces
    }


def wanted(objects: list[Object], spaces: list[str]) -> dict[tuple[str, str], str]:
    scopes = render(Documents(objects)).scopes
    return {
        (bundle.namespace, f"seawall-bundle-{bundle.profile}"): bundle.revision
        for space in spaces
        if space in scopes and scopes[space].policy.routes
        for bundle in scopes[space].bundles(1)
    }


async def told(editor: Editor, revisions: dict[str, str]) -> bool:
    """What is said of every object is of its newest version, and of what is served."""
    for obj in await editor.documents():
        status = obj.get("status", {})
        if status.get("observedGeneration") != obj["metadata"]["generation"]:
            return False
        if obj["kind"] == "AgentRoute" and status["revision"] != revisions.get(
            obj["metadata"]["namespace"], status["revision"]
        ):
            return False
    routes = {identity(one)[1:] for one in await editor.documents() if one["kind"] == "AgentRoute"}
    effective, _ = await editor.api.list("EffectivePolicy")
    spaces = editor.spaces.values()
    return {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in effective
            if one["metadata"]["namespace"] in spaces} == routes  # fmt: skip


@pytest.mark.timeout(240)
@pytest.mark.parametrize("editor", [1, 2], indirect=True)
async def test_two_hundred_edits_end_where_a_compile_from_scratch_begins(
    kube: Cluster, tmp_path: Path, editor: Editor
) -> None:
    spaces = [*editor.spaces.values()]
    async with relaying(kube.url) as line, operating(kube, tmp_path, through=line.url) as operator:
        for number in range(EDITS):
            await editor.edit()
            if number % 40 == 39:
                line.cut()
            if number % 10 == 9:
                await asyncio.sleep(editor.rng.random() * 0.3)
        assert editor.refused < EDITS / 2
        # While something is wrong the past counts. It is taken away, one document after the other.
        while wrong := [
            one
            for one in await editor.documents()
            if not render(Documents(await editor.everything())).verdict(identity(one)).accepted
        ]:
            await editor.delete(wrong[0])
        for obj in (upstream("last"), route("last", "last")):
            await editor.put(editor.moved(obj))
        objects = await editor.everything()
        assert len(await editor.documents()) > 5
        expected = wanted(objects, spaces)
        assert expected
        async with asyncio.timeout(40):
            while await served(editor.api, spaces) != expected:
                await asyncio.sleep(0.3)
            while not await told(editor, {namespace: revision for (namespace, _), revision in expected.items()}):
                await asyncio.sleep(0.3)
        assert await operator.stop() == 0
