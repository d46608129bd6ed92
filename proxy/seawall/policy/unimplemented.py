"""The fields that documents may hold but nothing acts on yet. A field that did nothing in silence would be
worse than an error, so each is one. To implement a field is to remove its line here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from seawall.policy.issues import FieldPath, Issue
from seawall.policy.located import Located

_UPSTREAM_BLOCKS = ("*Upstream spec", "*Policy spec.defaults", "*Policy spec.overrides")


@dataclass(frozen=True, slots=True)
class Gap:
    """`places`: where (kind, with * for the cluster-scoped twin too, and path)."""

    places: tuple[str, ...]
    field: str
    hint: str = ""


NOT_IMPLEMENTED = (
    Gap(_UPSTREAM_BLOCKS, "rateLimit", hint="concurrency works already"),
    Gap(_UPSTREAM_BLOCKS, "healthCheck", hint="circuitBreaker works already"),
)

_KINDS = {
    "*Upstream": ("Upstream", "ClusterUpstream"),
    "*Policy": ("ResiliencePolicy", "ClusterResiliencePolicy"),
}


def not_implemented(located: Located) -> list[Issue]:
    """An error for each field of a document that nothing implements yet."""
    issues: list[Issue | None] = []
    for gap in NOT_IMPLEMENTED:
        for place in gap.places:
            kind, _, block = place.partition(" ")
            if located.document.KIND not in _KINDS[kind]:
                continue
            for path, value in _find(located.document, (), (*block.split("."), gap.field)):
                if value is not None:
                    issues.append(located.error(path, "is not implemented yet", gap.hint))
            at = f"{block}.{gap.field}"
            issues += [_wrong(located, path, gap) for path in located.doubts.paths if _names(path) == at]
    return [issue for issue in issues if issue is not None]


def _wrong(located: Located, path: FieldPath, gap: Gap) -> Issue | None:
    """A field that is written down with a wrong value, and so not in the document."""
    if path not in located.origin.positions:
        return None
    return located.origin.issue("error", path, "is not implemented yet", gap.hint)


def _names(path: FieldPath) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _find(value: Any, at: FieldPath, rest: tuple[str, ...]) -> Iterator[tuple[FieldPath, Any]]:
    if not rest:
        yield at, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _find(item, (*at, index), rest)
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            if (field.alias or name) == rest[0]:
                yield from _find(getattr(value, name), (*at, rest[0]), rest[1:])
