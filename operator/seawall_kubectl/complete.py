"""`kubectl_complete-seawall`: what kubectl (1.26 or newer) asks when TAB is pressed after `kubectl seawall`.

It gets the words so far, the last of them unfinished, and prints candidates, one a line, then a directive of cobra's.
"""

import sys
from collections.abc import Sequence
from itertools import pairwise

from seawall_kubectl.cli import COMMANDS
from seawall_kubectl.kubectl import Kubectl, Refused

NO_FILES, FILES = ":4", ":0"
_OPTIONS = ("--namespace", "--output", "--context", "--kubeconfig")


def candidates(words: Sequence[str], kubectl: Kubectl) -> list[str]:
    """What the last word may become."""
    *before, last = words or [""]
    if last.startswith("-"):
        found: Sequence[str] = _OPTIONS
    elif before and before[-1] in ("-o", "--output"):
        found = ("json", "text")
    elif before and before[-1] in ("-n", "--namespace"):
        found = _names(kubectl, "namespaces")
    elif not before:
        found = COMMANDS
    elif before[0] == "explain":
        found = [*_names(kubectl, "agentroutes.seawall.dev"), *_names(kubectl, "pods")]
    elif before[0] in ("isolate", "close"):
        found = _names(kubectl, "upstreams.seawall.dev")
    else:
        found = ()
    return sorted({one for one in found if one.startswith(last)})


def _names(kubectl: Kubectl, kind: str) -> list[str]:
    where = ("-n", kubectl.namespace) if kubectl.namespace and kind != "namespaces" else ()
    try:
        found = kubectl.run("get", kind, *where, "-o", "name", seconds=3.0)
    except Refused:
        # Nobody wants to read why in the middle of a line.
        return []
    return [line.rpartition("/")[2] for line in found.splitlines()]


def main() -> int:
    words = sys.argv[1:]
    named = dict(pairwise(words))
    kubectl = Kubectl(namespace=named.get("-n") or named.get("--namespace") or "")
    for one in candidates(words, kubectl):
        print(one)
    print(FILES if len(words) > 1 and words[-2] in ("-f", "--filename") else NO_FILES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
