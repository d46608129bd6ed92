"""An agent's calls through its sidecar: providers fail, policies and keys change, and the agent notices none of it."""

from collections.abc import Callable

import pytest
from e2e.release import credentials, edit
from e2e.team import AGENT, NAMESPACE, Team, until

READY_SECONDS = 3.0
Figure = Callable[[str, object], None]


def test_the_agent_s_pods_have_a_sidecar_and_no_other_change(team: Team) -> None:
    [pod] = team.pods(f"app={AGENT}")
    [sidecar] = pod["spec"]["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("seawall", "Always")
    [container] = pod["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert variables["OPENAI_BASE_URL"] == "http://127.0.0.1:4100/openai/v1"
    assert variables["OPENAI_API_KEY"] == "the-agent-s-own"


def test_a_sidecar_is_ready_within_three_seconds(team: Team, record_property: Figure) -> None:
    took = [team.ready_after(team.agent())]
    for _ in range(2):
        team.kube.kubectl("rollout", "restart", "-n", NAMESPACE, f"deployment/{AGENT}")
        team.kube.kubectl("rollout", "status", "-n", NAMESPACE, f"deployment/{AGENT}", "--timeout=60s", seconds=70)
        took.append(team.ready_after(team.agent()))
    record_property("figure", ", ".join(f"{one:.2f} s" for one in took))
    assert sorted(took)[1] <= READY_SECONDS


def test_calls_are_answered(team: Team) -> None:
    with team.unaffected(20):
        pass


@pytest.mark.parametrize(
    "fault", ["500", "rate-limit-1", "reset", "unclean-prelude", "error-prelude-overloaded", "error-body"]
)
def test_a_provider_fails_and_the_agent_does_not_notice(team: Team, fault: str) -> None:
    with team.unaffected(), team.provider("openai").failing(fault), team.unaffected(20):
        _healed(team)


def test_a_provider_is_down_and_the_agent_does_not_notice(team: Team) -> None:
    _healed(team)
    with team.unaffected(), team.provider("openai").down(), team.unaffected(20):
        pass


def test_a_stream_that_breaks_after_its_first_words_is_told_as_broken(team: Team) -> None:
    with team.provider("openai").failing("unclean-6"):
        _healed(team)
        *words, last = team.do("stream", "gpt-4o-mini")
    assert len(words) >= 2
    assert last["failed"] and "whole" not in last


def test_an_edit_is_acknowledged_and_holds_from_then_on(team: Team, record_property: Figure) -> None:
    _healed(team)
    slow = {"firstContent": "1s", "firstByte": "1s"}
    rule = team.kube.get("-n", NAMESPACE, "agentroute", "chat")["spec"]["rules"][0]
    try:
        edit(team, "agentroute/chat", {"rules": [{**rule, "timeouts": slow}]})
        record_property("figure", f"acknowledged after {team.programmed('agentroute/chat'):.1f} s")
        with team.provider("openai").failing("first-byte-30s"), team.unaffected(6) as lines:
            pass
        assert max(line["seconds"] for line in lines) < 10
    finally:
        edit(team, "agentroute/chat", {"rules": [rule]})
        team.programmed("agentroute/chat")


def test_a_key_is_rotated_without_a_restart(team: Team, record_property: Figure) -> None:
    _healed(team)
    pod = team.agent()
    assert team.do("sent") == [{"authorization": ["Bearer first"]}]
    with team.unaffected(10):
        credentials(team, "second")
        took = until(lambda: team.do("sent") == [{"authorization": ["Bearer second"]}], "the new key")
    record_property("figure", f"after {took:.1f} s, the kubelet's part included")
    assert team.agent() == pod
    credentials(team, "first")


def test_the_plug_in_tells_what_holds(team: Team) -> None:
    status = team.shell.done(f"kubectl seawall status -n {NAMESPACE}")
    assert "chat" in status and team.agent() in status
    explained = team.shell.done(f"kubectl seawall explain {team.agent()} -n {NAMESPACE}")
    assert "OPENAI_BASE_URL" in explained
    patch = '{"spec": {"defaults": {"retry": {"attempts": 5}}}}'
    words = f"kubectl patch resiliencepolicy patient -n {NAMESPACE} --type=merge --dry-run=client -o yaml -p '{patch}'"
    file = team.kube.folder / "edited.yaml"
    changed = team.shell.done(f"{words} > {file} && kubectl seawall diff -n {NAMESPACE} -f {file}")
    assert "retry.attempts" in changed and "5" in changed


def _healed(team: Team) -> None:
    """Its breakers forget what was before."""
    team.shell.done(f"kubectl seawall close openai -n {NAMESPACE} --yes")
