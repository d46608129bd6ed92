"""Merging layers of fields, every field keeping its source.

Precedence is GEP-713's: cluster overrides > namespace overrides > inline > namespace defaults > cluster defaults >
built-in defaults. Merging is RFC 7386 patch without deletion by null (CRDs prune nulls), lists as a whole, so a merge
is a union of leaves in which the higher layer wins.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from seawall.policy.attachments import ClusterResiliencePolicy, ResiliencePolicy
from seawall.policy.blocks import Block, RouteFields, UpstreamFields
from seawall.policy.defaults import DEFAULT
from seawall.policy.documents import Identity
from seawall.policy.issues import FieldPath, Located
from seawall.policy.settings import Value, Values

_NEVER = datetime.max.replace(tzinfo=UTC)
AnyPolicy = ResiliencePolicy | ClusterResiliencePolicy


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Fields that one document sets. `located` and `prefix` say where they stand; None for the built-in defaults."""

    source: str
    values: Values
    located: Located | None = None
    prefix: FieldPath = ()

    def at(self, path: str) -> FieldPath:
        return (*self.prefix, *path.split("."))


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """The winner of every field, by dotted path."""

    values: Values
    layers: Mapping[str, Layer]

    def source(self, path: str) -> str:
        return self.layers[path].source

    @property
    def sources(self) -> dict[str, str]:
        return {path: layer.source for path, layer in self.layers.items()}


def merge(highest_first: Sequence[Layer]) -> Merged:
    values: dict[str, Value] = {}
    layers: dict[str, Layer] = {}
    for layer in reversed(highest_first):
        values.update(layer.values)
        layers.update(dict.fromkeys(layer.values, layer))
    return Merged(values, layers)


def leaves(block: Block, owned: type[Block]) -> dict[str, Value]:
    """The fields of `owned` that are set, by dotted path: `retry.attempts` → 2."""
    data = block.model_dump(include=set(owned.model_fields), by_alias=True, exclude_none=True)
    return dict(_flatten(data, ""))


def _flatten(data: Mapping[str, Any], at: str) -> Iterable[tuple[str, Value]]:
    for name, value in data.items():
        path = f"{at}{name}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{path}.")
        elif isinstance(value, list | tuple):
            yield path, tuple(item if isinstance(item, str | int) else json.dumps(item) for item in value)
        else:
            yield path, value


def defaults(values: Values) -> Layer:
    return Layer(DEFAULT, values)


@dataclass(frozen=True, slots=True)
class _Attachment:
    """One policy that applies to a target. `section`: to that rule of a route only."""

    policy: int
    section: str | None = None


@dataclass(frozen=True, slots=True)
class _Selection:
    policy: int
    namespace: str | None
    labels: Mapping[str, str]


class PolicyIndex:
    """All policies by what they target, so that finding those of one target does not look at every policy."""

    def __init__(self, policies: Sequence[Located]) -> None:
        ordered = sorted(
            ((p, d) for p in policies if isinstance(d := p.document, AnyPolicy) and d.spec.enforcement != "Shadow"),
            key=lambda item: age(item[1]),
        )
        self.route_layers = [_layer(p, d, RouteFields) for p, d in ordered]
        self.upstream_layers = [_layer(p, d, UpstreamFields) for p, d in ordered]
        self._documents = [document for _, document in ordered]
        self._by_name: defaultdict[Identity, list[_Attachment]] = defaultdict(list)
        self._selections: defaultdict[str, list[_Selection]] = defaultdict(list)
        for number, document in enumerate(self._documents):
            self._add(number, document)

    def _add(self, number: int, document: AnyPolicy) -> None:
        own = None if document.CLUSTER_SCOPED else document.namespace
        for ref in document.spec.target_refs or ():
            namespace = own if own is not None else getattr(ref, "namespace", None) or "*"
            scope = "" if ref.kind == "ClusterUpstream" else namespace
            self._by_name[ref.kind, scope, ref.name].append(_Attachment(number, ref.section_name))
        for selector in document.spec.target_selectors or ():
            self._selections[selector.kind].append(_Selection(number, own, selector.match_labels))

    def rule_layers(
        self, target: Identity, labels: Mapping[str, str], section: str | None
    ) -> tuple[list[Layer], list[Layer]]:
        """(overrides, defaults) for one rule of a route, each from the highest precedence down."""
        found = [a for a in self._attached(target, labels) if a.section is None or a.section == section]
        return self._ranked(found, self.route_layers)

    def upstream_layers_of(self, target: Identity, labels: Mapping[str, str]) -> tuple[list[Layer], list[Layer]]:
        return self._ranked(self._attached(target, labels), self.upstream_layers)

    def _attached(self, target: Identity, labels: Mapping[str, str]) -> list[_Attachment]:
        kind, namespace, name = target
        found = list(self._by_name.get(target, ()))
        if namespace:
            found += self._by_name.get((kind, "*", name), ())
        for selection in self._selections[kind]:
            if selection.namespace in (None, namespace) and selection.labels.items() <= labels.items():
                found.append(_Attachment(selection.policy))
        return found

    def _ranked(self, found: list[_Attachment], layers: list[Layer]) -> tuple[list[Layer], list[Layer]]:
        overrides: dict[int, tuple[bool, bool, int]] = {}
        defaults: dict[int, tuple[bool, bool, int]] = {}
        for one in found:
            document = self._documents[one.policy]
            whole = one.section is None
            if document.spec.level == "overrides":
                # The less specific override wins, the more specific default (GEP-713): cluster before namespace, and
                # the whole route before one of its rules; among defaults the other way round.
                rank = (not document.CLUSTER_SCOPED, not whole, one.policy)
                overrides[one.policy] = min(rank, overrides.get(one.policy, rank))
            else:
                rank = (document.CLUSTER_SCOPED, whole, one.policy)
                defaults[one.policy] = min(rank, defaults.get(one.policy, rank))
        return (
            [layers[number] for number in sorted(overrides, key=overrides.__getitem__)],
            [layers[number] for number in sorted(defaults, key=defaults.__getitem__)],
        )


def age(document: AnyPolicy) -> tuple[datetime, str, str]:
    """Sorts the oldest first, those without an age last, then by name."""
    created = document.metadata.creation_timestamp
    return datetime.fromisoformat(created) if created else _NEVER, document.name, document.namespace


def _layer(located: Located, document: AnyPolicy, owned: type[Block]) -> Layer:
    level = document.spec.level
    fields = document.spec.overrides or document.spec.defaults
    assert fields is not None  # the model requires exactly one
    source = f"{document.KIND} {document.key} {level}"
    return Layer(source, leaves(fields, owned), located, ("spec", level))
