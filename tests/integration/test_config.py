"""The policies that come with the project are valid, on their own and for what their comments promise."""

from pathlib import Path

import pytest

from seawall.cli import main
from seawall.policy import load_policy

CONFIG = Path(__file__).parents[2] / "config"
FILES = sorted(CONFIG.rglob("*.yaml"))


def test_there_are_policies_to_check() -> None:
    assert {"policy.yaml", "demo.yaml"} <= {file.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(CONFIG)) for file in FILES])
def test_check_accepts_every_policy_without_a_warning(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    if file.name == "kubernetes.yaml":
        # It has a kind that is the operator's alone, and says so.
        assert "only the operator acts on this kind" in lines.pop(0)
    line, *changes = lines
    assert line.startswith("ok: ")
    assert all(change.startswith("shadow: ") and "nothing" not in change for change in changes)
    assert bool(changes) == (file.name == "shadow.yaml")


def test_the_built_in_policy_needs_no_file_and_changes_no_credential() -> None:
    """Pass-through, nothing fake: every upstream is a public provider over TLS."""
    policy = load_policy([CONFIG / "policy.yaml"]).policy
    assert policy is not None
    for upstream in policy.upstreams.values():
        assert upstream.auth.type == "Passthrough"
        assert upstream.base_url.startswith("https://")


def test_the_demo_needs_nothing_but_the_lab() -> None:
    policy = load_policy([CONFIG / "examples" / "demo.yaml"]).policy
    assert policy is not None
    for upstream in policy.upstreams.values():
        assert upstream.base_url.startswith("http://127.0.0.1:4110/u/")
        assert upstream.auth.type == "Passthrough"
