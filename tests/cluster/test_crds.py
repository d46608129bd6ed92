"""The definitions in a real API server: what is good gets in, what is not is refused at the field that is wrong."""

import json
import re
from pathlib import Path

import pytest
import yaml
from kube import Cluster

from seawall.policy.kinds import KINDS

ROOT = Path(__file__).parents[2]
INVALID = sorted((ROOT / "tests" / "policy" / "invalid").glob("*.yaml"))
VALID = sorted([ROOT / "config" / "policy.yaml", ROOT / "bench" / "policy.yaml", *(ROOT / "config").glob("*/*.yaml")])
SHORT_NAMES = ("ups", "cups", "ar", "rp", "crp", "scp", "effpol")


def test_a_control_plane_is_ready_in_seconds(kube: Cluster) -> None:
    assert kube.ready_after < 30
    assert json.loads(kube.kubectl("version", "-o", "json"))["serverVersion"]["minor"] == "36"


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_an_invalid_document_is_refused_with_the_field_that_is_wrong(kube: Cluster, file: Path) -> None:
    field = file.read_text().splitlines()[0].removeprefix("# ")
    refused = kube.run("apply", "--dry-run=server", "-f", str(file))
    assert refused.returncode != 0
    assert re.search(rf"\b{re.escape(field)}", refused.stderr), refused.stderr


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_a_policy_file_of_a_laptop_is_taken_as_it_is(kube: Cluster, file: Path) -> None:
    kube.kubectl("apply", "--dry-run=server", "-f", str(file))


def test_nothing_that_a_document_leaves_out_is_filled_in(kube: Cluster) -> None:
    namespace = kube.namespace("as-written")
    kube.kubectl("apply", "-n", namespace, "-f", str(ROOT / "config" / "policy.yaml"))
    for document in yaml.safe_load_all((ROOT / "config" / "policy.yaml").read_text()):
        name = document["metadata"]["name"]
        assert kube.get("-n", namespace, document["kind"], name)["spec"] == document["spec"]


@pytest.mark.parametrize("kind", KINDS)
def test_explain_says_what_every_field_means(kube: Cluster, kind: str) -> None:
    for part in ("spec", "status"):
        text = kube.kubectl("explain", f"{kind.lower()}.{part}")
        assert "<no description>" not in text and "FIELDS:" in text
    if kind == "AgentRoute":
        text = kube.kubectl("explain", "agentroute.spec.rules.timeouts.firstContent")
        assert "until the first text, reasoning or tool call of a stream" in " ".join(text.split()).casefold()
        assert "Default: 300s" in text


def test_short_names_and_the_category(kube: Cluster) -> None:
    listed = kube.kubectl("api-resources", "--api-group=seawall.dev", "--categories=seawall", "-o", "name").split()
    assert len(listed) == len(KINDS)
    for short in SHORT_NAMES:
        assert kube.run("get", short).returncode == 0


def test_the_status_is_apart_from_the_spec(kube: Cluster) -> None:
    namespace = kube.namespace("apart")
    route = {
        "apiVersion": "seawall.dev/v1alpha1", "kind": "AgentRoute", "metadata": {"name": "r", "namespace": namespace},
        "spec": {"rules": [{"backendRefs": [{"name": "a"}]}]}, "status": {"revision": "made up"},
    }  # fmt: skip
    assert kube.apply(route).returncode == 0
    assert "status" not in kube.get("-n", namespace, "agentroute", "r")


def test_two_appliers_share_the_models_of_an_upstream(kube: Cluster) -> None:
    """They are a list of named objects, merged item by item."""
    namespace = kube.namespace("shared")
    head = {"apiVersion": "seawall.dev/v1alpha1", "kind": "Upstream", "metadata": {"name": "u", "namespace": namespace}}
    fixed = {"dialect": "OpenAI", "baseURL": "https://a.example"}
    for manager, model in (("one", "m1"), ("two", "m2")):
        document = {**head, "spec": {**fixed, "models": [{"name": model}]}}
        done = kube.apply(document, words=(f"--field-manager={manager}",))
        assert done.returncode == 0, done.stderr
    assert [m["name"] for m in kube.get("-n", namespace, "upstream", "u")["spec"]["models"]] == ["m1", "m2"]
