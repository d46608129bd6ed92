"""Pod → JSON patch (RFC 6902) that puts a sidecar beside it. Pure.

It adds, and never reorders or removes: a second run changes nothing. The sidecar is a native one (an init container
that restarts, Kubernetes 1.29): it is up before the agent, ends after it, and holds no Job open. Variables are set only
where a container has none of that name, and never where it may have one that cannot be seen (envFrom).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seawall_operator.render import DEFAULT_PROFILE
from seawall_operator.resources import Object, spec_of
from seawall_operator.sidecar_container import ADMIN, CONTAINER, DATA, Injection, container, volumes

INJECT = "seawall.dev/inject"
"""The label that asks for a sidecar (`enabled`), or for none whatever a profile selects (`disabled`)."""
INJECTED = "seawall.dev/profile"
"""The annotation that says which profile a pod was given."""

PATHS: Mapping[str, str] = {
    "OPENAI_BASE_URL": "/openai/v1",
    "ANTHROPIC_BASE_URL": "/anthropic",
    "GOOGLE_GEMINI_BASE_URL": "/gemini",
}
"""What is set where a profile names no variables: those of SDKs that read them, at the paths of the built-in policy."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_DIRECT = (
    "seawall: the pod reaches the world through {}, and the sidecar only where an Upstream says "
    "`proxy: {{mode: Environment}}`; there is none in this namespace yet"
)
_LOOPBACK = "127.0.0.1,localhost"

Step = dict[str, Any]


@dataclass(slots=True)
class Patch:
    """`warnings` are what `kubectl` prints; a pod that is left as it is may have some too."""

    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def profile_for(pod: Object, profiles: Sequence[Object]) -> str | None:
    """The name of the profile that a pod gets, of those of its namespace; None: no sidecar. Of several that select it
    the first by name counts."""
    labels = pod["metadata"].get("labels") or {}
    wish = labels.get(INJECT)
    if wish == "disabled":
        return None
    for profile in sorted(profiles, key=lambda one: str(one["metadata"]["name"])):
        wanted = (spec_of(profile).get("selector") or {}).get("matchLabels") or {}
        if wanted.items() <= labels.items():
            return str(profile["metadata"]["name"])
    return DEFAULT_PROFILE if wish == "enabled" else None


def inject(pod: Object, namespace: str, name: str, profile: Object | None, injection: Injection) -> Patch:
    """`profile`: the SidecarProfile of this name, where there is one."""
    patch = Patch()
    spec = spec_of(pod)
    if spec.get("hostNetwork"):
        patch.warnings.append("seawall: no sidecar, since the pod uses the node's network (hostNetwork)")
        return patch
    if (spec.get("os") or {}).get("name") == "windows":
        patch.warnings.append("seawall: no sidecar, since the pod runs on Windows")
        return patch
    if taken := _taken(spec):
        patch.warnings.append(f"seawall: no sidecar, since {taken}")
        return patch
    wanted = spec_of(profile) if profile is not None else {}
    _volumes(spec, name, patch)
    chosen = set(wanted.get("containers") or ())
    proxies = _proxies([one for one in spec.get("containers") or () if not chosen or one.get("name") in chosen])
    if not _has_sidecar(spec):
        if proxies and injection.paths is None:
            patch.warnings.append(_DIRECT.format(proxies[0]["name"]))
        grace = spec.get("terminationGracePeriodSeconds", 30)
        made = container(namespace, name, wanted, injection, grace, proxies)
        # Behind the pod's own init containers: those that need the network before are none of its business.
        _append("/spec/initContainers", spec.get("initContainers"), [made], patch)
    for index, agent in enumerate(spec.get("containers") or ()):
        if not chosen or agent.get("name") in chosen:
            _variables(f"/spec/containers/{index}", agent, _base_urls(wanted, injection), patch)
    for missing in sorted(chosen - {one.get("name") for one in spec.get("containers") or ()}):
        patch.warnings.append(f"seawall: SidecarProfile {name} names container {missing}, which the pod has not")
    _annotation(pod, name, patch)
    return patch


def _taken(spec: Object) -> str:
    """What in the pod is in the sidecar's place already: beside it one of the two would not start. "": nothing, or the
    sidecar itself."""
    containers = list(spec.get("containers") or ())
    first = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") != "Always"]
    if any(one.get("name") == CONTAINER for one in (*first, *containers)):
        return f"the pod has a container of its own named {CONTAINER}"
    beside = [one for one in spec.get("initContainers") or () if one not in first]
    for one in (*beside, *containers):
        ports = {port.get("containerPort") for port in one.get("ports") or () if port.get("protocol") != "UDP"}
        if one.get("name") != CONTAINER and (both := sorted(ports & {DATA, ADMIN})):
            return f"container {one.get('name')} has port {both[0]}, where it would listen"
    return ""


