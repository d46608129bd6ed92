"""pydantic's errors in words that help: field path, what is wrong, and what was probably meant.

It must never repeat a value that the schema does not fix: it may be a secret in the wrong place.
"""

import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from seawall.policy.blocks import FORMS
from seawall.policy.documents import Document
from seawall.policy.issues import FieldPath, Issue, Origin, did_you_mean, nearest

MAX_ISSUES = 100
"""Per document; the rest are only counted."""

_BOOLEAN = "YAML reads unquoted yes, no, on, off, true and false as booleans: quote text"
_LISTS = ("list_type", "tuple_type")
_MAPPINGS = ("model_type", "model_attributes_type", "dict_type")
_INTEGERS = ("int_type", "int_parsing", "int_from_float", "int_parsing_size")


def issues_of(details: Sequence[ErrorDetails], model: type[Document], origin: Origin) -> list[Issue]:
    """One issue for each of pydantic's errors, at its field."""
    issues = [_issue(detail, model, origin) for detail in details[:MAX_ISSUES]]
    if len(details) > MAX_ISSUES:
        issues.append(origin.issue("error", (), f"{len(details) - MAX_ISSUES} more errors in this document"))
    return issues


def _issue(detail: ErrorDetails, model: type[Document], origin: Origin) -> Issue:
    path: FieldPath = detail["loc"]
    kind, value = detail["type"], detail["input"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return origin.issue("error", path, "unknown field", _unknown_field(model, path))
    if kind == "missing":
        return origin.issue("error", path, "required field is missing")
    if kind == "literal_error":
        return origin.issue("error", path, *_literal(model, path, value))
    if "text" in context:
        hint = _BOOLEAN if isinstance(value, bool) else str(context.get("hint", ""))
        return origin.issue("error", path, str(context["text"]), hint)
    message, hint = _wrong_type(kind, value, detail)
    return origin.issue("error", path, message, hint)


def _wrong_type(kind: str, value: Any, detail: ErrorDetails) -> tuple[str, str]:
    found = _kind_of(value)
    if kind == "string_type":
        if isinstance(value, bool):
            return f"must be text, not {found}", _BOOLEAN
        return f"must be text, not {found}", "quote it" if isinstance(value, int | float) else ""
    if kind in _INTEGERS:
        return f"must be a whole number, not {found}", "remove the quotes" if isinstance(value, str) else ""
    if kind in _LISTS:
        return f"must be a list, not {found}", "begin each item with `- `"
    if kind in _MAPPINGS:
        return f"must be a mapping of fields, not {found}", ""
    if kind == "string_pattern_mismatch":
        pattern = str(detail.get("ctx", {}).get("pattern"))
        return "is not in the form that this field takes", FORMS.get(pattern, f"it should match {pattern}")
    default = detail["msg"]
    return default[:1].lower() + default[1:], ""


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"


def _literal(model: type[Document], path: FieldPath, value: Any) -> tuple[str, str]:
    known = [str(word) for word in _literals(_annotation_at(model, path))]
    if isinstance(value, bool):
        return f"must be one of {', '.join(known)}", _BOOLEAN
    if not isinstance(value, str):
        return f"must be one of {', '.join(known)}, not {_kind_of(value)}", ""
    return f"must be one of {', '.join(known)}", did_you_mean(value, known)


def _unknown_field(model: type[Document], path: FieldPath) -> str:
    wrong, parent = str(path[-1]), _model_in(_annotation_at(model, path[:-1]))
    if parent is None:
        return ""
    if near := did_you_mean(wrong, aliases(parent)):
        return near
    places = [place for name, place in _places(model) if name == wrong]
    if places:
        return f"`{wrong}` belongs to {' or '.join(f'`{p}`' if p else 'the document itself' for p in places[:2])}"
    return f"known here: {', '.join(aliases(parent))}"


def meant(model: type[Document], path: FieldPath, data: Any) -> list[FieldPath]:
    """The fields that an unknown one may have been meant to be: a misspelt name, or a name in the wrong place."""
    wrong, parent = str(path[-1]), _model_in(_annotation_at(model, path[:-1]))
    if parent is None:
        return []
    if near := nearest(wrong, aliases(parent)):
        return [(*path[:-1], near)]
    places = [place for name, place in _places(model) if name == wrong]
    return [(*found, wrong) for place in places for found in _filled(place.split("."), data, ())]


def _filled(parts: list[str], data: Any, at: FieldPath) -> Iterator[FieldPath]:
    """`spec.rules[].retry` → one path for each rule that the data hold."""
    if parts in ([], [""]):
        yield at
        return
    name, *rest = parts
    here = (*at, name.removesuffix("[]"))
    inner = data.get(here[-1]) if isinstance(data, Mapping) else None
    if not name.endswith("[]"):
        yield from _filled(rest, inner, here)
    elif isinstance(inner, list | tuple) and len(inner) <= MAX_ISSUES:
        for index, item in enumerate(inner):
            yield from _filled(rest, item, (*here, index))
    else:
        yield here


@cache
def aliases(model: type[BaseModel]) -> tuple[str, ...]:
    """The names of a model's fields, as documents write them."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


@cache
def _places(model: type[BaseModel]) -> tuple[tuple[str, str], ...]:
    """(field, where it stands) for every field of a kind, the outermost first."""
    return tuple(sorted(_walk(model, ""), key=lambda place: place[1].count(".")))


def _walk(model: type[BaseModel], at: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        alias = field.alias or name
        yield alias, at
        inner = _model_in(field.annotation)
        if inner is not None and at != "metadata":
            suffix = "[]" if _is_list(field.annotation) else ""
            yield from _walk(inner, f"{at}.{alias}{suffix}" if at else alias + suffix)


def _annotation_at(model: type[BaseModel], path: FieldPath) -> Any:
    annotation: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        inner = _model_in(annotation)
        if inner is None:
            return None
        annotation = next((f.annotation for name, f in inner.model_fields.items() if (f.alias or name) == part), None)
    return annotation


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `tuple[Rule, ...] | None` is about."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in typing.get_args(annotation) if (found := _model_in(arg))), None)


def _is_list(annotation: Any) -> bool:
    return typing.get_origin(annotation) is tuple or any(_is_list(arg) for arg in typing.get_args(annotation))


def _literals(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [word for arg in typing.get_args(annotation) for word in _literals(arg)]
