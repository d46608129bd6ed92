"""The webhooks in a real API server: what `kubectl apply` says, and what becomes of a pod."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from ssl import create_default_context
from typing import Any

import httpx
import pytest
from kube import Cluster
from kube_objects import BAD, policy, route, upstream
from operating import Operating, operating
from polling import maker, plain

INJECT = {"seawall.dev/inject": "enabled"}


def webhook(kind: str, operator: Operating, path: str, rules: list[dict[str, Any]], namespace: str) -> dict[str, Any]:
    """As the chart would have it, but for one namespace and a URL."""
    ca = base64.b64encode(operator.ca_file.read_bytes()).decode()
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    one = {
        "name": f"{path}.seawall.dev", "rules": rules,
        "clientConfig": {"url": f"{operator.url}/{path}", "caBundle": ca},
        "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
        "namespaceSelector": selector, **({"reinvocationPolicy": "IfNeeded"} if kind.startswith("Mutating") else {}),
    }  # fmt: skip
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": f"seawall-{namespace}"},
        "webhooks": [one],
    }


@pytest.fixture
async def operator(kube: Cluster, tmp_path: Path) -> AsyncIterator[Operating]:
    async with operating(kube, tmp_path, "--image", "seawall:test", "--url", "https://operator:8443") as running:
        yield running


@pytest.fixture
async def namespace(kube: Cluster, operator: Operating) -> AsyncIterator[str]:
    name = await asyncio.to_thread(kube.namespace, f"w-{secrets.token_hex(4)}")
    edits = {"apiVersions": ["*"], "resources": ["*"], "operations": ["CREATE", "UPDATE"]}
    gone = {"apiVersions": ["*"], "resources": ["upstreams", "clusterupstreams"], "operations": ["DELETE"]}
    documents = [{"apiGroups": ["seawall.dev"], **edits}, {"apiGroups": ["seawall.dev"], **gone}]
    pods = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]
    hooks = (
        webhook("ValidatingWebhookConfiguration", operator, "validate", documents, name),
        webhook("MutatingWebhookConfiguration", operator, "inject", pods, name),
    )
    done = await asyncio.to_thread(kube.apply, *hooks)
    assert done.returncode == 0, done.stderr
    # An API server learns of a webhook a moment later.
    async with asyncio.timeout(20):
        while "not reviewed" not in await probe(kube, name) and "is no" not in await probe(kube, name):
            await asyncio.sleep(0.1)
    yield name
    for kind in ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"):
        await asyncio.to_thread(kube.kubectl, "delete", kind, f"seawall-{name}")


async def probe(kube: Cluster, namespace: str) -> str:
    done = await asyncio.to_thread(kube.apply, plain(route("probe"), namespace), words=("--dry-run=server",))
    return done.stderr.replace("there is no", "is no")


async def apply(kube: Cluster, namespace: str, *objects: dict[str, Any]) -> tuple[bool, str]:
    """Whether it was taken, and what kubectl said."""
    done = await asyncio.to_thread(kube.apply, *(plain(obj, namespace) for obj in objects))
    return done.returncode == 0, done.stderr


async def test_what_contradicts_other_documents_is_refused_at_the_field(
    kube: Cluster, operator: Operating, namespace: str
) -> None:
    taken, said = await apply(kube, namespace, upstream(), route(timeouts={"backendRequest": "60s"}))
    assert taken, said
    await asyncio.to_thread(kube.kubectl, "wait", "-n", namespace, "--for=condition=Programmed", "agentroute/chat")
    taken, said = await apply(kube, namespace, policy("cut", level="overrides", timeouts={"request": "5s"}))
    assert not taken
    assert "spec.rules[0].timeouts.backendRequest: 60s" in said and "exceeds timeouts.request 5s" in said


async def test_what_may_be_meant_is_taken_with_a_warning(kube: Cluster, operator: Operating, namespace: str) -> None:
    taken, said = await apply(kube, namespace, route("early"))
    assert taken and f"Warning: spec.rules[0].backendRefs: there is no Upstream {namespace}/a yet" in said


async def test_an_edit_that_multiplies_load_says_how_much_before_and_when_it_is_made(
    kube: Cluster, operator: Operating, namespace: str
) -> None:
    few, many = policy(level="overrides", retry={"attempts": 0}), policy(level="overrides", retry={"attempts": 4})
    taken, said = await apply(kube, namespace, upstream(), route(), few)
    assert taken, said
    await asyncio.to_thread(kube.kubectl, "wait", "-n", namespace, "--for=condition=Programmed", "agentroute/chat")
    context = create_default_context(cafile=operator.ca_file)
    async with httpx.AsyncClient(verify=context, timeout=60) as client:
        make = maker(kube, client, operator.url)
        polls = [asyncio.create_task((await make(namespace, name=name)).poll("sha256:older")) for name in "ab"]
        await asyncio.gather(*polls)
        words = f"Warning: AgentRoute {namespace}/chat: 2 sidecars, attempts 1→5"
        for more in (("--dry-run=server",), ()):
            done = await asyncio.to_thread(kube.apply, plain(many, namespace), words=more)
            assert done.returncode == 0 and words in done.stderr, done.stderr
        # And back is no reason to warn of anything.
        taken, said = await apply(kube, namespace, few)
        assert taken and "Warning" not in said


async def test_who_loses_an_upstream_is_told_and_it_is_deleted_all_the_same(
    kube: Cluster, operator: Operating, namespace: str
) -> None:
    taken, said = await apply(kube, namespace, upstream(), route())
    assert taken, said
    await asyncio.to_thread(kube.kubectl, "wait", "-n", namespace, "--for=condition=Programmed", "agentroute/chat")
    for words in (("--dry-run=server",), ()):
        done = await asyncio.to_thread(kube.run, "delete", "-n", namespace, "upstream", "a", *words)
        assert done.returncode == 0
        assert f"Warning: AgentRoute {namespace}/chat rule 0 has no other upstream" in done.stderr


async def test_without_the_operator_everything_is_taken(kube: Cluster, operator: Operating, namespace: str) -> None:
    await operator.stop()
    taken, said = await apply(kube, namespace, route("blind"))
    assert taken and "Warning" not in said


async def test_a_pod_that_asks_for_it_gets_a_sidecar_that_the_api_server_takes(
    kube: Cluster, operator: Operating, namespace: str
) -> None:
    # The namespace holds to `restricted` Pod Security, and so must what is added.
    await asyncio.to_thread(
        kube.kubectl, "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    safe = {
        "allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    made = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "namespace": namespace, "labels": INJECT},
        "spec": {"containers": [{"name": "agent", "image": "agent:1", "securityContext": safe}]},
    }  # fmt: skip
    done = await asyncio.to_thread(kube.apply, made)
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    stored = kube.get("-n", namespace, "pod", "agent")
    (sidecar,) = stored["spec"]["initContainers"]
    assert sidecar["restartPolicy"] == "Always" and sidecar["image"] == "seawall:test"
    assert f"--profile={namespace}/default" in sidecar["args"]
    assert stored["spec"]["containers"][0]["env"][0]["name"] == "OPENAI_BASE_URL"
    plain_pod = {**made, "metadata": {"name": "plain", "namespace": namespace}}
    assert (await asyncio.to_thread(kube.apply, plain_pod)).returncode == 0
    assert "initContainers" not in kube.get("-n", namespace, "pod", "plain")["spec"]


async def test_the_message_of_the_schema_comes_first(kube: Cluster, operator: Operating, namespace: str) -> None:
    """What one document says wrong needs no webhook."""
    taken, said = await apply(kube, namespace, route(**BAD))
    assert not taken and "spec.rules[0].timeouts.backendRequest: Invalid value" in said
