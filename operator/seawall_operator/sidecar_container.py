"""The container that is put beside agents, and its volumes. Pure.

It holds to Pod Security's `restricted`. Agents reach the data port on the loopback; probes and metrics have a port of
their own; actions only a socket in a volume that no other container has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seawall_operator.resources import Object

CONTAINER = "seawall"
DATA, ADMIN = 4100, 4101
USER = 65532
AUDIENCE = "seawall-operator"
TOKEN_SECONDS = 3600
CREDENTIALS = "seawall-credentials"
"""The Secret whose keys are the files that policies name: one for each namespace, looked at again when it changes."""
CA_CONFIG_MAP, CA_FILE = "seawall-ca", "ca.crt"
BUNDLE_FILE = "bundle.json.gz"

_STATE, _BUNDLE, _OPERATOR = "/var/lib/seawall", "/etc/seawall/bundle", "/var/run/seawall"
_CREDENTIALS = "/var/run/secrets/seawall"
REQUESTS = {"cpu": "10m", "memory": "64Mi"}


@dataclass(frozen=True, slots=True)
class Injection:
    """What is the same for all pods of a namespace. `paths`: where its routes answer; None: as the built-in policy."""

    image: str
    operator_url: str
    paths: frozenset[str] | None = None


def bundle_name(profile: str) -> str:
    """Of the ConfigMap that new pods mount."""
    return f"seawall-bundle-{profile}"


def volumes(profile: str) -> list[dict[str, Any]]:
    """All optional but for the token: a pod must start whatever is missing."""
    token = {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    authority = {"name": CA_CONFIG_MAP, "optional": True, "items": [{"key": CA_FILE, "path": CA_FILE}]}
    return [
        {"name": "seawall-state", "emptyDir": {"sizeLimit": "64Mi"}},
        {
            "name": "seawall-operator",
            "projected": {"sources": [{"serviceAccountToken": token}, {"configMap": authority}]},
        },
        {"name": "seawall-bundle", "configMap": {"name": bundle_name(profile), "optional": True}},
        {"name": "seawall-credentials", "secret": {"secretName": CREDENTIALS, "optional": True}},
    ]


def container(
    namespace: str, profile: str, wanted: Object, injection: Injection, grace: int, env: Sequence[Object] = ()
) -> dict[str, Any]:
    """`wanted`: the profile's spec. `grace`: the pod's, in seconds; streams may take all but the last of it. `env`:
    what an upstream's `proxy.mode: Environment` is to find."""
    return {
        "name": CONTAINER,
        "image": wanted.get("image") or injection.image,
        "restartPolicy": "Always",
        "args": [
            "serve",
            f"--listen=127.0.0.1:{DATA}",
            f"--admin=0.0.0.0:{ADMIN}",
            f"--admin-socket={_STATE}/admin.sock",
            f"--drain={max(1, int(grace) - 5)}",
            f"--operator={injection.operator_url}",
            f"--profile={namespace}/{profile}",
            f"--operator-token={_OPERATOR}/token",
            f"--operator-ca={_OPERATOR}/{CA_FILE}",
            f"--state={_STATE}",
            f"--bundle={_BUNDLE}/{BUNDLE_FILE}",
        ],
        **({"env": list(env)} if env else {}),
        "ports": [{"name": "seawall-admin", "containerPort": ADMIN, "protocol": "TCP"}],
        "resources": _resources(wanted.get("resources") or {}),
        # Any policy will do, pass-through too: an agent must start without the operator.
        "startupProbe": {**_probe("/startupz"), "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {**_probe("/livez"), "periodSeconds": 10, "failureThreshold": 6, "timeoutSeconds": 5},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "seawall-state", "mountPath": _STATE},
            {"name": "seawall-operator", "mountPath": _OPERATOR, "readOnly": True},
            {"name": "seawall-bundle", "mountPath": _BUNDLE, "readOnly": True},
            {"name": "seawall-credentials", "mountPath": _CREDENTIALS, "readOnly": True},
        ],
    }


def _resources(wanted: Object) -> dict[str, Any]:
    requests = {**REQUESTS, **(wanted.get("requests") or {})}
    limits = wanted.get("limits")
    return {"requests": requests, **({"limits": dict(limits)} if limits else {})}


def _probe(path: str) -> Mapping[str, Any]:
    return {"httpGet": {"path": path, "port": ADMIN}}
