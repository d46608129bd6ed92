"""Merging layers of fields, every field keeping its source.

Precedence is GEP-713's: cluster overrides > namespace overrides > inline > namespace defaults > cluster defaults >
built-in defaults. Merging is RFC 7386 patch without deletion by null (CRDs prune nulls), lists as a whole, so a merge
is a union of leaves in which the higher layer wins. What a document in doubt might have set is never taken for unset.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seawall.policy.blocks import Block
from seawall.policy.issues import FieldPath
from seawall.policy.located import Located
from seawall.policy.settings import Value, Values


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Fields that one document sets. `located` and `prefix` say where they stand; None for the built-in defaults."""

    source: str
    values: Values
    located: Located | None = None
    prefix: FieldPath = ()
    doubts: frozenset[str] = frozenset()
    """Dotted paths that it may set, in some way that is not known; "" stands for all."""

    def at(self, path: str) -> FieldPath:
        return (*self.prefix, *path.split("."))


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """The winner of every field, by dotted path."""

    values: Values
    layers: Mapping[str, Layer]
    doubtful: frozenset[str] = frozenset()
    """Paths that have a value here, but maybe another one once all documents are mended."""
    doubts: frozenset[str] = frozenset()
    """Of all layers."""

    def source(self, path: str) -> str:
        return self.layers[path].source

    @property
    def sources(self) -> dict[str, str]:
        return {path: layer.source for path, layer in self.layers.items()}

    def certain(self, path: str) -> bool:
        """Whether the value, or its absence, does not hang on a document in doubt."""
        return path not in self.doubtful if path in self.values else not _covered(path, self.doubts)


def merge(highest_first: Sequence[Layer]) -> Merged:
    values: dict[str, Value] = {}
    layers: dict[str, Layer] = {}
    for layer in reversed(highest_first):
        values.update(layer.values)
        layers.update(dict.fromkeys(layer.values, layer))
    doubtful: set[str] = set()
    above: set[str] = set()
    if any(layer.doubts for layer in highest_first):
        for layer in highest_first:
            doubtful.update(path for path in layer.values if layers[path] is layer and _covered(path, above))
            above |= layer.doubts
    return Merged(values, layers, frozenset(doubtful), frozenset(above))


def _covered(path: str, doubts: Iterable[str]) -> bool:
    return any(not doubt or path == doubt or path.startswith(f"{doubt}.") for doubt in doubts)


def layer_of(source: str, block: Block, owned: type[Block], located: Located, prefix: FieldPath) -> Layer:
    """The fields of `owned` that a block of a document sets."""
    doubts = frozenset(_field(path) for path in located.doubts_within(prefix))
    values = leaves(block, owned)
    if doubts:
        values = {path: value for path, value in values.items() if not _covered(path, doubts)}
    return Layer(source, values, located, prefix, doubts)


def in_doubt(layer: Layer) -> Layer:
    """A layer that may apply or not."""
    return Layer(layer.source, {}, layer.located, layer.prefix, layer.doubts | layer.values.keys())


def _field(path: FieldPath) -> str:
    """Of a doubt within a list, the list: it is merged as a whole."""
    names = []
    for part in path:
        if isinstance(part, int):
            break
        names.append(part)
    return ".".join(names)


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
