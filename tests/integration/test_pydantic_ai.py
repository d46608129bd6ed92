"""pydantic-ai agents through the proxy, on each of its models that speaks a dialect of ours: tools, structured output,
streams, errors."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from harness import until
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, ModelAPIError, ModelHTTPError
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from stage import QUICK_RETRIES, Stage, stage

QUICK = f"{QUICK_RETRIES}\ntimeouts: {{streamIdle: 300ms}}"


class Report(BaseModel):
    city: str
    degrees: int


def openai(at: Stage) -> OpenAIProvider:
    return OpenAIProvider(openai_client=AsyncOpenAI(base_url=at.openai, api_key="k", max_retries=2))


def chat(at: Stage, name: str) -> Model:
    return OpenAIChatModel(name, provider=openai(at))


def responses(at: Stage, name: str) -> Model:
    return OpenAIResponsesModel(name, provider=openai(at))


def messages(at: Stage, name: str) -> Model:
    agent = AsyncAnthropic(base_url=at.anthropic, api_key="k", max_retries=2)
    return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=agent))


Make = Callable[[Stage, str], Model]
every_model = pytest.mark.parametrize("make", [chat, responses, messages])


@asynccontextmanager
async def agent(folder: Path, make: Make, name: str, **options: Any) -> AsyncIterator[tuple[Agent[None, Any], Stage]]:
    async with stage(folder, QUICK) as at:
        model = make(at, name)
        async with model:
            agent_: Agent[None, Any] = Agent(model, **options)

            @agent_.tool_plain
            async def get_weather(city: str) -> str:
                """The weather in a city."""
                return f"18 degrees in {city}"

            @agent_.tool_plain
            async def get_time() -> str:
                """The time of day."""
                return "12:00"

            client: Any = getattr(model, "client")  # noqa: B009 - not of every Model
            try:
                yield agent_, at
            finally:
                await client.close()


@every_model
async def test_it_calls_its_tools_and_answers(tmp_path: Path, make: Make) -> None:
    async with agent(tmp_path, make, "lab-tools") as (agent_, at):
        result = await agent_.run("What is the weather?")
        assert isinstance(result.output, str) and result.output
        called = [p.tool_name for m in result.all_messages() for p in m.parts if p.part_kind == "tool-call"]
        assert sorted(called) == ["get_time", "get_weather"]
        await until(lambda: len(at.running.calls) == 2)
        assert result.usage.output_tokens == sum(c.usage.output for c in at.running.calls if c.usage)


@every_model
async def test_it_answers_in_its_type(tmp_path: Path, make: Make) -> None:
    async with agent(tmp_path, make, "gpt", output_type=Report) as (agent_, _):
        assert isinstance((await agent_.run("hi")).output, Report)


@every_model
@pytest.mark.parametrize("fault", ["500", "reset", "cut-prelude", "malformed-1", "stall-0", "error-prelude-server"])
async def test_a_stream_that_breaks_before_content_is_made_good(tmp_path: Path, make: Make, fault: str) -> None:
    async with agent(tmp_path, make, "gpt") as (agent_, at):
        at.lab.script([fault])
        toolless = Agent(agent_.model)
        async with toolless.run_stream("hi") as run:
            text = "".join([piece async for piece in run.stream_text(delta=True)])
        whole = (await toolless.run("hi")).output
        assert text == whole
        assert (await at.running.call()).outcome.value == "retry"


@every_model
async def test_a_stream_that_breaks_after_content_raises(tmp_path: Path, make: Make) -> None:
    async with agent(tmp_path, make, "lab-no-tools+gap-5ms+cut-8") as (agent_, at):
        seen: list[str] = []
        with pytest.raises(ModelAPIError) as caught:
            async with agent_.run_stream("hi") as run:
                async for piece in run.stream_text(delta=True, debounce_by=None):
                    seen.append(piece)
        assert "TRUNCATED" in str(caught.value)
        assert len(at.lab.attempts()) == 1


@every_model
@pytest.mark.parametrize(("fault", "status"), [("auth", 401), ("not-found", 404), ("500", 500), ("reset", 502)])
async def test_an_error_keeps_its_status(tmp_path: Path, make: Make, fault: str, status: int) -> None:
    async with agent(tmp_path, make, f"lab-{fault}") as (agent_, at):
        with pytest.raises(ModelHTTPError) as caught:
            await agent_.run("hi")
        assert caught.value.status_code == status
        assert len(at.lab.attempts()) == (1 if status < 500 else 3), "SDK and proxy do not multiply"


async def test_many_agents_at_once_while_the_provider_fails_two_of_three(tmp_path: Path) -> None:
    async with agent(tmp_path, chat, "gpt") as (agent_, at), openai(at).client as client:
        provider = OpenAIProvider(openai_client=client)
        models = [OpenAIChatModel(f"lab-fail-2-reset@{n}", provider=provider) for n in range(12)]
        results = await asyncio.gather(*(agent_.run("hi", model=model) for model in models))
        assert all(result.output for result in results)
        await until(lambda: len(at.running.calls) == 24)
        assert {call.attempts for call in at.running.calls} == {3}
