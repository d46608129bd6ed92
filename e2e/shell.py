"""The documentation's commands as a reader would run them: its own text, in a shell, with the tools on the PATH."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from kube import Cluster
from kubernetes_binaries import HELM, ROOT, binaries


def written(page: str, beginning: str, **places: str) -> str:
    """The one command of a page that begins so. `places`: what a reader puts in place of words like REGISTRY."""
    lines = [line for line in (ROOT / page).read_text().splitlines() if line.startswith(beginning)]
    assert len(lines) == 1, f"{page} has {len(lines)} commands that begin with {beginning!r}"
    command = lines[0].partition(" # ")[0].strip()
    for word, value in places.items():
        command = command.replace(word, value)
    return command


@dataclass(frozen=True, slots=True)
class Shell:
    kube: Cluster
    network: tuple[str, ...]
    """What a command begins with to reach the cluster."""

    def run(self, command: str, *, seconds: float = 120.0) -> "subprocess.CompletedProcess[str]":
        folder = self.kube.folder / "bin"
        if not folder.is_dir():
            folder.mkdir()
            plugin = Path(sys.executable).with_name("kubectl-seawall")
            for name, program in (("kubectl", self.kube.kubectl_path), ("kubectl-seawall", plugin), *_helm()):
                (folder / name).symlink_to(program)
        environment = {
            **os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "KUBECONFIG": str(self.kube.kubeconfig), "HOME": str(self.kube.folder),
        }  # fmt: skip
        return subprocess.run(
            [*self.network, "bash", "-euc", command], cwd=ROOT, env=environment, capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip

    def done(self, command: str, *, seconds: float = 120.0) -> str:
        """Its output; it must succeed."""
        finished = self.run(command, seconds=seconds)
        assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
        return finished.stdout


def _helm() -> tuple[tuple[str, Path], ...]:
    return tuple(binaries(HELM).items())
