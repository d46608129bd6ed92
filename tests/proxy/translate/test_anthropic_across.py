"""Agents with Anthropic's SDK whose requests a lab answers that speaks OpenAI's chat completions (and its own dialect).

Between them stands just what stands there in the proxy: the agents' side and the provider's.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from anthropic import AsyncAnthropic
from asking import open_stream
from harness import lab as running_lab
from nothing_read import FACTS
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from seawall.clock import SystemClock
from seawall.faults import Fault
from seawall.lab import Lab
from seawall.translate.anthropic_messages import AnthropicMessages
from seawall.translate.provider import Place, Provider, ask
from seawall.upstream.connect import Endpoint
from seawall.upstream.pool import Pool

CLOCK = SystemClock()
SIDE = AnthropicMessages()
PLACES = {"OpenAI": ("/u/one/v1", "gpt-4o"), "Anthropic": ("/u/one", "claude-haiku-4-5")}
TOOLS: list[Any] = [
    {
        "name": "look",
        "description": "looks",
        "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
    }
]
EACH = pytest.mark.parametrize("dialect", list(PLACES))
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


class Proxy(httpx2.AsyncBaseTransport):
    """Translates what an SDK sends to an upstream."""

    def __init__(self, provider: Provider, model: str) -> None:
        self._provider = provider
        self._model = model

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = SIDE.read(await request.aread(), FACTS, created=1, id_="01")
        assert asked.unfit == ()
        asking = self._provider.asking(self._model, stream=asked.stream)
        if not asked.stream:
            response = await ask(asking, asked)
            assert not isinstance(response, Fault)
            body = SIDE.whole(asked, response, asking.wire.model)
            return httpx2.Response(200, headers={"content-type": "application/json"}, content=body)
        pieces = []
        async with open_stream(asking, asked) as answering:
            writer = SIDE.stream(asked)
            while (event := await answering.next()) is not None:
                assert not isinstance(event, Fault)
                pieces.append(writer.event(event))
            ended = writer.end(answering.response)
        body = b"".join([writer.begin(asking.wire.model), *pieces, ended])
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)


@asynccontextmanager
async def agents(dialect: str) -> AsyncIterator[tuple[Lab, AsyncAnthropic]]:
    """A lab, and a client whose requests are translated to it."""
    pool = Pool(CLOCK)
    path, model = PLACES[dialect]
    async with running_lab(seed=3) as lab:
        place = Place(dialect, Endpoint("127.0.0.1", urlsplit(lab.url).port or 0), b"lab", path)
        async with httpx2.AsyncClient(transport=Proxy(Provider(pool, CLOCK, place), model)) as http:
            yield lab, AsyncAnthropic(api_key="k", http_client=http, max_retries=0)
        await pool.close()


async def turn(client: AsyncAnthropic, stream: bool, messages: list[Any]) -> Any:
    said: dict[str, Any] = {
        "max_tokens": 99,
        "model": "claude",
        "messages": messages,
        "tools": TOOLS,
        "system": "brief",
    }
    if not stream:
        return await client.messages.create(**said)
    async with client.messages.stream(**said) as answer:
        return await answer.get_final_message()


@EACH
@STREAMED
async def test_an_agent_runs_its_tools(dialect: str, stream: bool) -> None:
    async with agents(dialect) as (lab, client):
        lab.script([], then='tool-look,look+rounds-1; args={"at": "sea"}')
        messages: list[Any] = [{"role": "user", "content": "what is blue?"}]
        first = await turn(client, stream, messages)
        assert (first.stop_reason, first.model) == ("tool_use", PLACES[dialect][1])
        calls = [block for block in first.content if block.type == "tool_use"]
        assert [(call.name, call.input) for call in calls] == [("look", {"at": "sea"})] * 2
        assert len({call.id for call in calls}) == 2
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "the sea"} for call in calls]
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
        last = await turn(client, stream, messages)
        assert last.stop_reason == "end_turn"
        assert last.content[0].text
        assert last.usage.input_tokens > first.usage.input_tokens > 0
        assert last.usage.output_tokens > 0


class Colour(BaseModel):
    name: str


@EACH
async def test_a_pydantic_ai_agent_gets_its_structured_answer(dialect: str) -> None:
    async with agents(dialect) as (lab, client):
        lab.script([], then='tool-final_result; args={"name": "blue"}')
        model = AnthropicModel("claude-haiku-4-5", provider=AnthropicProvider(anthropic_client=client))
        agent = Agent(model, output_type=Colour)
        assert (await agent.run("what is the sea?")).output == Colour(name="blue")
        async with agent.run_stream("and the sky?") as run:
            assert await run.get_output() == Colour(name="blue")
