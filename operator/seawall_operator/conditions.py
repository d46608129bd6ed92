"""What `status.conditions` say of a document. Pure; times are put on by `stamped`, in transitions only.

Accepted: it can be used as it is. ResolvedRefs: what it refers to is there. Programmed: the sidecars that were seen
lately run it, by their own word. Ready: all of these.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from seawall.policy import Issue
from seawall_operator.references import DeadRef
from seawall_operator.settle import Verdict
from seawall_operator.sidecars import Counts

Status = Literal["True", "False", "Unknown"]
Plain = dict[str, Any]
MAX_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: Status
    reason: str
    message: str

    @property
    def holds(self) -> bool:
        return self.status == "True"


def accepted(verdict: Verdict) -> Condition:
    if verdict.accepted:
        warnings = _issues(verdict.warnings)
        return Condition("Accepted", "True", "Accepted", f"Warning: {warnings}" if warnings else "It is valid.")
    end = "The last accepted version stays in effect." if verdict.held else "It is not in effect."
    return Condition("Accepted", "False", "Invalid", f"{_issues(verdict.errors)}. {end}")


def resolved_refs(dead: Sequence[DeadRef]) -> Condition:
    if not dead:
        return Condition("ResolvedRefs", "True", "ResolvedRefs", "Everything that it refers to is there.")
    parts = [f"spec.rules[{ref.rule}].backendRefs: there is no {_name(ref)}" for ref in dead]
    if any(ref.rule_gone for ref in dead):
        parts.append("a rule without any upstream answers nothing")
    return Condition("ResolvedRefs", "False", "BackendNotFound", _cut("; ".join(parts)))


def programmed(verdict: Verdict, counts: Counts, *, in_effect: bool = True, used: bool = True) -> Condition:
    """`in_effect`: some version of the document takes part; `used`: some route's policy has it in it."""

    def found(status: Status, reason: str, message: str) -> Condition:
        return Condition("Programmed", status, reason, _cut(message))

    if not verdict.accepted:
        return found("False", "Invalid", "See Accepted." if in_effect else "It is not in effect; see Accepted.")
    if not in_effect:
        return found("False", "NotInEffect", "None of its rules has an upstream.")
    if not used:
        return found("True", "NotUsed", "No route uses it.")
    if not counts.total:
        return found("True", "NoSidecars", "No sidecar was seen in the last 60 s; the next one starts with it.")
    if counts.rejected:
        message = f"{counts.rejected} of {counts.total} sidecars refused it: {_printable(counts.error)}"
        return found("False", "Rejected", message)
    if counts.stale:
        return found("False", "Pending", f"{counts.synced} sidecars run it.")
    return found("True", "Programmed", "Every sidecar that was seen in the last 60 s runs it.")


def ready(others: Iterable[Condition]) -> Condition:
    missing = [one.type for one in others if not one.holds]
    if missing:
        return Condition("Ready", "False", f"Not{missing[0]}", f"See {' and '.join(missing)}.")
    return Condition("Ready", "True", "Ready", "It is valid, complete and in effect.")


def stamped(
    conditions: Sequence[Condition], generation: int, before: Sequence[Mapping[str, Any]], now: str
) -> list[Plain]:
    """As an object holds them. `before`: those that it held; where a status has not changed its time stays. `now`: RFC
    3339, whole seconds."""
    since = {one.get("type"): one for one in before}
    result = []
    for one in conditions:
        last = since.get(one.type, {})
        time = last.get("lastTransitionTime") if last.get("status") == one.status else None
        result.append(
            {
                "type": one.type,
                "status": one.status,
                "reason": one.reason,
                "message": one.message,
                "observedGeneration": generation,
                "lastTransitionTime": time or now,
            }
        )
    return result


@dataclass(frozen=True, slots=True)
class Transition:
    """What is worth an event."""

    warning: bool
    reason: str
    message: str


_TOLD = ("Accepted", "ResolvedRefs", "Overridden", "Conflicted")
_BAD_WHEN_TRUE = ("Overridden", "Conflicted")


def transitions(before: Sequence[Mapping[str, Any]], after: Sequence[Condition]) -> list[Transition]:
    """Changes of what people should know of. That sidecars follow an edit is no news; that they refuse it is."""
    last = {one.get("type"): one for one in before}
    found = []
    for one in after:
        old = last.get(one.type, {})
        changed = old.get("status") != one.status
        bad = one.holds if one.type in _BAD_WHEN_TRUE else not one.holds
        rejected = one.type == "Programmed" and one.reason == "Rejected" != old.get("reason")
        # What was good from the beginning goes without saying.
        if rejected or (one.type in _TOLD and changed and (bad or old)):
            found.append(Transition(bad, one.reason, one.message))
    return found


def _issues(issues: Sequence[Issue]) -> str:
    return _cut("; ".join(dict.fromkeys(told(issue) for issue in issues)))


def told(issue: Issue) -> str:
    """In one line, without the file that it is not of."""
    hint = f" ({issue.hint})" if issue.hint else ""
    return f"{issue.path}: {issue.message}{hint}" if issue.path else f"{issue.message}{hint}"


def _name(ref: DeadRef) -> str:
    kind, namespace, name = ref.upstream
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _printable(text: str) -> str:
    """A sidecar's words end in people's terminals, and a pod may say that it is one."""
    return "".join(one if one.isprintable() else "�" for one in text)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…"
