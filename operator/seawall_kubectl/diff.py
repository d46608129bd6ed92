"""`kubectl seawall diff -f FILE`: which fields would hold that do not now, for which routes, and how many sidecars it
would reach. Found by doing it: compiled twice beside all that the cluster has, by the operator's own code."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from seawall.policy.documents import GROUP, Identity
from seawall_kubectl.kubectl import Kubectl, Object, Refused
from seawall_kubectl.table import table
from seawall_operator.render import Documents, Rendered, render
from seawall_operator.resources import RESOURCES, WRITTEN_BY_USERS, identity
from seawall_operator.review import review
from seawall_operator.statuses import fields_of

YOUNGEST = "9999-12-31T23:59:59Z"


def read(files: Sequence[str], namespace: str) -> list[Object]:
    """The documents of files, folders, or of `-`. What is not ours is left out. Raises Refused."""
    found: list[Object] = []
    for name in files:
        path = Path(name)
        try:
            if name == "-":
                texts = [sys.stdin.read()]
            elif path.is_dir():
                texts = [one.read_text() for one in sorted(path.iterdir()) if one.suffix in (".yaml", ".yml")]
            else:
                texts = [path.read_text()]
            documents = [one for text in texts for one in yaml.safe_load_all(text) if isinstance(one, dict)]
        except (OSError, yaml.YAMLError) as error:
            raise Refused(f"{name}: {error}") from None
        for one in documents:
            if str(one.get("apiVersion", "")).partition("/")[0] != GROUP or one.get("kind") not in WRITTEN_BY_USERS:
                continue
            metadata = dict(one.get("metadata") or {})
            if "name" not in metadata:
                raise Refused(f"{name}: a {one['kind']} has no metadata.name")
            if RESOURCES[one["kind"]].namespaced:
                metadata.setdefault("namespace", namespace)
            found.append({**one, "metadata": metadata})
    return found


def diff(kubectl: Kubectl, files: Sequence[str]) -> dict[str, Any]:
    """What would be other than it is. Raises Refused."""
    wanted = read(files, kubectl.here())
    if not wanted:
        raise Refused("no policy documents there")
    kinds = [f"{RESOURCES[kind].plural}.{GROUP}" for kind in WRITTEN_BY_USERS]
    there = kubectl.list(kinds, everywhere=True)
    sidecars = _sidecars(there)
    now = Documents(there)
    before = render(now)
    # As the API server would have them: what is there keeps its age, which decides among equals.
    wanted = [{**obj, "metadata": {**_known(now, obj), **obj["metadata"]}} for obj in wanted]
    for obj in wanted:
        now.put(obj)
    errors, warnings = [], []
    # Beside each other: a route may name an upstream that comes later in the file.
    for obj in wanted:
        opinion = review(obj, now, before, sidecars)
        name = "/".join(filter(None, identity(obj)))
        errors += [f"{name}: {one}" for one in opinion.errors]
        warnings += [f"{name}: {one}" for one in opinion.warnings]
    after = render(now, before.accepted)
    routes = list(_changes(before, after))
    namespaces = sorted({key[1] for key, _ in routes})
    return {
        "errors": errors,
        "warnings": list(dict.fromkeys(warnings)),
        "routes": [{"namespace": key[1], "name": key[2], "fields": fields} for key, fields in routes],
        "blast_radius": {
            "namespaces": namespaces,
            "routes": len(routes),
            "sidecars": sum(sidecars[namespace] for namespace in namespaces),
        },
    }


def _known(documents: Documents, obj: Object) -> Mapping[str, Any]:
    """The metadata that the API server has, or would give."""
    known = documents.get(identity(obj))
    found: Mapping[str, Any] = known["metadata"] if known is not None else {"creationTimestamp": YOUNGEST}
    return found


def _sidecars(objects: Sequence[Object]) -> Counter[str]:
    """By namespace, as the operator counts them: of a route's status, which all of a namespace share."""
    found: Counter[str] = Counter()
    for obj in objects:
        if obj["kind"] == "AgentRoute":
            namespace = obj["metadata"]["namespace"]
            total = (obj.get("status", {}).get("sidecars") or {}).get("total", 0)
            found[namespace] = max(found[namespace], total)
    return found


def _changes(before: Rendered, after: Rendered) -> list[tuple[Identity, list[dict[str, Any]]]]:
    """Routes that would not be as they are, and their fields."""
    old, new = _fields(before), _fields(after)
    found = []
    for key in sorted(old.keys() | new.keys()):
        were, are = old.get(key, {}), new.get(key, {})
        fields = [
            {"path": path, "from": were.get(path, (None, ""))[0], "to": are.get(path, (None, ""))[0],
             "source": are.get(path, (None, "(gone)"))[1]}
            for path in sorted(were.keys() | are.keys())
            if were.get(path, (None,))[0] != are.get(path, (None,))[0]
        ]  # fmt: skip
        if fields:
            found.append((key, fields))
    return found


def _fields(rendered: Rendered) -> dict[Identity, Mapping[str, tuple[Any, str]]]:
    return {
        key: {one["path"]: (one["value"], one["source"]) for one in fields_of(route)}
        for scope in rendered.scopes.values()
        for key, route in scope.routes.items()
    }


def text(found: dict[str, Any]) -> str:
    """For people."""
    parts = []
    if found["errors"]:
        parts.append("Refused:\n" + "".join(f"  {one}\n" for one in found["errors"]))
    for route in found["routes"]:
        rows = [(one["path"], one["from"], "→", one["to"], one["source"]) for one in route["fields"]]
        head = f"AgentRoute {route['namespace']}/{route['name']}\n"
        parts.append(head + table(("FIELD", "NOW", "", "THEN", "SET BY"), rows))
    if found["warnings"]:
        parts.append("Warnings:\n" + "".join(f"  {one}\n" for one in found["warnings"]))
    radius = found["blast_radius"]
    if radius["routes"]:
        spaces = ", ".join(radius["namespaces"])
        parts.append(f"{radius['routes']} routes in {spaces}; {radius['sidecars']} sidecars would take it\n")
    elif not found["errors"]:
        parts.append("nothing would change\n")
    return "\n".join(parts)
