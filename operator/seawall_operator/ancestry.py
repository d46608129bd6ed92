"""What a policy does to each of its targets, and which of its fields another document decides. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seawall.policy.attachments import LEVELS
from seawall.policy.blocks import PolicyFields, RouteFields, UpstreamFields
from seawall.policy.documents import GROUP, Identity
from seawall.policy.merge import leaves
from seawall_operator.conditions import Condition
from seawall_operator.render import CLUSTER, Documents, Rendered
from seawall_operator.resources import Object, identity, spec_of

MAX_ANCESTORS = 16
"""In a status (GEP-713)."""
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One target. `lost`: fields of the policy → the document that decides them instead."""

    target: Identity
    section: str = ""
    lost: Mapping[str, str] = field(default_factory=dict)

    def ref(self) -> dict[str, Any]:
        kind, namespace, name = self.target
        optional = {"namespace": namespace, "sectionName": self.section}
        return {"group": GROUP, "kind": kind, "name": name, **{k: v for k, v in optional.items() if v}}


def ancestors(policy: Object, documents: Documents, rendered: Rendered) -> list[Ancestor]:
    """All targets that are there, in the order of their names."""
    own = identity(policy)[1]
    paths = _paths(policy, rendered)
    found: dict[tuple[Identity, str], Ancestor] = {}
    for namespace in documents.namespaces if own == CLUSTER else [own]:
        for target, section in _targets(policy, namespace, documents):
            key = target, section
            if key not in found:
                found[key] = Ancestor(target, section, _lost(policy, paths, target, section, namespace, rendered))
    return [found[key] for key in sorted(found)]


def conditions(policy: Object, ancestor: Sequence[Ancestor]) -> list[Condition]:
    """Overridden and Conflicted, over these targets."""
    kind, _, level, own = *identity(policy)[:2], _level(policy), _source(policy)
    lost = {path: source for one in ancestor for path, source in one.lost.items()}
    rivals = {p: s for p, s in lost.items() if s.startswith(f"{kind} ") and s.endswith(f" {level}") and s != own}
    overridden = {path: source for path, source in lost.items() if path not in rivals}
    return [
        _condition("Overridden", "Overridden", "NotOverridden", overridden, "decides"),
        _condition("Conflicted", "Conflicted", "NoConflict", rivals, "came first, or is more specific, and decides"),
    ]


def _condition(name: str, bad: str, good: str, lost: Mapping[str, str], verb: str) -> Condition:
    if not lost:
        return Condition(name, "False", good, "Every field of it holds where it applies.")
    by_source: dict[str, list[str]] = {}
    for path, source in sorted(lost.items()):
        by_source.setdefault(source, []).append(path)
    parts = [f"{source} {verb} {', '.join(paths)}" for source, paths in list(by_source.items())[:_NAMED]]
    more = f"; and {len(by_source) - _NAMED} more" if len(by_source) > _NAMED else ""
    return Condition(name, "True", bad, "; ".join(parts) + more)


def _level(policy: Object) -> str:
    return next((level for level in LEVELS if level in spec_of(policy)), LEVELS[0])


def _source(policy: Object) -> str:
    """As seawall.policy names who set a field."""
    kind, namespace, name = identity(policy)
    return f"{kind} {f'{namespace}/' if namespace else ''}{name} {_level(policy)}"


def _targets(policy: Object, namespace: str, documents: Documents) -> Iterator[tuple[Identity, str]]:
    spec, of_cluster = spec_of(policy), identity(policy)[1] == CLUSTER
    for ref in spec.get("targetRefs") or ():
        kind = ref["kind"]
        home = CLUSTER if kind == "ClusterUpstream" else namespace
        if ref.get("namespace") in (None, namespace) and (of_cluster or home != CLUSTER):
            key = (kind, home, ref["name"])
            if documents.get(key) is not None and home == namespace:
                yield key, ref.get("sectionName", "")
    for selector in spec.get("targetSelectors") or ():
        wanted = selector.get("matchLabels", {}).items()
        for obj in documents.of(namespace, selector["kind"]):
            if wanted <= (obj["metadata"].get("labels") or {}).items():
                yield identity(obj), ""


def _paths(policy: Object, rendered: Rendered) -> Mapping[bool, Collection[str]]:
    """The fields that it would set of a route (True), and of an upstream."""
    spec = spec_of(policy)
    if spec.get("enforcement") == "Shadow" or not rendered.verdict(identity(policy)).accepted:
        return {True: (), False: ()}
    fields = PolicyFields.model_validate(spec.get(_level(policy), {}), by_alias=True, by_name=False)
    return {True: leaves(fields, RouteFields), False: leaves(fields, UpstreamFields)}


def _lost(
    policy: Object,
    paths: Mapping[bool, Collection[str]],
    target: Identity,
    section: str,
    namespace: str,
    rendered: Rendered,
) -> dict[str, str]:
    own, wanted = _source(policy), paths[target[0] == "AgentRoute"]
    lost: dict[str, str] = {}
    for sources in _merged(target, section, namespace, rendered):
        lost.update({path: sources[path] for path in wanted if path in sources and sources[path] != own})
    return lost


def _merged(target: Identity, section: str, namespace: str, rendered: Rendered) -> Iterator[Mapping[str, str]]:
    """Who set each field of the target's, wherever it is in effect."""
    kind, home, name = target
    if kind == "AgentRoute":
        scope = rendered.scopes.get(namespace)
        route = scope.routes.get(target) if scope else None
        yield from (rule.sources for rule in (route.rules if route else ()) if section in ("", rule.name))
        return
    key = f"{home}/{name}" if home else name
    for scope in rendered.scopes.values():
        if key in scope.policy.upstreams:
            yield scope.policy.upstreams[key].sources
