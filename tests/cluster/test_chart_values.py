"""The chart without a cluster: what may be set, what is refused, and what comes of it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm import CHART, CRDS, EVERYTHING, done, helm, named, rendered

from seawall_operator.options import read
from seawall_operator.sidecar_container import Injection, container

ROOT = Path(__file__).parents[2]
OPERATOR_RBAC = ROOT / "tests" / "cluster" / "operator-rbac.yaml"
MODES = ("Operator", "CertManager", "Secret")


@pytest.mark.parametrize("chart", [CHART, CRDS], ids=lambda chart: chart.name)
def test_helm_has_nothing_to_say_against_it(chart: Path) -> None:
    done(helm("lint", "--strict", str(chart)))


@pytest.mark.parametrize(
    "values",
    [
        {"gatway": {"enabled": True}},
        {"gateway": {"enable": True}},
        {"operator": {"replicas": 0}},
        {"operator": {"podDisruptionBudget": {"minAvailable": 1}}},
        {"certificates": {"mode": "certManager"}},
        {"image": {"digest": "sha256:short"}},
        {"monitoring": {"podMonitor": {"enabled": "yes"}}},
        {"webhooks": {"injection": {"failurePolicy": "Fail"}}},
        {"traces": {"endpoint": "collector:4317"}},
        {"traces": {"sampleRatio": 10}},
    ],
    ids=json.dumps,
)
def test_a_value_that_means_nothing_is_refused(values: Mapping[str, Any]) -> None:
    refused = helm("template", "seawall", str(CHART), values=values)
    assert refused.returncode != 0
    assert "values don't meet the specifications of the schema" in refused.stderr, refused.stderr


def _paths(schema: Mapping[str, Any], definitions: Mapping[str, Any], at: str = "") -> Iterator[str]:
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    below = schema.get("properties", {})
    for name, one in below.items():
        yield from _paths(one, definitions, f"{at}.{name}" if at else name)
    if not below:
        yield at


def _has(values: Any, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return True


def test_every_value_of_the_schema_is_in_values_yaml() -> None:
    """That nothing is there that the schema lacks, Helm itself sees to."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    optional = ("global", "operator.resources", "gateway.resources", "certificates.certManager.issuerRef")
    missing = [p for p in _paths(schema, schema["definitions"]) if not p.startswith(optional) and not _has(values, p)]
    assert missing == []


