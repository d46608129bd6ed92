"""What the tests put into the cluster beside seawall: providers that are labs, and agents. Plain objects."""

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]

PROVIDERS = "providers"
"""The namespace of the labs: providers are nobody's own."""
SEAWALL_IMAGE, AGENT_IMAGE = "localhost/seawall:0.1.0", "localhost/agent:1"
_LAB_PORT = 4110
_RESTRICTED = {
    "runAsNonRoot": True, "runAsUser": 65532, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def document(kind: str, namespace: str, name: str, **spec: Any) -> Object:
    """One of seawall's own."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "seawall.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def lab(name: str) -> list[Object]:
    """A provider at http://NAME.providers.svc, that fails on demand."""
    labels = {"app": name}
    container = {
        "name": "lab", "image": SEAWALL_IMAGE, "args": ["lab", f"--listen=0.0.0.0:{_LAB_PORT}"],
        "ports": [{"containerPort": _LAB_PORT}], "securityContext": _RESTRICTED,
        "readinessProbe": {"httpGet": {"path": "/_lab/grammar", "port": _LAB_PORT}, "periodSeconds": 1},
    }  # fmt: skip
    metadata = {"name": name, "namespace": PROVIDERS}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False}
    service = {"selector": labels, "ports": [{"port": 80, "targetPort": _LAB_PORT}]}
    return [
        _deployment(metadata, labels, spec),
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    ]


def agent(
    namespace: str, name: str, *words: str, labels: Mapping[str, str] | None = None, grace: int = 30, **fields: Any
) -> Object:
    """A pod that runs the agent once. `fields`: more of its spec."""
    metadata = {"name": name, "namespace": namespace, "labels": dict(labels or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**_agent(words, grace), **fields}}


def agents(namespace: str, name: str, *words: str, variables: Mapping[str, str] | None = None) -> Object:
    """A Deployment of one."""
    return _deployment({"name": name, "namespace": namespace}, {"app": name}, _agent(words, 30, variables))


def job(namespace: str, name: str, *words: str, labels: Mapping[str, str]) -> Object:
    template = {"metadata": {"labels": dict(labels)}, "spec": _agent(words, 30)}
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"backoffLimit": 0, "template": template},
    }


def _agent(words: Sequence[str], grace: int, variables: Mapping[str, str] | None = None) -> Object:
    settings = {"OPENAI_API_KEY": "the-agent-s-own", **(variables or {})}
    container = {
        "name": "agent", "image": AGENT_IMAGE, "args": list(words), "securityContext": _RESTRICTED,
        "env": [{"name": name, "value": value} for name, value in settings.items()],
    }  # fmt: skip
    return {"restartPolicy": "Never", "terminationGracePeriodSeconds": grace, "containers": [container]}


def _deployment(metadata: Object, labels: Object, spec: Object) -> Object:
    template = {"metadata": {"labels": labels}, "spec": {**spec, "restartPolicy": "Always"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
