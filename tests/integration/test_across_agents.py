"""pydantic-ai agents whose model speaks one dialect while a provider of the other answers: tools in several steps,
structured output, streams, whoever answers each step."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from across import Across, across, after_its_own, anthropic_agent, only, openai_agent, raced
from harness import until
from pydantic import BaseModel
from pydantic_ai import Agent, ModelAPIError
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from stage import ONE_TRY

RULE = f"{ONE_TRY}\ntimeouts: {{streamIdle: 300ms, firstContent: 400ms, backendRequest: 1s}}\n"
AT_ONCE = f"{RULE}hedging: {{hedgingDelay: 0s}}\n"


class Report(BaseModel):
    city: str
    degrees: int


def chat(at: Across, name: str) -> Model:
    return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=openai_agent(at)))


def responses(at: Across, name: str) -> Model:
    return OpenAIResponsesModel(name, provider=OpenAIProvider(openai_client=openai_agent(at)))


def messages(at: Across, name: str) -> Model:
    return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=anthropic_agent(at)))


Make = Callable[[Across, str], Model]
every_model = pytest.mark.parametrize("make", [chat, responses, messages])
SPEAKS: dict[Make, str] = {chat: "OpenAI", responses: "OpenAI", messages: "Anthropic"}


@asynccontextmanager
async def agent(
    folder: Path, make: Make, name: str, backends: Callable[[str], str] = only, rule: str = RULE, **options: Any
) -> AsyncIterator[tuple[Agent[None, Any], Across]]:
    async with across(folder, backends, rule) as at:
        model = make(at, name)
        async with model:
            agent_: Agent[None, Any] = Agent(model, system_prompt="Be brief.", **options)

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
@pytest.mark.parametrize("backends", [only, after_its_own, raced])
async def test_it_calls_its_tools_in_several_steps_and_answers(
    tmp_path: Path, make: Make, backends: Callable[[str], str]
) -> None:
    rule = AT_ONCE if backends is raced else RULE
    async with agent(tmp_path, make, "lab-tools+rounds-3", backends, rule) as (agent_, at):
        if backends is after_its_own:
            # Its own provider answers every other step.
            own = "o" if SPEAKS[make] == "OpenAI" else "a"
            at.lab.script(["500", "tools+rounds-3"], upstream=own, repeat=True)
        result = await agent_.run("What is the weather?")
        assert isinstance(result.output, str) and result.output
        called = [p.tool_name for m in result.all_messages() for p in m.parts if p.part_kind == "tool-call"]
        assert sorted(called) == ["get_time"] * 3 + ["get_weather"] * 3
        await until(lambda: len(at.running.calls) == 4)
        assert {call.fault for call in at.running.calls} == {""}
        assert result.usage.output_tokens == sum(c.usage.output for c in at.running.calls if c.usage)
        if backends is after_its_own:
            assert [call.outcome.value for call in at.running.calls] == ["failover", "primary"] * 2


@every_model
async def test_it_answers_in_its_type(tmp_path: Path, make: Make) -> None:
    async with agent(tmp_path, make, "gpt", output_type=Report) as (agent_, at):
        result = await agent_.run("hi")
        assert isinstance(result.output, Report)
        assert {attempt.healthy for attempt in at.lab.attempts()} == {True}


@every_model
async def test_its_stream_says_what_its_plain_answer_says(tmp_path: Path, make: Make) -> None:
    async with agent(tmp_path, make, "lab-no-tools") as (agent_, _):
        async with agent_.run_stream("hi") as run:
            text = "".join([piece async for piece in run.stream_text(delta=True)])
        assert text == (await agent_.run("hi")).output != ""


@every_model
@pytest.mark.parametrize("fault", ["500", "reset", "cut-prelude", "malformed-1", "stall-0", "error-prelude-server"])
async def test_a_stream_that_breaks_before_content_is_made_good_by_the_other_dialect(
    tmp_path: Path, make: Make, fault: str
) -> None:
    async with agent(tmp_path, make, "lab-no-tools", after_its_own) as (agent_, at):
        own, other = ("o", "a") if SPEAKS[make] == "OpenAI" else ("a", "o")
        at.lab.script([fault], upstream=own)
        async with agent_.run_stream("hi") as run:
            text = "".join([piece async for piece in run.stream_text(delta=True)])
        assert text == (await agent_.run("hi")).output
        call = await at.running.call()
        assert (call.outcome.value, call.upstream, call.attempts) == ("failover", other, 2)


@every_model
async def test_a_stream_that_breaks_after_content_raises(tmp_path: Path, make: Make) -> None:
    async with agent(tmp_path, make, "lab-no-tools+gap-5ms+cut-8") as (agent_, at):
        with pytest.raises(ModelAPIError) as caught:
            async with agent_.run_stream("hi") as run:
                async for _ in run.stream_text(delta=True, debounce_by=None):
                    pass
        assert "TRUNCATED" in str(caught.value)
        assert len(at.lab.attempts()) == 1
