"""The API's names: group, version, and for each kind its plural, its scope and its short names.

Objects as an API server gives them are plain mappings here; only seawall.policy reads their specs.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seawall.policy.documents import GROUP, Identity
from seawall.policy.kinds import KINDS

VERSION = "v1alpha1"
CATEGORY = "seawall"
FIELD_MANAGER = "seawall-operator"
CONTROLLER_NAME = f"{GROUP}/operator"
"""Who writes a policy's status.ancestors (GEP-713)."""

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind, as the API serves it."""

    kind: str
    plural: str
    namespaced: bool
    short_names: tuple[str, ...]

    @property
    def crd_name(self) -> str:
        return f"{self.plural}.{GROUP}"


def _resource(kind: str, plural: str, *short_names: str) -> Resource:
    return Resource(kind, plural, not KINDS[kind].CLUSTER_SCOPED, short_names)


RESOURCES: Mapping[str, Resource] = {
    resource.kind: resource
    for resource in (
        _resource("Upstream", "upstreams", "ups"),
        _resource("ClusterUpstream", "clusterupstreams", "cups"),
        _resource("AgentRoute", "agentroutes", "ar"),
        _resource("ResiliencePolicy", "resiliencepolicies", "rp"),
        _resource("ClusterResiliencePolicy", "clusterresiliencepolicies", "crp"),
        _resource("SidecarProfile", "sidecarprofiles", "scp"),
        # `kubectl get ep` gives Endpoints, whose short name came first; effpol always works.
        _resource("EffectivePolicy", "effectivepolicies", "ep", "effpol"),
    )
}
WRITTEN_BY_USERS = tuple(kind for kind in RESOURCES if kind != "EffectivePolicy")


def identity(obj: Object) -> Identity:
    """(kind, namespace, name); the namespace of a cluster-scoped kind is ""."""
    metadata = obj["metadata"]
    return obj["kind"], metadata.get("namespace", "") if RESOURCES[obj["kind"]].namespaced else "", metadata["name"]


def lean(obj: Object) -> Object:
    """What is kept of an object as the API server gives it: not who manages which of its fields, no annotations (where
    kubectl keeps all of it once more), and of the fields that an EffectivePolicy lists only a hash. With thousands of
    objects these are most of the memory."""
    metadata = {name: value for name, value in obj["metadata"].items() if name not in ("managedFields", "annotations")}
    kept = {**obj, "metadata": metadata}
    return {**kept, "status": lean_status(obj["status"])} if "fields" in (obj.get("status") or {}) else kept


def lean_status(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """With a hash in the place of `fields`, unless it is there already."""
    fields = status.get("fields")
    if not isinstance(fields, list):
        return status
    content = json.dumps(fields, sort_keys=True).encode()
    return {**status, "fields": f"sha256:{hashlib.sha256(content).hexdigest()}"}


def resource_version(obj: Object) -> int:
    """A number that only grows (KEP-5504); 0 where there is none, as in a file."""
    text = str(obj["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


def spec_of(obj: Object) -> Mapping[str, Any]:
    spec = obj.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def created(obj: Object) -> tuple[str, str, str]:
    """Sorts the oldest first, then by namespace and name (Gateway API's order among equals)."""
    metadata = obj["metadata"]
    return metadata.get("creationTimestamp") or "~", metadata.get("namespace", ""), metadata["name"]
