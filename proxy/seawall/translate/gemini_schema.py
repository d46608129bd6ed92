"""Gemini's own schemas (a choice of OpenAPI 3.0, with types in capitals) as JSON Schema, which other providers take."""

from collections.abc import Mapping

from seawall.translate.gemini_fields import GeminiFields

Schema = dict[str, object]

_DEEPEST = 64
"""Levels; more are no schema that anybody means."""

_PLAIN = {
    "title": str,
    "description": str,
    "pattern": str,
    "default": object,
}
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_REFERENCES = {"ref": "$ref", "$ref": "$ref", "defs": "$defs", "$defs": "$defs"}


def json_schema(given: GeminiFields, depth: int = 0) -> Schema:
    """The schema that an object holds; what has no counterpart is named in its `unfit`."""
    found: Schema = {}
    if depth > _DEEPEST:
        given.refuse("", "is nested too deeply")
        return found
    kind = given.word("type")
    if kind is not None:
        found["type"] = kind.lower()
    for name, type_ in _PLAIN.items():
        if (value := given.take(name, type_)) is not None:
            found[name] = value
    # `enum` is how Vertex AI says that there is one.
    if (form := given.take("format", str)) is not None and form != "enum":
        found["format"] = form
    if (example := given.take("example", object)) is not None:
        found["examples"] = [example]
    for name in _COUNTS:
        if (count := given.whole_number(name)) is not None:
            found[name] = count
    for name in ("minimum", "maximum"):
        if (number := given.number(name)) is not None:
            found[name] = number
    if (values := given.strings("enum")) is not None:
        found["enum"] = _values(kind, values)
    if (items := given.inner("items")) is not None:
        found["items"] = json_schema(items, depth + 1)
    if several := given.each("anyOf"):
        found["anyOf"] = [json_schema(one, depth + 1) for one in several]
    _members(given, found, depth)
    _references(given, found, depth)
    nullable = given.take("nullable", bool)
    given.close()
    return _nullable(found) if nullable else found


def _values(kind: str | None, values: list[str]) -> list[object]:
    """The API writes all of them as texts, those of numbers too."""
    if kind == "INTEGER":
        return [int(value) if value.removeprefix("-").isdecimal() else value for value in values]
    return [*values]


def _members(given: GeminiFields, found: Schema, depth: int) -> None:
    """Those of an object, in the order that is asked for."""
    order = given.strings("propertyOrdering") or []
    members = _named(given, "properties", depth)
    if members is not None:
        first = [name for name in order if name in members]
        found["properties"] = {name: members[name] for name in dict.fromkeys((*first, *members))}
    if (required := given.strings("required")) is not None:
        found["required"] = required
    more = given.take("additionalProperties", object)
    if isinstance(more, bool):
        found["additionalProperties"] = more
    elif isinstance(more, dict):
        inner = GeminiFields(more, given.path("additionalProperties"), given.unfit)
        found["additionalProperties"] = json_schema(inner, depth + 1)
    elif more is not None:
        given.refuse("additionalProperties", "is no schema")


def _references(given: GeminiFields, found: Schema, depth: int) -> None:
    for name, known in _REFERENCES.items():
        if known == "$ref":
            if (reference := given.take(name, str)) is not None:
                found[known] = reference.replace("#/defs/", "#/$defs/")
        elif (schemas := _named(given, name, depth)) is not None:
            found[known] = schemas


def _named(given: GeminiFields, name: str, depth: int) -> dict[str, Schema] | None:
    """Schemas by names of the agent's own, which stay as they are."""
    named: Mapping[str, object] | None = given.take(name, dict)
    if named is None:
        return None
    found = {}
    for own, value in named.items():
        where = f"{given.path(name)}.{own[:64]}"
        if isinstance(value, dict):
            found[own] = json_schema(GeminiFields(value, where, given.unfit), depth + 1)
        else:
            given.unfit.append(f"{where}: is no object")
    return found


def _nullable(schema: Schema) -> Schema:
    kind = schema.get("type")
    if isinstance(kind, str):
        values = schema.get("enum")
        more = {"enum": [*values, None]} if isinstance(values, list) else {}
        return schema | {"type": [kind, "null"]} | more
    if isinstance(several := schema.get("anyOf"), list):
        return schema | {"anyOf": [*several, {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema


def is_object(schema: Schema) -> bool:
    """Whether what it describes is an object, as other providers' answers by schema always are."""
    kind = schema.get("type")
    return kind == "object" or (kind is None and any(name in schema for name in ("properties", "$ref")))
