"""YAML nodes → plain data, noting where each field is, what cannot be read and what is there twice.

Aliases are expanded, and every expanded node counts. It must never raise for bad input.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from seawall.policy.issues import FieldPath, Issue, Origin, Position

MAX_DEPTH = 64
MAX_NODES = 100_000
"""Per file, aliases expanded."""

_TAG = "tag:yaml.org,2002:"
_HEAD = {"apiVersion", "kind", "metadata"}


@dataclass(frozen=True, slots=True)
class Parsed:
    """One YAML document: its data (None for an empty one) and where its fields are."""

    data: Any
    origin: Origin
    unread: frozenset[FieldPath] = frozenset()
    """Fields that have a value which cannot be read: None in the data, or a mapping that lacks what it merges."""
    ambiguous: frozenset[FieldPath] = frozenset()
    """Fields that are there twice. The data hold the first value, or all fields of both where both are mappings."""
    complete: bool = True
    """False: the document is no valid YAML, and the data only hold what names it, as far as that can be read."""


@dataclass(slots=True)
class Budget:
    """Nodes that may still be expanded."""

    nodes: int = MAX_NODES


class TooLargeError(Exception):
    """A text asks for more than the limits allow. Never leaves nodes.py."""


def construct(node: Node, file: str, first_line: int, budget: Budget, issues: list[Issue]) -> list[Parsed]:
    """The document of a node, or several: the items of a `kind: List`, which is what `kubectl get -o yaml` prints, and
    documents that only lack a `---` between them. Adds to `issues`. Raises TooLargeError."""
    items = _list_items(node)
    if items is None:
        items = _parted(node)
        for second in items[1:]:
            line, column = first_line + second.start_mark.line + 1, second.start_mark.column + 1
            message, hint = "the key is there twice", "a line --- is missing before the second document"
            issues.append(Issue("error", file, line, "apiVersion", message, hint, column))
    return [_Construction(file, first_line, budget, issues).document(item) for item in items]


@dataclass(slots=True)
class _Construction:
    """One document's."""

    file: str
    first_line: int
    budget: Budget
    issues: list[Issue]
    positions: dict[FieldPath, Position] = field(default_factory=dict)
    unread: set[FieldPath] = field(default_factory=set)
    ambiguous: set[FieldPath] = field(default_factory=set)
    scalars: SafeConstructor = field(default_factory=SafeConstructor)

    def document(self, node: Node) -> Parsed:
        self.positions[()] = self._position(node)
        data = self._value(node, (), 0)
        return Parsed(data, Origin(self.file, self.positions), frozenset(self.unread), frozenset(self.ambiguous))

    def _position(self, node: Node) -> Position:
        return self.first_line + node.start_mark.line + 1, node.start_mark.column + 1

    def _error(self, node: Node, path: FieldPath, message: str, hint: str = "") -> None:
        at = Origin(self.file, {(): self._position(node)})
        self.issues.append(at.issue("error", path, message, hint))

    def _value(self, node: Node, path: FieldPath, depth: int) -> Any:
        self.budget.nodes -= 1
        if self.budget.nodes < 0 or depth > MAX_DEPTH:
            raise TooLargeError
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            self._unsupported(node, path)
        if isinstance(node, MappingNode):
            return self._mapping(node, path, depth)
        return [self._item(item, (*path, index), depth) for index, item in enumerate(node.value)]

    def _item(self, node: Node, path: FieldPath, depth: int) -> Any:
        self.positions.setdefault(path, self._position(node))
        return self._value(node, path, depth + 1)

    def _mapping(self, node: MappingNode, path: FieldPath, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
            elif not isinstance(key_node, ScalarNode):
                self._error(key_node, path, "a key must be text, not a list or mapping")
            else:
                here = (*path, key_node.value)
                if twice := key_node.value in result:
                    self._error(key_node, here, "the key is there twice", "YAML would keep only the last one")
                    self.ambiguous.add(here)
                self.positions.setdefault(here, self._position(key_node))
                value = self._value(value_node, here, depth + 1)
                result[key_node.value] = _both(result[key_node.value], value) if twice else value
        for other in merged:
            if not isinstance(other, MappingNode) or other.tag != _TAG + "map":
                self._error(other, path, "<< takes a mapping or a list of mappings")
                self.unread.add(path)
                continue
            for key, value in self._value(other, path, depth + 1).items():
                result.setdefault(key, value)
        return result

    def _scalar(self, node: ScalarNode, path: FieldPath) -> Any:
        match node.tag.removeprefix(_TAG):
            case "str" | "timestamp" | "value":
                return node.value
            case "null":
                return None
            case "bool" | "int" | "float" as kind:
                try:
                    return getattr(self.scalars, f"construct_yaml_{kind}")(node)
                except (ValueError, KeyError, IndexError, OverflowError):
                    self._error(node, path, f"not a YAML {kind}", "quote it if it is text")
            case _:
                self._unsupported(node, path)
        self.unread.add(path)
        return None

    def _unsupported(self, node: Node, path: FieldPath) -> None:
        self._error(node, path, f"the YAML tag {node.tag.removeprefix(_TAG)} is not supported", "remove the tag")


def _both(first: Any, second: Any) -> Any:
    """The fields of both, so that what is wrong with either is found; the first one's where both have one."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return first
    return {**second, **{name: _both(one, second.get(name)) for name, one in first.items()}}


def _list_items(node: Node) -> list[Node] | None:
    if not isinstance(node, MappingNode):
        return None
    fields = {key.value: value for key, value in node.value if isinstance(key, ScalarNode)}
    kind, version, items = fields.get("kind"), fields.get("apiVersion"), fields.get("items")
    is_list = isinstance(kind, ScalarNode) and kind.value == "List"
    if is_list and isinstance(version, ScalarNode) and version.value == "v1" and isinstance(items, SequenceNode):
        return list(items.value)
    return None


def _parted(node: Node) -> list[Node]:
    """A mapping that is several documents without `---` between them, as those; anything else as it is."""
    if not isinstance(node, MappingNode):
        return [node]
    parts: list[list[tuple[Node, Node]]] = [[]]
    for pair in node.value:
        if _is_version(pair) and any(_is_version(earlier) for earlier in parts[-1]):
            parts.append([])
        parts[-1].append(pair)
    if len(parts) == 1 or not all(_names(part) >= _HEAD for part in parts):
        return [node]
    return [MappingNode(node.tag, part, part[0][0].start_mark, node.end_mark) for part in parts]


def _is_version(pair: tuple[Node, Node]) -> bool:
    return isinstance(pair[0], ScalarNode) and pair[0].value == "apiVersion"


def _names(pairs: Iterable[tuple[Node, Node]]) -> set[str]:
    return {key.value for key, _ in pairs if isinstance(key, ScalarNode)}
