"""YAML text → plain data with the position of every field, through PyYAML's C parser.

It must never raise for bad input, and never take more time or memory than its limits allow, whatever aliases and
nesting the text holds: aliases are expanded, and every expanded node counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from seawall.policy.issues import FieldPath, Issue, Origin, Position

MAX_DEPTH = 64
MAX_NODES = 100_000
"""Per file, aliases expanded."""

_TAG = "tag:yaml.org,2002:"
_DOCUMENT_START = re.compile(r"^---(?=\s|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parsed:
    """One YAML document: its data (None for an empty one) and where its fields are."""

    data: Any
    origin: Origin


@dataclass(slots=True)
class _Budget:
    nodes: int = MAX_NODES


class _TooLargeError(Exception):
    """Inside this module only: the text asks for more than the limits allow."""


def read_yaml(text: str, file: str) -> tuple[list[Parsed], list[Issue]]:
    """All documents of a text, and everything that is wrong with its YAML. Where one document is no valid YAML the
    others are still read, so that one run names all errors."""
    try:
        nodes = list(_compose(text))
    except _TooLargeError:
        return [], [_too_large(file)]
    except yaml.YAMLError as error:
        parts = _parts(text)
        if len(parts) == 1:
            return [], [_syntax_issue(error, text, file, 0)]
        nodes, issues = [], []
        for part, line in parts:
            try:
                nodes += [(node, line) for node, _ in _compose(part)]
            except _TooLargeError:
                return [], [_too_large(file)]
            except yaml.YAMLError as part_error:
                issues.append(_syntax_issue(part_error, part, file, line))
        issues = issues or [_syntax_issue(error, text, file, 0)]
    else:
        issues = []
    return _construct_all(nodes, file, issues)


def _construct_all(nodes: list[tuple[Node, int]], file: str, issues: list[Issue]) -> tuple[list[Parsed], list[Issue]]:
    parsed: list[Parsed] = []
    budget = _Budget()
    for node, first_line in nodes:
        try:
            parsed += _Construction(file, first_line, budget, issues).documents(node)
        except _TooLargeError:
            issues.append(_too_large(file))
            break
    return parsed, issues


def _compose(text: str) -> Iterator[tuple[Node, int]]:
    # libyaml nests without a limit (in recursive C, and in quadratic time), so depth and length are looked at first.
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        if number > 4 * MAX_NODES:  # a value is an event or two, and so is its key
            raise _TooLargeError
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _TooLargeError
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    for node in yaml.compose_all(text, Loader=yaml.CSafeLoader):
        yield node, 0


def _parts(text: str) -> list[tuple[str, int]]:
    """The documents of a text, each with the number of lines before it. `---` at the beginning of a line starts a
    document wherever it stands (YAML 1.1 §4.3.1 and §9.1)."""
    starts = [0, *(m.start() for m in _DOCUMENT_START.finditer(text) if m.start() > 0)]
    ends = [*starts[1:], len(text)]
    parts, line = [], 0
    for start, end in zip(starts, ends, strict=True):
        parts.append((text[start:end], line))
        line += text.count("\n", start, end)
    return parts


def _too_large(file: str) -> Issue:
    return Issue(
        "error",
        file,
        0,
        "",
        f"more than {MAX_NODES} values or nested deeper than {MAX_DEPTH} (aliases expanded)",
        "split the file, or write aliases out",
    )


def _syntax_issue(error: yaml.YAMLError, text: str, file: str, first_line: int) -> Issue:
    line = column = 0
    message = "not valid YAML"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        if mark:
            line, column = first_line + mark.line + 1, mark.column + 1
        message += f": {error.problem}" if error.problem else ""
    elif isinstance(error, yaml.reader.ReaderError):
        message += ": a character that YAML does not allow"
        # The position counts characters for text; the line is right wherever no such character came before.
        line = first_line + text[: error.position].count("\n") + 1
    lines = text.splitlines()
    at = line - first_line - 1
    tabbed = 0 <= at < len(lines) and "\t" in lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    return Issue(
        "error", file, line, "", message, "indent with spaces, YAML does not allow tabs" if tabbed else "", column
    )


@dataclass(slots=True)
class _Construction:
    """Turns one document's nodes into data, noting positions and issues on the way."""

    file: str
    first_line: int
    budget: _Budget
    issues: list[Issue]
    positions: dict[FieldPath, Position] = field(default_factory=dict)
    scalars: SafeConstructor = field(default_factory=SafeConstructor)

    def documents(self, node: Node) -> list[Parsed]:
        """One, or the items of a `kind: List`, which is what `kubectl get -o yaml` prints."""
        items = _list_items(node)
        if items is None:
            return [self._document(node)]
        return [_Construction(self.file, self.first_line, self.budget, self.issues)._document(item) for item in items]

    def _document(self, node: Node) -> Parsed:
        self.positions[()] = self._position(node)
        data = self._value(node, (), 0)
        return Parsed(data, Origin(self.file, self.positions))

    def _position(self, node: Node) -> Position:
        return self.first_line + node.start_mark.line + 1, node.start_mark.column + 1

    def _error(self, node: Node, path: FieldPath, message: str, hint: str = "") -> None:
        line, column = self._position(node)
        at = Origin(self.file, {(): (line, column)})
        self.issues.append(at.issue("error", path, message, hint))

    def _value(self, node: Node, path: FieldPath, depth: int) -> Any:
        self.budget.nodes -= 1
        if self.budget.nodes < 0 or depth > MAX_DEPTH:
            raise _TooLargeError
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path, depth)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self._item(item, (*path, index), depth) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._error(node, path, f"the YAML tag {node.tag.removeprefix(_TAG)} is not supported", "remove the tag")
        return None

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
            elif (key := key_node.value) in result:
                self._error(key_node, (*path, key), "the key is there twice", "YAML would keep only the last one")
            else:
                here = (*path, key)
                self.positions.setdefault(here, self._position(key_node))
                result[key] = self._value(value_node, here, depth + 1)
        for other in merged:
            if not isinstance(other, MappingNode) or other.tag != _TAG + "map":
                self._error(other, path, "<< takes a mapping or a list of mappings")
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
            case tag:
                self._error(node, path, f"the YAML tag {tag} is not supported", "remove the tag")
        return None


def _list_items(node: Node) -> list[Node] | None:
    if not isinstance(node, MappingNode):
        return None
    fields = {key.value: value for key, value in node.value if isinstance(key, ScalarNode)}
    kind, version, items = fields.get("kind"), fields.get("apiVersion"), fields.get("items")
    is_list = isinstance(kind, ScalarNode) and kind.value == "List"
    if is_list and isinstance(version, ScalarNode) and version.value == "v1" and isinstance(items, SequenceNode):
        return list(items.value)
    return None
