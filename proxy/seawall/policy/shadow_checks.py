"""Checks of policies with `enforcement: Shadow`, beside those that they share with all others.

A contradiction that only they bring about is no error: they act on nothing, so they must refuse nothing either. But it
is told, since it would be one once they are enforced.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from seawall.policy.attached import AnyPolicy, is_shadow
from seawall.policy.blocks import PolicyFields
from seawall.policy.effective import Built
from seawall.policy.inventory import Documents
from seawall.policy.issues import Issue
from seawall.policy.located import Located
from seawall.policy.merge import leaves
from seawall.policy.merged_checks import merged_values
from seawall.policy.unimplemented import NOT_IMPLEMENTED

EVALUATED = (
    "timeouts.request",
    "timeouts.backendRequest",
    "timeouts.firstByte",
    "timeouts.firstContent",
    "retry",
    "hedging",
    "fallback",
    "fallbackOn",
    "offline",
    "retryConstraint",
    "circuitBreaker",
    "concurrency.maxParallelRequests",
    "concurrency.maxPendingRequests",
)
"""Fields, and blocks of them, of which can be said what they would have done."""
_TOLD_ALREADY = tuple(gap.field for gap in NOT_IMPLEMENTED)


def shadow_issues(documents: Documents, built: Built, enforced: Sequence[Issue]) -> Iterable[Issue]:
    """All issues that only Shadow policies bring about. `enforced`: those of the merged values without them."""
    for located in documents.readable:
        if isinstance(document := located.document, AnyPolicy) and is_shadow(document):
            yield from _unseen(located, document)
    if built.shadow is None:
        return
    known = set(enforced)
    for issue in merged_values(built.shadow):
        if issue not in known:
            hint = "enforced, it would be refused" if issue.severity == "error" else issue.hint
            yield replace(issue, severity="warning", message=f"in Shadow: {issue.message}", hint=hint)


def _unseen(located: Located, document: AnyPolicy) -> Iterable[Issue]:
    for level, fields in document.spec.levels.items():
        for path in leaves(fields, PolicyFields):
            if not any(path == seen or path.startswith(f"{seen}.") for seen in (*EVALUATED, *_TOLD_ALREADY)):
                message = "is not evaluated in Shadow: what it would do cannot be told from calls that do without it"
                yield located.warning(("spec", level, *path.split(".")), message)
