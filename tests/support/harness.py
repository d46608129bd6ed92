"""A whole proxy in this process, on free ports, before a lab: what the integration tests drive over sockets."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from seawall.clock import Clock
from seawall.lab import Lab, start_lab
from seawall.policy import evaluate, load_text
from seawall.runtime import Upstream
from seawall.service import Address, Options, Service
from seawall.store.places import Places
from seawall.types import AttemptEnded, BreakerMoved, CallEnded, Event

STARTED: "list[Running]" = []
"""Every proxy of the current test, for the check that follows it (conftest.py)."""


@dataclass(eq=False)
class Running:
    """A started proxy, and every event it told."""

    service: Service
    socket: Path
    events: list[Event] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.service.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.service.admin_port}"

    @property
    def calls(self) -> list[CallEnded]:
        return [e for e in self.events if isinstance(e, CallEnded)]

    @property
    def attempts(self) -> list[AttemptEnded]:
        return [e for e in self.events if isinstance(e, AttemptEnded)]

    @property
    def moves(self) -> list[BreakerMoved]:
        return [e for e in self.events if isinstance(e, BreakerMoved)]

    def upstream(self, name: str) -> Upstream:
        """The living upstream of that name, with its machines."""
        return next(u for u in self.service._current().upstreams.values() if u.name == name)

    async def call(self, number: int = 1) -> CallEnded:
        """The `number`th call's event, which is told a moment after the agent has its answer."""
        await until(lambda: len(self.calls) >= number)
        return self.calls[number - 1]


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for a condition that other tasks bring about."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def proxy(
    policy: str,
    folder: Path,
    *,
    buffer_budget: int = 64 * 1024 * 1024,
    cache: Places | None = None,
    clock: Clock | None = None,
    traces: bool = False,
) -> AsyncIterator[Running]:
    """Run a proxy under a policy text, which must have no errors. `folder` takes its admin socket. cache: where it
    keeps answers. traces: sent as the environment says."""
    loaded = evaluate(load_text(dedent(policy), "policy.yaml"))
    assert loaded.policy is not None, "\n".join(map(str, loaded.issues))
    socket = folder / "admin.sock"
    anywhere = Address("127.0.0.1", 0)
    kept = Places() if cache is None else cache
    options = Options((), anywhere, anywhere, socket, buffer_budget=buffer_budget, cache=kept, traces=traces)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    service = Service(options, log_fd=nowhere, clock=clock)
    running = Running(service, socket)
    service.events.observers.append(running.events.append)
    STARTED.append(running)
    try:
        await service.start(loaded.policy)
        yield running
    finally:
        await service.close()
        os.close(nowhere)


@asynccontextmanager
async def lab(seed: int = 0) -> AsyncIterator[Lab]:
    """A lab, which every client must have left at the end of a test that passes."""
    started = await start_lab("127.0.0.1", 0, seed=seed)
    try:
        yield started
        await until(lambda: started.connections == 0)
    finally:
        await started.close()


def upstream(name: str, base_url: str, dialect: str = "OpenAI", extra: str = "") -> str:
    """An Upstream document; `extra` are further lines of its spec, without indentation."""
    return _document("Upstream", name, f"dialect: {dialect}\nbaseURL: {base_url}\n{dedent(extra)}")


def route(name: str, prefix: str, backends: str, extra: str = "") -> str:
    """An AgentRoute with one rule. `backends`: names in order of priority, separated by blanks; `a|b` share one."""
    groups = [group.split("|") for group in backends.split()]
    refs = "\n".join(f"    - {{name: {b}, priority: {n}}}" for n, group in enumerate(groups) for b in group)
    rule = f"- name: main\n  matches: [{{path: {{type: PathPrefix, value: {prefix}}}}}]\n  backendRefs:\n{refs}\n"
    rule += "".join(f"  {line}\n" for line in dedent(extra).strip("\n").splitlines())
    return _document("AgentRoute", name, "rules:\n" + rule)


def _document(kind: str, name: str, spec: str) -> str:
    indented = "".join(f"  {line}\n" for line in spec.splitlines())
    return f"---\napiVersion: seawall.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{indented}"
