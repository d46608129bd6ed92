"""Policy documents as plain data, and what checking them says; for tests of checks."""

from typing import Any

import yaml

from seawall.policy import Loaded, evaluate, load_text

A: dict[str, Any] = {"dialect": "OpenAI", "baseURL": "https://a/v1"}


def document(kind: str, name: str, spec: object, **metadata: object) -> dict[str, Any]:
    meta = {"name": name, **metadata}
    return {"apiVersion": "seawall.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def rule(path: str = "/v1", *backends: dict[str, Any], **fields: Any) -> dict[str, Any]:
    refs = list(backends) or [{"name": "a"}]
    return {"matches": [{"path": {"value": path}}], "backendRefs": refs, **fields}


def route(*rules: dict[str, Any], name: str = "r", **metadata: object) -> dict[str, Any]:
    return document("AgentRoute", name, {"rules": list(rules)}, **metadata)


def upstream(name: str = "a", kind: str = "Upstream", **spec: Any) -> dict[str, Any]:
    return document(kind, name, {**A, **spec})


def policy(level: str = "defaults", kind: str = "AgentRoute", name: str = "r", **fields: Any) -> dict[str, Any]:
    return document("ResiliencePolicy", "p", {"targetRefs": [{"kind": kind, "name": name}], level: fields})


def load(*documents: dict[str, Any]) -> Loaded:
    return evaluate(load_text(yaml.safe_dump_all(documents, sort_keys=False), "p.yaml"))


def issues(*documents: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    loaded = load(*documents)
    assert (loaded.policy is None) == any(i.severity == "error" for i in loaded.issues)
    return [(i.severity, i.path, i.message, i.hint) for i in loaded.issues]


def one(*documents: dict[str, Any]) -> tuple[str, str, str, str]:
    found = issues(*documents)
    assert len(found) == 1, found
    return found[0]
