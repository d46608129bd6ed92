"""Documents of all kinds → for each namespace the effective policy of its routes, and what became of each document.
Pure.

A namespace is compiled by itself, with the upstreams that its routes name wherever they are and the policies of the
cluster: what another namespace does wrong, or which paths its routes take, is none of its business. Nothing here
remembers: `accepted`, the last good version of each document, goes in and comes out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from seawall.policy import EffectivePolicy, EffectiveRoute, Issue
from seawall.policy.bundle import Bundle, bundle
from seawall.policy.documents import Identity
from seawall_operator.references import backend
from seawall_operator.resources import RESOURCES, Object, created, identity, spec_of
from seawall_operator.settle import Settled, Verdict, settle

DEFAULT_PROFILE = "default"
"""Of pods that are injected by their own label, in a namespace that has no profile of that name."""
CLUSTER = ""
"""The scope of documents that belong to no namespace."""

_CLUSTER_KINDS = tuple(kind for kind, resource in RESOURCES.items() if not resource.namespaced)
INPUTS = ("Upstream", "ClusterUpstream", "AgentRoute", "ResiliencePolicy", "ClusterResiliencePolicy")
"""The kinds that decide what holds."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One namespace, or the cluster's own documents. `policy`: its routes and the upstreams that they use."""

    namespace: str
    policy: EffectivePolicy
    verdicts: Mapping[Identity, Verdict]
    profiles: tuple[str, ...]
    bug: Exception | None = None

    @property
    def routes(self) -> Mapping[Identity, EffectiveRoute]:
        return {("AgentRoute", route.namespace, route.name): route for route in self.policy.routes}

    def bundles(self, sequence: int) -> tuple[Bundle, ...]:
        """One for each profile."""
        return tuple(bundle(self.namespace, profile, sequence, self.policy) for profile in self.profiles)


@dataclass(frozen=True, slots=True)
class Rendered:
    scopes: Mapping[str, Scope]
    """By namespace; CLUSTER is among them."""
    accepted: Mapping[Identity, Object] = field(default_factory=dict)

    @property
    def wrong(self) -> set[Identity]:
        """Documents that are not accepted everywhere."""
        return {key for scope in self.scopes.values() for key, one in scope.verdicts.items() if not one.accepted}

    def verdict(self, key: Identity) -> Verdict:
        """Over all scopes that a document is in: a document of the cluster is accepted where it is everywhere. Warnings
        are those of its own scope: that a policy targets nothing in one namespace says nothing."""
        found = Verdict()
        issues: dict[Issue, None] = {}
        for namespace, scope in self.scopes.items():
            if (one := scope.verdicts.get(key)) is not None:
                issues.update(dict.fromkeys(one.errors))
                found.held |= one.held
                found.dropped |= one.dropped
                if namespace == key[1]:
                    found.warnings, found.dead = one.warnings, one.dead
        found.errors = list(issues)
        return found


