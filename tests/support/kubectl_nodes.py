"""Nodes for the tests' control plane, which has none: a `kubectl` for the PATH that reaches pods, here proxies, by
itself, and is the real one for everything else."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from kube import Cluster
from processes import Served

ROOT = Path(__file__).parents[2]
_SCRIPT = """\
#!{python}
import os, sys, urllib.request
pods = {pods!r}
words = sys.argv[1:]
if "--raw" in words and "/proxy/" in words[-1]:
    head, _, path = words[words.index("--raw") + 1].partition("/proxy/")
    pod = head.rpartition("/")[2].partition(":")[0]
    if pod not in pods:
        sys.exit("Error from server (ServiceUnavailable): nobody there")
    print(urllib.request.urlopen(pods[pod][0] + "/" + path, timeout=5).read().decode())
elif words[0] == "exec":
    [pod] = [word for word in words if word in pods]
    command = words[words.index("--") + 1:]
    command[command.index("--socket") + 1] = pods[pod][1]
    assert command[0] == "seawall"
    os.environ["PYTHONPATH"] = {proxy!r}
    os.execv({python!r}, [{python!r}, "-m", "seawall.cli", *command[1:]])
else:
    os.execv({kubectl!r}, [{kubectl!r}, *words])
"""


def kubectl_with_nodes(kube: Cluster, folder: Path, pods: Mapping[str, Served]) -> dict[str, str]:
    """The variables under which the plugin finds it. `pods`: those that run, by name."""
    known = {name: (one.admin_url, str(one.socket)) for name, one in pods.items()}
    script = folder / "bin" / "kubectl"
    script.parent.mkdir(exist_ok=True)
    script.write_text(
        _SCRIPT.format(python=sys.executable, pods=known, proxy=str(ROOT / "proxy"), kubectl=str(kube.kubectl_path))
    )
    script.chmod(0o755)
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    modules = os.pathsep.join(str(ROOT / name) for name in ("proxy", "operator"))
    return {**os.environ, "PATH": path, "KUBECONFIG": str(kube.kubeconfig), "PYTHONPATH": modules}
