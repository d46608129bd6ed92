"""Agents with the openai package's Azure client, whose deployments are answered by a provider of another dialect."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from across import OWN, key_file
from harness import Running, lab, proxy, route, upstream
from openai import AsyncAzureOpenAI
from peers import agent as raw_agent
from stage import ONE_TRY

from seawall.lab import Lab

HI: Any = [{"role": "user", "content": "hi"}]
CHAT = "/azure/openai/deployments/mine/chat/completions?api-version=2024-10-21"
EACH = pytest.mark.parametrize("provider", ["OpenAI", "Anthropic"])


@asynccontextmanager
async def azure(folder: Path, provider: str, own: str = "500") -> AsyncIterator[tuple[Lab, Running, AsyncAzureOpenAI]]:
    """An upstream of Azure's, which meets `own` with every call, before the other one."""
    async with lab() as upstreams:
        base = f"{upstreams.url}/u/other" + ("/v1" if provider == "OpenAI" else "")
        policy = (
            upstream("azure", f"{upstreams.url}/u/azure", "AzureOpenAI")
            + upstream("other", base, provider, f"auth: {{type: APIKey, keyFile: {key_file(folder)}}}\n")
            + route("models", "/azure", "azure other", ONE_TRY).replace(
                "{name: other,", "{name: other, model: other-model,"
            )
        )
        upstreams.script([], upstream="azure", then=own)
        async with (
            proxy(policy, folder) as running,
            AsyncAzureOpenAI(
                azure_endpoint=f"{running.url}/azure", api_key=OWN, api_version="2024-10-21", max_retries=0
            ) as agent,
        ):
            yield upstreams, running, agent


@EACH
async def test_a_deployment_is_answered_by_another_dialect(tmp_path: Path, provider: str) -> None:
    async with azure(tmp_path, provider) as (upstreams, running, agent):
        plain = await agent.chat.completions.create(model="mine", messages=HI)
        async with agent.chat.completions.stream(model="mine", messages=HI) as stream:
            joined = await stream.get_final_completion()
        assert plain.choices[0].message.content == joined.choices[0].message.content
        answer = await agent.responses.create(model="mine", input="hi", store=False)
        assert answer.output_text and {plain.model, joined.model, answer.model} == {"other-model"}
        assert {(call.upstream, call.outcome.value) for call in running.calls} == {("other", "failover")}
        assert {(seen.model, seen.healthy) for seen in upstreams.attempts(upstream="other")} == {("other-model", True)}


async def test_the_model_may_stand_in_the_path_alone(tmp_path: Path) -> None:
    async with azure(tmp_path, "Anthropic") as (_, running, _agent), raw_agent(running) as http:
        answer = await http.post(CHAT, json={"messages": HI}, headers={"api-key": OWN})
        assert (answer.status_code, answer.json()["model"]) == (200, "other-model")


async def test_what_azure_alone_does_is_named(tmp_path: Path) -> None:
    async with azure(tmp_path, "Anthropic") as (upstreams, running, _), raw_agent(running) as http:
        await http.post(CHAT, json={"messages": HI, "data_sources": [{"type": "azure_search"}]})
        call = await running.call()
        assert call.upstream == "azure" and "other: data_sources: unknown field" in call.skipped
        assert upstreams.attempts(upstream="other") == []


async def test_an_error_raises_the_clients_usual_exception(tmp_path: Path) -> None:
    async with azure(tmp_path, "Anthropic") as (upstreams, _, agent):
        upstreams.script([], upstream="other", then="429-retry-after-3")
        with pytest.raises(openai.RateLimitError) as caught:
            await agent.chat.completions.create(model="mine", messages=HI)
        assert caught.value.response.headers["retry-after"] == "3"
