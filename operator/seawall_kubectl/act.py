"""`kubectl seawall isolate|close`: breakers of all sidecars by hand, over each one's own socket: whoever may exec into
the pods may do it, and nobody else."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from seawall.policy.documents import DEFAULT_NAMESPACE
from seawall_kubectl.kubectl import Kubectl, Object, Refused
from seawall_kubectl.sidecars import AT_ONCE, has_sidecar
from seawall_kubectl.table import table
from seawall_operator.sidecar_container import CONTAINER

SOCKET = "/var/lib/seawall/admin.sock"


def targets(kubectl: Kubectl, pods: Sequence[str]) -> list[Object]:
    """Pods with a sidecar that runs: those of these names, or all of the namespace. Raises Refused for another one."""
    found = [pod for pod in kubectl.list(["pods"]) if has_sidecar(pod) and pod["status"].get("phase") == "Running"]
    names = {pod["metadata"]["name"] for pod in found}
    if missing := [name for name in pods if name not in names]:
        raise Refused(f"no running sidecar in {', '.join(missing)}")
    return [pod for pod in found if not pods or pod["metadata"]["name"] in pods]


def sidecars_name(kubectl: Kubectl, upstream: str) -> str:
    """What sidecars call an upstream: one of another namespace than `default` by both its names."""
    namespace = kubectl.here()
    if "/" in upstream or namespace == DEFAULT_NAMESPACE:
        return upstream
    there = {one["metadata"]["name"] for one in kubectl.list(["upstreams.seawall.dev"])}
    return f"{namespace}/{upstream}" if upstream in there else upstream


def act(kubectl: Kubectl, action: str, upstream: str, model: str | None, pods: Sequence[Object]) -> dict[str, Any]:
    """`action`: isolate, reset or force-close, as `seawall admin` has them. What each sidecar said to it."""
    words = ["seawall", "admin", action, upstream, "--socket", SOCKET, *(("--model", model) if model else ())]

    def one(pod: Object) -> dict[str, Any]:
        metadata = pod["metadata"]
        where = ("-n", metadata["namespace"], metadata["name"], "-c", CONTAINER)
        try:
            kubectl.run("exec", *where, "--", *words)
        except Refused as error:
            return {"pod": metadata["name"], "done": False, "said": str(error).splitlines()[0]}
        return {"pod": metadata["name"], "done": True, "said": ""}

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return {"action": action, "upstream": upstream, "model": model, "sidecars": list(threads.map(one, pods))}


def text(found: dict[str, Any]) -> str:
    """For people."""
    rows = [(one["pod"], found["action"] if one["done"] else "failed", one["said"]) for one in found["sidecars"]]
    return table(("SIDECAR", "DONE", ""), rows)
