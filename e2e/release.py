"""seawall in the cluster, by the commands of its documentation; and what a team applies of its examples."""

import json

from e2e.node import Node
from e2e.objects import PROVIDERS, agent, agents, lab
from e2e.shell import Shell, written
from e2e.team import AGENT, NAMESPACE, Team, until
from kubernetes_binaries import ROOT

HOME = "seawall"
"""The release's namespace."""
EXAMPLE = ROOT / "config" / "examples" / "kubernetes.yaml"
CREDENTIALS = "seawall-credentials"
_REGISTRY = "localhost"


def installed(node: Node) -> Team:
    """Ready for the tests: providers, the release, a team's policy, and an agent that makes calls through a sidecar."""
    team = Team(node, Shell(node.kube, node.within.network))
    kube = team.kube
    for namespace in (PROVIDERS, NAMESPACE):
        kube.namespace(namespace)
    objects = [*lab("openai"), *lab("spare"), agents(NAMESPACE, AGENT, "talk")]
    assert kube.apply(*objects).returncode == 0
    team.shell.done(written("README.md", "helm install seawall-crds"))
    team.shell.done(written("README.md", "helm install seawall charts/seawall ", REGISTRY=_REGISTRY))
    operator_ready(team)
    credentials(team, "first")
    # As it is, and then to where its providers are here.
    kube.kubectl("apply", "-n", NAMESPACE, "-f", str(EXAMPLE))
    for name in ("openai", "spare"):
        edit(team, f"upstream/{name}", {"baseURL": f"http://{name}.{PROVIDERS}.svc"})
    team.programmed("agentroute/chat", "upstream/openai", "upstream/spare")
    team.shell.done(written("README.md", "kubectl -n team-a patch deployment agent"))
    rolled_out(team, AGENT)
    with team.unaffected(2):
        pass
    return team


def operator_ready(team: Team) -> None:
    """As NOTES.txt says it, and until the API server reaches it: pods that come before have no sidecar."""
    team.shell.done(f"kubectl -n {HOME} rollout status deployment/seawall-operator --timeout=90s")
    trial = json.dumps(agent(NAMESPACE, "trial", labels={"seawall.dev/inject": "enabled"}))
    words = ("create", "--dry-run=server", "-o", "jsonpath={.spec.initContainers[*].name}", "-f", "-")
    until(lambda: team.kube.kubectl(*words, stdin=trial) == "seawall", "pods get sidecars", 30)


def credentials(team: Team, key: str) -> None:
    """The team's Secret. With it a new key is all that there is to a rotation."""
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": CREDENTIALS, "namespace": NAMESPACE},
        "stringData": {"openai": key, "spare": "spare"},
    }  # fmt: skip
    assert team.kube.apply(secret).returncode == 0


def edit(team: Team, name: str, spec: object) -> None:
    """kubectl patch of some fields of a document."""
    team.kube.kubectl("patch", "-n", NAMESPACE, name, "--type=merge", "-p", json.dumps({"spec": spec}))


def rolled_out(team: Team, deployment: str, namespace: str = NAMESPACE) -> None:
    words = ("rollout", "status", "-n", namespace, f"deployment/{deployment}", "--timeout=90s")
    team.kube.kubectl(*words, seconds=100)
