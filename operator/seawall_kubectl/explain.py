"""`kubectl seawall explain`: why a pod has a sidecar or none and what that runs; which fields hold for a route, and who
set each."""

from typing import Any

from seawall_kubectl import sidecars
from seawall_kubectl.kubectl import Kubectl, Object, Refused
from seawall_kubectl.status import conditions, problems
from seawall_kubectl.table import table
from seawall_operator.inject import INJECT, profile_for
from seawall_operator.sidecar_container import CONTAINER


def explain(kubectl: Kubectl, name: str) -> dict[str, Any]:
    """Of a route or a pod of this name: `pod/x` and `route/x` say which. Raises Refused where there is neither."""
    kind, slash, rest = name.partition("/")
    if slash and kind in ("pod", "pods", "po"):
        return _pod(kubectl, kubectl.get("pod", rest))
    if slash and kind in ("route", "agentroute", "agentroutes", "ar"):
        return _route(kubectl, kubectl.get("agentroutes.seawall.dev", rest))
    if slash:
        raise Refused(f"{name}: neither pod/NAME nor route/NAME")
    for resource, told in (("agentroutes.seawall.dev", _route), ("pod", _pod)):
        try:
            found = kubectl.get(resource, name)
        except Refused as error:
            if "NotFound" not in str(error):
                raise
        else:
            return told(kubectl, found)
    raise Refused(f"there is no route and no pod {name} in {kubectl.here()}")


def _route(kubectl: Kubectl, route: Object) -> dict[str, Any]:
    name = route["metadata"]["name"]
    try:
        fields = kubectl.get("effectivepolicies.seawall.dev", name).get("status", {}).get("fields", [])
    except Refused as error:
        if "NotFound" not in str(error):
            raise
        fields = []
    known = route.get("status", {})
    return {
        "route": name,
        "namespace": route["metadata"]["namespace"],
        "revision": known.get("revision", ""),
        "synced": known.get("synced", ""),
        "conditions": list(conditions(route).values()),
        "problems": problems(route),
        "fields": fields,
    }


def _pod(kubectl: Kubectl, pod: Object) -> dict[str, Any]:
    profiles = kubectl.list(["sidecarprofiles.seawall.dev"])
    wanted = profile_for(pod, profiles)
    labels = pod["metadata"].get("labels") or {}
    told: dict[str, Any] = {
        "pod": pod["metadata"]["name"],
        "namespace": pod["metadata"]["namespace"],
        "label": labels.get(INJECT, ""),
        "profile": wanted,
        "sidecar": sidecars.has_sidecar(pod),
    }
    if not told["sidecar"]:
        return {**told, "why": _why_not(pod, wanted)}
    one = sidecars.ask(kubectl, pod)
    everyone = (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
    image = next(c["image"] for c in everyone if c["name"] == CONTAINER)
    variables = {
        f"{c['name']}.{v['name']}": v["value"]
        for c in pod["spec"]["containers"]
        for v in c.get("env", ())
        if str(v.get("value", "")).startswith("http://127.0.0.1:4100")
    }
    routes = one.state["routes"] if one.state else []
    return {
        **told,
        "profile": one.profile,
        "image": image,
        "ready": one.ready,
        "revision": one.revision,
        "problem": one.problem,
        "variables": variables,
        "routes": [
            {
                "route": f"{r['route']}/{r['rule']}",
                "matches": r["matches"],
                "upstreams": [c["upstream"] for c in r["candidates"]],
            }
            for r in routes
        ],
    }


def _why_not(pod: Object, wanted: str | None) -> str:
    if (pod["metadata"].get("labels") or {}).get(INJECT) == "disabled":
        return f"its label {INJECT} says disabled"
    if wanted is None:
        return f"no SidecarProfile of its namespace selects it, and it has no label {INJECT}: enabled"
    if pod["spec"].get("hostNetwork"):
        return "it uses the node's network"
    return (
        f"it would get one by profile {wanted} if it were created now: it is older, or the operator was away, or its "
        "namespace is excluded. Where something else creates it, kubectl delete pod makes it anew"
    )


def text(found: dict[str, Any]) -> str:
    """For people."""
    if "route" in found:
        head = f"AgentRoute {found['namespace']}/{found['route']}: revision {found['revision'] or 'none'}, "
        head += f"{found['synced'] or 'no'} sidecars run it\n"
        wrong = "".join(f"  {problem}\n" for problem in found["problems"])
        rows = [(f["path"], f.get("value"), f["source"]) for f in found["fields"]]
        return head + wrong + ("\n" + table(("FIELD", "VALUE", "SET BY"), rows) if rows else "")
    where = f"Pod {found['namespace']}/{found['pod']}"
    if not found["sidecar"]:
        return f"{where} has no sidecar: {found['why']}\n"
    ready = "ready" if found["ready"] else "not ready"
    lines = [f"{where}: sidecar {found['image']} by profile {found['profile']}, {ready}"]
    lines.append(f"runs revision {found['revision']}" if found["revision"] else f"cannot be asked: {found['problem']}")
    lines += [f"  {name}={value}" for name, value in found["variables"].items()]
    rows = [(r["route"], " ".join(r["matches"]), " → ".join(r["upstreams"])) for r in found["routes"]]
    return "\n".join(lines) + "\n" + ("\n" + table(("ROUTE", "ANSWERS", "UPSTREAMS"), rows) if rows else "")
