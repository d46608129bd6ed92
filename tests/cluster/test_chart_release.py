"""The charts in a real API server: every object is taken as it is, and releases come, change and go."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm import CHART, CRDS, EVERYTHING, done, helm, named, rendered
from kube import Cluster, cluster
from kube_objects import route, upstream
from operating import operating

NAMESPACE = "seawall"
# Kinds of other projects, which the charts use where these are there. Served here without their schemas.
FOREIGN = {
    "monitoring.coreos.com": ("v1", ("PodMonitor", "ServiceMonitor", "PrometheusRule")),
    "cert-manager.io": ("v1", ("Certificate", "Issuer")),
}


def _definition(group: str, version: str, kind: str) -> dict[str, Any]:
    names = {"kind": kind, "plural": f"{kind.lower()}s", "singular": kind.lower()}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{group}"},
        "spec": {
            "group": group, "names": names, "scope": "Namespaced",
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def bare() -> Iterator[Cluster]:
    """A control plane without seawall's definitions: they come with their chart."""
    with cluster() as running:
        foreign = [_definition(group, v, kind) for group, (v, kinds) in FOREIGN.items() for kind in kinds]
        assert running.apply(*foreign).returncode == 0
        done(helm("install", "seawall-crds", str(CRDS), kubeconfig=running.kubeconfig))
        running.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        running.namespace(NAMESPACE)
        restricted = "pod-security.kubernetes.io/enforce=restricted"
        running.kubectl("label", "namespace", NAMESPACE, restricted)
        running.furnished("kube-system")
        yield running


def _strictly(kube: Cluster, objects: list[dict[str, Any]]) -> None:
    text = "\n---\n".join(json.dumps(one) for one in objects)
    words = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-n", NAMESPACE, "-f", "-")
    refused = kube.run(*words, stdin=text)
    assert refused.returncode == 0, refused.stderr
    assert "Warning" not in refused.stderr, refused.stderr


@pytest.mark.parametrize("mode", ["Operator", "CertManager", "Secret"])
def test_every_object_is_accepted(bare: Cluster, mode: str) -> None:
    _strictly(bare, rendered({**EVERYTHING, "certificates": {"mode": mode}}))


def test_a_field_that_is_not_there_would_be_noticed(bare: Cluster) -> None:
    """That the test above can fail."""
    service = named(rendered(), "Service", "seawall-operator")
    service["spec"]["selecter"] = {}
    with pytest.raises(AssertionError, match="selecter"):
        _strictly(bare, [service])


