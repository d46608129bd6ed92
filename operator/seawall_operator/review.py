"""What is said of a document before it is stored: refused, or taken with warnings. Pure.

The answer is what the operator would do with it, found by doing it: compiled beside everything else that is known. A
reference that leads nowhere yet is no reason to refuse: `kubectl apply` of a folder comes in any order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from seawall.policy.documents import Identity
from seawall_operator.conditions import told
from seawall_operator.references import backend
from seawall_operator.render import Documents, Rendered, Scope, render
from seawall_operator.resources import Object, identity, spec_of
from seawall_operator.standing import words

MAX_WARNINGS = 20
MAX_WARNING = 256
"""Characters: what API servers pass on of one (RFC 7234's Warning field has an end)."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """`errors`: why it is refused; empty: it is not."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def review(obj: Object, documents: Documents, rendered: Rendered, sidecars: Mapping[str, int]) -> Opinion:
    """Of a document that is to be stored. `sidecars`: how many of each namespace have asked this replica."""
    key = identity(obj)
    would = documents.copy()
    affected = would.affected(key)
    would.put(obj)
    affected |= would.affected(key)
    # A mistake that is there already must not be in the way of mending another one: what was accepted is the measure.
    after = render(would, rendered.accepted, previous=rendered, only=affected)
    verdict = after.verdict(key)
    errors = tuple(told(issue) for issue in verdict.errors)
    if errors:
        return Opinion(errors)
    warnings = [told(issue) for issue in verdict.warnings]
    for ref in verdict.dead:
        kind, namespace, name = ref.upstream
        where = f"{namespace}/{name}" if namespace else name
        warnings.append(f"spec.rules[{ref.rule}].backendRefs: there is no {kind} {where} yet")
    # A replica that does not lead knows only of those that ask it; the one that leads has said of how many it knows.
    known = words(would)
    seen = {
        one: max(sidecars.get(one, 0), known[one, ""].counts.total if (one, "") in known else 0) for one in affected
    }
    warnings += _multiplied(affected, rendered, after, seen)
    return Opinion(warnings=_told(warnings))


def farewell(key: Identity, documents: Documents) -> Opinion:
    """Of an upstream that is to be deleted: who goes on without it. Never a reason to refuse."""
    warnings = []
    for namespace in sorted(documents.affected(key)):
        for route in documents.of(namespace, "AgentRoute"):
            for index, rule in enumerate(spec_of(route).get("rules", ())):
                targets = [backend(route, ref) for ref in rule.get("backendRefs", ())]
                if key in targets:
                    alone = all(target == key or documents.get(target) is None for target in targets)
                    end = "has no other upstream: it will answer nothing" if alone else "goes on without it"
                    warnings.append(f"AgentRoute {namespace}/{route['metadata']['name']} rule {index} {end}")
    return Opinion(warnings=_told(warnings))


def _told(warnings: Iterable[str]) -> tuple[str, ...]:
    return tuple(one[:MAX_WARNING] for one in dict.fromkeys(warnings))[:MAX_WARNINGS]


def _multiplied(affected: set[str], before: Rendered, after: Rendered, sidecars: Mapping[str, int]) -> list[str]:
    """Routes that would ask an upstream more often than they do while it fails."""
    found = []
    for namespace in sorted(affected):
        old, new = before.scopes.get(namespace), after.scopes.get(namespace)
        if old is None or new is None:
            continue
        were = _attempts(old)
        for route, attempts in _attempts(new).items():
            if route in were and attempts > were[route]:
                number = sidecars.get(namespace, 0)
                seen = f"{number} sidecar{'' if number == 1 else 's'}"
                found.append(
                    f"AgentRoute {namespace}/{route[2]}: {seen}, attempts {were[route]}→{attempts}: "
                    "so much more load on an upstream that fails"
                )
    return found


def _attempts(scope: Scope) -> dict[Identity, int]:
    """The most requests that a call of a route may become at one upstream, retries and races counted."""
    found: dict[Identity, int] = {}
    for key, route in scope.routes.items():
        for rule in route.rules:
            hedges = rule.settings.hedging.attempts if rule.settings.hedging else 1
            found[key] = max(found.get(key, 0), (1 + rule.settings.retry.attempts) * hedges)
    return found
