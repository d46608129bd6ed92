"""Checks of routes: references, candidates, and matches that hide each other.

Matching is Gateway API's: Exact before the longest prefix, then the most headers; among those the matches that name
models come first, then the order of the documents decides. Only what holds under that order is reported.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from seawall.policy.documents import AgentRoute, BackendRef, Identity, Rule
from seawall.policy.effective import (
    Built,
    EffectiveHeader,
    EffectiveRef,
    EffectiveRoute,
    EffectiveRule,
    reference,
    rule_label,
)
from seawall.policy.inventory import Inventory
from seawall.policy.issues import FieldPath, Issue
from seawall.policy.located import Located
from seawall.policy.translation_checks import foreign, model_names, rule_dialect

_Head = tuple[str, str, tuple[EffectiveHeader, ...]]
_Match = tuple[_Head, frozenset[str]]


def routes(built: Built, inventory: Inventory) -> Iterable[Issue]:
    """All issues of the routes."""
    first: dict[_Match, tuple[str, str]] = {}
    upstreams = {located.document.key: located for located, _ in built.upstreams if located.sure_of_name}
    for route, (located, _) in zip(built.policy.routes, built.routes, strict=True):
        document = located.document
        assert isinstance(document, AgentRoute)  # build() lists only these
        if not document.spec.rules and located.whole(("spec", "rules")):
            yield located.error(("spec", "rules"), "needs at least one rule")
        yield from _rule_names(document, located)
        # Of a document that is there twice, one has to go or to change: it is compared with itself only.
        others = {} if located.repeated else first
        for rule, effective in zip(document.spec.rules, route.rules, strict=True):
            at: FieldPath = ("spec", "rules", effective.index)
            yield from _headers(rule, located, at)
            yield from _backend_refs(document, rule, located, at, inventory)
            yield from rule_dialect(rule, effective, located, at)
            yield from _candidates(effective, rule, located, at)
            by_ref = {backend.ref: backend for backend in effective.backends}
            for index, ref in enumerate(rule.backend_refs):
                if backend := by_ref.get(reference(document, ref)):
                    target, where = upstreams[backend.upstream.key], (*at, "backendRefs", index)
                    yield from model_names(backend, ref, target, located, where)
                    first_known = located.sure((*at, "dialect")) and knows_candidates(effective, rule, located)
                    if rule.dialect or first_known:
                        # Else the upstream that decides what the rule speaks may be another one.
                        yield from foreign(effective, backend, target, located, where)
            label = f"AgentRoute {document.key} {rule_label(rule, effective.index)}"
            yield from _same_match(effective, label, others, located, at)
        yield from _covered(route, located)


def _rule_names(document: AgentRoute, located: Located) -> Iterable[Issue]:
    seen: set[str] = set()
    for index, rule in enumerate(document.spec.rules):
        if rule.name in seen:
            yield located.error(("spec", "rules", index, "name"), f"the name {rule.name} is there twice")
        if rule.name:
            seen.add(rule.name)


def _headers(rule: Rule, located: Located, at: FieldPath) -> Iterable[Issue]:
    for index, match in enumerate(rule.matches or ()):
        for number, header in enumerate(match.headers or ()):
            if header.type == "RegularExpression":
                try:
                    re.compile(header.value)
                except (re.error, OverflowError, RecursionError) as error:
                    where = (*at, "matches", index, "headers", number)
                    yield located.error(where, f"value is not a regular expression: {error}")


def _backend_refs(
    route: AgentRoute, rule: Rule, located: Located, at: FieldPath, inventory: Inventory
) -> Iterable[Issue]:
    for index, backend in enumerate(rule.backend_refs):
        yield from _reference(route, backend, located, (*at, "backendRefs", index), inventory)
    if not located.whole((*at, "backendRefs")):
        return  # how many there are, and of which weight and priority, is not known
    if not rule.backend_refs:
        yield located.error(at, "the rule has no backendRefs", "name at least one Upstream")
    yield from _weights([reference(route, ref) for ref in rule.backend_refs], located, at)


def _reference(
    route: AgentRoute, backend: BackendRef, located: Located, at: FieldPath, inventory: Inventory
) -> Iterable[Issue]:
    ref = reference(route, backend)
    if ref.kind == "ClusterUpstream" and backend.namespace is not None:
        yield located.error(at, "a ClusterUpstream has no namespace")
    sure = ref.kind == "ClusterUpstream" or backend.namespace or located.sure(("metadata", "namespace"))
    if inventory.has(ref.kind, ref.namespace if sure else None, ref.name):
        return
    if not sure:
        yield located.error((*at, "name"), f"there is no {ref.kind} {ref.name} in any namespace")
        return
    other_kind = "ClusterUpstream" if ref.kind == "Upstream" else "Upstream"
    if elsewhere := inventory.elsewhere(ref.kind, ref.name):
        hint = f"there is one in namespace {elsewhere[0]}"
    elif inventory.elsewhere(other_kind, ref.name):
        hint = f"did you mean kind: {other_kind}?"
    else:
        hint = inventory.near(ref.kind, ref.namespace, ref.name)
    where = f" in namespace {ref.namespace}" if ref.namespace else ""
    yield located.error((*at, "name"), f"there is no {ref.kind} {ref.name}{where}", hint)


def _candidates(effective: EffectiveRule, rule: Rule, located: Located, at: FieldPath) -> Iterable[Issue]:
    dialects = sorted({effective.dialect, *(backend.upstream.spec.dialect for backend in effective.backends)})
    if dialects == ["Generic"] and knows_candidates(effective, rule, located):
        for index, match in enumerate(effective.matches):
            if match.models and "*" not in match.models:
                where = (*at, "matches", index, "models")
                yield located.warning(where, "never matches: requests of dialect Generic carry no model")


def knows_candidates(effective: EffectiveRule, rule: Rule, located: Located) -> bool:
    """Every reference of the rule leads to an upstream that is not in doubt."""
    at = ("spec", "rules", effective.index, "backendRefs")
    return len(effective.backends) == len(rule.backend_refs) and located.whole(at)


def _weights(refs: Sequence[EffectiveRef], located: Located, at: FieldPath) -> Iterable[Issue]:
    groups: defaultdict[int, list[EffectiveRef]] = defaultdict(list)
    seen: set[tuple[Identity, object]] = set()
    for index, ref in enumerate(refs):
        groups[ref.priority].append(ref)
        asked = ref.model, ref.model_map
        if (ref.identity, asked) in seen:
            message = f"{ref.kind} {ref.name} is there twice"
            yield located.warning((*at, "backendRefs", index), message, "a second try is what retry is for")
        seen.add((ref.identity, asked))
    empty = [priority for priority, group in groups.items() if not any(ref.weight for ref in group)]
    if empty and len(empty) == len(groups):
        yield located.error((*at, "backendRefs"), "all weights are 0: the rule could answer nothing")
    elif empty:
        priorities = ", ".join(str(priority) for priority in sorted(empty))
        yield located.warning((*at, "backendRefs"), f"all weights of priority {priorities} are 0: it gets no calls")
    elif groups and 0 not in groups:
        message = f"no upstream has priority 0; the first is {min(groups)}"
        yield located.warning((*at, "backendRefs"), message, "priority 0 is tried first")


def _same_match(
    rule: EffectiveRule, label: str, first: dict[_Match, tuple[str, str]], located: Located, at: FieldPath
) -> Iterable[Issue]:
    for index, match in enumerate(rule.matches):
        key = ((match.path_type, match.path, match.headers), frozenset(match.models))
        if key in first:
            other, file = first[key]
            message = f"matches the same requests as {other}: {match.path_type} {match.path}"
            issue = located.error((*at, "matches", index), message, "only one of them could ever be used")
            yield replace(issue, others=(file,) if file != issue.file else ())
        else:
            first[key] = label, located.origin.file


def _covered(route: EffectiveRoute, located: Located) -> Iterable[Issue]:
    """Matches whose requests another rule of the route takes all, because it comes before."""
    # By head and pattern, so that many rules for many models are not each compared with each.
    earlier: defaultdict[tuple[_Head, str], list[tuple[EffectiveRule, tuple[str, ...]]]] = defaultdict(list)
    matches = [(rule, index, match) for rule in route.rules for index, match in enumerate(rule.matches)]
    for rule, index, match in sorted(matches, key=lambda item: not item[2].models):
        head = (match.path_type, match.path, match.headers)
        wider = (one for pattern in _wider_patterns(match.models) for one in earlier.get((head, pattern), ()))
        for other, models in wider:
            if other is not rule and set(models) != set(match.models) and _covers(models, match.models):
                message = f"never matches: rule {other.name} comes before and takes all of its requests"
                yield located.warning(("spec", "rules", rule.index, "matches", index), message)
                break
        for pattern in match.models:
            earlier[head, pattern].append((rule, match.models))


def _wider_patterns(models: Sequence[str]) -> list[str]:
    """Of these, whatever covers all models must have one."""
    if not models:
        return ["*"]
    stem = models[0].rstrip("*")
    return [models[0], *(f"{stem[:end]}*" for end in range(len(stem), -1, -1))]


def _covers(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    if "*" in wide:
        return True
    return bool(narrow) and all(
        any(n == w or (w.endswith("*") and n.rstrip("*").startswith(w[:-1])) for w in wide) for n in narrow
    )
