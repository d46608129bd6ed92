"""What the tuning guide says to write is taken as it stands, by the document that it says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube_objects import Object, cluster_upstream, policy, route, upstream

from seawall_operator.render import Documents, render
from seawall_operator.resources import identity

GUIDE = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text(encoding="utf-8")
LINES = [line for line in GUIDE.splitlines() if line.startswith("|")]
FIELD = re.compile(r"(of the Upstream: )?`([a-z][A-Za-z]*: [^`]+)`", re.IGNORECASE)
SNIPPETS = [(text, bool(of_upstream)) for line in LINES for of_upstream, text in FIELD.findall(line)]
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"^apiVersion: [^`]*?(?=^YAML|^```)", GUIDE, re.MULTILINE)]
WORLD = (upstream("openai"), upstream("other"), route("chat", "openai", "other"))


def warned(*objects: Object) -> list[str]:
    """What is said of the last one, which must be good."""
    verdict = render(Documents(objects)).verdict(identity(objects[-1]))
    assert verdict.accepted, [issue.message for issue in verdict.errors]
    return [issue.message for issue in verdict.warnings]


def test_the_guide_has_snippets_and_documents() -> None:
    assert len(SNIPPETS) > 12 and len(BLOCKS) == 2


@pytest.mark.parametrize(("text", "of_upstream"), SNIPPETS)
def test_a_snippet_is_good_below_defaults_of_the_policy_and_does_something(text: str, of_upstream: bool) -> None:
    fields: dict[str, Any] = yaml.safe_load(text)
    target = ("Upstream", "openai") if of_upstream else ("AgentRoute", "chat")
    assert warned(*WORLD, policy("tuning", *target, **fields)) == []


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block["metadata"]["name"])
def test_a_document_is_good(block: dict[str, Any]) -> None:
    metadata = {"resourceVersion": "1", **block["metadata"]}
    if not block["kind"].startswith("Cluster"):
        metadata["namespace"] = "team"
    used = cluster_upstream("openai"), route("calls", "/openai")
    assert warned(*WORLD, *used, {**block, "metadata": metadata}) == []
