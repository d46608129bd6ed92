"""Which upstreams the rules of a route name, and what is left of it without those that are not there. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from seawall.policy.documents import DEFAULT_NAMESPACE, Identity
from seawall_operator.resources import Object, spec_of


@dataclass(frozen=True, slots=True)
class DeadRef:
    """A reference of a rule that leads nowhere. `rule_gone`: it was the last one, so that the rule answers nothing."""

    rule: int
    upstream: Identity
    rule_gone: bool


def without_dead_refs(route: Object, present: Mapping[Identity, Object]) -> tuple[Object | None, list[DeadRef]]:
    """A route without the references that lead nowhere, and without the rules that have no others. A rule keeps its
    name when one before it goes. None: no rule is left."""
    dead: list[DeadRef] = []
    rules: list[Object] = []
    for index, rule in enumerate(spec_of(route).get("rules", ())):
        refs = rule.get("backendRefs", ())
        targets = [backend(route, ref) for ref in refs]
        gone = [target for target in targets if target not in present]
        left = [ref for ref, target in zip(refs, targets, strict=True) if target in present]
        dead += [DeadRef(index, target, rule_gone=not left) for target in gone]
        if left or not gone:
            rules.append({"name": str(index), **rule, "backendRefs": left} if dead else rule)
    if not dead:
        return route, []
    return ({**route, "spec": {**spec_of(route), "rules": rules}} if rules else None), dead


def backend(route: Object, ref: Object) -> Identity:
    """The upstream that a reference of a route names."""
    kind = str(ref.get("kind") or "Upstream")
    if kind == "ClusterUpstream":
        return kind, "", str(ref.get("name", ""))
    own = route["metadata"].get("namespace", DEFAULT_NAMESPACE)
    return kind, str(ref.get("namespace") or own), str(ref.get("name", ""))
