"""The programs that only `make e2e` runs: what makes a node beside the control plane of tests/cluster. Built once, of
pinned sources, as those are; run as a module it builds them.
"""

import sys

from kubernetes_binaries import HELM, KUBERNETES, ROOT, VERSION, Missing, Module, binaries

NODE = Module(
    ROOT / "e2e" / "kubernetes",
    VERSION,
    {name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-scheduler", "kubelet", "kube-proxy")},
    KUBERNETES.flags,
)
COREDNS = Module(ROOT / "e2e" / "coredns", "v1.14.7", {"coredns": "."}, "-s -w")


def main() -> int:
    try:
        for module in (KUBERNETES, HELM, NODE, COREDNS):
            binaries(module)
    except Missing as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
