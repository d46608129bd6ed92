"""The schemas of `status`, which only the operator writes, and the columns that `kubectl get` prints from it. Columns
find conditions by type, never by position."""

from typing import Any

Schema = dict[str, Any]


def _text(description: str, length: int = 1024) -> Schema:
    return {"type": "string", "description": description, "maxLength": length}


def _count(description: str) -> Schema:
    return {"type": "integer", "format": "int64", "minimum": 0, "description": description}


CONDITION: Schema = {
    "type": "object",
    "description": "As Kubernetes has them (metav1.Condition).",
    "required": ["lastTransitionTime", "message", "reason", "status", "type"],
    "properties": {
        "type": _text("What it is about.", 316),
        "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
        "reason": {
            **_text("Why, in one word."),
            "minLength": 1,
            "pattern": r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        },
        "message": _text("Why, for people.", 32768),
        "observedGeneration": _count("The generation that it is about."),
        "lastTransitionTime": {
            "type": "string",
            "format": "date-time",
            "description": "When its status changed last.",
        },
    },
}
CONDITIONS: Schema = {
    "type": "array",
    "description": "What holds of it, by type.",
    "items": CONDITION,
    "maxItems": 16,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}
OBSERVED = _count("The generation that the rest of the status is about.")
REVISION = _text("Hash of the policy's content.", 128)
SYNCED = _text("Sidecars that run the revision, of those that were seen lately: 397/412.", 32)
SIDECARS: Schema = {
    "type": "object",
    "description": "How many sidecars run it.",
    "required": ["current", "rejected", "stale", "total"],
    "properties": {
        "total": _count("Sidecars seen lately."),
        "current": _count("Of them, those that run this revision."),
        "stale": _count("Those that run another one."),
        "rejected": _count("Those that refused it."),
    },
}
ANCESTOR: Schema = {
    "type": "object",
    "description": "What the policy does to one of its targets (GEP-713).",
    "required": ["ancestorRef", "controllerName"],
    "properties": {
        "ancestorRef": {
            "type": "object",
            "description": "The target.",
            "required": ["group", "kind", "name"],
            "properties": {
                "group": _text("Its API group.", 253),
                "kind": _text("Its kind.", 63),
                "namespace": _text("Its namespace, of a namespaced kind.", 63),
                "name": _text("Its name.", 253),
                "sectionName": _text("The rule of it.", 253),
            },
        },
        "controllerName": _text("Who says so.", 253),
        "conditions": CONDITIONS,
    },
}
_COMMON: Schema = {"observedGeneration": OBSERVED, "conditions": CONDITIONS}
_POLICY: Schema = {
    **_COMMON,
    "mode": _text("Enforce or Shadow.", 16),
    "ancestors": {
        "type": "array",
        "description": "Targets, the first 16 of them; `conditions` speak of all.",
        "items": ANCESTOR,
        "maxItems": 16,
        "x-kubernetes-list-type": "atomic",
    },
}
_REVISED: Schema = {**_COMMON, "revision": REVISION, "sidecars": SIDECARS, "synced": SYNCED}

STATUS: dict[str, Schema] = {
    "Upstream": _COMMON,
    "ClusterUpstream": _COMMON,
    "AgentRoute": _REVISED,
    "ResiliencePolicy": _POLICY,
    "ClusterResiliencePolicy": _POLICY,
    "SidecarProfile": _REVISED,
    "EffectivePolicy": _REVISED,
}
"""EffectivePolicy's also has `fields`, which the model holds."""


def _column(name: str, path: str, kind: str = "string", priority: int = 0) -> Schema:
    return {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}


def _condition(name: str) -> Schema:
    return _column(name, f'.status.conditions[?(@.type=="{name}")].status')


_AGE = _column("Age", ".metadata.creationTimestamp", "date")
_REV = _column("Rev", ".status.revision")
_SYNCED = _column("Synced", ".status.synced")
_UPSTREAM = [
    _column("Dialect", ".spec.dialect"),
    _condition("Accepted"),
    _condition("Programmed"),
    _column("URL", ".spec.baseURL", priority=1),
    _AGE,
]
_ATTACHED = [_column("Mode", ".status.mode"), _condition("Accepted"), _condition("Programmed"), _AGE]
_FOLLOWED = [_condition("Accepted"), _condition("Programmed"), _REV, _SYNCED, _AGE]

COLUMNS: dict[str, list[Schema]] = {
    "Upstream": _UPSTREAM,
    "ClusterUpstream": _UPSTREAM,
    "AgentRoute": _FOLLOWED,
    "ResiliencePolicy": _ATTACHED,
    "ClusterResiliencePolicy": _ATTACHED,
    "SidecarProfile": _FOLLOWED,
    "EffectivePolicy": [_condition("Programmed"), _REV, _SYNCED, _AGE],
}
