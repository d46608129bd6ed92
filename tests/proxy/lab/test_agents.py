"""pydantic-ai agents against the lab: tool loops and structured output, in every dialect."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from google import genai
from google.genai.types import HttpOptions
from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

from seawall.lab import Lab


class Report(BaseModel):
    title: str = Field(min_length=3)
    score: float = Field(ge=0, le=1)
    tags: list[str]


class Refusal(BaseModel):
    reason: str


@pytest.fixture(params=["chat", "responses", "messages", "gemini"])
async def models(lab: Lab, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Makes a pydantic-ai model by name, in one of the dialects."""
    openai = AsyncOpenAI(base_url=f"{lab.url}/v1", api_key="sk-lab", max_retries=0)
    claude = AsyncAnthropic(base_url=lab.url, api_key="sk-ant-lab", max_retries=0)
    google = genai.Client(api_key="k", http_options=HttpOptions(base_url=lab.url))

    def make(name: str) -> Model:
        match request.param:
            case "chat":
                return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=openai))
            case "responses":
                return OpenAIResponsesModel(name, provider=OpenAIProvider(openai_client=openai))
            case "gemini":
                return GoogleModel(name, provider=GoogleProvider(client=google))
            case _:
                return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=claude))

    yield make
    await openai.close()
    await claude.close()
    await google.aio.aclose()


def with_tools(agent: Agent[None, Any]) -> list[str]:
    called: list[str] = []

    @agent.tool_plain
    async def get_weather(city: str, days: int) -> str:
        called.append("get_weather")
        return f"{city} in {days} days: fine"

    @agent.tool_plain
    async def get_tide(harbour: str) -> str:
        called.append("get_tide")
        return f"{harbour}: high"

    return called


async def test_an_agent_runs_its_tool_loop_to_a_text(models: Any) -> None:
    agent = Agent(models("gpt"))
    called = with_tools(agent)
    result = await agent.run("how is the sea?")
    assert called == ["get_weather"]
    assert len(result.output.split()) == 12
    assert result.usage.requests == 2


async def test_an_agent_runs_tools_in_parallel_over_several_rounds(models: Any) -> None:
    agent = Agent(models("lab-tools+rounds-2"))
    called = with_tools(agent)
    result = await agent.run("how is the sea?")
    assert sorted(called) == ["get_tide", "get_tide", "get_weather", "get_weather"]
    assert result.usage.requests == 3


async def test_an_agent_gets_structured_output_after_its_tools(models: Any) -> None:
    agent = Agent(models("gpt"), output_type=Report)
    called = with_tools(agent)
    result = await agent.run("report with get_tide")
    assert called == ["get_tide"]
    assert isinstance(result.output, Report)


async def test_an_agent_gets_one_of_several_outputs(models: Any) -> None:
    agent: Agent[None, Report | Refusal] = Agent(models("gpt"), output_type=[Report, Refusal])
    assert isinstance((await agent.run("report")).output, Report | Refusal)


async def test_an_agent_streams_structured_output(models: Any) -> None:
    agent = Agent(models("gpt"), output_type=Report)
    called = with_tools(agent)
    async with agent.run_stream("report") as result:
        output = await result.get_output()
    assert isinstance(output, Report)
    assert called == ["get_weather"]


async def test_an_agent_gets_native_structured_output(lab: Lab) -> None:
    async with AsyncOpenAI(base_url=f"{lab.url}/v1", api_key="sk-lab", max_retries=0) as client:
        provider = OpenAIProvider(openai_client=client)
        for model in (OpenAIChatModel("gpt-4o", provider=provider), OpenAIResponsesModel("gpt-4o", provider=provider)):
            agent = Agent(model, output_type=NativeOutput(Report))
            assert isinstance((await agent.run("report")).output, Report)
