"""Policy documents as an API server gives them: with namespaces, ages, generations and resource versions."""

from random import Random
from typing import Any

Object = dict[str, Any]
_SPEC = {"dialect": "OpenAI"}


def made(
    kind: str, name: str, spec: dict[str, Any], namespace: str = "team", *, at: int = 1, **metadata: Any
) -> Object:
    """`at`: its resource version; and the second of its creation, unless `created` says another one."""
    created = metadata.pop("created", at)
    meta: dict[str, Any] = {
        "name": name, "generation": 1, "resourceVersion": str(at), "uid": f"{kind}-{namespace}-{name}",
        "creationTimestamp": f"2026-01-01T00:{created // 60 % 60:02}:{created % 60:02}Z", **metadata,
    }  # fmt: skip
    if not kind.startswith("Cluster"):
        meta["namespace"] = namespace
    return {"apiVersion": "seawall.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def upstream(name: str = "a", namespace: str = "team", *, at: int = 1, **spec: Any) -> Object:
    return made(
        "Upstream", name, {"dialect": "OpenAI", "baseURL": f"https://{name}.example/v1", **spec}, namespace, at=at
    )


def cluster_upstream(name: str = "c", *, at: int = 1, **spec: Any) -> Object:
    return made("ClusterUpstream", name, {**_SPEC, "baseURL": f"https://{name}.example/v1", **spec}, at=at)


def route(
    name: str = "chat", *backends: str, namespace: str = "team", path: str = "", at: int = 1, **fields: Any
) -> Object:
    """With one rule; a backend in the form `name`, `namespace/name` or `/name` (of the cluster)."""
    refs: list[dict[str, Any]] = []
    for priority, text in enumerate(backends or ("a",)):
        home, slash, target = text.rpartition("/")
        where = {"namespace": home} if home else {"kind": "ClusterUpstream"} if slash else {}
        refs.append({"name": target, "priority": priority, **where})
    rule = {"matches": [{"path": {"value": path or f"/{name}"}}], "backendRefs": refs, **fields}
    return made("AgentRoute", name, {"rules": [rule]}, namespace, at=at)


def policy(
    name: str = "p", kind: str = "AgentRoute", target: str = "chat", level: str = "defaults", *,
    namespace: str = "team", at: int = 1, enforcement: str = "", **fields: Any,
) -> Object:  # fmt: skip
    """`namespace` "": a policy of the cluster."""
    spec: dict[str, Any] = {"targetRefs": [{"kind": kind, "name": target}], level: fields}
    if enforcement:
        spec["enforcement"] = enforcement
    owner = "ResiliencePolicy" if namespace else "ClusterResiliencePolicy"
    return made(owner, name, spec, namespace, at=at)


BAD = {"timeouts": {"request": "5s", "backendRequest": "9s"}}
"""Fields that contradict each other."""

NAMES, SPACES = ["a", "b"], ["team", "other"]
FIELDS: list[dict[str, Any]] = [
    {}, {"retry": {"attempts": 1}}, {"retry": {"attempts": 3}}, {"timeouts": {"request": "30s"}},
    {"timeouts": {"backendRequest": "20s"}}, {"timeouts": {"backendRequest": "40s"}}, BAD,
]  # fmt: skip
TARGETS = ["a", "b", "other/a", "/c", "team/b"]


def arbitrary(rng: Random) -> Object:
    """Any document of a small world, in which names meet; some are wrong."""
    kind = rng.choice(["Upstream", "AgentRoute", "AgentRoute", "Policy", "ClusterUpstream", "ClusterPolicy"])
    name, space, at = rng.choice(NAMES), rng.choice(SPACES), rng.randint(1, 50)
    if kind == "Upstream":
        more: list[dict[str, Any]] = [{}, {"models": [{"name": "m"}]}, {"auth": {"type": "APIKey"}}]
        return upstream(name, space, at=at, **rng.choice(more))
    if kind == "ClusterUpstream":
        return cluster_upstream("c", at=at)
    fields = rng.choice(FIELDS)
    if kind == "AgentRoute":
        targets = rng.sample(TARGETS, rng.randint(1, 2))
        return route(name, *targets, namespace=space, path=rng.choice(["/1", "/2", "/3"]), at=at, **fields)
    level, owner = rng.choice(["defaults", "overrides"]), "" if kind == "ClusterPolicy" else space
    enforcement = rng.choice(["", "Shadow"])
    return policy(name, "AgentRoute", name, level, namespace=owner, at=at, enforcement=enforcement, **fields)
