"""The release comes, changes and goes, and its operator is away: agents' calls go on."""

import json
import time
from collections.abc import Callable

from e2e import previous
from e2e.objects import PROVIDERS, SEAWALL_IMAGE, agent, agents, document
from e2e.release import HOME, edit, operator_ready, rolled_out
from e2e.shell import written
from e2e.team import AGENT, NAMESPACE, Team, until

INSTALL = "docs/install.md"
Figure = Callable[[str, object], None]
_ASKS = {"seawall.dev/inject": "enabled"}


def test_helm_test(team: Team) -> None:
    assert "Succeeded" in team.shell.done(written(INSTALL, "helm test seawall"))


def test_sidecars_serve_and_new_ones_start_while_the_operator_is_away(team: Team, record_property: Figure) -> None:
    """The new one was injected before, and is let go afterwards: without an operator no pod is."""
    kube, late = team.kube, "late"
    gate = [{"name": "seawall.dev/e2e"}]
    assert kube.apply(agent(NAMESPACE, late, "talk", labels=_ASKS, schedulingGates=gate)).returncode == 0
    operators = ("-n", HOME, "-l", "app.kubernetes.io/component=operator")
    deployment = ("-n", HOME, "deployment/seawall-operator")
    try:
        with team.unaffected(30):
            kube.kubectl("scale", "--replicas=0", *deployment)
            kube.kubectl("delete", "pods", *operators, "--grace-period=0", "--force")
            kube.kubectl("wait", "pods", *operators, "--for=delete", "--timeout=30s", seconds=40)
            open_gate = json.dumps([{"op": "remove", "path": "/spec/schedulingGates"}])
            kube.kubectl("patch", "-n", NAMESPACE, f"pod/{late}", "--type=json", "-p", open_gate)
            kube.kubectl("wait", "-n", NAMESPACE, f"pod/{late}", "--for=condition=Ready", "--timeout=30s", seconds=40)
            with team.unaffected(10, late):
                pass
            assert team.revision(late) == team.revision(team.agent())
            assert not kube.get("pods", *operators)["items"]
    finally:
        kube.kubectl("scale", "--replicas=2", *deployment)
        kube.kubectl("delete", "-n", NAMESPACE, f"pod/{late}", "--wait=false")
    operator_ready(team)
    before = team.revision(team.agent())
    edit(team, "resiliencepolicy/patient", {"defaults": {"retry": {"attempts": 4}}})
    took = until(lambda: team.revision(team.agent()) != before, "the operator is followed again")
    record_property("figure", f"an edit was followed again {took:.1f} s after it was back")


def test_the_gateway_is_replaced_without_a_cut_and_rolled_back(team: Team, record_property: Figure) -> None:
    kube, caller = team.kube, "caller"
    on = "--set gateway.enabled=true,gateway.replicas=1,gateway.autoscaling.enabled=false,gateway.drainSeconds=30"
    team.shell.done(f"{written(INSTALL, 'helm upgrade seawall charts/seawall')} {on}")
    rolled_out(team, "seawall-gateway", HOME)
    rule = {"matches": [{"path": {"value": "/openai/v1"}}], "backendRefs": [{"name": "openai"}]}
    documents = [
        document("Upstream", HOME, "openai", dialect="OpenAI", baseURL=f"http://openai.{PROVIDERS}.svc"),
        document("AgentRoute", HOME, "chat", rules=[rule]),
    ]
    variables = {"OPENAI_BASE_URL": f"http://seawall-gateway.{HOME}.svc:4100/openai/v1"}
    [gateway] = team.pods("app.kubernetes.io/component=gateway", HOME)
    before = team.revision(gateway["metadata"]["name"], HOME)
    assert kube.apply(*documents).returncode == 0
    # The first one of its namespace was there before what it is to trust the operator by: the kubelet brings that.
    took = until(lambda: team.revision(gateway["metadata"]["name"], HOME) != before, "the gateway follows", 90)
    record_property("figure", f"the first gateway follows after {took:.1f} s")
    assert kube.apply(agents(HOME, caller, "talk", variables=variables)).returncode == 0
    rolled_out(team, caller, HOME)
    pod = team.pods(f"app={caller}", HOME)[-1]["metadata"]["name"]
    try:
        with team.unaffected(20, pod, HOME), team.doing("stream", "lab-gap-1s", pod=pod, namespace=HOME) as lines:
            said = [next(lines)]
            kube.kubectl("rollout", "restart", "-n", HOME, "deployment/seawall-gateway")
            rolled_out(team, "seawall-gateway", HOME)
            began = time.monotonic()
            said += lines
            assert "whole" in said[-1], said
            assert time.monotonic() - began > 1, "the stream was over when the gateway was replaced"
    finally:
        kube.kubectl("delete", "-n", HOME, f"deployment/{caller}", "agentroute/chat", "upstream/openai")
    with team.unaffected(20):
        team.shell.done(f"helm rollback seawall 1 -n {HOME}")
        operator_ready(team)
    assert kube.run("get", "-n", HOME, "deployment/seawall-gateway").returncode != 0