class Documents:
    """All documents by scope, so that what one namespace needs is found without looking at the others."""

    def __init__(self, objects: Iterable[Object] = ()) -> None:
        self._scopes: dict[str, dict[Identity, Object]] = {CLUSTER: {}}
        self._guests: dict[str, set[Identity]] = {}
        """Namespace → routes of other namespaces that name an upstream of it."""
        for obj in objects:
            self.put(obj)

    def copy(self) -> "Documents":
        """What is known now, whatever comes."""
        other = Documents()
        other._scopes = {namespace: dict(objects) for namespace, objects in self._scopes.items()}
        other._guests = {namespace: set(routes) for namespace, routes in self._guests.items()}
        return other

    def put(self, obj: Object) -> None:
        key = identity(obj)
        self._leave(key)
        self._scopes.setdefault(key[1], {})[key] = obj
        for namespace in _visited(obj):
            self._guests.setdefault(namespace, set()).add(key)

    def remove(self, key: Identity) -> None:
        self._leave(key)
        found = self._scopes.get(key[1], {})
        found.pop(key, None)
        if not found and key[1] != CLUSTER:
            self._scopes.pop(key[1], None)

    def _leave(self, key: Identity) -> None:
        if (old := self.get(key)) is not None:
            for namespace in _visited(old):
                self._guests[namespace].discard(key)

    def get(self, key: Identity) -> Object | None:
        return self._scopes.get(key[1], {}).get(key)

    def __iter__(self) -> Iterator[Object]:
        for scope in self._scopes.values():
            yield from scope.values()

    def __len__(self) -> int:
        return sum(map(len, self._scopes.values()))

    @property
    def namespaces(self) -> Sequence[str]:
        return sorted(self._scopes)

    def of(self, namespace: str, *kinds: str) -> list[Object]:
        """The oldest first."""
        found = self._scopes.get(namespace, {}).values()
        return sorted((obj for obj in found if obj["kind"] in kinds), key=created)

    def inputs(self, namespace: str) -> list[Object]:
        """Everything that decides what holds in a namespace."""
        if namespace == CLUSTER:
            return self.of(CLUSTER, *_CLUSTER_KINDS)
        own = self.of(namespace, *INPUTS)
        targets = self._targets(namespace)
        abroad = sorted({ns for kind, ns, _ in targets if kind == "Upstream" and ns != namespace})
        foreign = [obj for ns in abroad for obj in self.of(ns, "Upstream") if identity(obj) in targets]
        attached = [obj for ns in abroad for obj in self.of(ns, "ResiliencePolicy")]
        cluster = [
            obj
            for obj in self.of(CLUSTER, *_CLUSTER_KINDS)
            if obj["kind"] == "ClusterResiliencePolicy" or identity(obj) in targets
        ]
        return [*own, *foreign, *attached, *cluster]

    def _targets(self, namespace: str) -> set[Identity]:
        return {target for route in self.of(namespace, "AgentRoute") for target in _backends(route)}

    def affected(self, key: Identity) -> set[str]:
        """The namespaces whose policy a document may change."""
        kind, namespace, _ = key
        if namespace == CLUSTER:
            return set(self._scopes)
        if kind in ("Upstream", "ResiliencePolicy"):
            return {namespace, *(route[1] for route in self._guests.get(namespace, ()))}
        return {namespace}


def _backends(route: Object) -> Iterator[Identity]:
    for rule in spec_of(route).get("rules", ()):
        for ref in rule.get("backendRefs", ()):
            yield backend(route, ref)


def _visited(obj: Object) -> set[str]:
    """Other namespaces, of whose upstreams a route names some."""
    if obj["kind"] != "AgentRoute":
        return set()
    return {namespace for kind, namespace, _ in _backends(obj) if kind == "Upstream"} - {identity(obj)[1]}


def render(
    documents: Documents,
    accepted: Mapping[Identity, Object] | None = None,
    *,
    previous: Rendered | None = None,
    only: Iterable[str] | None = None,
) -> Rendered:
    """Compile all namespaces, or `only` some of them anew beside what was rendered before."""
    before = accepted or {}
    scopes = dict(previous.scopes) if previous is not None and only is not None else {}
    known = documents.namespaces
    there = {CLUSTER, *known}
    for namespace in known if only is None else sorted(only):
        if namespace not in there:
            scopes.pop(namespace, None)
            continue
        scopes[namespace] = _scope(namespace, settle(documents.inputs(namespace), before), documents)
    rendered = Rendered(scopes)
    return replace(rendered, accepted=_accepted(documents, rendered, before))


def _scope(namespace: str, settled: Settled, documents: Documents) -> Scope:
    routes = tuple(route for route in settled.policy.routes if route.namespace == namespace)
    used = {b.upstream.key for route in routes for rule in route.rules for b in rule.backends}
    upstreams = {key: one for key, one in settled.policy.upstreams.items() if key in used}
    policy = replace(settled.policy, routes=routes, upstreams=upstreams)
    named = [profile["metadata"]["name"] for profile in documents.of(namespace, "SidecarProfile")]
    profiles = () if namespace == CLUSTER else tuple(sorted({DEFAULT_PROFILE, *named}))
    return Scope(namespace, policy, settled.verdicts, profiles, settled.bug)


def _accepted(documents: Documents, rendered: Rendered, before: Mapping[Identity, Object]) -> dict[Identity, Object]:
    result: dict[Identity, Object] = {}
    wrong = rendered.wrong
    for obj in documents:
        key = identity(obj)
        version = before.get(key) if key in wrong else obj
        if version is not None and obj["kind"] in INPUTS:
            result[key] = version
    return result
