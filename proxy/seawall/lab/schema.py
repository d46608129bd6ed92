"""Makes a value that a JSON schema accepts: arguments of tool calls and structured answers. Deterministic and pure.

It covers what pydantic, the OpenAI and the Anthropic SDKs write (draft 2020-12 without remote references). It must end
for recursive schemas.
"""

from collections.abc import Mapping
from typing import Any

from seawall.lab.pattern import sample

_DEPTH = 6
_VALUES = 10_000
_FORMATS = {
    "date": "2025-01-31",
    "time": "12:00:00Z",
    "date-time": "2025-01-31T12:00:00Z",
    "duration": "PT1H",
    "email": "lab@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "7e57ab1e-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.com",
    "binary": "bGFi",
    "byte": "bGFi",
}
# Strings that only make sense in a language of their own, known by the usual names of such arguments.
_BY_NAME = {"sql": "SELECT 1", "query": "SELECT 1", "statement": "SELECT 1"}


class SchemaError(ValueError):
    """A document that is no JSON schema."""


class _Root:
    """The whole document, which references point into, and how many more values may be made for it."""

    __slots__ = ("document", "left")

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.left = _VALUES


def instance(schema: object) -> Any:
    """A value for `schema`: examples, defaults and constants first, then the smallest that fits.

    Raises SchemaError for what is no schema.
    """
    root = _Root(schema if isinstance(schema, Mapping) else {})
    try:
        return _value(schema, root, _DEPTH, "")
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        # Keywords with values of the wrong type, anywhere in a document that a stranger wrote.
        raise SchemaError(f"Invalid schema: {error}") from error


def _value(schema: object, root: _Root, depth: int, name: str) -> Any:
    root.left -= 1
    if root.left < 0:
        raise SchemaError("the schema asks for too large a value")
    if not isinstance(schema, Mapping):
        return "lab"  # `true`: anything goes
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    for listed in ("examples", "enum"):
        if isinstance(schema.get(listed), list) and schema[listed]:
            return schema[listed][0]
    if schema.get("default") is not None:
        return schema["default"]
    for choice in ("anyOf", "oneOf"):
        if options := schema.get(choice):
            rest = {key: value for key, value in schema.items() if key != choice}
            return _value(_merged(rest, _resolved(_pick(options, root, depth), root)), root, depth, name)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    match kind:
        case "object":
            return _object(schema, root, depth)
        case "array":
            return _array(schema, root, depth)
        case "integer":
            return int(_number(schema, whole=True))
        case "number":
            return _number(schema, whole=False)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, name)


def _resolved(schema: object, root: _Root) -> Mapping[str, Any]:
    """Follow `$ref` within the document and fold `allOf` in."""
    if not isinstance(schema, Mapping):
        return {}
    for _ in range(16):
        ref = schema.get("$ref")
        if not isinstance(ref, str):
            break
        target: Any = root.document
        for step in ref.removeprefix("#").strip("/").split("/"):
            if step:
                target = (
                    target.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, Mapping) else {}
                )
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        schema = _merged(target if isinstance(target, Mapping) else {}, rest)
    for part in schema.get("allOf", ()):
        schema = _merged({k: v for k, v in schema.items() if k != "allOf"}, _resolved(part, root))
    return schema


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {**one, **other}
    if "properties" in one and "properties" in other:
        both["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        both["required"] = [*one["required"], *other["required"]]
    return both


def _pick(options: list[Any], root: _Root, depth: int) -> Any:
    """The first option that is not null; near the depth limit null, or the option with the fewest properties."""
    plain = [option for option in options if _resolved(option, root).get("type") != "null"]
    if depth <= 1 and len(plain) < len(options):
        return {"type": "null"}
    if depth <= 1:
        return min(plain, key=lambda option: len(_resolved(option, root).get("properties", ())))
    return plain[0] if plain else {"type": "null"}


def _object(schema: Mapping[str, Any], root: _Root, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    if not isinstance(properties, Mapping) or not all(isinstance(name, str) for name in required):
        raise SchemaError("Invalid schema: an object's properties have names")
    wanted = properties if depth > 1 else [name for name in properties if name in required]
    made = {name: _value(properties[name], root, depth - 1, name) for name in wanted}
    for name in required:
        made.setdefault(name, "lab")
    missing = int(schema.get("minProperties", 0)) - len(made)
    extra = schema.get("additionalProperties", True)
    for number in range(missing):
        made[f"key{number + 1}"] = _value(extra, root, depth - 1, "")
    return made


def _array(schema: Mapping[str, Any], root: _Root, depth: int) -> list[Any]:
    made = [_value(item, root, depth - 1, "") for item in schema.get("prefixItems", ())]
    most = int(schema.get("maxItems", 1_000))
    least = min(int(schema.get("minItems", 0)), 1_000)
    if not made and depth > 1:
        least = max(least, 1)
    items = schema.get("items", True)
    for index in range(len(made), min(least, most)):
        item = _value(items, root, depth - 1, "")
        made.append(_distinct(item, index) if schema.get("uniqueItems") else item)
    return made


def _distinct(item: Any, index: int) -> Any:
    if isinstance(item, bool) or not index:
        return item
    if isinstance(item, int | float):
        return item + index
    return f"{item}{index + 1}" if isinstance(item, str) else item


def _number(schema: Mapping[str, Any], *, whole: bool) -> float:
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if above is not None:
        low = above + 1 if whole else above if step else above + _nudge(schema, above)
    if below is not None:
        high = below - 1 if whole else below if step or low is None else (low + below) / 2
    value: float = 1 if low is None else low
    if high is not None and value > high:
        value = high
    if step:
        value = -(-value // step) * step  # up to the next multiple
        if value == above:
            value += step
        if high is not None and value > high:
            value = high // step * step
        return value - step if value == below else value
    if below is not None and value >= below:
        value = below - 1
    return -(-value // 1) if whole else value


def _nudge(schema: Mapping[str, Any], above: float) -> float:
    """Half of the room above an exclusive minimum, at most 1."""
    tops = [schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema]
    return min(1.0, (min(tops) - above) / 2) if tops else 1.0


def _string(schema: Mapping[str, Any], name: str) -> str:
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    if isinstance(pattern := schema.get("pattern"), str) and (text := sample(pattern, least)) is not None:
        return text
    text = _FORMATS.get(schema.get("format", "")) or _BY_NAME.get(name.lower(), "lab")
    if len(text) < least:
        text = (text + " lab" * (least // 4 + 1))[:least]
    return text if most is None else text[: int(most)]
