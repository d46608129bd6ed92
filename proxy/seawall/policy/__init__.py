"""Policy documents, from YAML to effective settings: documents → checks → effective policy.

Stands alone: proxy and operator share it, so it imports nothing else of seawall. Never used per request.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from seawall.policy.checks import check, unreadable_files
from seawall.policy.defaults import DEFAULT
from seawall.policy.effective import (
    EffectiveBackend,
    EffectiveHeader,
    EffectiveMatch,
    EffectivePolicy,
    EffectiveRef,
    EffectiveRoute,
    EffectiveRule,
    EffectiveUpstream,
)
from seawall.policy.inventory import Documents
from seawall.policy.issues import Issue, has_errors
from seawall.policy.load import load_files, load_objects, load_text
from seawall.policy.settings import Shadow
from seawall.policy.shadow import Change, build_both, changes, differences

__all__ = [
    "DEFAULT",
    "Change",
    "Documents",
    "EffectiveBackend",
    "EffectiveHeader",
    "EffectiveMatch",
    "EffectivePolicy",
    "EffectiveRef",
    "EffectiveRoute",
    "EffectiveRule",
    "EffectiveUpstream",
    "Issue",
    "Loaded",
    "Shadow",
    "changes",
    "differences",
    "evaluate",
    "has_errors",
    "load_objects",
    "load_policy",
    "load_text",
    "unreadable_files",
]


@dataclass(frozen=True, slots=True)
class Loaded:
    """`policy` is None if and only if `issues` holds an error."""

    policy: EffectivePolicy | None
    issues: tuple[Issue, ...]
    documents: Documents


def load_policy(paths: Iterable[Path | str]) -> Loaded:
    """The effective policy of files and directories, or everything that is wrong with them. Never raises."""
    documents = load_files(paths)
    if not documents.readable and not documents.issues:
        # A file that is empty for a moment, while something rewrites it, must not take the routes down.
        nothing = Issue(
            "error", "policy", 0, "", "the files hold no documents", "an AgentRoute and an Upstream at least"
        )
        documents = replace(documents, issues=(nothing,))
    return evaluate(documents)


def evaluate(documents: Documents) -> Loaded:
    """The effective policy of documents that are already read, or everything that is wrong with them: once, by file in
    the order of reading, then by line."""
    built = build_both(documents)
    issues = list(dict.fromkeys([*documents.issues, *check(documents, built)]))
    files = {file: number for number, file in enumerate(dict.fromkeys(documents.files))}
    issues.sort(key=lambda issue: (files.get(issue.file, len(files)), issue.line, issue.column))
    return Loaded(None if has_errors(issues) else built.policy, tuple(issues), documents)
