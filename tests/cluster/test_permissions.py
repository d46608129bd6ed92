"""What the operator's service account may do: asked of the API server, as kubectl asks it."""

from pathlib import Path

import pytest
from kube import Cluster

RBAC = Path(__file__).parent / "operator-rbac.yaml"
ACCOUNT = "system:serviceaccount:kube-system:seawall-operator"
OWN, TLS = "kube-system", "secret/seawall-operator-tls"


@pytest.fixture
def namespace(kube: Cluster) -> str:
    kube.kubectl("apply", "--server-side", "-f", str(RBAC))
    return "default"


def may(kube: Cluster, *words: str) -> bool:
    answer = kube.run("auth", "can-i", *words, f"--as={ACCOUNT}")
    assert answer.stdout.strip() in ("yes", "no"), answer.stderr
    return answer.stdout.strip() == "yes"


@pytest.mark.parametrize("verb", ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"])
def test_secrets_of_other_namespaces_are_out_of_reach(kube: Cluster, namespace: str, verb: str) -> None:
    assert not may(kube, verb, "secrets", "-n", namespace)
    assert not may(kube, verb, "secret/seawall-credentials", "-n", namespace)
    assert not may(kube, verb, TLS, "-n", namespace)
    assert not may(kube, verb, "secrets", "--all-namespaces")


def test_of_its_own_namespace_s_secrets_it_reads_only_its_certificate(kube: Cluster, namespace: str) -> None:
    assert may(kube, "get", TLS, "-n", OWN) and may(kube, "update", TLS, "-n", OWN)
    for verb in ("get", "list", "watch", "update", "patch", "delete"):
        assert not may(kube, verb, "secrets", "-n", OWN)
        assert not may(kube, verb, "secret/another", "-n", OWN)


def test_of_leases_it_holds_only_its_own(kube: Cluster, namespace: str) -> None:
    for verb in ("get", "update"):
        assert may(kube, verb, "lease/seawall-operator", "-n", OWN) and not may(kube, verb, "lease/another", "-n", OWN)
        assert not may(kube, verb, "lease/seawall-operator", "-n", namespace)


@pytest.mark.parametrize("resource", ["agentroutes", "upstreams", "resiliencepolicies", "sidecarprofiles"])
def test_what_users_write_it_reads_and_never_changes(kube: Cluster, namespace: str, resource: str) -> None:
    name = f"{resource}.seawall.dev"
    assert may(kube, "list", name, "-n", namespace) and may(
        kube, "patch", name, "-n", namespace, "--subresource=status"
    )
    for verb in ("create", "update", "patch", "delete"):
        assert not may(kube, verb, name, "-n", namespace)


@pytest.mark.parametrize(
    "words",
    [
        ("get", "pods"), ("create", "pods"), ("create", "pods", "--subresource=exec"),
        ("impersonate", "serviceaccounts"),
        ("create", "serviceaccounts", "--subresource=token"), ("update", "customresourcedefinitions"),
        ("create", "mutatingwebhookconfigurations"), ("patch", "mutatingwebhookconfigurations/another"),
        ("create", "clusterrolebindings"), ("*", "*"),
    ],
)  # fmt: skip
def test_nor_anything_that_would_make_it_more_than_it_is(kube: Cluster, namespace: str, words: tuple[str, ...]) -> None:
    assert not may(kube, *words, "-n", namespace)
