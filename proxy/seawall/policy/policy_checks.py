"""Checks of policies: what they target, and whether those targets take the fields that they set."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from seawall.policy.attached import AnyPolicy
from seawall.policy.attachments import LEVELS, ClusterTargetRef, TargetRef, TargetSelector
from seawall.policy.blocks import PolicyFields, RouteFields, UpstreamFields
from seawall.policy.documents import AgentRoute
from seawall.policy.inventory import Documents, Inventory
from seawall.policy.issues import FieldPath, Issue, did_you_mean
from seawall.policy.located import Located


def policies(located_policies: Sequence[Located], documents: Documents, inventory: Inventory) -> Iterable[Issue]:
    """All issues of policies."""
    routes: defaultdict[str, list[Located]] = defaultdict(list)
    for located in documents.readable:
        if isinstance(located.document, AgentRoute):
            routes[located.document.name].append(located)
    for located in located_policies:
        if isinstance(policy := located.document, AnyPolicy):
            yield from _levels(located, policy)
            yield from _ways_to_target(located, policy)
            for index, ref in enumerate(policy.spec.target_refs or ()):
                yield from _target(located, policy, ref, ("spec", "targetRefs", index), inventory, routes[ref.name])
            for index, selector in enumerate(policy.spec.target_selectors or ()):
                yield from _selector(located, policy, selector, ("spec", "targetSelectors", index), documents)


def _levels(located: Located, policy: AnyPolicy) -> Iterable[Issue]:
    sure = all(located.sure(("spec", level)) for level in LEVELS)
    if len(policy.spec.levels) > 1:
        yield located.error(("spec",), "needs exactly one of defaults and overrides", "split it into two policies")
    elif sure and not policy.spec.levels:
        yield located.error(("spec",), "needs exactly one of defaults and overrides")
    kinds: set[str] = {ref.kind for ref in policy.spec.target_refs or ()}
    kinds |= {selector.kind for selector in policy.spec.target_selectors or ()}
    sure_of_targets = all(located.whole(("spec", name)) for name in ("targetRefs", "targetSelectors"))
    for level, fields in policy.spec.levels.items():
        given = [name for name in PolicyFields.model_fields if getattr(fields, name) is not None]
        if not given and located.whole(("spec", level)):
            yield located.warning(("spec", level), "sets nothing")
        if kinds and sure_of_targets:
            yield from _inert_fields(located, level, given, kinds)


def _inert_fields(located: Located, level: str, given: Iterable[str], kinds: set[str]) -> Iterable[Issue]:
    """Fields that no target of the policy takes: a breaker belongs to an upstream, retries to a route."""
    takes: set[str] = set(RouteFields.model_fields) if "AgentRoute" in kinds else set()
    if kinds & {"Upstream", "ClusterUpstream"}:
        takes |= set(UpstreamFields.model_fields)
    for name in given:
        if name not in takes:
            owner = "an AgentRoute" if name in RouteFields.model_fields else "an Upstream or ClusterUpstream"
            alias = PolicyFields.model_fields[name].alias or name
            message = f"belongs to {owner}; this policy targets only {' and '.join(sorted(kinds))}"
            yield located.error(("spec", level, alias), message)


def _ways_to_target(located: Located, policy: AnyPolicy) -> Iterable[Issue]:
    refs, selectors = policy.spec.target_refs, policy.spec.target_selectors
    sure = all(located.whole(("spec", name)) for name in ("targetRefs", "targetSelectors"))
    if (refs is not None and selectors is not None) or (sure and refs is None and selectors is None):
        yield located.error(("spec",), "needs exactly one of targetRefs and targetSelectors")
    elif sure and not refs and not selectors:
        yield located.warning(("spec",), "targets nothing")


def _needs_cluster_policy(located: Located, at: FieldPath) -> Issue:
    # A namespace must not decide for others.
    return located.error(
        (*at, "kind"), "a ClusterUpstream belongs to no namespace", "target it with a ClusterResiliencePolicy"
    )


def _target(
    located: Located,
    policy: AnyPolicy,
    ref: TargetRef,
    at: FieldPath,
    inventory: Inventory,
    routes: Sequence[Located],
) -> Iterable[Issue]:
    """`routes`: those of the name that is targeted, in any namespace."""
    if ref.section_name is not None and ref.kind != "AgentRoute":
        hint = f"remove it for kind {ref.kind}"
        yield located.error((*at, "sectionName"), "sectionName names a rule of an AgentRoute", hint)
    if isinstance(ref, ClusterTargetRef):
        if ref.kind == "ClusterUpstream" and ref.namespace is not None:
            yield located.error((*at, "namespace"), "a ClusterUpstream has no namespace")
            return
        namespace = "" if ref.kind == "ClusterUpstream" else ref.namespace
    elif ref.kind == "ClusterUpstream":
        yield _needs_cluster_policy(located, at)
        return
    elif not located.sure(("metadata", "namespace")):
        return
    else:
        namespace = policy.namespace
    if not inventory.has(ref.kind, namespace, ref.name):
        where = f" in namespace {namespace}" if namespace else ""
        message = f"targets nothing: there is no {ref.kind} {ref.name}{where}"
        yield located.warning((*at, "name"), message, inventory.near(ref.kind, namespace, ref.name))
    elif ref.section_name is not None and ref.kind == "AgentRoute":
        found = [one for one in routes if namespace in (None, one.document.namespace)]
        yield from _section(located, ref, ref.section_name, at, found)


def _section(
    located: Located, ref: TargetRef, section: str, at: FieldPath, routes: Sequence[Located]
) -> Iterable[Issue]:
    names: list[str] = []
    for route in routes:
        assert isinstance(route.document, AgentRoute)
        names += [rule.name for rule in route.document.spec.rules if rule.name]
    if section not in names and routes and all(_sure_of_rule_names(route) for route in routes):
        message = f"targets nothing: AgentRoute {ref.name} has no rule of that name"
        yield located.warning((*at, "sectionName"), message, did_you_mean(section, names))


def _sure_of_rule_names(route: Located) -> bool:
    assert isinstance(route.document, AgentRoute)
    rules = range(len(route.document.spec.rules))
    return route.sure(("spec", "rules")) and all(route.sure(("spec", "rules", index, "name")) for index in rules)


def _selector(
    located: Located, policy: AnyPolicy, selector: TargetSelector, at: FieldPath, documents: Documents
) -> Iterable[Issue]:
    if selector.kind == "ClusterUpstream" and not policy.CLUSTER_SCOPED:
        yield _needs_cluster_policy(located, at)
    elif not _selects(located, policy, selector, documents):
        yield located.warning(at, f"selects no {selector.kind}")


def _selects(located: Located, policy: AnyPolicy, selector: TargetSelector, documents: Documents) -> bool:
    """Whether it does or, where something is in doubt, may."""
    sure_of_namespace = policy.CLUSTER_SCOPED or located.sure(("metadata", "namespace"))
    wanted = policy.namespace if sure_of_namespace and not policy.CLUSTER_SCOPED else None
    for kind, namespace, _ in documents.broken:
        if kind in (selector.kind, None) and (wanted is None or namespace in (wanted, None)):
            return True
    for one in documents.readable:
        document = one.document
        if not one.sure(("kind",)):
            return True
        if selector.kind != document.KIND:
            continue
        if not one.whole(("metadata", "labels")) or not one.sure(("metadata", "namespace")):
            return True
        if wanted in (None, document.namespace) and selector.match_labels.items() <= document.labels.items():
            return True
    return False
