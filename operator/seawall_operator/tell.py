"""Events of the Kubernetes API about what changed. Pure."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from seawall.policy.documents import API_VERSION
from seawall_operator.reconcile import Tell
from seawall_operator.resources import CONTROLLER_NAME, FIELD_MANAGER

MAX_NOTE = 1024
"""Characters; more is refused by the API server."""


def event_of(told: Tell, time: datetime, name: str = "") -> dict[str, Any]:
    """events.k8s.io/v1. `name`: in place of a random one. About what belongs to no namespace it is in `default`."""
    metadata = told.about["metadata"]
    namespace = metadata.get("namespace", "")
    regarding = {
        "apiVersion": API_VERSION,
        "kind": told.about["kind"],
        "name": metadata["name"],
        **({"namespace": namespace} if namespace else {}),
        **{name: metadata[name] for name in ("uid", "resourceVersion") if name in metadata},
    }
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": name or f"{metadata['name'][:200].rstrip('-.')}.{uuid4().hex[:16]}",
            "namespace": namespace or "default",
        },
        "eventTime": time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER_NAME,
        "reportingInstance": FIELD_MANAGER,
        "action": "Reconcile",
        "type": "Warning" if told.what.warning else "Normal",
        "reason": told.what.reason,
        "note": told.what.message[:MAX_NOTE],
        "regarding": regarding,
    }
