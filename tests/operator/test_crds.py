"""The definitions in the chart are those that the models and the documentation make."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from seawall.policy.kinds import KINDS
from seawall_operator.crds.__main__ import page_texts, texts
from seawall_operator.crds.definitions import definitions

ROOT = Path(__file__).parents[2]
CRDS = ROOT / "charts" / "seawall-crds" / "templates"
DOCUMENTATION = (ROOT / "docs" / "documents.md").read_text(encoding="utf-8")


def nodes(schema: dict[str, Any], at: str = "") -> dict[str, dict[str, Any]]:
    found = {at: schema}
    for name, inner in schema.get("properties", {}).items():
        found |= nodes(inner, f"{at}.{name}")
    if "items" in schema:
        found |= nodes(schema["items"], f"{at}[]")
    return found


def schemas() -> dict[str, dict[str, Any]]:
    """Kind → field → its part of the schema."""
    crds = definitions(DOCUMENTATION).values()
    return {c["spec"]["names"]["kind"]: nodes(c["spec"]["versions"][0]["schema"]["openAPIV3Schema"]) for c in crds}


def test_the_chart_holds_what_the_models_say() -> None:
    there = {file.name: file.read_text(encoding="utf-8") for file in CRDS.glob("*.yaml")}
    assert there == texts(), "run `make crds`"


def test_each_kind_has_a_page_with_every_field_and_an_example() -> None:
    there = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "docs" / "kinds").glob("*.md")}
    assert there == page_texts(), "run `make crds`"
    assert "| `rules[].timeouts.firstContent` | duration | `300s` |" in there["AgentRoute.md"]
    assert "| `defaults.retry.attempts` | 0 to 10 | `2` |" in there["ResiliencePolicy.md"]
    for text in there.values():
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            assert (ROOT / "docs" / "kinds" / target).exists(), target


def test_helm_never_deletes_them() -> None:
    for text in texts().values():
        assert yaml.safe_load(text)["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert "{{" not in text, "helm would take it for a template"


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_says_what_it_means_and_none_has_a_default(kind: str) -> None:
    found = schemas()[kind]
    assert not [path for path, schema in found.items() if "default" in schema]
    silent = [path for path, schema in found.items() if not schema.get("description") and not path.endswith("[]")]
    assert silent == [".metadata"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_list_says_how_it_is_merged_and_how_long_it_may_be(kind: str) -> None:
    lists = [schema for schema in schemas()[kind].values() if schema.get("type") == "array"]
    assert lists
    assert all(one["x-kubernetes-list-type"] in ("map", "atomic") and one["maxItems"] for one in lists)


def test_a_field_without_documentation_is_an_error() -> None:
    with pytest.raises(KeyError, match="caFile"):
        definitions(DOCUMENTATION.replace("`tls.caFile`", "`tls.other`"))
