"""Which policies apply to a target, in GEP-713's order of precedence.

Where a target or a policy is in doubt, a policy may apply or not. It then decides nothing, but is never taken for
absent either.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from seawall.policy.attachments import LEVELS, ClusterResiliencePolicy, ResiliencePolicy
from seawall.policy.blocks import Block, PolicyFields, RouteFields, UpstreamFields
from seawall.policy.documents import Identity
from seawall.policy.inventory import Presence
from seawall.policy.located import Located
from seawall.policy.merge import Layer, in_doubt, layer_of

AnyPolicy = ResiliencePolicy | ClusterResiliencePolicy

_NEVER = datetime.max.replace(tzinfo=UTC)
_UNREADABLE = Layer("", {}, doubts=frozenset({""}))
_ENFORCEMENT = ("spec", "enforcement")


@dataclass(frozen=True, slots=True)
class _Attachment:
    """One level of one policy that applies to a target. `section`: to that rule of a route only. Not `certain`: it may
    apply or not."""

    level: int
    section: str | None = None
    certain: bool = True


@dataclass(frozen=True, slots=True)
class _Selection:
    level: int
    namespace: str | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Level:
    """The defaults or the overrides of a policy. Not `enforced` for sure: its enforcement is in doubt."""

    overrides: bool
    enforced: bool
    document: AnyPolicy
    route_layer: Layer
    upstream_layer: Layer


class PolicyIndex:
    """All policies by what they target, so that finding those of one target does not look at every policy.

    `broken`: documents of which nothing is left. What a policy among them sets nobody knows, so that built-in defaults
    may not be the last word; what documents themselves set is still held against them. `shadow`: policies that say
    `enforcement: Shadow` apply like any other; without it they do not apply at all.
    """

    def __init__(
        self, documents: Sequence[Located], broken: frozenset[Presence] = frozenset(), *, shadow: bool = False
    ) -> None:
        ordered = sorted(
            ((p, d) for p in documents if isinstance(d := p.document, AnyPolicy) and (shadow or not is_shadow(d))),
            key=lambda item: age(item[1]),
        )
        kinds = (ResiliencePolicy.KIND, ClusterResiliencePolicy.KIND, None)
        self._unreadable = any(kind in kinds for kind, _, _ in broken)
        self._levels: list[_Level] = []
        self._by_name: defaultdict[Identity, list[_Attachment]] = defaultdict(list)
        self._selections: defaultdict[str, list[_Selection]] = defaultdict(list)
        self._anywhere: list[_Attachment] = []
        for located, document in ordered:
            if not located.sure(("spec",)):
                self._unreadable = True
                continue
            for name in LEVELS:
                fields = document.spec.levels.get(name)
                if fields is None:
                    if located.sure(("spec", name)):
                        continue
                    fields = PolicyFields()  # it sets something, nobody knows what
                source, at = f"{document.KIND} {document.key} {name}", ("spec", name)
                layers = [layer_of(source, fields, owned, located, at) for owned in (RouteFields, UpstreamFields)]
                enforced = shadow or located.sure(_ENFORCEMENT)
                self._levels.append(_Level(name == "overrides", enforced, document, *layers))
                self._add(len(self._levels) - 1, located, document)

    def rule_layers(
        self, located: Located, section: str | None, sure_of_section: bool = True
    ) -> tuple[list[Layer], list[Layer]]:
        """(overrides, defaults) for one rule of a route, each from the highest precedence down."""
        found = []
        for one in self._attached(located):
            if one.section is None or one.section == section:
                found.append(one)
            elif not sure_of_section:
                found.append(_Attachment(one.level, one.section, certain=False))
        return self._ranked(found, RouteFields)

    def upstream_layers(self, located: Located) -> tuple[list[Layer], list[Layer]]:
        return self._ranked(self._attached(located), UpstreamFields)

    def _add(self, level: int, located: Located, document: AnyPolicy) -> None:
        targets = (("spec", "targetRefs"), ("spec", "targetSelectors"))
        if not located.sure_of_name or not all(located.whole(path) for path in targets):
            self._anywhere.append(_Attachment(level, certain=False))
            if not located.sure_of_name:
                return
        own = None if document.CLUSTER_SCOPED else document.namespace
        for ref in document.spec.target_refs or ():
            namespace = own if own is not None else getattr(ref, "namespace", None) or "*"
            scope = "" if ref.kind == "ClusterUpstream" else namespace
            self._by_name[ref.kind, scope, ref.name].append(_Attachment(level, ref.section_name))
        for selector in document.spec.target_selectors or ():
            self._selections[selector.kind].append(_Selection(level, own, selector.match_labels))

    def _attached(self, located: Located) -> list[_Attachment]:
        document = located.document
        kind, namespace, name = target = document.identity
        if not located.sure_of_name:
            return [_Attachment(level, certain=False) for level in range(len(self._levels))]
        found = [*self._anywhere, *self._by_name.get(target, ())]
        if namespace:
            found += self._by_name.get((kind, "*", name), ())
        sure_of_labels = located.whole(("metadata", "labels"))
        for selection in self._selections[kind]:
            if selection.namespace not in (None, namespace):
                continue
            if not sure_of_labels:
                found.append(_Attachment(selection.level, certain=False))
            elif selection.labels.items() <= document.labels.items():
                found.append(_Attachment(selection.level))
        return found

    def _ranked(self, found: list[_Attachment], owned: type[Block]) -> tuple[list[Layer], list[Layer]]:
        overrides: dict[int, tuple[bool, bool, int]] = {}
        defaults: dict[int, tuple[bool, bool, int]] = {}
        certain = {one.level for one in found if one.certain and self._levels[one.level].enforced}
        for one in found:
            cluster_scoped = self._levels[one.level].document.CLUSTER_SCOPED
            whole = one.section is None
            if self._levels[one.level].overrides:
                # The less specific override wins, the more specific default (GEP-713): cluster before namespace, and
                # the whole route before one of its rules; among defaults the other way round.
                rank = (not cluster_scoped, not whole, one.level)
                overrides[one.level] = min(rank, overrides.get(one.level, rank))
            else:
                rank = (cluster_scoped, whole, one.level)
                defaults[one.level] = min(rank, defaults.get(one.level, rank))

        def layers(ranks: dict[int, tuple[bool, bool, int]]) -> list[Layer]:
            ordered = [(n, self._levels[n]) for n in sorted(ranks, key=ranks.__getitem__)]
            chosen = [(n, one.route_layer if owned is RouteFields else one.upstream_layer) for n, one in ordered]
            return [layer if n in certain else in_doubt(layer) for n, layer in chosen]

        return layers(overrides), [*layers(defaults), *([_UNREADABLE] if self._unreadable else [])]


def is_shadow(document: AnyPolicy) -> bool:
    """Whether a policy is only evaluated, and never acts."""
    return document.spec.enforcement == "Shadow"


def age(document: AnyPolicy) -> tuple[datetime, str, str]:
    """Sorts the oldest first, those without an age last, then by name."""
    created = document.metadata.creation_timestamp
    return datetime.fromisoformat(created) if created else _NEVER, document.name, document.namespace
