"""The format itself: what kubectl adds is accepted, the shipped files are valid, the documentation is complete."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from seawall.policy import evaluate, load_policy, load_text
from seawall.policy.defaults import RULE, UPSTREAM
from seawall.policy.kinds import KINDS
from seawall.policy.wording import aliases

ROOT = Path(__file__).parents[3]
VERSION = "apiVersion: seawall.dev/v1alpha1\n"
DOCUMENTATION = (ROOT / "docs" / "documents.md").read_text()


@pytest.mark.parametrize("file", ["config/policy.yaml", "config/examples/demo.yaml", "bench/policy.yaml"])
def test_the_shipped_files_are_valid_without_a_warning(file: str) -> None:
    found = load_policy([ROOT / file])
    assert [str(issue) for issue in found.issues] == []
    assert found.policy is not None


def test_the_benchmark_sets_every_block_that_is_implemented() -> None:
    policy = load_policy([ROOT / "bench/policy.yaml"]).policy
    assert policy is not None
    (rule,), (upstream,) = policy.routes[0].rules, policy.upstreams.values()
    still_default = {path for path, source in {**rule.sources, **upstream.sources}.items() if source == "default"}
    # These change what is done rather than switch something on: holding whole answers, failing over, other statuses.
    assert still_default <= {"streaming.maxHold", "clientHints", "fallbackOn", "retry.codes", "timeouts.connect"}


def test_an_object_read_back_from_a_cluster_is_still_a_document() -> None:
    found = load_text("""\
apiVersion: seawall.dev/v1alpha1
kind: Upstream
metadata:
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}"}
  creationTimestamp: 2025-01-31T12:00:00Z
  deletionGracePeriodSeconds: 0
  deletionTimestamp: "2025-01-31T12:00:00Z"
  finalizers: [a/b]
  generation: 3
  labels: {app.kubernetes.io/name: a}
  managedFields:
  - {apiVersion: seawall.dev/v1alpha1, fieldsType: FieldsV1, fieldsV1: {f:spec: {}}, manager: kubectl, time: "x"}
  name: openai
  namespace: default
  ownerReferences: [{apiVersion: v1, kind: X, name: x, uid: y}]
  resourceVersion: "12345"
  uid: 3f6b
spec: {baseURL: "https://a", dialect: OpenAI, timeouts: null}
status: {conditions: [{type: Ready, status: "True", weight: 1.5}]}
""")
    assert found.issues == ()
    assert found.readable[0].document.key == "default/openai"


def test_an_effective_policy_and_a_sidecar_profile_have_models() -> None:
    found = load_text("""\
apiVersion: seawall.dev/v1alpha1
kind: EffectivePolicy
metadata: {name: chat}
status:
  revision: sha256:0123456789ab
  sidecars: {total: 412, current: 397, stale: 14, rejected: 1}
  fields: [{path: retry.attempts, value: 2, source: default}]
---
apiVersion: seawall.dev/v1alpha1
kind: SidecarProfile
metadata: {name: agents}
spec:
  selector: {matchLabels: {app: agent}}
  resources: {requests: {cpu: 10m, memory: 64Mi}}
  baseURLVariables: [{name: OPENAI_BASE_URL, path: /openai/v1}]
""")
    assert found.issues == ()


def test_the_status_of_an_effective_policy_is_checked() -> None:
    text = "kind: EffectivePolicy\nmetadata: {name: chat}\nstatus: {sidecars: {total: 1}}\n"
    assert [issue.path for issue in load_text(VERSION + text).issues] == [
        "status.sidecars.current", "status.sidecars.stale", "status.sidecars.rejected",
    ]  # fmt: skip


def test_a_cluster_scoped_document_has_no_namespace() -> None:
    text = "kind: ClusterUpstream\nmetadata: {name: a, namespace: b}\nspec: {baseURL: 'http://a', dialect: OpenAI}\n"
    issue, _ = evaluate(load_text(VERSION + text)).issues
    assert issue.message == "a ClusterUpstream is cluster-scoped: remove metadata.namespace"


def paths(model: type[BaseModel], at: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        path = at + (field.alias or name)
        inner = _inner(field.annotation)
        if inner is None:
            found.add(path)
        else:
            found |= paths(inner, f"{path}{'[]' if 'tuple' in str(field.annotation) else ''}.")
    return found


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _inner(arg))), None)


def sections() -> dict[str, dict[str, str]]:
    """Heading → field → default, from the tables of docs/documents.md."""
    found: dict[str, dict[str, str]] = {}
    for part in re.split(r"^## ", DOCUMENTATION, flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| `([^`]+)` \| [^|]+ \|([^|]*)\|", part, flags=re.MULTILINE)
        found[part.partition("\n")[0]] = {field: default.strip().strip("`") for field, default in rows}
    return found


def _shown(value: object) -> str:
    return "none" if value == () else str(value)


def test_the_documentation_lists_every_field_of_a_rule_and_of_an_upstream_with_its_default() -> None:
    documented = sections()
    for heading, values in (("Fields of a rule", RULE), ("Fields of an upstream's owner", UPSTREAM)):
        assert {f: d for f, d in documented[heading].items() if f in values} == {
            f: _shown(v) for f, v in values.items()
        }


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_documentation_has_a_section_with_every_field_of_a_kind(kind: str) -> None:
    documented = sections()
    names = [heading for heading in documented if kind in heading.replace(",", "").split()]
    assert len(names) == 1
    known = set(documented[names[0]])
    for shared in ("Fields of a rule", "Fields of an upstream's owner"):
        known |= set(documented[shared])
    model = KINDS[kind]
    assert "spec" in aliases(model)
    part = model.model_fields["status" if kind == "EffectivePolicy" else "spec"]
    inner = _inner(part.annotation)
    assert inner is not None
    inline = re.compile(r"^(rules\[\]|defaults|overrides)\.")
    assert {inline.sub("", path) for path in paths(inner)} - {inline.sub("", field) for field in known} == set()
