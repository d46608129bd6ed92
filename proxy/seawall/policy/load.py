"""Files → documents: reads, parses and validates, and collects everything that is wrong in all files at once.

It must never raise for bad input, and never call a document valid whose fields it does not know.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seawall.policy.construct import Parsed
from seawall.policy.documents import API_VERSION, DEFAULT_NAMESPACE, GROUP, Identity
from seawall.policy.inventory import ANYTHING, Documents, Presence
from seawall.policy.issues import FieldPath, Issue, Origin, did_you_mean, nearest
from seawall.policy.kinds import KINDS
from seawall.policy.located import Located
from seawall.policy.nodes import read_yaml
from seawall.policy.partial import validate

MAX_FILE_BYTES = 4 * 1024 * 1024
LIKENESS = 0.8
"""From which on a misspelt kind is taken for the one that was meant, to look at the rest of the document."""


@dataclass(slots=True)
class _Collector:
    readable: list[Located] = field(default_factory=list)
    broken: set[Presence] = field(default_factory=set)
    issues: list[Issue] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    seen: dict[Identity, Issue] = field(default_factory=dict)

    def add_text(self, text: str, file: str) -> None:
        self.files.append(file)
        documents, issues = read_yaml(text, file)
        self.issues += issues
        for one in documents:
            self.add(one)

    def add(self, parsed: Parsed) -> None:
        """Validate one document and keep it, or what is left of it, and what is wrong with it."""
        if not parsed.complete:
            self.broken.add(_presence(parsed))
            return
        if parsed.data is None:
            return
        located, issues = parse(parsed)
        self.issues += issues
        if located is None:
            if _may_be_ours(parsed.data):
                self.broken.add(_presence(parsed))
        elif located.sure_of_name:
            self.readable.append(self._first_or_repeated(located))
        else:
            self.readable.append(located)

    def _first_or_repeated(self, located: Located) -> Located:
        identity, at = located.document.identity, ("metadata", "name")
        here = located.error(at, f"{' '.join(filter(None, identity))} is there twice")
        if (first := self.seen.setdefault(identity, here)) is here:
            return located
        where = f"{first.file}:{first.line}" if first.line else first.file
        self.issues.append(located.error(at, here.message, f"the first one is at {where}"))
        return Located(located.document, located.origin, located.doubts, located.kept, repeated=True)

    def unreadable(self, issue: Issue) -> None:
        """A file of which nothing can be read: it may hold any document."""
        self.files.append(issue.file)
        self.issues.append(issue)
        self.broken.add(ANYTHING)

    def result(self) -> Documents:
        return Documents(tuple(self.readable), frozenset(self.broken), tuple(self.issues), tuple(self.files))


def load_files(paths: Iterable[Path | str]) -> Documents:
    """Read files, and the *.yaml and *.yml files of directories in the order of their names."""
    collector = _Collector()
    for path in paths:
        files = _files(Path(path))
        for file in [files] if isinstance(files, Issue) else files:
            found = file if isinstance(file, Issue) else _text(file)
            if isinstance(found, Issue):
                collector.unreadable(found)
            else:
                collector.add_text(found, str(file))
    return collector.result()


def load_text(text: str, file: str = "<text>") -> Documents:
    """The same for a text that is already there."""
    collector = _Collector()
    collector.add_text(text, file)
    return collector.result()


def load_objects(objects: Iterable[Mapping[str, Any]]) -> Documents:
    """The same for objects from an API server, which have no file."""
    collector = _Collector()
    for data in objects:
        kind, namespace, name = _presence(Parsed(data, Origin("")))
        file = " ".join(part for part in (kind, namespace, name) if part) if kind and name else "<object>"
        collector.files.append(file)
        collector.add(Parsed(data, Origin(file)))
    return collector.result()


def parse(parsed: Parsed) -> tuple[Located | None, list[Issue]]:
    """One document from its plain data, and everything that is wrong with it. Where only parts are wrong the document
    comes without them, so that checks can look at the rest in the same run."""
    data, origin = parsed.data, parsed.origin
    if not isinstance(data, Mapping):
        message = "a document must be a mapping with apiVersion and kind"
        return None, [] if () in parsed.unread else [origin.issue("error", (), message)]
    issues: list[Issue] = []
    wrong: set[FieldPath] = set()
    if issue := _foreign(data, parsed):
        issues.append(issue)
        wrong.add(("apiVersion",))
        if not _is_near(data):
            return None, issues
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        issues += _unknown_kind(kind, parsed)
        wrong.add(("kind",))
        kind = nearest(kind, KINDS, LIKENESS) if isinstance(kind, str) else ""
        if not kind:
            return None, issues
    if ("kind",) in parsed.ambiguous:
        return None, issues
    if kind != "EffectivePolicy":
        data = {name: value for name, value in data.items() if name != "status"}
    located, more = validate(data, KINDS[kind], origin, wrong, parsed.unread, parsed.ambiguous)
    return located, issues + more


def _unknown_kind(kind: Any, parsed: Parsed) -> list[Issue]:
    if ("kind",) in parsed.unread:
        return []
    if kind is None:
        return [parsed.origin.issue("error", ("kind",), "required field is missing", _kinds())]
    near = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
    return [parsed.origin.issue("error", ("kind",), "unknown kind", near or _kinds())]


def _kinds() -> str:
    return f"one of {', '.join(KINDS)}"


def _foreign(data: Mapping[str, Any], parsed: Parsed) -> Issue | None:
    version, origin, at = data.get("apiVersion"), parsed.origin, ("apiVersion",)
    if version == API_VERSION:
        return None
    if version is None:
        return origin.issue("error", at, "required field is missing", f"apiVersion: {API_VERSION}")
    if not isinstance(version, str):
        return origin.issue("error", at, "must be text", f"apiVersion: {API_VERSION}")
    if version.partition("/")[0] == GROUP:
        return origin.issue("error", at, "unknown version", f"use {API_VERSION}")
    if near := did_you_mean(version, [API_VERSION]):
        return origin.issue("error", at, "unknown apiVersion", near)
    return origin.issue("error", at, "not a seawall document", f"a policy file holds only {API_VERSION} documents")


def _is_near(data: Mapping[str, Any]) -> bool:
    """The apiVersion is wrong, but all the rest is surely meant to be one of our documents, of this version."""
    version, kind = data.get("apiVersion"), data.get("kind")
    if not isinstance(kind, str) or not nearest(kind, KINDS, LIKENESS):
        return False
    if not isinstance(version, str):
        return version is None
    return version.partition("/")[0] != GROUP and bool(did_you_mean(version, [API_VERSION]))


def _may_be_ours(data: Any) -> bool:
    if not isinstance(data, Mapping):
        # Such as a list of documents.
        return isinstance(data, list) and any(isinstance(item, Mapping) for item in data)
    version, kind = data.get("apiVersion"), data.get("kind")
    if not isinstance(version, str) or (isinstance(kind, str) and kind in KINDS):
        return True
    return version.partition("/")[0] == GROUP or bool(did_you_mean(version, [API_VERSION]))


def _presence(parsed: Parsed) -> Presence:
    """What names a document, from data that may be no valid one."""
    data = parsed.data if isinstance(parsed.data, Mapping) else {}
    kind, metadata = data.get("kind"), data.get("metadata")
    if not isinstance(kind, str) or ("kind",) in parsed.ambiguous:
        kind = None
    else:
        kind = nearest(kind, KINDS, LIKENESS) or None
    metadata = metadata if isinstance(metadata, Mapping) else {}
    name, namespace = metadata.get("name"), metadata.get("namespace")
    namespace = DEFAULT_NAMESPACE if namespace is None else namespace
    if kind in KINDS and KINDS[kind].CLUSTER_SCOPED:
        namespace = ""
    elif ("metadata", "namespace") in parsed.unread or not isinstance(namespace, str):
        namespace = None
    return kind, namespace, name if isinstance(name, str) else None


def _files(path: Path) -> list[Path] | Issue:
    try:
        if not path.is_dir():
            return [path]
        # A mounted ConfigMap also holds the kubelet's `..data` directories.
        found = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml") and not file.is_dir())
    except (OSError, ValueError) as error:
        return _unreadable(path, error)
    return found or Issue("error", str(path), 0, "", "the directory holds no *.yaml file")


def _text(file: Path) -> str | Issue:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        return _unreadable(file, error)
    if len(data) > MAX_FILE_BYTES:
        return Issue("error", str(file), 0, "", f"larger than {MAX_FILE_BYTES // 2**20} MiB", "split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Issue("error", str(file), line, "", "not UTF-8 text")


def _unreadable(path: Path, error: OSError | ValueError) -> Issue:
    # ValueError: a path that holds a NUL.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid path"
    return Issue("error", str(path), 0, "", f"cannot be read: {reason}")
