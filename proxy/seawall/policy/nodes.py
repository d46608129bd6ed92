"""YAML text → plain data with the position of every field, through PyYAML's C parser.

It must never raise for bad input, and never take more time or memory than its limits allow, whatever aliases and
nesting the text holds: aliases are expanded, and every expanded node counts.
"""

import re
from collections.abc import Iterator

import yaml
from yaml.nodes import Node

from seawall.policy.construct import MAX_DEPTH, MAX_NODES, Budget, Parsed, TooLargeError, construct
from seawall.policy.issues import Issue, Origin

_DOCUMENT_START = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_CONTENT = re.compile(r"^(?![ \t]*(#|$)|%)", re.MULTILINE)
_NAMES = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))


def read_yaml(text: str, file: str) -> tuple[list[Parsed], list[Issue]]:
    """All documents of a text, and everything that is wrong with its YAML. Where one document is no valid YAML the
    others are still read, so that one run names all errors."""
    try:
        return _construct_all([(node, 0) for node in _compose(text)], file)
    except TooLargeError:
        return [_nothing(file)], [_too_large(file)]
    except yaml.YAMLError as error:
        whole = _syntax_issue(error, text, file, 0)
    nodes, issues, heads = [], [], []
    for part, line in _parts(text):
        try:
            nodes += [(node, line) for node in _compose(part)]
        except TooLargeError:
            return [_nothing(file)], [_too_large(file)]
        except yaml.YAMLError as error:
            issues.append(_syntax_issue(error, part, file, line))
            heads.append(_head(part, file))
    if not issues:  # each part is valid, so only the whole says what is wrong
        issues, heads = [whole], [_nothing(file)]
    parsed, more = _construct_all(nodes, file)
    return [*heads, *parsed], [*issues, *more]


def _nothing(file: str) -> Parsed:
    return Parsed({}, Origin(file), complete=False)


def _construct_all(nodes: list[tuple[Node, int]], file: str) -> tuple[list[Parsed], list[Issue]]:
    parsed: list[Parsed] = []
    issues: list[Issue] = []
    budget = Budget()
    for node, first_line in nodes:
        try:
            parsed += construct(node, file, first_line, budget, issues)
        except TooLargeError:
            issues.append(_too_large(file))
            parsed.append(_nothing(file))
            break
    return parsed, issues


def _compose(text: str) -> Iterator[Node]:
    # libyaml nests without a limit (in recursive C, and in quadratic time), so depth and length are looked at first.
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        if number > 4 * MAX_NODES:  # a value is an event or two, and so is its key
            raise TooLargeError
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise TooLargeError
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    yield from yaml.compose_all(text, Loader=yaml.CSafeLoader)


def _parts(text: str) -> list[tuple[str, int]]:
    """The documents of a text, each with the number of lines before it. `---` at the beginning of a line starts a
    document wherever it stands (YAML 1.1 §4.3.1 and §9.1)."""
    starts = [m.start() for m in _DOCUMENT_START.finditer(text)]
    # What only holds comments and directives (`%YAML 1.1`) before the first one belongs to it.
    if not starts or _CONTENT.search(text, 0, starts[0]):
        starts = [0, *starts]
    starts[0] = 0
    ends = [*starts[1:], len(text)]
    parts, line = [], 0
    for start, end in zip(starts, ends, strict=True):
        parts.append((text[start:end], line))
        line += text.count("\n", start, end)
    return parts


def _head(text: str, file: str) -> Parsed:
    """What names a document that is no valid YAML, from what comes before its mistake: so that references to it are no
    second mistake, and those to others still are."""
    found: dict[tuple[str | None, ...], str] = {}
    open_keys: list[str | None] = []
    mappings: list[bool] = []
    complete = False
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                open_keys.append(None)
                mappings.append(isinstance(event, yaml.MappingStartEvent))
            elif isinstance(event, yaml.CollectionEndEvent):
                mappings.pop()
                open_keys.pop()
                if open_keys:
                    complete = complete or open_keys == ["metadata"]
                    open_keys[-1] = None
            elif isinstance(event, yaml.ScalarEvent) and mappings and mappings[-1]:
                if open_keys[-1] is None:
                    open_keys[-1] = event.value
                else:
                    found.setdefault(tuple(open_keys), event.value)
                    open_keys[-1] = None
            elif isinstance(event, yaml.AliasEvent) and open_keys:
                open_keys[-1] = None
    except yaml.YAMLError:
        pass  # reported already
    names = {path: found[path] for path in _NAMES if path in found}
    data = {path[0]: name for path, name in names.items() if len(path) == 1}
    metadata = {path[1]: name for path, name in names.items() if len(path) == 2}
    unread = frozenset() if complete else frozenset({("metadata", "namespace")})
    return Parsed({**data, "metadata": metadata}, Origin(file), unread, complete=False)


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
