"""What is in the image, as CycloneDX 1.6 (ECMA-424) on standard output: the Python packages of an environment, and the
Debian packages of its base.

    sbom.py ENVIRONMENT DPKG-STATUS
"""

import platform
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

NAME = "seawall"


def python_packages(environment: Path) -> Iterator[Component]:
    """Raises ValueError where that is no environment of one Python."""
    (site,) = environment.glob("lib/python3*/site-packages")
    for found in sorted(distributions(path=[str(site)]), key=lambda one: str(one.name).lower()):
        name = str(found.name).lower().replace("_", "-")
        yield Component(
            type=ComponentType.APPLICATION if name == NAME else ComponentType.LIBRARY,
            name=name,
            version=found.version,
            purl=PackageURL("pypi", name=name, version=found.version),
            bom_ref=f"pypi/{name}",
            licenses=[LicenseFactory().make_from_string(text) for text in _licenses(found)],
        )


def _licenses(found: Distribution) -> Iterable[str]:
    """The SPDX expression (PEP 639), else what the older field says, if that is no whole text."""
    metadata = found.metadata
    text = metadata.get("License-Expression") or metadata.get("License") or ""
    return [text] if 0 < len(text) <= 64 else []


def debian_packages(status: str) -> Iterator[Component]:
    """Of /var/lib/dpkg/status: those that are installed."""
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status") == "install ok installed":
            name, version, arch = fields["Package"], fields["Version"], fields["Architecture"]
            purl = PackageURL("deb", "debian", name, version, {"arch": arch})
            yield Component(name=name, version=version, purl=purl, bom_ref=f"deb/{name}/{arch}")


def interpreter() -> Component:
    version = platform.python_version()
    return Component(name="cpython", version=version, purl=PackageURL("generic", name="cpython", version=version))


def main() -> int:
    environment, status = Path(sys.argv[1]), Path(sys.argv[2])
    bom = Bom()
    for component in (*python_packages(environment), interpreter(), *debian_packages(status.read_text("utf-8"))):
        if component.type is ComponentType.APPLICATION:
            bom.metadata.component = component
        else:
            bom.components.add(component)
    print(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
