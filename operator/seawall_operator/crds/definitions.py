"""One CustomResourceDefinition for each kind, as plain data."""

from typing import Any

from seawall.policy.documents import GROUP
from seawall.policy.kinds import KINDS
from seawall_operator.crds.descriptions import Descriptions
from seawall_operator.crds.rules import add_rules
from seawall_operator.crds.schema import Schema, block
from seawall_operator.crds.status import COLUMNS, STATUS
from seawall_operator.resources import CATEGORY, RESOURCES, VERSION, Resource


def definitions(documentation: str) -> dict[str, dict[str, Any]]:
    """By CRD name. `documentation`: the text of docs/documents.md. Raises KeyError for a field that it lacks."""
    descriptions = Descriptions(documentation)
    return {resource.crd_name: _definition(resource, descriptions) for resource in RESOURCES.values()}


def _definition(resource: Resource, descriptions: Descriptions) -> dict[str, Any]:
    kind = resource.kind
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _schema(kind, descriptions)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": COLUMNS[kind],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": resource.crd_name,
            # An uninstall of the chart must not delete every policy of the cluster.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": resource.plural,
                "singular": kind.lower(),
                "shortNames": list(resource.short_names),
                "categories": [CATEGORY],
            },
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _schema(kind: str, descriptions: Descriptions) -> Schema:
    model = KINDS[kind]
    whole = block(model)["properties"]
    spec = whole["spec"]
    add_rules(kind, spec)
    status: Schema = {"type": "object", "properties": dict(STATUS[kind])}
    if kind == "EffectivePolicy":
        fields = whole["status"]["properties"]["fields"]
        fields["maxItems"] = 4096
        status["properties"]["fields"] = fields
        _describe(fields, kind, "fields", descriptions)
    _describe(spec, kind, "", descriptions)
    spec["description"] = descriptions.of(kind, "spec")
    status["description"] = descriptions.of(kind, "status")
    properties: Schema = {
        "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
        "kind": {"type": "string", "description": f"{kind}."},
        "metadata": {"type": "object"},
        "spec": spec,
        "status": status,
    }
    required = [] if kind == "EffectivePolicy" else ["spec"]
    description = " ".join((model.__doc__ or _cluster_scoped(kind)).split())
    schema: Schema = {"type": "object", "description": description, "properties": properties}
    return {**schema, "required": required} if required else schema


def _cluster_scoped(kind: str) -> str:
    twin = KINDS[kind.removeprefix("Cluster")].__doc__ or ""
    return f"For every namespace: {twin[:1].lower()}{twin[1:]}"


def _describe(schema: Schema, kind: str, path: str, descriptions: Descriptions) -> None:
    if path:
        schema["description"] = descriptions.of(kind, path)
    inner = schema.get("items", schema)
    below = f"{path}[]" if "items" in schema else path
    for name, field in inner.get("properties", {}).items():
        _describe(field, kind, f"{below}.{name}" if below else name, descriptions)