def _base_urls(wanted: Object, injection: Injection) -> dict[str, str]:
    """Variables and values. Without any in the profile: those at whose path something answers."""
    named = wanted.get("baseURLVariables")
    if named is not None:
        return {one["name"]: f"http://127.0.0.1:{DATA}{one['path']}" for one in named}
    served = injection.paths
    return {
        name: f"http://127.0.0.1:{DATA}{path}"
        for name, path in PATHS.items()
        if served is None or any(f"{path}/".startswith(f"{one.rstrip('/')}/") for one in served)
    }


def _volumes(spec: Object, profile: str, patch: Patch) -> None:
    there = {one.get("name") for one in spec.get("volumes") or ()}
    wanted = volumes(profile)
    missing = [one for one in wanted if one["name"] not in there]
    if not _has_sidecar(spec):
        for name in [one["name"] for one in wanted if one["name"] in there]:
            patch.warnings.append(f"seawall: the sidecar uses the pod's own volume {name}, whatever that holds")
    _append("/spec/volumes", spec.get("volumes"), missing, patch)


def _proxies(agents: Iterable[Object]) -> list[Object]:
    """How the first of the agents that says so reaches the world."""
    for agent in agents:
        # What is made of the container's other variables means nothing elsewhere.
        found = [
            one
            for one in agent.get("env") or ()
            if str(one.get("name")).upper() in _PASSED_ON and "$(" not in str(one.get("value"))
        ]
        if any(one["name"].upper() in _PROXIES for one in found):
            return found
    return []


def _has_sidecar(spec: Object) -> bool:
    return any(one.get("name") == CONTAINER for one in spec.get("initContainers") or ())


def _variables(at: str, agent: Object, urls: Mapping[str, str], patch: Patch) -> None:
    there = {one.get("name"): one for one in agent.get("env") or ()}
    missing = {name: value for name, value in urls.items() if name not in there}
    if agent.get("envFrom"):
        if missing:
            patch.warnings.append(
                f"seawall: {', '.join(missing)} not set in container {agent.get('name')}, "
                "whose envFrom may hold them already: set them there, or in env"
            )
        missing = {}
    added = [{"name": name, "value": value} for name, value in missing.items()]
    if any(name in there or name.lower() in there for name in _PROXIES):
        added += _no_proxy(at, agent, there, patch)
    _append(f"{at}/env", agent.get("env"), added, patch)


def _no_proxy(at: str, agent: Object, there: Mapping[Any, Object], patch: Patch) -> list[Step]:
    """The way to the sidecar leads through no proxy."""
    known = [name for name in ("NO_PROXY", "no_proxy") if name in there]
    for name in known:
        one = there[name]
        if "valueFrom" in one:
            patch.warnings.append(
                f"seawall: {name} of container {agent.get('name')} comes from elsewhere; it must hold 127.0.0.1"
            )
        elif "127.0.0.1" not in str(one.get("value", "")).replace(" ", "").split(","):
            index = list(agent["env"]).index(one)
            value = ",".join(filter(None, [str(one.get("value", "")), _LOOPBACK]))
            patch.steps.append({"op": "add", "path": f"{at}/env/{index}/value", "value": value})
    return [] if known else [{"name": name, "value": _LOOPBACK} for name in ("NO_PROXY", "no_proxy")]


def _annotation(pod: Object, profile: str, patch: Patch) -> None:
    annotations = pod["metadata"].get("annotations")
    if (annotations or {}).get(INJECTED) is not None:
        return
    if annotations is None:
        patch.steps.append({"op": "add", "path": "/metadata/annotations", "value": {INJECTED: profile}})
    else:
        key = INJECTED.replace("~", "~0").replace("/", "~1")
        patch.steps.append({"op": "add", "path": f"/metadata/annotations/{key}", "value": profile})


def _append(path: str, before: Sequence[Object] | None, items: Iterable[Object], patch: Patch) -> None:
    """To a list, which may not be there yet."""
    items = list(items)
    if items and not before:
        patch.steps.append({"op": "add", "path": path, "value": items})
    else:
        patch.steps += [{"op": "add", "path": f"{path}/-", "value": item} for item in items]
