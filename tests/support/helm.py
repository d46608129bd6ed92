"""Helm as its users run it: the program itself, against the tests' own control plane."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from kubernetes_binaries import HELM, binaries

CHARTS = Path(__file__).parents[2] / "charts"
CHART, CRDS = CHARTS / "seawall", CHARTS / "seawall-crds"
EVERYTHING: Mapping[str, Any] = {
    "gateway": {"enabled": True},
    "traces": {"endpoint": "http://collector.monitoring.svc:4318", "sampleRatio": 0.25},
    "monitoring": {name: {"enabled": True} for name in ("podMonitor", "serviceMonitor", "prometheusRule", "dashboard")},
}
"""Values that render every template."""


def helm(
    *words: str, kubeconfig: Path | None = None, values: Mapping[str, Any] | None = None, seconds: float = 60.0
) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory(prefix="seawall-helm-") as home:
        environment = {**os.environ, "HOME": home, "KUBECONFIG": str(kubeconfig or Path(home, "none"))}
        options: Sequence[str] = ()
        if values is not None:
            file = Path(home, "values.json")
            file.write_text(json.dumps(values))
            options = ("--values", str(file))
        command = [str(binaries(HELM)["helm"]), *words, *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)


def done(finished: "subprocess.CompletedProcess[str]") -> str:
    """Its output. Fails the test where it failed."""
    assert finished.returncode == 0, f"{' '.join(finished.args)}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


def rendered(values: Mapping[str, Any] | None = None, namespace: str = "seawall") -> list[dict[str, Any]]:
    """The chart's objects."""
    text = done(helm("template", "seawall", str(CHART), "--namespace", namespace, values=values or {}))
    return [one for one in yaml.safe_load_all(text) if one]


def named(objects: Sequence[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    [found] = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    return found
