"""A team's namespace with an agent in it, the labs that are its providers, and seawall between them: what the tests of
`make e2e` look at, and by what they bring trouble about.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from e2e.node import Node
from e2e.objects import PROVIDERS
from e2e.shell import Shell
from kube import Cluster

NAMESPACE, AGENT = "team-a", "agent"
ADMIN_PORT = 4101
_AGENT = ("-c", "agent", "--", "python", "/agent/agent.py")
Line = dict[str, Any]


def until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)
    return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Provider:
    """A lab of the cluster, told through the API server what to do."""

    kube: Cluster
    name: str

    @property
    def _url(self) -> str:
        return f"/api/v1/namespaces/{PROVIDERS}/services/{self.name}:80/proxy/_lab"

    @contextmanager
    def failing(self, fault: str) -> Iterator[None]:
        """Every attempt meets this fault. It must have been met, or nothing was shown."""
        before = self.attempts()
        script = json.dumps({"steps": [], "then": fault})
        self.kube.kubectl("create", "--raw", f"{self._url}/script", "-f", "-", stdin=script)
        try:
            yield
            assert self.attempts() > before, f"{self.name} was not asked while it failed"
        finally:
            self.kube.kubectl("delete", "--raw", f"{self._url}/script")

    def attempts(self) -> int:
        """So many since it was started."""
        found = json.loads(self.kube.kubectl("get", "--raw", f"{self._url}/attempts"))
        return max((one["number"] for one in found["attempts"]), default=0)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Not there at all."""
        deployment = ("-n", PROVIDERS, f"deployment/{self.name}")
        self.kube.kubectl("scale", "--replicas=0", *deployment)
        self.kube.kubectl("wait", "--for=delete", "pod", "-n", PROVIDERS, "-l", f"app={self.name}", "--timeout=30s")
        try:
            yield
        finally:
            self.kube.kubectl("scale", "--replicas=1", *deployment)
            self.kube.kubectl("rollout", "status", *deployment, "--timeout=60s", seconds=70)


@dataclass(frozen=True, slots=True)
class Team:
    node: Node
    shell: Shell

    @property
    def kube(self) -> Cluster:
        return self.node.kube

    def provider(self, name: str) -> Provider:
        return Provider(self.kube, name)

    def pods(self, selector: str, namespace: str = NAMESPACE) -> list[Any]:
        """Those that are not about to end, the newest last."""
        found = self.kube.get("pods", "-n", namespace, "-l", selector)["items"]
        there = [one for one in found if "deletionTimestamp" not in one["metadata"]]
        return sorted(there, key=lambda one: str(one["metadata"]["creationTimestamp"]))

    def agent(self) -> str:
        """The name of the agent's pod."""
        return str(self.pods(f"app={AGENT}")[-1]["metadata"]["name"])

    def said(self, pod: str, namespace: str = NAMESPACE) -> list[Line]:
        """What an agent has printed."""
        text = self.kube.kubectl("logs", "-n", namespace, pod, "-c", "agent")
        return [json.loads(line) for line in text.splitlines()]

    @contextmanager
    def following(self, pod: str, namespace: str = NAMESPACE) -> Iterator[Iterator[Line]]:
        """What it prints from its beginning to its end, as it comes: a pod that is gone has no log."""
        with self._lines("logs", "-f", "-n", namespace, pod, "-c", "agent") as lines:
            yield lines

    @contextmanager
    def doing(self, *words: str, pod: str, namespace: str = NAMESPACE) -> Iterator[Iterator[Line]]:
        """As `do`; what it prints, as it comes."""
        with self._lines("exec", "-n", namespace, pod, *_AGENT, *words) as lines:
            yield lines

    @contextmanager
    def _lines(self, *words: str) -> Iterator[Iterator[Line]]:
        process = self.kube.popen(*words)
        try:
            assert process.stdout is not None
            yield (json.loads(line) for line in process.stdout)
        finally:
            process.kill()
            process.communicate()

    @contextmanager
    def unaffected(self, calls: int = 1, pod: str = "", namespace: str = NAMESPACE) -> Iterator[list[Line]]:
        """No call of an agent fails meanwhile, and it makes so many at least. They are in the list at the end."""
        pod = pod or self.agent()
        before, lines = len(self.said(pod, namespace)), list[Line]()

        def made() -> bool:
            lines[:] = self.said(pod, namespace)[before:]
            return len(lines) >= calls

        yield lines
        until(made, f"{calls} more calls of {pod}", 90)
        failed = [line for line in lines if line["failed"]]
        assert not failed, f"{len(failed)} calls of {pod} failed: {failed[:3]}"

    def do(self, *words: str, pod: str = "", namespace: str = NAMESPACE, seconds: float = 60.0) -> list[Line]:
        """Something else beside an agent's own work, in its container. It need not go well."""
        done = self.kube.run("exec", "-n", namespace, pod or self.agent(), *_AGENT, *words, seconds=seconds)
        assert done.stdout, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def programmed(self, *names: str, namespace: str = NAMESPACE, seconds: int = 90) -> float:
        """Wait as a user does; the seconds that it took. A pod that ended counts for another minute."""
        began = time.monotonic()
        waiting = ("wait", "-n", namespace, "--for=condition=Programmed", *names, f"--timeout={seconds}s")
        self.kube.kubectl(*waiting, seconds=seconds + 10)
        return time.monotonic() - began

    def metric(self, name: str, pod: str, namespace: str = NAMESPACE) -> dict[str, float]:
        """Of a sidecar: labels → value."""
        url = f"/api/v1/namespaces/{namespace}/pods/{pod}:{ADMIN_PORT}/proxy/metrics"
        lines = self.kube.kubectl("get", "--raw", url).splitlines()
        samples = [line.rpartition(" ") for line in lines if line.split("{")[0].split(" ")[0] == name]
        return {labels.removeprefix(name): float(value) for labels, _, value in samples}

    def revision(self, pod: str, namespace: str = NAMESPACE) -> str:
        """Of the policy that a sidecar runs, and its version."""
        [labels] = self.metric("seawall_config_info", pod, namespace)
        return labels

    def container(self, pod: str, name: str, namespace: str = NAMESPACE) -> str:
        """containerd's name of one."""
        labels = {"pod.name": pod, "pod.namespace": namespace, "container.name": name}
        chosen = ",".join(f'labels."io.kubernetes.{key}"=={value}' for key, value in labels.items())
        [found] = self.node.ctr("containers", "ls", "-q", chosen).split()
        return found

    def ready_after(self, pod: str, namespace: str = NAMESPACE) -> float:
        """Seconds from the making of a sidecar's container to that of the agent's, which waits for its startupProbe."""
        made: dict[str, datetime] = {}
        for name in ("seawall", "agent"):
            created = json.loads(self.node.ctr("containers", "info", self.container(pod, name, namespace)))["CreatedAt"]
            # Python reads six digits of a second, containerd writes nine.
            made[name] = datetime.fromisoformat(created[:26].rstrip("Z") + "+00:00")
        return (made["agent"] - made["seawall"]).total_seconds()
