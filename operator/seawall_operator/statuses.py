"""The `status` of each kind, without times: what was rendered, and what sidecars say of it. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seawall.policy import DEFAULT, EffectiveRoute
from seawall.policy.documents import Identity
from seawall.policy.settings import Values
from seawall_operator import ancestry, conditions
from seawall_operator.conditions import Condition
from seawall_operator.render import CLUSTER, Documents, Rendered
from seawall_operator.resources import CONTROLLER_NAME, Object, identity, spec_of
from seawall_operator.sidecars import Counts
from seawall_operator.standing import Standing

MAX_FIELDS = 2000
"""Of an EffectivePolicy; where there are more, built-in defaults are left out first."""
MAX_VALUE = 1000
"""Characters of one value, as JSON: an object has its size, and a StaticResponse's text may be 16 KiB for each rule."""


@dataclass(frozen=True, slots=True)
class Desired:
    """`more`: the rest of the status. `targets`: a policy's, whose conditions are the object's own."""

    conditions: tuple[Condition, ...]
    more: Mapping[str, Any]
    targets: tuple[ancestry.Ancestor, ...] = ()


class Statuses:
    """Of one moment."""

    def __init__(self, documents: Documents, rendered: Rendered, standing: Standing) -> None:
        self._documents = documents
        self._rendered = rendered
        self._standing = standing
        self._counted: dict[str, Counts] = {}

    def of(self, obj: Object) -> Desired:
        match obj["kind"]:
            case "AgentRoute":
                return self._route(obj)
            case "Upstream" | "ClusterUpstream":
                return self._upstream(obj)
            case "SidecarProfile":
                return self._profile(obj)
            case _:
                return self._policy(obj)

    def effective(self, route: Object) -> Desired:
        """Of the EffectivePolicy of a route."""
        whole = self._route(route)
        found = self._effective_route(identity(route))
        fields = fields_of(found) if found is not None else []
        return Desired(whole.conditions, {**whole.more, "fields": fields})

    def _effective_route(self, key: Identity) -> EffectiveRoute | None:
        scope = self._rendered.scopes.get(key[1])
        return scope.routes.get(key) if scope else None

    def _route(self, obj: Object) -> Desired:
        key = identity(obj)
        verdict = self._rendered.verdict(key)
        counts = self._in_namespace(key[1])
        in_effect = self._effective_route(key) is not None
        found = (
            conditions.accepted(verdict),
            conditions.resolved_refs(verdict.dead),
            conditions.programmed(verdict, counts, in_effect=in_effect),
        )
        return Desired((*found, conditions.ready(found)), self._followed(key[1], counts))

    def _upstream(self, obj: Object) -> Desired:
        key = identity(obj)
        verdict = self._rendered.verdict(key)
        name = f"{key[1]}/{key[2]}" if key[1] else key[2]
        users = [ns for ns, scope in self._rendered.scopes.items() if name in scope.policy.upstreams]
        counts = sum((self._in_namespace(namespace) for namespace in users), Counts())
        found = (
            conditions.accepted(verdict),
            conditions.resolved_refs(()),
            conditions.programmed(verdict, counts, in_effect=not verdict.dropped, used=bool(users)),
        )
        return Desired((*found, conditions.ready(found)), {})

    def _profile(self, obj: Object) -> Desired:
        key = identity(obj)
        verdict = self._rendered.verdict(key)
        counts = self._standing.of_profile(key[1], key[2])
        found = (conditions.accepted(verdict), conditions.programmed(verdict, counts))
        return Desired((*found, conditions.ready(found)), self._followed(key[1], counts))

    def _policy(self, obj: Object) -> Desired:
        key = identity(obj)
        verdict = self._rendered.verdict(key)
        targets = ancestry.ancestors(obj, self._documents, self._rendered)
        counts = sum((self._in_namespace(namespace) for namespace in self._reach(key[1])), Counts())
        programmed = conditions.programmed(verdict, counts, in_effect=not verdict.dropped, used=bool(targets))
        found = (conditions.accepted(verdict), programmed, *ancestry.conditions(obj, targets))
        mode = spec_of(obj).get("enforcement") or "Enforce"
        return Desired(found, {"mode": mode}, tuple(targets[: ancestry.MAX_ANCESTORS]))

    def _reach(self, home: str) -> Iterator[str]:
        """The namespaces where a policy of this one may hold: others' routes may use its upstreams."""
        for namespace, scope in self._rendered.scopes.items():
            if home in (CLUSTER, namespace) or any(name.startswith(f"{home}/") for name in scope.policy.upstreams):
                yield namespace

    def _in_namespace(self, namespace: str) -> Counts:
        if namespace not in self._counted:
            self._counted[namespace] = self._standing.of_namespace(namespace)
        return self._counted[namespace]

    def _followed(self, namespace: str, counts: Counts) -> dict[str, Any]:
        sidecars = {name: getattr(counts, name) for name in ("total", "current", "stale", "rejected")}
        revision = self._standing.revisions.get(namespace, "")
        return {"revision": revision, "sidecars": sidecars, "synced": counts.synced}


def written(obj: Object, desired: Desired, before: Mapping[str, Any], now: str) -> dict[str, Any]:
    """A status as the API server takes it. `before`: the status that the object has. `now`: RFC 3339."""
    generation = int(obj["metadata"].get("generation", 0))
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": conditions.stamped(desired.conditions, generation, before.get("conditions") or (), now),
        **desired.more,
    }
    if "mode" in desired.more:
        status["ancestors"] = list(_ancestors(obj, desired, generation, before, now))
    return status


def _ancestors(
    obj: Object, desired: Desired, generation: int, before: Mapping[str, Any], now: str
) -> Iterator[dict[str, Any]]:
    accepted = [one for one in desired.conditions if one.type == "Accepted"]
    last = {str(one.get("ancestorRef")): one.get("conditions") or () for one in before.get("ancestors") or ()}
    for target in desired.targets:
        found = [*accepted, *ancestry.conditions(obj, [target])]
        yield {
            "ancestorRef": target.ref(),
            "controllerName": CONTROLLER_NAME,
            "conditions": conditions.stamped(found, generation, last.get(str(target.ref()), ()), now),
        }


def fields_of(route: EffectiveRoute) -> list[dict[str, Any]]:
    """Every field that holds, with who set it; those of an upstream once, however many rules use it."""
    found: list[tuple[str, Any, str]] = []
    upstreams = {b.upstream.key: b.upstream for rule in route.rules for b in rule.backends}
    for rule in route.rules:
        found += _listed(f"rules[{rule.name}]", rule.values, rule.sources)
        for b in rule.backends:
            own = {path: v for path, v in b.timeout_values.items() if rule.values.get(path) != v}
            found += _listed(f"rules[{rule.name}].backendRefs[{b.ref.name}]", own, b.timeout_sources)
    for key, upstream in upstreams.items():
        found += _listed(f"upstreams[{key}]", upstream.values, upstream.sources)
    if len(found) > MAX_FIELDS:
        found = [one for one in found if one[2] != DEFAULT][:MAX_FIELDS]
    return [{"path": path, "value": _shown(value), "source": source} for path, value, source in found]


def _shown(value: Any) -> Any:
    plain = list(value) if isinstance(value, tuple) else value
    size = len(json.dumps(plain))
    return plain if size <= MAX_VALUE else f"({size} characters)"


def _listed(at: str, values: Values, sources: Mapping[str, str]) -> Sequence[tuple[str, Any, str]]:
    return [(f"{at}.{path}", value, sources[path]) for path, value in sorted(values.items())]
