"""`kubectl seawall` beside a real API server, with an operator and a sidecar that runs its bundle."""

import asyncio
import base64
import json
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import httpx
import pytest
import pytest_asyncio
from kube import Cluster
from kube_objects import route, upstream
from kubectl_nodes import kubectl_with_nodes
from operating import operating
from processes import Served, served

from seawall.follow import FILE
from seawall_operator.sidecar_container import Injection, container

POD = "agent-1"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Stage:
    kube: Cluster
    namespace: str
    folder: Path
    sidecar: Served
    variables: Mapping[str, str]

    async def seawall(self, *words: str, code: int = 0, module: str = "cli", here: bool = True) -> str:
        """What the plugin prints; with another exit code, what it complains of as well."""
        where = ("-n", self.namespace) if here else ()
        command = [sys.executable, "-m", f"seawall_kubectl.{module}", *words, *where]
        done = await asyncio.to_thread(
            subprocess.run, command, env=self.variables, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return str(done.stdout if code == 0 else done.stdout + done.stderr)

    async def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(await self.seawall(*words, "-o", "json", code=code))

    async def apply(self, *objects: Mapping[str, Any]) -> None:
        plain = [{**o, "metadata": {"name": o["metadata"]["name"], "namespace": self.namespace}} for o in objects]
        done = await asyncio.to_thread(self.kube.apply, *plain)
        assert done.returncode == 0, done.stderr

    async def kubectl(self, *words: str) -> str:
        return await asyncio.to_thread(self.kube.kubectl, "-n", self.namespace, *words)

    def file(self, *objects: Mapping[str, Any]) -> str:
        path = self.folder / "edit.yaml"
        plain = [{**o, "metadata": {"name": o["metadata"]["name"]}} for o in objects]
        path.write_text("\n---\n".join(json.dumps(one) for one in plain))
        return str(path)

    async def breakers(self) -> dict[str, str]:
        async with httpx.AsyncClient() as client:
            state = (await client.get(f"{self.sidecar.admin_url}/state")).json()
        return {breaker["key"]: breaker["state"] for one in state["upstreams"] for breaker in one["breakers"]}


def _pod(name: str, namespace: str, *, sidecar: bool, **labels: str) -> dict[str, Any]:
    made = [container(namespace, "default", {}, Injection("seawall:1", "https://x"), 30)] if sidecar else []
    for one in made:
        one["volumeMounts"] = []
    agent = {"name": "agent", "image": "none", "env": [{"name": "OPENAI_BASE_URL", "value": "http://127.0.0.1:4100/a"}]}
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": labels,
        "annotations": {"seawall.dev/profile": "default"},
    }
    spec = {"initContainers": made, "containers": [agent]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing(kube: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One for all tests here: it takes seconds to set up."""
    tmp_path = tmp_path_factory.mktemp("stage")
    namespace = await asyncio.to_thread(kube.namespace, f"k-{secrets.token_hex(4)}")
    async with operating(kube, tmp_path) as operator:
        early = Stage(kube, namespace, tmp_path, Served(operator.process, 0, 0, tmp_path), {})
        await early.apply(upstream("a"), route("chat", "a"))
        await early.kubectl("wait", "--for=condition=Programmed", "agentroute/chat", "--timeout=20s")
        assert kube.apply(_pod(POD, namespace, sidecar=True), _pod("bare", namespace, sidecar=False)).returncode == 0
        running = json.dumps({"status": {"phase": "Running", "initContainerStatuses": [
            {"name": "seawall", "ready": True, "image": "", "imageID": "", "restartCount": 0}]}})  # fmt: skip
        await early.kubectl("patch", "pod", POD, "--subresource=status", "--type=merge", "-p", running)
        bundle = kube.get("-n", namespace, "configmap", "seawall-bundle-default")["binaryData"][FILE]
        (tmp_path / FILE).write_bytes(base64.b64decode(bundle))
        (tmp_path / "policy.yaml").write_text(harness.upstream("nowhere", "http://127.0.0.1:9"))
        # It runs the operator's bundle, and finds nobody to ask for a newer one.
        words = (
            "--operator",
            "http://127.0.0.1:9",
            "--profile",
            f"{namespace}/default",
            "--bundle",
            str(tmp_path / FILE),
        )
        async with served(tmp_path / "policy.yaml", tmp_path, *words) as sidecar:
            variables = kubectl_with_nodes(kube, tmp_path, {POD: sidecar})
            yield Stage(kube, namespace, tmp_path, sidecar, variables)
        assert await operator.stop() == 0


@pytest_asyncio.fixture(loop_scope="module")
async def stage(standing: Stage) -> Stage:
    """As it was: a route, its upstream, a pod with a sidecar, and one without."""
    kubectl_with_nodes(standing.kube, standing.folder, {POD: standing.sidecar})
    await standing.apply(route("chat", "a"))
    await standing.kubectl("delete", "agentroute", "lost", "other", "--ignore-not-found")
    await standing.kubectl("label", "pod", "bare", "seawall.dev/inject-")
    return standing


async def test_status_shows_what_runs_where_and_what_is_wrong(stage: Stage) -> None:
    found = await stage.json("status")
    assert [(r["name"], r["accepted"], r["programmed"]) for r in found["routes"]] == [("chat", "True", "True")]
    assert [(u["name"], u["worst"], u["sidecars"]) for u in found["upstreams"]] == [
        (f"{stage.namespace}/a", "closed", 1)
    ]
    [sidecar] = found["sidecars"]
    assert (sidecar["pod"], sidecar["ready"], sidecar["problem"]) == (POD, True, "")
    assert sidecar["revision"]
    assert found["problems"] == []
    await stage.apply(route("lost", "nowhere"))
    await stage.kubectl("wait", "--for=condition=ResolvedRefs=False", "agentroute/lost", "--timeout=20s")
    said = await stage.seawall("status")
    assert "What is wrong:" in said and "ResolvedRefs=False BackendNotFound" in said
    assert f"AgentRoute {stage.namespace}/lost" in said


async def test_a_sidecar_that_cannot_be_asked_is_listed_with_the_reason(stage: Stage) -> None:
    kubectl_with_nodes(stage.kube, stage.folder, {})
    [sidecar] = (await stage.json("status"))["sidecars"]
    assert "nobody there" in sidecar["problem"]


async def test_explain_tells_every_field_of_a_route_and_who_set_it(stage: Stage) -> None:
    await stage.kubectl("wait", "--for=create", "effectivepolicy/chat", "--timeout=20s")
    edit = route("chat", "a")
    edit["spec"]["rules"][0]["retry"] = {"attempts": 4}
    await stage.apply(edit)
    async with asyncio.timeout(20):
        while True:
            found = await stage.json("explain", "chat")
            fields = {one["path"].rpartition("].")[2]: one for one in found["fields"]}
            if fields["retry.attempts"]["value"] == 4:
                break
    assert fields["retry.attempts"]["source"] == f"AgentRoute {stage.namespace}/chat rule 0"
    assert fields["timeouts.connect"]["source"] == "default"
    assert "SET BY" in await stage.seawall("explain", "route/chat")


async def test_explain_tells_why_a_pod_has_a_sidecar_or_none(stage: Stage) -> None:
    found = await stage.json("explain", f"pod/{POD}")
    assert found["image"] == "seawall:1" and found["ready"]
    assert found["variables"] == {"agent.OPENAI_BASE_URL": "http://127.0.0.1:4100/a"}
    assert found["routes"][0]["upstreams"] == [f"{stage.namespace}/a"]
    assert "no SidecarProfile of its namespace selects it" in await stage.seawall("explain", "bare")
    await stage.kubectl("label", "pod", "bare", "seawall.dev/inject=enabled")
    assert "if it were created now" in await stage.seawall("explain", "bare")
    assert "there is no route and no pod nobody" in await stage.seawall("explain", "nobody", code=2)


async def test_diff_tells_what_an_edit_would_change_and_for_whom(stage: Stage) -> None:
    same = await stage.json("diff", "-f", stage.file(route("chat", "a")))
    assert (same["errors"], same["routes"]) == ([], [])
    edit = route("chat", "a")
    edit["spec"]["rules"][0]["retry"] = {"attempts": 4}
    found = await stage.json("diff", "-f", stage.file(edit))
    [changed] = found["routes"]
    [field] = changed["fields"]
    assert field["path"].endswith("retry.attempts") and field["to"] == 4 and "AgentRoute" in field["source"]
    assert found["blast_radius"] == {"namespaces": [stage.namespace], "routes": 1, "sidecars": 0}
    assert any("attempts" in one for one in found["warnings"])
    said = await stage.seawall("diff", "-f", stage.file(edit))
    assert f"1 routes in {stage.namespace}; 0 sidecars would take it" in said
    # Nothing was written.
    assert "attempts" not in await stage.kubectl("get", "agentroute", "chat", "-o", "json")


async def test_a_policy_for_many_reaches_every_route_that_it_is_of(stage: Stage) -> None:
    await stage.apply(route("other", "a", path="/other"))
    policy = {
        "apiVersion": "seawall.dev/v1alpha1", "kind": "ResiliencePolicy", "metadata": {"name": "tight"},
        "spec": {"targetRefs": [{"group": "seawall.dev", "kind": "Upstream", "name": "a"}],
                 "overrides": {"timeouts": {"connect": "1s"}}},
    }  # fmt: skip
    found = await stage.json("diff", "-f", stage.file(policy))
    assert [one["name"] for one in found["routes"]] == ["chat", "other"]
    fresh = [route("fresh", "fresh", path="/fresh"), upstream("fresh")]
    found = await stage.json("diff", "-f", stage.file(*fresh))
    assert (found["errors"], found["warnings"]) == ([], [])
    assert [one["name"] for one in found["routes"]] == ["fresh"]


async def test_diff_says_no_to_what_would_be_refused(stage: Stage) -> None:
    wrong = route("second", "a", path="/chat")
    said = await stage.seawall("diff", "-f", stage.file(wrong), code=1)
    assert "Refused:" in said and "/chat" in said
    assert "no policy documents there" in await stage.seawall("diff", "-f", str(stage.folder / "bin"), code=2)


async def test_an_upstream_is_isolated_and_let_go_in_every_sidecar(stage: Stage) -> None:
    assert "nothing was done" in await stage.seawall("isolate", "a", code=2)
    assert "isolated" not in (await stage.breakers()).values()
    done = await stage.json("isolate", "a", "--yes")
    assert [(one["pod"], one["done"]) for one in done["sidecars"]] == [(POD, True)]
    assert (await stage.breakers())["*"] == "isolated"
    assert (await stage.json("status"))["upstreams"][0]["away"] == 1
    await stage.seawall("close", "a", "--yes")
    assert "isolated" not in (await stage.breakers()).values()
    assert "failed" in await stage.seawall("isolate", "nobody", "--yes", code=1)
    assert "no running sidecar in other" in await stage.seawall("isolate", "a", "--pod", "other", "--yes", code=2)


async def test_top_shows_calls_under_way(stage: Stage) -> None:
    found = await stage.json("top", "--once")
    assert found["total"] == 1 and found["sidecars"][POD]["in_flight"] == 0
    assert "1/1 sidecars" in await stage.seawall("top", "--once")


async def test_tab_completes(stage: Stage) -> None:
    for words, expected in {
        ("st",): ["status"],
        ("",): ["close", "diff", "explain", "isolate", "status", "top"],
        ("explain", "ch"): ["chat"],
        ("explain", ""): [POD, "bare", "chat"],
        ("isolate", ""): ["a"],
        ("status", "-o", "j"): ["json"],
    }.items():
        # The unfinished word is the last one.
        where = ("-n", stage.namespace) if len(words) > 1 else ()
        said = await stage.seawall(words[0], *where, *words[1:], module="complete", here=False)
        *found, directive = said.splitlines()
        assert found == expected and directive == ":4"
