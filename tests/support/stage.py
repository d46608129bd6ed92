"""What the SDK tests share: a proxy before the lab with the routes that an agent's base URL names."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import Running, lab, proxy, route, upstream

from seawall.lab import Lab

ONE_TRY = "retry: {attempts: 0}"
QUICK_RETRIES = "retry: {attempts: 2, backoff: {base: 1ms, max: 1ms}}"
# What one call meets does not decide about the next.
LENIENT = """\
    circuitBreaker: {consecutiveFailures: 0, errorRate: {percent: 0}}
    retryConstraint: {budget: {percent: 100}, minRetryRate: {count: 100000, interval: 1s}}
"""
_PREFIXES = {"openai": "/openai/v1", "anthropic": "/anthropic", "gemini": "/gemini", "other": "/other"}


@dataclass(frozen=True)
class Stage:
    lab: Lab
    running: Running

    @property
    def openai(self) -> str:
        return f"{self.running.url}/openai/v1"

    @property
    def anthropic(self) -> str:
        return f"{self.running.url}/anthropic"

    @property
    def gemini(self) -> str:
        return f"{self.running.url}/gemini"


@asynccontextmanager
async def stage(
    folder: Path, rule: str = ONE_TRY, extra: str = LENIENT, prefixes: Mapping[str, str] = _PREFIXES
) -> AsyncIterator[Stage]:
    """`rule`: of every route, `extra`: of every upstream. prefixes: of routes that have others than usual."""
    at = {**_PREFIXES, **prefixes}
    async with lab() as upstreams:
        policy = (
            upstream("openai", f"{upstreams.url}/u/openai/v1", "OpenAI", extra)
            + upstream("anthropic", f"{upstreams.url}/u/anthropic", "Anthropic", extra)
            + upstream("gemini", f"{upstreams.url}/u/gemini", "Gemini", extra)
            + upstream("other", f"{upstreams.url}/u/other", "Generic", extra)
            + "".join(route(name, prefix, name, rule) for name, prefix in at.items())
        )
        async with proxy(policy, folder) as running:
            yield Stage(upstreams, running)
