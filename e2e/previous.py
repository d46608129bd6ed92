"""A release before this one, to be upgraded from: no other version was ever published. It is this one's charts with a
lower version, whose image therefore has another tag, and with a field less in the definition of routes.
"""

import shutil
from pathlib import Path

import yaml
from kubernetes_binaries import ROOT

VERSION = "0.0.9"
FIELD, VALUE = "fallbackOn", ["Unauthorized"]
"""Of a route's rules; what it does not know yet."""


def charts(folder: Path) -> Path:
    """A folder with both of them."""
    made = folder / "previous"
    shutil.copytree(ROOT / "charts", made)
    for chart in made.glob("*/Chart.yaml"):
        described = yaml.safe_load(chart.read_text())
        chart.write_text(yaml.safe_dump({**described, "version": VERSION, "appVersion": VERSION}))
    file = made / "seawall-crds" / "templates" / "agentroutes.seawall.dev.yaml"
    definition = yaml.safe_load(file.read_text())
    for version in definition["spec"]["versions"]:
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        del spec["properties"]["rules"]["items"]["properties"][FIELD]
    file.write_text(yaml.safe_dump(definition))
    return made