def test_an_uninstalled_release_leaves_agents_working_and_what_users_own(team: Team) -> None:
    kube = team.kube
    with team.unaffected(40):
        team.shell.done(written(INSTALL, "helm uninstall seawall"))
        team.shell.done("helm uninstall seawall-crds")
        kube.kubectl("wait", "--for=delete", "pod", "-n", HOME, "--all", "--timeout=60s", seconds=70)
    assert kube.run("get", "mutatingwebhookconfiguration", "seawall-operator").returncode != 0
    assert len([one for one in kube.kubectl("get", "crd", "-o", "name").split() if "seawall.dev" in one]) == 7
    assert kube.get("-n", NAMESPACE, "agentroute", "chat")["spec"]


def test_an_upgrade_fails_no_call(team: Team) -> None:
    """From a release that is put where the one of the test above was."""
    kube, shell = team.kube, team.shell
    older = SEAWALL_IMAGE.rpartition(":")[0] + f":{previous.VERSION}"
    team.node.ctr("images", "tag", SEAWALL_IMAGE, older)
    charts = previous.charts(kube.folder)
    shell.done(f"helm install seawall-crds {charts}/seawall-crds --take-ownership")
    install = written("README.md", "helm install seawall charts/seawall ", REGISTRY="localhost")
    shell.done(install.replace("charts/seawall", f"{charts}/seawall"))
    operator_ready(team)
    kube.kubectl("rollout", "restart", "-n", NAMESPACE, f"deployment/{AGENT}")
    rolled_out(team, AGENT)
    assert _sidecar(team) == older
    rule = kube.get("-n", NAMESPACE, "agentroute", "chat")["spec"]["rules"][0]
    newer = {**rule, previous.FIELD: previous.VALUE}
    with team.unaffected(40):
        shell.done(written(INSTALL, "helm upgrade seawall-crds"))
        shell.done(written(INSTALL, "helm upgrade seawall charts/seawall"))
        operator_ready(team)
        # What only the new definitions know, run by a sidecar of before.
        edit(team, "agentroute/chat", {"rules": [newer]})
        assert kube.get("-n", NAMESPACE, "agentroute", "chat")["spec"]["rules"] == [newer]
        team.programmed("agentroute/chat")
    assert _sidecar(team) == older
    shell.done(written(INSTALL, "kubectl -n team-a rollout restart deployment agent"))
    rolled_out(team, AGENT)
    assert _sidecar(team) == SEAWALL_IMAGE
    lines = team.said(team.agent())
    assert not any(line["failed"] for line in lines)


def _sidecar(team: Team) -> str:
    [pod] = team.pods(f"app={AGENT}")
    return str(pod["spec"]["initContainers"][0]["image"])


def test_nothing_was_restarted_meanwhile(team: Team) -> None:
    again = {
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}/{one['name']}": one.get("lastState")
        for pod in team.kube.get("pods", "-A")["items"]
        for kind in ("initContainerStatuses", "containerStatuses")
        for one in pod["status"].get(kind, ())
        if one["restartCount"]
    }
    assert not again
