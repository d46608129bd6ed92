"""The parts of a bundle as they are sent: the models that the other side's text is held to.

A bundle's texts and numbers go through the same field types as documents, so that what a sidecar takes and what the
operator takes is the same code. What a newer operator adds is dropped here, and named by bundle.py.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from seawall.policy.blocks import Block, Label, Name, Text, Token
from seawall.policy.documents import DialectName, UpstreamSpec
from seawall.policy.settings import Values
from seawall.policy.unimplemented import NOT_IMPLEMENTED
from seawall.policy.units import Count
from seawall.policy.wording import aliases

Fields = dict[str, tuple[Any, Text]]
"""Dotted path → (value as written, who set it)."""
Path = Annotated[str, Field(max_length=1024, pattern=r"^/[!-~]*$")]


class Part(BaseModel):
    """Base of these: camelCase, and deaf to what a newer operator adds."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, defer_build=True)


class WireUpstream(Part):
    kind: Literal["Upstream", "ClusterUpstream"]
    namespace: str
    name: Name
    spec: dict[str, Any]
    """Without the fields that policies set too: those are in `fields`."""
    fields_: Annotated[Fields, Field(alias="fields")]
    shadow: Fields | None = None
    """Only what would be different."""


class WireHeader(Part):
    name: Token
    type: Literal["Exact", "RegularExpression"]
    value: str


class WireMatch(Part):
    path_type: Literal["PathPrefix", "Exact"]
    path: Path
    headers: tuple[WireHeader, ...] = ()
    models: tuple[Text, ...] = ()


class WireBackend(Part):
    kind: Literal["Upstream", "ClusterUpstream"]
    namespace: str
    name: Name
    priority: Count
    weight: Count
    model: str = ""
    model_map: tuple[tuple[Text, Text], ...] = ()
    timeouts: Fields
    shadow: Fields | None = None


class WireRule(Part):
    name: Text
    index: Count
    dialect: DialectName
    matches: tuple[WireMatch, ...]
    backends: tuple[WireBackend, ...]
    fields_: Annotated[Fields, Field(alias="fields")]
    shadow: Fields | None = None


class WireRoute(Part):
    namespace: Label
    name: Name
    rules: tuple[WireRule, ...]


class WirePolicy(Part):
    upstreams: tuple[WireUpstream, ...]
    routes: tuple[WireRoute, ...]


class FieldsError(ValueError):
    """Fields that cannot be run. Its text names the first of them."""


def checked(values: Mapping[str, Any], owned: type[Block], *, newer: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Merged values, held to the models that documents are held to, and the paths that were dropped: with `newer` those
    that this version does not know. Raises FieldsError, or pydantic's ValidationError."""
    known = leaf_paths(owned)
    unknown = tuple(path for path in values if path not in known)
    if unknown and not newer:
        raise FieldsError(f"{unknown[0]}: unknown field")
    kept = {path: tuple(v) if isinstance(v, list) else v for path, v in values.items() if path in known}
    for gap in NOT_IMPLEMENTED:
        if (name := next((path for path in kept if path.split(".")[0] == gap.field), None)) is not None:
            raise FieldsError(f"{name}: is not implemented by this version")
    owned.model_validate(_nested(kept), by_alias=True, by_name=False)
    return kept, unknown


def upstream_spec(data: Mapping[str, Any], *, newer: bool) -> UpstreamSpec:
    """Raises pydantic's ValidationError."""
    if newer:
        known = aliases(UpstreamSpec)
        data = {name: value for name, value in data.items() if name in known}
    return UpstreamSpec.model_validate(data, by_alias=True, by_name=False)


@cache
def leaf_paths(model: type[BaseModel]) -> frozenset[str]:
    """Of the fields that hold values."""
    return frozenset(_leaves(model, ""))


def _leaves(model: type[BaseModel], at: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        path = f"{at}{field.alias or name}"
        inner = next(
            (arg for arg in _options(field.annotation) if isinstance(arg, type) and issubclass(arg, Block)), None
        )
        if inner is None:
            yield path
        else:
            yield from _leaves(inner, f"{path}.")


def _options(annotation: Any) -> tuple[Any, ...]:
    """Of `X | None`: X, and of a list nothing, as lists are values as a whole."""
    if isinstance(annotation, type):
        return (annotation,)
    return tuple(arg for arg in getattr(annotation, "__args__", ()) if isinstance(arg, type))


def _nested(values: Values) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *blocks, leaf = path.split(".")
        at = tree
        for name in blocks:
            at = at.setdefault(name, {})
        at[leaf] = (
            [json.loads(str(step)) for step in value] if path == "fallback" and isinstance(value, tuple) else value
        )
    return tree
