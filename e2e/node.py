"""This machine as a node of a real Kubernetes: containerd, kubelet, kube-proxy, scheduler and cluster DNS beside the
control plane of tests/cluster, all in name spaces of their own. One at a time on a machine.
"""

import fcntl
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemons import Daemons, daemons
from e2e.binaries import COREDNS, NODE
from e2e.cgroups import cgroups
from e2e.namespaces import ADDRESS, Namespaces, namespaces
from kube import Cluster, Place, cluster
from kubernetes_binaries import CACHE, binaries

NAME = "node1"
PAUSE = "localhost/pause:1"
"""The image of what holds a pod's name spaces; to be loaded before the first pod."""
READY_SECONDS = 60.0
PLUG_INS = ("/usr/lib/cni", "/opt/cni/bin")
"""Where Debian's containernetworking-plugins are, and everybody else's."""
_PODS = "10.244.77.0/24"
_SOCKET = "/run/containerd/containerd.sock"
_NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge", "bridge": "pods0", "isGateway": True, "hairpinMode": True,
            "ipam": {
                "type": "host-local", "dataDir": "/run/pod-addresses",
                "ranges": [[{"subnet": _PODS}]], "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "loopback"},
    ],
}  # fmt: skip
_CONTAINERD = f"""
version = 2
root = "{{root}}"
state = "/run/containerd"
[grpc]
  address = "{_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{{plug_ins}}"
    conf_dir = "{{folder}}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "runc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{{root}}/opt"
"""
_COREFILE = f"""
.:53 {{{{
  bind {ADDRESS}
  errors
  kubernetes cluster.local {{{{
    kubeconfig {{kubeconfig}}
  }}}}
}}}}
"""


@dataclass(frozen=True, slots=True)
class Node:
    kube: Cluster
    within: Namespaces
    ready_after: float
    """Seconds from the first program to Ready."""

    def ctr(self, *words: str, seconds: float = 120.0) -> str:
        """containerd's own command line: what kubectl does not tell."""
        command = (*self.within.enter, "ctr", "--address", _SOCKET, "--namespace", "k8s.io", *words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0, f"ctr {' '.join(words)}: {done.stderr}"
        return done.stdout


@contextmanager
def node() -> Iterator[Node]:
    """Start one and wait until it is Ready. Whatever the end, nothing of it is left."""
    with _alone(), _folder() as images, cgroups() as group, namespaces() as within:
        began = time.monotonic()
        with cluster(place=Place(ADDRESS, within.enter)) as kube, daemons(within.enter) as running:
            try:
                _start(running, kube, images, group)
                while kube.run("wait", "--for=condition=Ready", f"node/{NAME}", "--timeout=1s").returncode:
                    for process in running.started:
                        assert process.poll() is None, f"{process.args!r} ended at once"
                    assert time.monotonic() - began < READY_SECONDS, "the node does not become Ready"
                    time.sleep(0.1)
                yield Node(kube, within, time.monotonic() - began)
            finally:
                # Before what they work with is taken away.
                within.end()


def _start(running: Daemons, kube: Cluster, images: Path, group: str) -> None:
    running.start(binaries(NODE)["kube-scheduler"], f"--kubeconfig={kube.kubeconfig}", "--leader-elect=false")
    _containerd(running, images)
    _kubelet(running, kube, group)
    _network(running, kube)


def _containerd(running: Daemons, images: Path) -> None:
    folder = running.folder
    (folder / "cni").mkdir()
    (folder / "cni" / "10-pods.conflist").write_text(json.dumps(_NETWORK))
    plug_ins = next(one for one in PLUG_INS if Path(one, "bridge").exists())
    configuration = folder / "containerd.toml"
    configuration.write_text(_CONTAINERD.format(root=images, folder=folder, plug_ins=plug_ins))
    running.start(Path("containerd"), f"--config={configuration}")


def _kubelet(running: Daemons, kube: Cluster, group: str) -> None:
    folder = running.folder
    # The admission of this node's own tests: secrets and policies that change are seen within seconds.
    configuration = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(kube.ca_file)}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": group,
        "enforceNodeAllocatable": [],
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{_SOCKET}",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": False,
        # Not every machine lets its processes be spared by the kernel.
        "oomScoreAdj": 0,
        "podLogsDir": str(folder / "logs"),
        "resolvConf": "",
        "syncFrequency": "5s",
        "volumePluginDir": str(folder / "plugins"),
    }
    file = folder / "kubelet.json"
    file.write_text(json.dumps(configuration))
    running.start(
        binaries(NODE)["kubelet"], f"--config={file}", f"--kubeconfig={kube.kubeconfig}", f"--node-ip={ADDRESS}",
        f"--root-dir={folder}/kubelet", f"--cert-dir={folder}/certificates", f"--hostname-override={NAME}",
    )  # fmt: skip


def _network(running: Daemons, kube: Cluster) -> None:
    running.start(
        binaries(NODE)["kube-proxy"], f"--kubeconfig={kube.kubeconfig}", "--proxy-mode=nftables",
        f"--cluster-cidr={_PODS}", f"--bind-address={ADDRESS}", f"--hostname-override={NAME}",
        # Limits of the whole machine, which are not this node's to change.
        "--conntrack-max-per-core=0", "--conntrack-min=0",
    )  # fmt: skip
    corefile = running.folder / "Corefile"
    corefile.write_text(_COREFILE.format(kubeconfig=kube.kubeconfig))
    running.start(binaries(COREDNS)["coredns"], f"-conf={corefile}")


@contextmanager
def _alone() -> Iterator[None]:
    """Control groups have one name: others wait."""
    with Path("/run/lock/seawall-e2e").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _folder() -> Iterator[Path]:
    """For images and containers: gigabytes, and so not where temporary files are, which may be memory."""
    folder = CACHE / "e2e" / "node"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
