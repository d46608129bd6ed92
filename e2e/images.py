"""The images of `make e2e`, built on a Debian made by debootstrap: no registry is asked."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BASE_FOLDER = ROOT / ".cache" / "e2e" / "base"
BASE, BUILD_BASE = "localhost/seawall-e2e-base:1", "localhost/seawall-e2e-build:1"
SEAWALL = "localhost/seawall-e2e:1"
AGENT, PAUSE = "localhost/seawall-e2e-agent:1", "localhost/seawall-e2e-pause:1"
"""An agent with OpenAI's SDK; and what holds a pod's name spaces."""
SUITE = "bookworm"
# What the official slim images leave out as well, and what only a build needs.
BASES = """\
FROM scratch AS build
ADD base /
FROM build AS cut
RUN dpkg --purge python3-venv python3.11-venv python3-pip-whl python3-setuptools-whl \\
      python3-distutils python3-lib2to3 \\
 && rm -rf /var/cache/apt/* /var/lib/apt/lists/* /usr/share/doc /usr/share/man /usr/share/locale /var/log/*
FROM scratch AS base
COPY --from=cut / /
"""


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    root: Path
    """Where its file system is mounted."""
    bill: Path
    """What is in it, CycloneDX."""

    def configuration(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run("buildah", "inspect", "--type=image", self.name))["OCIv1"]["config"]
        return found


_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
# Whom this machine trusts, pip trusts in a build too: it may reach the world through a proxy of its own.
_ENVIRONMENT = {**({"PIP_CERT": str(_AUTHORITIES)} if _AUTHORITIES.exists() else {}), **os.environ}


def run(*words: str, seconds: float = 590, **variables: str) -> str:
    """Standard output. Fails the test, with what was said, where the command does."""
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=seconds, check=False, cwd=ROOT, env={**_ENVIRONMENT, **variables}
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def _base() -> None:
    if not (BASE_FOLDER / "etc" / "os-release").is_file():
        # One that was cut short is no base.
        part = BASE_FOLDER.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        packages = "--include=python3,python3-venv,ca-certificates"
        run("debootstrap", "--variant=minbase", packages, SUITE, str(part))
        part.rename(BASE_FOLDER)
    file = BASE_FOLDER.parent / "Dockerfile"
    file.write_text(BASES)
    for target, name in (("build", BUILD_BASE), ("base", BASE)):
        _build(file.parent, name, "--target", target)


def _build(folder: Path, name: str, *options: str) -> None:
    run("buildah", "build", "--layers", "--isolation", "chroot", *options, "--tag", name, str(folder))


def build_agent() -> None:
    """Its image, and that of what holds a pod's name spaces; behind `built`, whose base they have."""
    options = ["--build-arg", f"BASE={BASE}", "--build-arg", f"BUILD_BASE={BUILD_BASE}"]
    if index := _ENVIRONMENT.get("PIP_INDEX_URL"):
        options += ["--build-arg", f"PIP_INDEX_URL={index}"]
    if authorities := _ENVIRONMENT.get("PIP_CERT"):
        options += ["-v", f"{authorities}:/run/pip.crt:ro", "--build-arg", "PIP_CERT=/run/pip.crt"]
    folder = Path(__file__).parent / "agent"
    _build(folder, AGENT, *options)
    _build(folder, PAUSE, *options, "--target", "pause")


def archive(name: str, called: str, folder: Path) -> Path:
    """A file that containerd can load, under another name."""
    file = folder / f"{called.replace('/', '-').replace(':', '-')}.tar"
    run("buildah", "push", name, f"docker-archive:{file}:{called}")
    return file


@contextmanager
def built() -> Iterator[Image]:
    """The image; its file system stays mounted meanwhile."""
    _base()
    run("image/build.sh", ENGINE="buildah", BASE=BASE, BUILD_BASE=BUILD_BASE, IMAGE=SEAWALL)
    container = run("buildah", "from", SEAWALL).strip()
    try:
        root = Path(run("buildah", "mount", container).strip())
        yield Image(SEAWALL, root, ROOT / "dist" / "seawall-e2e-1.cdx.json")
    finally:
        run("buildah", "rm", container)