def _rights(*roles: Mapping[str, Any]) -> set[tuple[str, str, str, str]]:
    """(group, resource, name or "", verb) of every rule."""
    return {
        (group, resource, name, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def test_the_operator_may_do_what_its_tests_let_it_do() -> None:
    objects = rendered()
    tested = [one for one in yaml.safe_load_all(OPERATOR_RBAC.read_text()) if "rules" in one]
    granted = _rights(named(objects, "ClusterRole", "seawall-operator"), named(objects, "Role", "seawall-operator"))
    assert granted == _rights(*tested)


def test_of_secrets_it_reads_its_own_certificate_and_no_other() -> None:
    role = named(rendered(), "Role", "seawall-operator")
    rights = {(name, verb) for _, resource, name, verb in _rights(role) if resource == "secrets"}
    assert rights == {("", "create"), ("seawall-operator-tls", "get"), ("seawall-operator-tls", "update")}
    assert not [r for r in _rights(named(rendered(), "ClusterRole", "seawall-operator")) if r[1] == "secrets"]
    for mode in ("CertManager", "Secret"):
        role = named(rendered({"certificates": {"mode": mode}}), "Role", "seawall-operator")
        assert not [r for r in _rights(role) if r[1] == "secrets"]


@pytest.mark.parametrize("mode", MODES)
def test_the_certificate_comes_from_where_it_is_said(mode: str) -> None:
    objects = rendered({"certificates": {"mode": mode}})
    deployment = named(objects, "Deployment", "seawall-operator")["spec"]["template"]["spec"]
    arguments = " ".join(deployment["containers"][0]["args"])
    kinds = {one["kind"] for one in objects}
    annotations = named(objects, "MutatingWebhookConfiguration", "seawall-operator")["metadata"].get("annotations", {})
    assert ("--tls-cert=" in arguments) == (mode != "Operator")
    assert ("Certificate" in kinds) == (mode == "CertManager")
    assert ("cert-manager.io/inject-ca-from" in annotations) == (mode == "CertManager")


def test_an_issuer_of_ones_own_is_used_alone() -> None:
    issuer = {"name": "company", "kind": "ClusterIssuer"}
    objects = rendered({"certificates": {"mode": "CertManager", "certManager": {"issuerRef": issuer}}})
    assert named(objects, "Certificate", "seawall-operator")["spec"]["issuerRef"] == issuer
    assert not [one for one in objects if one["kind"] == "Issuer"]


def test_the_webhooks_hold_nobody_up() -> None:
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        [webhook] = named(rendered(), kind, "seawall-operator")["webhooks"]
        assert webhook["failurePolicy"] == "Ignore"
        assert webhook["timeoutSeconds"] <= 5
    injection = named(rendered(), "MutatingWebhookConfiguration", "seawall-operator")["webhooks"][0]
    [excluded] = injection["namespaceSelector"]["matchExpressions"]
    assert {"kube-system", "seawall"} <= set(excluded["values"])


def test_traces_go_from_sidecars_and_gateway_to_the_same_place() -> None:
    objects = rendered(EVERYTHING)
    operator = named(objects, "Deployment", "seawall-operator")["spec"]["template"]["spec"]["containers"][0]
    options = read([word for word in operator["args"] if word.startswith(("--traces", "--image"))])
    sidecar = container("seawall", "default", {}, Injection("i", "https://o", traces=options.traces), 30)
    gateway = named(objects, "Deployment", "seawall-gateway")["spec"]["template"]["spec"]["containers"][0]
    assert gateway["env"] == sidecar["env"]
    values = {one["name"]: one.get("value") for one in sidecar["env"]}
    assert values["OTEL_EXPORTER_OTLP_ENDPOINT"] == EVERYTHING["traces"]["endpoint"]
    assert values["OTEL_TRACES_SAMPLER_ARG"] == "0.25"
    assert "traces" not in json.dumps(rendered({"gateway": {"enabled": True}}))


def test_the_gateway_is_given_no_key_and_no_access() -> None:
    assert not [one for one in rendered() if "gateway" in one["metadata"]["name"]]
    objects = rendered(EVERYTHING)
    pod = named(objects, "Deployment", "seawall-gateway")["spec"]["template"]["spec"]
    assert not [volume for volume in pod["volumes"] if "secret" in volume]
    assert pod["automountServiceAccountToken"] is False
    assert not [b for b in objects if "subjects" in b and any(s["name"] == "seawall-gateway" for s in b["subjects"])]


def test_everything_there_is_twice_may_be_drained() -> None:
    objects = rendered(EVERYTHING)
    for name in ("seawall-operator", "seawall-gateway"):
        template = named(objects, "Deployment", name)["spec"]["template"]
        budget = named(objects, "PodDisruptionBudget", name)["spec"]
        assert budget["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        keys = [one["topologyKey"] for one in template["spec"]["topologySpreadConstraints"]]
        assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert not [o for o in rendered({"operator": {"replicas": 1}}) if o["kind"] == "PodDisruptionBudget"]


def test_a_digest_beats_a_tag() -> None:
    digest = f"sha256:{'0' * 64}"
    objects = rendered({"image": {"repository": "registry.example/seawall", "tag": "x", "digest": digest}})
    container = named(objects, "Deployment", "seawall-operator")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"registry.example/seawall@{digest}"
    assert f"--image=registry.example/seawall@{digest}" in container["args"]
