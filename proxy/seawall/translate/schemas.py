"""What a JSON schema of structured output asks for, as far as not all providers can. Pure; a schema is only read."""

_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "$defs", "definitions")


def has_free_objects(schema: object) -> bool:
    """Whether it has an object, at any depth, whose fields it does not list: a map, or one that may hold anything."""
    if not isinstance(schema, dict):
        return False
    more = schema.get("additionalProperties")
    if isinstance(more, dict) or schema.get("patternProperties"):
        return True
    kind = schema.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    if is_object and more is not False and not any(schema.get(name) for name in ("properties", "$ref", *_LISTS)):
        return True
    inner = [schema.get("items")]
    for name in _LISTS:
        found = schema.get(name)
        inner += found if isinstance(found, list) else ()
    for name in _NAMED:
        found = schema.get(name)
        inner += found.values() if isinstance(found, dict) else ()
    return any(map(has_free_objects, inner))
