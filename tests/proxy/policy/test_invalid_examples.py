"""Every document in tests/policy/invalid is refused, at the field that its first line names."""

from pathlib import Path

import pytest
import yaml
from policy_documents import route, rule, upstream

from seawall.policy import evaluate, load_objects

INVALID = sorted((Path(__file__).parents[2] / "policy" / "invalid").glob("*.yaml"))
BESIDE = (upstream("a"), upstream("b"), route(rule("/beside")))
"""Good documents that the invalid ones refer to."""


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_an_invalid_example_is_refused_at_the_field_that_is_wrong(file: Path) -> None:
    text = file.read_text()
    field, document = text.splitlines()[0].removeprefix("# "), yaml.safe_load(text)
    beside = [one for one in BESIDE if (one["kind"], one["metadata"]) != (document["kind"], document["metadata"])]
    found = [i for i in evaluate(load_objects([document, *beside])).issues if i.severity == "error"]
    assert found and all(i.path.startswith(field) or field.startswith(i.path) for i in found), found
