"""One page of documentation for each kind: every field of its schema with the type, default and meaning that
docs/documents.md gives it, its status, and an example that the tests apply. Nothing of it is written by hand.
"""

import re
from collections.abc import Iterator
from typing import Any

from seawall_operator.crds.definitions import definitions
from seawall_operator.crds.descriptions import Descriptions
from seawall_operator.crds.schema import Schema
from seawall_operator.resources import RESOURCES, Resource

HEAD = "<!-- Made by `make crds` of the policy's models, docs/documents.md and config/examples/kubernetes.yaml. -->\n"
_LINK = re.compile(r"\]\((#?)([^)]*)\)")
_POLICIES = ("ResiliencePolicy", "ClusterResiliencePolicy")


def pages(documentation: str, examples: str) -> dict[str, str]:
    """By file name. `examples`: YAML with a document of each kind that users write. Raises KeyError for one that is
    missing."""
    descriptions = Descriptions(documentation)
    samples = _samples(examples)
    crds = {crd["spec"]["names"]["kind"]: crd for crd in definitions(documentation).values()}
    made = {f"{kind}.md": _page(RESOURCES[kind], crds[kind], descriptions, samples) for kind in RESOURCES}
    return {"README.md": _index(crds), **made}


def _index(crds: dict[str, Any]) -> str:
    rows = [f"| [{kind}]({kind}.md) | {_short(RESOURCES[kind])} | {_about(crd)} |" for kind, crd in crds.items()]
    more = "How values are merged: [documents.md](../documents.md). What `status` says: [status.md](../status.md)."
    return "\n".join([HEAD, "# Kinds", "", more, "", "| kind | short name | |", "|---|---|---|", *rows, ""])


def _page(resource: Resource, crd: dict[str, Any], descriptions: Descriptions, samples: dict[str, str]) -> str:
    kind = resource.kind
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    where = "belongs to a namespace" if resource.namespaced else "belongs to no namespace"
    parts = [
        f"{HEAD}\n# {kind}\n",
        f"{_about(crd)} It {where}. `kubectl get {resource.plural}`, or {_short(resource)}.\n",
    ]
    if kind == "EffectivePolicy":
        parts.append("Only the operator writes it: one for each AgentRoute, of the same name.\n")
    else:
        parts.append(f"```yaml\n{samples[kind]}\n```\n")
    parts.append(f"## Spec\n\n{_spec(kind, schema['spec'], descriptions)}\n")
    parts.append(
        f"## Status\n\n{_status(schema['status'])}\n\nConditions and their reasons: [status.md](../status.md).\n"
    )
    return "\n".join(parts)


def _spec(kind: str, schema: Schema, descriptions: Descriptions) -> str:
    twins = kind in _POLICIES
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for path in _leaves(schema):
        if twins and path.startswith("overrides."):
            continue
        row = descriptions.row(kind, path)
        if row is not None:
            lines.append(f"| `{path}` | {' | '.join(_relinked(cell) for cell in row)} |")
        else:
            lines.append(f"| `{path}` | {_type(_at(schema, path))} | | {descriptions.of(kind, path)} |")
    if twins:
        lines += ["", "`overrides` has the same fields as `defaults`; a policy has exactly one of both."]
    return "\n".join(lines)


def _status(schema: Schema) -> str:
    lines = ["| field | type | meaning |", "|---|---|---|"]
    for path in _leaves(schema):
        field = _at(schema, path)
        lines.append(f"| `{path}` | {_type(field)} | {field.get('description', '')} |")
    return "\n".join(lines)


def _leaves(schema: Schema, at: str = "") -> Iterator[str]:
    """Fields that hold a value, as `rules[].retry.attempts`."""
    inner = schema.get("items", {}) if schema.get("type") == "array" else schema
    properties = inner.get("properties")
    if not properties:
        yield at
        return
    below = f"{at}[]" if inner is not schema else at
    for name, field in properties.items():
        yield from _leaves(field, f"{below}.{name}" if below else name)


def _at(schema: Schema, path: str) -> Schema:
    for name in path.replace("[]", "").split("."):
        schema = schema.get("items", schema)["properties"][name]
    return schema


def _type(schema: Schema) -> str:
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema['items'])}"
        case "string":
            return "time" if schema.get("format") == "date-time" else "text"
        case "integer":
            return "count"
        case "object":
            return "map of text"
        case _:
            return "any"


def _relinked(text: str) -> str:
    """Links of docs/documents.md, from one folder further down."""
    return _LINK.sub(lambda found: f"](../{'documents.md#' if found[1] else ''}{found[2]})", text).strip()


def _about(crd: dict[str, Any]) -> str:
    return str(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"])


def _short(resource: Resource) -> str:
    return " or ".join(f"`{name}`" for name in resource.short_names)


def _samples(examples: str) -> dict[str, str]:
    """The first document of each kind, as it is written."""
    found: dict[str, str] = {}
    for text in re.split(r"^---\n", examples, flags=re.MULTILINE):
        kind = re.search(r"^kind: (\w+)$", text, flags=re.MULTILINE)
        if kind is not None:
            body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
            found.setdefault(kind[1], body.strip())
    return found
