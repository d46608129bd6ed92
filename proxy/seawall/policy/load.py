"""Files → documents: reads, parses and validates, and collects everything that is wrong in all files at once.

It must never raise for bad input, and never let a document through whose fields it does not know.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from seawall.policy.documents import API_VERSION, DEFAULT_NAMESPACE, GROUP, Document, Identity
from seawall.policy.issues import Issue, Located, Origin, did_you_mean
from seawall.policy.kinds import KINDS
from seawall.policy.nodes import read_yaml
from seawall.policy.wording import issues_of

MAX_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Documents:
    """What was read. `broken` are documents that exist but can not be used even for checks: a reference to one of them
    is not a second mistake. `issues` holds an error for each document that is not valid."""

    readable: tuple[Located, ...]
    broken: frozenset[Identity] = frozenset()
    issues: tuple[Issue, ...] = ()

    @property
    def identities(self) -> set[Identity]:
        """Of every document that exists, valid or not."""
        return {located.document.identity for located in self.readable} | self.broken


@dataclass(slots=True)
class _Collector:
    valid: list[Located] = field(default_factory=list)
    broken: set[Identity] = field(default_factory=set)
    issues: list[Issue] = field(default_factory=list)
    seen: dict[Identity, Issue] = field(default_factory=dict)

    def add(self, data: Any, origin: Origin) -> None:
        """Validate one document and keep it, or what is wrong with it."""
        if data is None:
            return
        document, issues = parse(data, origin)
        self.issues += issues
        if document is None:
            if (identity := _identity(data)) is not None:
                self.broken.add(identity)
            return
        identity = document.document.identity
        here = document.error(("metadata", "name"), f"{' '.join(filter(None, identity))} is there twice")
        if (first := self.seen.setdefault(identity, here)) is not here:
            where = f"{first.file}:{first.line}" if first.line else first.file
            self.issues.append(document.error(("metadata", "name"), here.message, f"the first one is at {where}"))
            return
        self.valid.append(document)

    def result(self) -> Documents:
        return Documents(tuple(self.valid), frozenset(self.broken), tuple(self.issues))


def load_files(paths: Iterable[Path | str]) -> Documents:
    """Read files, and the *.yaml and *.yml files of directories in the order of their names."""
    collector = _Collector()
    for path in paths:
        for file in _files(Path(path), collector.issues):
            text = _text(file, collector.issues)
            parsed, issues = read_yaml(text, str(file)) if text is not None else ([], [])
            collector.issues += issues
            for one in parsed:
                collector.add(one.data, one.origin)
    return collector.result()


def load_text(text: str, file: str = "<text>") -> Documents:
    """The same for a text that is already there."""
    collector = _Collector()
    parsed, issues = read_yaml(text, file)
    collector.issues += issues
    for one in parsed:
        collector.add(one.data, one.origin)
    return collector.result()


def load_objects(objects: Iterable[Mapping[str, Any]]) -> Documents:
    """The same for objects from an API server, which have no file."""
    collector = _Collector()
    for data in objects:
        identity = _identity(data)
        collector.add(data, Origin(" ".join(filter(None, identity)) if identity else "<object>"))
    return collector.result()


def parse(data: Any, origin: Origin) -> tuple[Located | None, list[Issue]]:
    """One document from its plain data, and everything that is wrong with it. Where only single fields are wrong the
    document comes without them, so that checks can look at the rest in the same run."""
    if not isinstance(data, Mapping):
        return None, [origin.issue("error", (), "a document must be a mapping with apiVersion and kind")]
    if issue := _foreign(data, origin):
        return None, [issue]
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        if kind is None:
            return None, [origin.issue("error", ("kind",), "required field is missing", _kinds())]
        near = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
        return None, [origin.issue("error", ("kind",), "unknown kind", near or _kinds())]
    model = KINDS[kind]
    if kind != "EffectivePolicy":
        data = {name: value for name, value in data.items() if name != "status"}
    try:
        return Located(_validate(model, data), origin), []
    except ValidationError as error:
        issues = issues_of(error, model, origin)
        rest = _without(data, error)
    try:
        return (Located(_validate(model, rest), origin) if rest is not None else None), issues
    except ValidationError:
        return None, issues


def _validate(model: type[Document], data: Any) -> Document:
    # By alias only: Python's names are not part of the format.
    return model.model_validate(data, by_alias=True, by_name=False)


def _without(data: Mapping[str, Any], error: ValidationError) -> Any:
    """The data less its wrong fields; None where what is left would mean something else (an item of a list, a whole
    block, a condition of a match)."""
    rest = copy.deepcopy(dict(data))
    for detail in error.errors(include_url=False, include_context=False):
        *parents, last = detail["loc"] or (0,)
        leaf = detail["type"] == "extra_forbidden" or isinstance(detail["input"], str | int | float)
        if not leaf or isinstance(last, int) or "matches" in parents:
            return None
        place: Any = rest
        for part in parents:
            place = place[part]
        place.pop(last, None)
    return rest


def _kinds() -> str:
    return f"one of {', '.join(KINDS)}"


def _foreign(data: Mapping[str, Any], origin: Origin) -> Issue | None:
    version = data.get("apiVersion")
    if version == API_VERSION:
        return None
    if version is None:
        return origin.issue("error", ("apiVersion",), "required field is missing", f"apiVersion: {API_VERSION}")
    if not isinstance(version, str):
        return origin.issue("error", ("apiVersion",), "must be text", f"apiVersion: {API_VERSION}")
    if version.partition("/")[0] == GROUP:
        return origin.issue("error", ("apiVersion",), "unknown version", f"use {API_VERSION}")
    if near := did_you_mean(version, [API_VERSION]):
        return origin.issue("error", ("apiVersion",), "unknown apiVersion", near)
    return origin.issue(
        "error", ("apiVersion",), "not a seawall document", f"a policy file holds only {API_VERSION} documents"
    )


def _identity(data: Any) -> Identity | None:
    """Of data that may be no valid document."""
    if not isinstance(data, Mapping):
        return None
    kind, metadata = data.get("kind"), data.get("metadata")
    if not isinstance(kind, str) or kind not in KINDS or not isinstance(metadata, Mapping):
        return None
    name, namespace = metadata.get("name"), metadata.get("namespace") or DEFAULT_NAMESPACE
    if not isinstance(name, str) or not isinstance(namespace, str):
        return None
    return kind, "" if KINDS[kind].CLUSTER_SCOPED else namespace, name


def _files(path: Path, issues: list[Issue]) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        # A mounted ConfigMap also holds the kubelet's `..data` directories.
        found = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml") and not file.is_dir())
    except (OSError, ValueError) as error:
        issues.append(_unreadable(path, error))
        return []
    if not found:
        issues.append(Issue("error", str(path), 0, "", "the directory holds no *.yaml file"))
    return found


def _text(file: Path, issues: list[Issue]) -> str | None:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        issues.append(_unreadable(file, error))
        return None
    if len(data) > MAX_FILE_BYTES:
        issues.append(Issue("error", str(file), 0, "", f"larger than {MAX_FILE_BYTES // 2**20} MiB", "split it"))
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        issues.append(Issue("error", str(file), line, "", "not UTF-8 text"))
        return None


def _unreadable(path: Path, error: OSError | ValueError) -> Issue:
    # ValueError: a path that holds a NUL.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
    return Issue("error", str(path), 0, "", f"cannot be read: {reason}")
