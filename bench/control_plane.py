#!/usr/bin/env python3
"""The operator at size: a real API server, thousands of routes, and thousands of simulated sidecars over HTTPS.

    control_plane.py [--namespaces 100] [--routes 50] [--sidecars 100] [--idle 60] [--json FILE]

`--routes` and `--sidecars` are of each namespace. Every sidecar has a pod and a token of its own, bound to that pod, as
in a cluster; its connection stays open. Measured are the operator's start, its memory, its CPU while nothing happens,
and the time from the beginning of `kubectl apply` until the sidecars have the change and until `status` says so: for a
route of one namespace, and for a policy of the whole cluster, which changes every bundle.

It is called neither operator.py nor put into a folder of that name: Python's own module would be hidden from the other
programs here.

exit codes: 0 all targets were met; 1 one was missed; 2 it could not run.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvloop

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "tests" / "support"), str(ROOT / "operator")]

from kube import Cluster, cluster  # noqa: E402
from kube_objects import policy, route, upstream  # noqa: E402
from operating import Operating, operating  # noqa: E402

from seawall_operator.connection import from_kubeconfig  # noqa: E402
from seawall_operator.kube import ApiError, Kube  # noqa: E402
from seawall_operator.reconcile import count_seconds  # noqa: E402

SECONDS, MEMORY, IDLE = 10.0, 512.0, 20.0
"""Targets: seconds until 99 % have a change; MiB at the peak; per cent of a CPU while nothing happens."""
SHARE = 0.99
AT_A_TIME = 40
QUIET = 400.0
"""Seconds to wait at most, after the start, until the operator has nothing to write any more."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Size:
    namespaces: int
    routes: int
    sidecars: int

    @property
    def names(self) -> list[str]:
        return [f"team-{number:03}" for number in range(self.namespaces)]

    @property
    def all_sidecars(self) -> int:
        return self.namespaces * self.sidecars


class Proc:
    """What /proc says of a process."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def cpu(self) -> float:
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def mib(self, name: str) -> float:
        """VmRSS, or VmHWM for the most so far."""
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


class Fleet:
    """The process of simulated sidecars."""

    def __init__(self, process: asyncio.subprocess.Process, size: Size) -> None:
        self._process = process
        self._size = size

    async def say(self, since: float) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{since}\n".encode())
        await self._process.stdin.drain()
        found: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return found

    async def have(self, number: int, since: float) -> list[float]:
        """Seconds after which each had a bundle, once so many have one."""
        got: list[float] = []
        async with asyncio.timeout(120):
            while len(got) < number:
                await asyncio.sleep(0.1)
                got = (await self.say(since))["got"]
        return got


async def each(items: Iterable[Any], work: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    """Of all items, some at a time."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(item: Any) -> Any:
        async with places:
            return await work(item)

    return await asyncio.gather(*(one(item) for item in items))


def placed(obj: dict[str, Any], namespace: str) -> dict[str, Any]:
    return {**obj, "metadata": {"name": obj["metadata"]["name"], "namespace": namespace}}


async def furnish(api: Kube, size: Size) -> None:
    """Namespaces, documents, pods."""
    await each(size.names, lambda name: api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}}))
    documents = []
    for namespace in size.names:
        shared = policy("all", level="defaults", retry={"attempts": 2})
        shared["spec"]["targetRefs"] = [{"kind": "AgentRoute", "name": f"r-{n}"} for n in range(min(16, size.routes))]
        made = [upstream("a"), upstream("b"), shared, *(route(f"r-{n}", "a", "b") for n in range(size.routes))]
        documents += [placed(obj, namespace) for obj in made]
    await each(documents, api.create)

    async def account(namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        async with asyncio.timeout(60):
            while True:
                try:
                    await api.call("GET", path)
                    return
                except ApiError:
                    # Its controller has not come to it yet.
                    await asyncio.sleep(0.2)

    await each(size.names, account)


async def tokens(api: Kube, size: Size) -> list[tuple[str, str]]:
    """A pod for each sidecar, and a token bound to it."""

    async def one(place: tuple[str, str]) -> tuple[str, str]:
        namespace, name = place
        spec = {"containers": [{"name": "agent", "image": "none"}], "serviceAccountName": "default"}
        pod = await api.call("POST", f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name}, "spec": spec})
        ref = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": pod["metadata"]["uid"]}
        wish = {"audiences": ["seawall-operator"], "expirationSeconds": 7200, "boundObjectRef": ref}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
        made = await api.call("POST", path, {"spec": wish})
        return namespace, made["status"]["token"]

    return await each(((ns, f"agent-{n:03}") for n in range(size.sidecars) for ns in size.names), one)