def test_its_pods_are_of_the_restricted_kind(bare: Cluster) -> None:
    objects = rendered(EVERYTHING)
    bare.kubectl("create", "serviceaccount", "seawall-operator", "-n", NAMESPACE)
    bare.kubectl("create", "serviceaccount", "seawall-gateway", "-n", NAMESPACE)
    pods = [one for one in objects if one["kind"] == "Pod"]
    for deployment in (one for one in objects if one["kind"] == "Deployment"):
        template = deployment["spec"]["template"]
        metadata = {**template["metadata"], "name": deployment["metadata"]["name"], "namespace": NAMESPACE}
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    assert len(pods) == 3
    _strictly(bare, pods)
    pods[0]["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        _strictly(bare, pods[:1])
    bare.kubectl("delete", "serviceaccount", "seawall-operator", "seawall-gateway", "-n", NAMESPACE)


async def test_a_release_comes_changes_and_goes(bare: Cluster, tmp_path: Path) -> None:
    def run(*words: str, values: dict[str, Any] | None = None) -> str:
        return done(helm(*words, "-n", NAMESPACE, kubeconfig=bare.kubeconfig, values=values))

    said = run("install", "seawall", str(CHART))
    assert said.count("kubectl ") >= 3 and "are not there yet" not in said
    team = await asyncio.to_thread(bare.namespace, "team-a")
    # The operator with the permissions and the webhooks of the release; its certificate is its own.
    async with operating(bare, tmp_path, own_certificate=True, account=(NAMESPACE, "seawall-operator")) as operator:
        for kind in ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"):
            written = "--for=jsonpath={.webhooks[0].clientConfig.caBundle}"
            await asyncio.to_thread(bare.kubectl, "wait", f"{kind}/seawall-operator", written, "--timeout=20s")
        assert bare.get("-n", NAMESPACE, "secret", "seawall-operator-tls")["type"] == "kubernetes.io/tls"
        for one in (upstream("a"), route("chat")):
            applied = bare.apply({**one, "metadata": {"name": one["metadata"]["name"], "namespace": team}})
            assert applied.returncode == 0, applied.stderr
        wait = ("wait", "-n", team, "--for=condition=Programmed", "agentroute/chat", "--timeout=20s")
        await asyncio.to_thread(bare.kubectl, *wait)
        assert await operator.stop() == 0
        assert "Forbidden" not in operator.log.read_text()
    run("upgrade", "seawall", str(CHART), values={**EVERYTHING, "operator": {"replicas": 3}})
    assert bare.get("-n", NAMESPACE, "deployment", "seawall-operator")["spec"]["replicas"] == 3
    assert bare.get("-n", NAMESPACE, "deployment", "seawall-gateway")
    # What the operator wrote there is not the chart's to take away.
    webhooks = bare.get("mutatingwebhookconfiguration", "seawall-operator")["webhooks"]
    assert webhooks[0]["clientConfig"]["caBundle"]
    run("rollback", "seawall", "1")
    assert bare.get("-n", NAMESPACE, "deployment", "seawall-operator")["spec"]["replicas"] == 2
    assert bare.run("get", "-n", NAMESPACE, "deployment", "seawall-gateway").returncode != 0
    run("uninstall", "seawall")
    kinds = "all,clusterrole,role,networkpolicy,validatingwebhookconfiguration,mutatingwebhookconfiguration"
    assert bare.kubectl("get", kinds, "-n", NAMESPACE, "-l", "app.kubernetes.io/name=seawall", "-o", "name") == ""
    # What users wrote is theirs.
    assert bare.get("-n", team, "agentroute", "chat")["spec"]
    done(helm("uninstall", "seawall-crds", kubeconfig=bare.kubeconfig))
    assert bare.get("-n", team, "agentroute", "chat")["spec"]
    # And comes under a release again, definitions included.
    again = ("install", "seawall-crds", str(CRDS), "--take-ownership")
    done(helm(*again, kubeconfig=bare.kubeconfig))


def test_policies_are_part_of_the_clusters_own_roles(bare: Cluster) -> None:
    done(helm("install", "seawall", str(CHART), "-n", NAMESPACE, kubeconfig=bare.kubeconfig))
    try:
        for role in ("view", "edit"):
            whom = (f"--clusterrole={role}", f"--user={role}er", "-n", "default")
            bare.kubectl("create", "rolebinding", f"t-{role}", *whom)
        added = '{.rules[?(@.resources[0]=="upstreams")].verbs[0]}=create'
        bare.kubectl("wait", "clusterrole/edit", f"--for=jsonpath={added}", "--timeout=20s")

        def may(user: str, verb: str, resource: str, *words: str) -> bool:
            asked = bare.run("auth", "can-i", verb, resource, f"--as={user}", "-n", "default", *words)
            return asked.stdout.strip() == "yes"

        assert may("viewer", "get", "agentroutes.seawall.dev")
        assert not may("viewer", "create", "agentroutes.seawall.dev")
        assert may("editer", "create", "agentroutes.seawall.dev")
        assert may("editer", "delete", "resiliencepolicies.seawall.dev")
        # Only the operator writes these.
        assert not may("editer", "create", "effectivepolicies.seawall.dev")
        assert not may("editer", "patch", "agentroutes.seawall.dev", "--subresource=status")
    finally:
        done(helm("uninstall", "seawall", "-n", NAMESPACE, kubeconfig=bare.kubeconfig))
        bare.kubectl("delete", "rolebinding", "t-view", "t-edit", "-n", "default")


def test_the_sidecars_port_is_the_one_that_is_scraped() -> None:
    from seawall_operator.sidecar_container import Injection, container

    injected = container("team-a", "default", {}, Injection("seawall", "https://x"), 30)
    objects = rendered(EVERYTHING)
    [endpoint] = named(objects, "PodMonitor", "seawall")["spec"]["podMetricsEndpoints"]
    gateway = named(objects, "Deployment", "seawall-gateway")["spec"]["template"]["spec"]["containers"][0]
    for one in (injected, gateway):
        assert endpoint["port"] in [port["name"] for port in one["ports"]]
        # The dashboard looks for processes by it.
        assert one["name"] == "seawall"
    config = yaml.safe_load(json.dumps(named(objects, "ConfigMap", "seawall-dashboard")))
    assert json.loads(config["data"]["seawall.json"])["title"] == "seawall"
