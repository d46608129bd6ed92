"""A traced proxy between the OpenAI SDK and a lab, with a collector that takes its spans."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import Running, lab, proxy, route, upstream
from openai import AsyncOpenAI
from otlp import Collector, collector
from stage import LENIENT, ONE_TRY
from tee import Tee, tee

from seawall.lab import Lab

ASK: list[Any] = [{"role": "user", "content": "a secret question"}]
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-00"}


@dataclass(frozen=True)
class Stage:
    lab: Lab
    running: Running
    spans: Collector
    asked: Tee
    """What the upstreams were asked."""
    agent: AsyncOpenAI

    async def chat(self, **more: Any) -> Any:
        return await self.agent.chat.completions.create(**{"model": "gpt", "messages": ASK, **more})

    async def stream(self, **more: Any) -> str:
        chunks = await self.chat(stream=True, stream_options={"include_usage": True}, **more)
        return "".join([one.choices[0].delta.content or "" async for one in chunks if one.choices])


@asynccontextmanager
async def traced(
    folder: Path,
    environment: pytest.MonkeyPatch,
    rule: str = ONE_TRY,
    backends: str = "a",
    extra: str = LENIENT,
    more: str = "",
    **variables: str,
) -> AsyncIterator[Stage]:
    """Upstreams a and b, and the route `chat` at /v1. more: documents. variables: of the process, above the usual."""
    async with collector() as spans, lab() as upstreams, tee(upstreams.url) as asked:
        usual = {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.url, "OTEL_BSP_SCHEDULE_DELAY": "20"}
        for name, value in (usual | variables).items():
            environment.setenv(name, value)
        policy = "".join(upstream(name, f"{asked.url}/u/{name}/v1", "OpenAI", extra) for name in "ab")
        policy += route("chat", "/v1", backends, rule) + more.replace("{lab}", asked.url)
        async with (
            proxy(policy, folder, traces=True) as running,
            AsyncOpenAI(base_url=f"{running.url}/v1", api_key="sk-test", max_retries=0) as agent,
        ):
            yield Stage(upstreams, running, spans, asked, agent)
