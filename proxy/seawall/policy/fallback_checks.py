"""Checks of fallback steps, wherever a document lists them."""

import re
from collections.abc import Iterable, Iterator, Sequence

from seawall.policy.attached import AnyPolicy
from seawall.policy.blocks import Fallback
from seawall.policy.documents import AgentRoute
from seawall.policy.issues import FieldPath, Issue
from seawall.policy.located import Located

# What a StaticResponse's text may stand for.
PLACES = ("code", "model", "requestId")
_PLACE = re.compile(r"\{(\w+)\}")


def fallback_issues(located: Located) -> Iterable[Issue]:
    """All issues of a document's fallback lists by themselves."""
    for at, steps in _lists(located):
        for index, step in enumerate(steps):
            where = (*at, index)
            if step.type == "StaticResponse":
                yield from _static(step, located, where)
            elif located.sure((*where, "type")) and (step.status is not None or step.text is not None):
                yield located.error(where, "status and text do nothing without type StaticResponse")
            if index and steps[index - 1].type == "StaticResponse":
                yield located.warning(where, "is never reached: the StaticResponse before it answers everything")


def _static(step: Fallback, located: Located, where: FieldPath) -> Iterable[Issue]:
    if step.text is None and located.sure((*where, "text")):
        yield located.error(where, "type StaticResponse needs text", "what the agent is to be told")
    if step.status is not None and 200 < step.status < 400:
        yield located.error((*where, "status"), "must be 200, or 400 to 599", "200 for what agents take for an answer")
    for place in _PLACE.findall(step.text or ""):
        if place not in PLACES:
            known = ", ".join(f"{{{name}}}" for name in PLACES)
            yield located.warning((*where, "text"), f"{{{place}}} stands for nothing", f"known: {known}")


def _lists(located: Located) -> Iterator[tuple[FieldPath, Sequence[Fallback]]]:
    document = located.document
    if isinstance(document, AgentRoute):
        for index, rule in enumerate(document.spec.rules):
            yield ("spec", "rules", index, "fallback"), rule.fallback or ()
    elif isinstance(document, AnyPolicy):
        for level, fields in document.spec.levels.items():
            yield ("spec", level, "fallback"), fields.fallback or ()
