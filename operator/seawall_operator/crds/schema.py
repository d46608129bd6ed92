"""pydantic's models → structural schemas (apiextensions.k8s.io/v1).

No defaults: a defaulted field would look set and beat an inherited one. Every list says how server-side apply merges
it, and every text and list that rules.py looks into has a bound, since the API server adds up what a rule may cost.
"""

import typing
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, TypeAdapter
from pydantic.fields import FieldInfo

from seawall.policy.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    PositiveDuration,
    PositiveSize,
)

Schema = dict[str, Any]

MAX_ITEMS: Mapping[str, int] = {"rules": 128, "matches": 32, "headers": 32, "backendRefs": 32, "fallback": 8}
MAX_ITEMS_ELSE = 256
MAX_DURATION = 28
"""Characters: four times five digits and a unit."""
MAX_SIZE = 14
_KEYS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("UpstreamSpec", "models"): ("name",),
    ("SidecarProfileSpec", "baseURLVariables"): ("name",),
}
"""Lists of named objects that are merged item by item. All others are replaced as a whole (as policies are merged)."""
_VALIDATORS = (BeforeValidator, AfterValidator)
_ABOVE_ZERO = {"rule": "self.matches('[1-9]')"}


def block(model: type[BaseModel]) -> Schema:
    """The schema of one of the models."""
    hints = typing.get_type_hints(model, include_extras=True)
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for name, field in model.model_fields.items():
        alias = field.alias or name
        properties[alias] = _of(hints[name], model.__name__, alias)
        if field.is_required():
            required.append(alias)
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = sorted(required)
    return schema


def _of(annotation: Any, owner: str, name: str) -> Schema:
    if get_origin(annotation) in (Union, UnionType):
        (inner,) = (arg for arg in get_args(annotation) if arg is not NoneType)
        return _of(inner, owner, name)
    if annotation == PositiveDuration:
        return {**_leaf(annotation), "x-kubernetes-validations": [{**_ABOVE_ZERO, "message": "must be longer than 0s"}]}
    if annotation == PositiveSize:
        return {**_leaf(annotation), "x-kubernetes-validations": [{**_ABOVE_ZERO, "message": "must be larger than 0"}]}
    if get_origin(annotation) is Annotated:
        bare = get_args(annotation)[0]
        return _leaf(annotation) if bare in (str, int) else _of(bare, owner, name)
    if get_origin(annotation) is tuple:
        return _list(annotation, owner, name)
    if get_origin(annotation) is dict:
        return {"type": "object", "additionalProperties": {"type": "string", "maxLength": 1024}, "maxProperties": 256}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return block(annotation)
    if annotation is Any:
        return {"x-kubernetes-preserve-unknown-fields": True}
    if get_origin(annotation) is Literal:
        return {"type": "string", "enum": list(get_args(annotation))}
    return _leaf(annotation)


def _list(annotation: Any, owner: str, name: str) -> Schema:
    items = _of(get_args(annotation)[0], owner, name)
    schema: Schema = {"type": "array", "items": items, "maxItems": MAX_ITEMS.get(name, MAX_ITEMS_ELSE)}
    if keys := _KEYS.get((owner, name)):
        return {**schema, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
    return {**schema, "x-kubernetes-list-type": "atomic"}


def _leaf(annotation: Any) -> Schema:
    """A text or a whole number, with pydantic's own constraints."""
    if get_origin(annotation) is Annotated:
        bare, *metadata = get_args(annotation)
        # Only the constraints: an alias is a whole field's, and behind a validator pydantic hides what comes after it.
        flat = [one for item in metadata for one in (item.metadata if isinstance(item, FieldInfo) else [item])]
        constraints = [one for one in flat if not isinstance(one, _VALIDATORS)]
        annotation = Annotated[(bare, *constraints)] if constraints else bare
    schema = TypeAdapter(annotation).json_schema()
    schema.pop("title", None)
    if schema["type"] == "integer":
        return {**schema, "format": "int64"}
    pattern = schema.get("pattern", "")
    if DURATION_PATTERN.strip("^$") in pattern:
        schema["maxLength"] = MAX_DURATION
    elif pattern == SIZE_PATTERN:
        schema["maxLength"] = MAX_SIZE
    schema.setdefault("maxLength", 253)
    return schema
