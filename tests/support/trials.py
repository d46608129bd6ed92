"""A proxy before a lab under policies that are only evaluated, and what was counted of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import indent

import httpx
from harness import Running, lab, proxy, route, until, upstream
from peers import agent

from seawall.lab import Lab
from seawall.policy import EffectivePolicy, evaluate, load_text
from seawall.shadow.book import About
from seawall.types import ShadowMoved

ONE_TRY = "retry: {attempts: 0}\n"
LENIENT = "circuitBreaker: {consecutiveFailures: 0, errorRate: {percent: 0}}\n"


def shadow(fields: str, enforcement: str = "Shadow") -> str:
    """A policy for every route and upstream."""
    return f"""---
apiVersion: seawall.dev/v1alpha1
kind: ResiliencePolicy
metadata: {{name: trial}}
spec:
  enforcement: {enforcement}
  targetSelectors: [{{kind: AgentRoute, matchLabels: {{}}}}, {{kind: Upstream, matchLabels: {{}}}}]
  overrides:
{indent(fields, "    ")}"""


def policy(upstreams: Lab, trial: str, rule: str = ONE_TRY, backends: str = "a", extra: str = LENIENT) -> str:
    both = "".join(upstream(name, f"{upstreams.url}/u/{name}/v1", extra=extra) for name in "ab")
    return both + route("chat", "/v1", backends, rule) + (shadow(trial) if trial else "")


@asynccontextmanager
async def tried(
    folder: Path, trial: str, rule: str = ONE_TRY, backends: str = "a", extra: str = LENIENT
) -> AsyncIterator[tuple[Running, Lab, httpx.AsyncClient]]:
    async with (
        lab() as upstreams,
        proxy(policy(upstreams, trial, rule, backends, extra), folder) as running,
        agent(running) as http,
    ):
        yield running, upstreams, http


async def counted(running: Running, about: About) -> dict[tuple[str, str, str], int]:
    """(upstream, would, did) → times, once every call has ended."""
    await until(lambda: running.service.engine.calls == 0)
    counts = running.service.engine.shadows.counts
    return {(k[1], k[3], k[4]): n for k, n in counts.items() if k[2] == about}


def moved(running: Running) -> list[ShadowMoved]:
    """What breakers would have done."""
    return [event for event in running.events if isinstance(event, ShadowMoved)]


def evaluated(text: str) -> EffectivePolicy:
    loaded = evaluate(load_text(text))
    assert loaded.policy is not None, loaded.issues
    return loaded.policy
