"""Pods with a sidecar come, work and go: Jobs end, drains cut nothing, and a thousand streams fit into 128 MiB."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from e2e.cgroups import kills, peak
from e2e.objects import PROVIDERS, agent, document, job, lab
from e2e.release import rolled_out
from e2e.team import NAMESPACE, Team, until

Figure = Callable[[str, object], None]
_AGENTS = {"app.kubernetes.io/component": "agent"}
"""What the example's SidecarProfile selects."""
LOAD = "team-load"
STREAMS = 1000
LIMIT = 128 * 2**20
_MIB = 2**20


def test_a_job_completes_although_it_has_a_sidecar(team: Team, record_property: Figure) -> None:
    made = team.kube.apply(job(NAMESPACE, "report", "calls", "6", labels=_AGENTS))
    assert made.returncode == 0, made.stderr
    took = until(lambda: "Complete" in _conditions(team, "report"), "the Job completes")
    record_property("figure", f"after {took:.1f} s")
    [pod] = team.pods("job-name=report")
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["seawall"]
    assert pod["status"]["phase"] == "Succeeded"
    lines = team.said(pod["metadata"]["name"])
    assert len(lines) == 6 and not any(line["failed"] for line in lines)


def _conditions(team: Team, name: str) -> list[str]:
    status = team.kube.get("-n", NAMESPACE, "job", name)["status"]
    return [one["type"] for one in status.get("conditions", ()) if one["status"] == "True"]


def test_a_drain_cuts_no_stream(team: Team, record_property: Figure) -> None:
    name = "drained"
    pod = agent(NAMESPACE, name, "stream", "lab-gap-500ms", labels={**_AGENTS, "app": name}, grace=60)
    assert team.kube.apply(pod).returncode == 0
    team.kube.kubectl("wait", "-n", NAMESPACE, f"pod/{name}", "--for=condition=Ready", "--timeout=30s", seconds=40)
    until(lambda: len(team.said(name)) >= 2, "the stream begins")
    with team.following(name) as lines, ThreadPoolExecutor(1) as aside:
        drain = f"kubectl drain node1 --pod-selector=app={name} --force --delete-emptydir-data --timeout=60s"
        began = len(team.said(name))
        draining = aside.submit(team.shell.done, drain)
        try:
            said = list(lines)
        finally:
            draining.result()
            team.shell.done("kubectl uncordon node1")
    assert "whole" in said[-1], said[-3:]
    assert len(said) - 1 - began >= 3, "the stream was nearly over when the drain began"
    record_property("figure", f"{len(said) - 1 - began} of {len(said) - 1} words came during the drain")
    assert team.kube.run("get", "-n", NAMESPACE, f"pod/{name}").returncode != 0


@pytest.fixture
def limited(team: Team) -> Iterator[str]:
    """A pod whose sidecar has a limit, before a provider of its own. Its calls are cached."""
    kube = team.kube
    kube.namespace(LOAD)
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/openai/v1"}}], "backendRefs": [{"name": "load"}],
        "cache": {"mode": "Enabled", "ttl": "1h", "nondeterministic": "Allow"},
    }  # fmt: skip
    selected, resources = {"matchLabels": {"app": "load"}}, {"limits": {"memory": str(LIMIT)}}
    applied = kube.apply(
        document("Upstream", LOAD, "load", dialect="OpenAI", baseURL=f"http://load.{PROVIDERS}.svc"),
        document("AgentRoute", LOAD, "cached", rules=[rule]),
        document("SidecarProfile", LOAD, "limited", selector=selected, resources=resources),
        *lab("load"),
    )
    assert applied.returncode == 0, applied.stderr
    team.programmed("agentroute/cached", "sidecarprofile/limited", namespace=LOAD)
    rolled_out(team, "load", PROVIDERS)
    assert kube.apply(agent(LOAD, "load", "talk", labels={"app": "load"})).returncode == 0
    kube.kubectl("wait", "-n", LOAD, "pod/load", "--for=condition=Ready", "--timeout=30s", seconds=40)
    yield "load"
    kube.kubectl("delete", "namespace", LOAD, "--wait=false")
    kube.kubectl("delete", "-n", PROVIDERS, "deployment/load", "service/load")


def test_a_thousand_streams_beside_a_full_cache_fit_into_128_mib(
    team: Team, limited: str, record_property: Figure
) -> None:
    def metric(name: str) -> float:
        return sum(team.metric(name, limited, LOAD).values())

    [filled] = team.do("fill", "60", "lab-tokens-80000", pod=limited, namespace=LOAD, seconds=120)
    # What the documentation says of a limit.
    room = metric("seawall_cache_bytes_limit")
    assert room == LIMIT / 8 < filled["characters"]
    kept = metric("seawall_cache_bytes")
    assert kept > 0.9 * room
    container = team.container(limited, "seawall", LOAD)
    with ThreadPoolExecutor(1) as aside:
        words = ("many", str(STREAMS), "lab-gap-3s")
        streaming = aside.submit(team.do, *words, pod=limited, namespace=LOAD, seconds=240)
        until(lambda: metric("seawall_streams_open") >= STREAMS, f"{STREAMS} open streams", 120)
        resident = metric("process_resident_memory_bytes")
        [result] = streaming.result()
    sizes = {"resident": resident, "cached": kept, "peak": peak(container)}
    record_property("figure", ", ".join(f"{name} {size / _MIB:.0f} MiB" for name, size in sizes.items()))
    assert result["failed"] == 0, result
    assert kills(container) == 0
    [status] = team.kube.get("-n", LOAD, "pod", limited)["status"]["initContainerStatuses"]
    assert status["restartCount"] == 0
