"""Checks of routes: references, candidates, and matches that hide each other.

Matching is Gateway API's: Exact before the longest prefix, then the most headers; among those the matches that name
models come first, then the order of the documents decides. Only what holds under that order is reported.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from seawall.policy.documents import AgentRoute, BackendRef, Identity
from seawall.policy.effective import (
    Built,
    EffectiveBackend,
    EffectiveHeader,
    EffectiveRef,
    EffectiveRoute,
    EffectiveRule,
    reference,
    rule_label,
)
from seawall.policy.issues import FieldPath, Issue, Located, did_you_mean

_Head = tuple[str, str, tuple[EffectiveHeader, ...]]


def routes(built: Built, known: set[Identity]) -> Iterable[Issue]:
    """All issues of the routes. `known`: every document that exists, valid or not."""
    first: dict[tuple[_Head, frozenset[str]], str] = {}
    for route, located in zip(built.policy.routes, built.route_documents, strict=True):
        document = located.document
        assert isinstance(document, AgentRoute)  # build() lists only these
        yield from _rule_names(document, located)
        for rule, effective in zip(document.spec.rules, route.rules, strict=True):
            at: FieldPath = ("spec", "rules", effective.index)
            for index, backend in enumerate(rule.backend_refs):
                yield from _reference(document, backend, located, (*at, "backendRefs", index), known)
            if not rule.backend_refs:
                yield located.error(at, "the rule has no backendRefs", "name at least one Upstream")
            yield from _candidates(effective, located, at)
            yield from _weights([reference(document, ref) for ref in rule.backend_refs], located, at)
            label = f"AgentRoute {document.key} {rule_label(rule, effective.index)}"
            yield from _same_match(effective, label, first, located, at)
        yield from _covered(route, located)


def _rule_names(document: AgentRoute, located: Located) -> Iterable[Issue]:
    seen: set[str] = set()
    for index, rule in enumerate(document.spec.rules):
        if rule.name in seen:
            yield located.error(("spec", "rules", index, "name"), f"the name {rule.name} is there twice")
        if rule.name:
            seen.add(rule.name)


def _reference(
    route: AgentRoute, backend: BackendRef, located: Located, at: FieldPath, known: set[Identity]
) -> Iterable[Issue]:
    ref = reference(route, backend)
    if ref.identity in known:
        return
    same_kind = [one for one in known if one[0] == ref.kind]
    hint = did_you_mean(ref.name, [name for _, namespace, name in same_kind if namespace == ref.namespace])
    other_kind = "ClusterUpstream" if ref.kind == "Upstream" else "Upstream"
    elsewhere = [namespace for _, namespace, name in same_kind if name == ref.name]
    if elsewhere:
        hint = f"there is one in namespace {min(elsewhere)}"
    elif any(kind == other_kind and name == ref.name for kind, _, name in known):
        hint = f"did you mean kind: {other_kind}?"
    where = f" in namespace {ref.namespace}" if ref.namespace else ""
    yield located.error((*at, "name"), f"there is no {ref.kind} {ref.name}{where}", hint)


def _candidates(rule: EffectiveRule, located: Located, at: FieldPath) -> Iterable[Issue]:
    dialects = sorted({backend.upstream.spec.dialect for backend in rule.backends})
    if len(dialects) > 1:
        message = f"the rule mixes dialects ({', '.join(dialects)}); translation is not implemented yet"
        yield located.error((*at, "backendRefs"), message, "use one dialect per rule")
    if dialects == ["Generic"]:
        for index, match in enumerate(rule.matches):
            if match.models and "*" not in match.models:
                where = (*at, "matches", index, "models")
                yield located.warning(where, "never matches: requests of dialect Generic carry no model")
    for backend in rule.backends:
        yield from _model_override(backend, rule, located, at)


def _model_override(backend: EffectiveBackend, rule: EffectiveRule, located: Located, at: FieldPath) -> Iterable[Issue]:
    model, upstream = backend.ref.model, backend.upstream
    if not model:
        return
    document = located.document
    assert isinstance(document, AgentRoute)
    refs = [reference(document, ref) for ref in document.spec.rules[rule.index].backend_refs]
    where = (*at, "backendRefs", refs.index(backend.ref), "model")
    if upstream.spec.dialect == "Generic":
        yield located.error(where, "requests of dialect Generic have no model to replace")
    names = [one.name for one in upstream.models]
    if names and model not in names:
        # Aliases are for what agents ask for; an override is sent as it is.
        real = next((one.name for one in upstream.models if model in (one.aliases or ())), None)
        hint = f"it is an alias: write {real}" if real else did_you_mean(model, names)
        yield located.warning(where, f"{upstream.kind} {upstream.key} does not list the model {model}", hint)


def _weights(refs: Sequence[EffectiveRef], located: Located, at: FieldPath) -> Iterable[Issue]:
    groups: defaultdict[int, list[EffectiveRef]] = defaultdict(list)
    seen: set[tuple[Identity, str]] = set()
    for index, ref in enumerate(refs):
        groups[ref.priority].append(ref)
        if (ref.identity, ref.model) in seen:
            message = f"{ref.kind} {ref.name} is there twice"
            yield located.warning((*at, "backendRefs", index), message, "a second try is what retry is for")
        seen.add((ref.identity, ref.model))
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
    rule: EffectiveRule,
    label: str,
    first: dict[tuple[_Head, frozenset[str]], str],
    located: Located,
    at: FieldPath,
) -> Iterable[Issue]:
    for index, match in enumerate(rule.matches):
        key = ((match.path_type, match.path, match.headers), frozenset(match.models))
        other = first.setdefault(key, label)
        if other != label or key in [
            ((m.path_type, m.path, m.headers), frozenset(m.models)) for m in rule.matches[:index]
        ]:
            message = f"matches the same requests as {other}: {match.path_type} {match.path}"
            yield located.error((*at, "matches", index), message, "only one of them could ever be used")


def _covered(route: EffectiveRoute, located: Located) -> Iterable[Issue]:
    """Matches whose requests another rule of the route takes all, because it comes before."""
    earlier: defaultdict[_Head, list[tuple[EffectiveRule, tuple[str, ...]]]] = defaultdict(list)
    matches = [(rule, index, match) for rule in route.rules for index, match in enumerate(rule.matches)]
    for rule, index, match in sorted(matches, key=lambda item: not item[2].models):
        same_head = earlier[match.path_type, match.path, match.headers]
        for other, models in same_head:
            if other is not rule and set(models) != set(match.models) and _covers(models, match.models):
                message = f"never matches: rule {other.name} comes before and takes all of its requests"
                yield located.warning(("spec", "rules", rule.index, "matches", index), message)
                break
        same_head.append((rule, match.models))


def _covers(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    if "*" in wide:
        return True
    return bool(narrow) and all(
        any(n == w or (w.endswith("*") and n.rstrip("*").startswith(w[:-1])) for w in wide) for n in narrow
    )