async def changed(kube: Cluster, fleet: Fleet, number: int, obj: dict[str, Any], name: str) -> dict[str, float]:
    """Apply it, and see when it arrives and when that is told."""
    since = time.monotonic()
    done = await asyncio.to_thread(kube.apply, obj)
    assert done.returncode == 0, done.stderr
    applied = time.monotonic() - since
    got = await fleet.have(number, since)
    namespace = obj["metadata"].get("namespace")
    where = ["-n", namespace] if namespace else []
    words = ["wait", *where, "--for=condition=Programmed", name, "--timeout=100s"]
    await asyncio.to_thread(kube.kubectl, *words, seconds=110.0)
    return {
        "kubectl_apply": applied,
        "half": got[len(got) // 2],
        "share": got[int(number * SHARE) - 1],
        "all": got[-1],
        "told": time.monotonic() - since,
    }


async def measure(kube: Cluster, size: Size, idle: float, folder: Path) -> dict[str, Any]:
    api = Kube(from_kubeconfig(kube.kubeconfig))
    try:
        began = time.monotonic()
        await furnish(api, size)
        known = await tokens(api, size)
        note(f"the cluster is furnished ({time.monotonic() - began:.0f} s)")
        began = time.monotonic()
        async with operating(kube, folder) as operator:
            ready = time.monotonic() - began
            note(f"the operator is ready ({ready:.1f} s)")
            found = await with_fleet(kube, operator, size, known, idle, folder)
            assert await operator.stop() == 0
        return {"ready": ready, **found}
    finally:
        await api.close()


async def with_fleet(
    kube: Cluster, operator: Operating, size: Size, known: list[tuple[str, str]], idle: float, folder: Path
) -> dict[str, Any]:
    proc, found = Proc(operator.process.pid), {}
    file = folder / "sidecars.json"
    file.write_text(json.dumps({"url": operator.url, "ca_file": str(operator.ca_file), "sidecars": known}))
    script = str(ROOT / "bench" / "control_plane_sidecars.py")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, str(file), stdin=pipe, stdout=pipe, limit=2**24
    )
    try:
        fleet = Fleet(process, size)
        assert process.stdout is not None
        found["connect"] = json.loads(await process.stdout.readline())["started_in"]
        note(f"{size.all_sidecars} sidecars have their bundle ({found['connect']:.0f} s)")
        found["settled"] = await quiet(operator, least=count_seconds(size.namespaces * (2 * size.routes + 3)))
        note(f"quiet after {found['settled']:.0f} s more")
        before, cpu = await fleet.say(time.monotonic()), proc.cpu()
        await asyncio.sleep(idle)
        after = await fleet.say(time.monotonic())
        found["idle_cpu"] = 100 * (proc.cpu() - cpu) / idle
        found["idle_questions"] = (after["answers"] - before["answers"]) / idle
        found["idle_mib"] = proc.mib("VmRSS")
        note(f"idle: {found['idle_cpu']:.1f} % of a CPU, {found['idle_mib']:.0f} MiB")
        home = size.names[size.namespaces // 2]
        one = placed(route("r-1", "a", "b", retry={"attempts": 4}), home)
        found["one"] = await changed(kube, fleet, size.sidecars, one, "agentroute/r-1")
        note(f"a route of one namespace: {found['one']}")
        await asyncio.sleep(5)
        wide = policy("everywhere", level="overrides", namespace="", timeouts={"request": "77s"})
        wide["spec"] = {"targetSelectors": [{"kind": "AgentRoute", "matchLabels": {}}], **wide["spec"]}
        del wide["spec"]["targetRefs"]
        wide["metadata"] = {"name": "everywhere"}
        cpu = proc.cpu()
        found["wide"] = await changed(kube, fleet, size.all_sidecars, wide, "clusterresiliencepolicy/everywhere")
        found["wide"]["cpu"] = proc.cpu() - cpu
        note(f"a policy of the cluster: {found['wide']}")
        last = await fleet.say(time.monotonic())
        found |= {"connected": last["connected"], "problems": last["problems"], "peak_mib": proc.mib("VmHWM")}
        return found
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def quiet(operator: Operating, least: float) -> float:
    """Seconds until what is to be said of all the objects has been written: until nothing was, for 15 s. `least`: how
    long it puts counts off."""
    began, before = time.monotonic(), -1.0
    await asyncio.sleep(least)
    while time.monotonic() - began < QUIET:
        async with httpx.AsyncClient(timeout=60) as client:
            lines = (await client.get(f"{operator.admin_url}/metrics")).text.splitlines()
        written = sum(float(line.split()[-1]) for line in lines if line.startswith("seawall_operator_writes_total"))
        if written == before:
            break
        before = written
        await asyncio.sleep(15)
    return time.monotonic() - began


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def told(size: Size, found: dict[str, Any]) -> tuple[str, bool]:
    one, wide = found["one"], found["wide"]
    rows = [
        ("ready after a start", f"{found['ready']:.1f} s", "", True),
        ("first bundle of every sidecar", f"{found['connect']:.0f} s", "", True),
        ("everything is told after", f"{found['settled']:.0f} s more", "", True),
        ("a route of one namespace: 99 % of its sidecars have it", f"{one['share']:.2f} s", f"{SECONDS:.0f} s",
         one["share"] <= SECONDS),
        ("… and its status says so", f"{one['told']:.1f} s", "", True),
        ("a policy of the cluster: 99 % of all sidecars have it", f"{wide['share']:.2f} s", f"{SECONDS:.0f} s",
         wide["share"] <= SECONDS),
        ("… and its status says so", f"{wide['told']:.1f} s", "", True),
        ("memory at the peak", f"{found['peak_mib']:.0f} MiB", f"{MEMORY:.0f} MiB", found["peak_mib"] <= MEMORY),
        ("CPU while nothing changes", f"{found['idle_cpu']:.1f} %", f"{IDLE:.0f} %", found["idle_cpu"] <= IDLE),
        ("questions a second meanwhile", f"{found['idle_questions']:.0f}", "", True),
        ("sidecars that lost their connection", f"{size.all_sidecars - found['connected']}", "0",
         size.all_sidecars == found["connected"]),
    ]  # fmt: skip
    lines = ["| figure | measured | target |", "|---|---|---|"]
    lines += [f"| {name} | {value}{'' if good else ' (missed)'} | {target} |" for name, value, target, good in rows]
    return "\n".join(lines), all(good for *_, good in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="The operator at size.")
    parser.add_argument("--namespaces", type=int, default=100)
    parser.add_argument("--routes", type=int, default=50, help="of each namespace (50)")
    parser.add_argument("--sidecars", type=int, default=100, help="of each namespace (100)")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds (60)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    size = Size(arguments.namespaces, arguments.routes, arguments.sidecars)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < size.all_sidecars + 500:
        if hard < size.all_sidecars + 500:
            print(f"only {hard} open files are allowed here", file=sys.stderr)
            return 2
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with cluster() as kube, tempfile.TemporaryDirectory() as folder:
        kube.kubectl("apply", "--server-side", "-f", str(ROOT / "charts" / "seawall-crds" / "templates"))
        kube.kubectl("wait", "--for=condition=Established", "crd", "-l", "!none", "--timeout=20s")
        kube.furnished("kube-system")
        found = uvloop.run(measure(kube, size, arguments.idle, Path(folder)))
    table, good = told(size, found)
    print(
        f"{size.namespaces * size.routes} routes, {size.namespaces} namespaces, {size.all_sidecars} sidecars\n\n{table}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
