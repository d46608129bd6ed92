"""The clients of Groq and Mistral through the proxy: answers, streams, tools and errors as in a direct call."""

from pathlib import Path
from typing import Any

import groq
import pytest
from groq import AsyncGroq
from harness import until
from httpx2 import RemoteProtocolError
from mistralai.client import Mistral
from mistralai.client.errors import MistralError, ResponseValidationError
from pydantic import ValidationError
from stage import ONE_TRY, QUICK_RETRIES, Stage, stage

ASK: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
]  # fmt: skip


async def groqs(agent: AsyncGroq, model: str = "llama", **more: Any) -> str:
    answer = await agent.chat.completions.create(model=model, messages=ASK, **more)
    return answer.choices[0].message.content or ""


async def groqs_stream(agent: AsyncGroq, model: str = "llama", **more: Any) -> str:
    stream = await agent.chat.completions.create(model=model, messages=ASK, stream=True, **more)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def mistrals(agent: Mistral, model: str = "small", **more: Any) -> str:
    answer = await agent.chat.complete_async(model=model, messages=ASK, **more)
    return str(answer.choices[0].message.content if answer.choices[0].message else "")


async def mistrals_stream(agent: Mistral, model: str = "small", **more: Any) -> str:
    stream = await agent.chat.stream_async(model=model, messages=ASK, **more)
    said = ""
    async with stream as events:
        async for event in events:
            said += "".join(str(choice.delta.content or "") for choice in event.data.choices)
    return said


def groq_client(at: Stage, **options: Any) -> AsyncGroq:
    """Its own base URL is a host; the route's prefix ends with what the client appends."""
    return AsyncGroq(base_url=f"{at.running.url}/groq", api_key="gsk", **{"max_retries": 0, **options})


def mistral_client(at: Stage) -> Mistral:
    return Mistral(server_url=f"{at.running.url}/mistral", api_key="key")


@pytest.mark.parametrize("rule", [ONE_TRY, QUICK_RETRIES], ids=["flowing", "held"])
async def test_groqs_client(tmp_path: Path, rule: str) -> None:
    async with stage(tmp_path, rule, prefixes={"openai": "/groq/openai/v1"}) as at, groq_client(at) as agent:
        assert await groqs(agent) == await groqs_stream(agent) != ""
        answer = await agent.chat.completions.create(model="lab-tools", messages=ASK, tools=TOOLS)
        assert [call.function.name for call in answer.choices[0].message.tool_calls or []] == ["get_weather"]
        assert [model.id for model in (await agent.models.list()).data]
        assert {attempt.path for attempt in at.lab.attempts(operation="chat")} == {"/v1/chat/completions"}
        assert all(not call.fault for call in at.running.calls)


@pytest.mark.parametrize("rule", [ONE_TRY, QUICK_RETRIES], ids=["flowing", "held"])
async def test_mistrals_client(tmp_path: Path, rule: str) -> None:
    async with stage(tmp_path, rule, prefixes={"openai": "/mistral/v1"}) as at, mistral_client(at) as agent:
        assert await mistrals(agent) == await mistrals_stream(agent) != ""
        answer = await agent.chat.complete_async(model="lab-tools", messages=ASK, tools=TOOLS)
        message = answer.choices[0].message
        assert message and [call.function.name for call in message.tool_calls or []] == ["get_weather"]
        await until(lambda: len(at.running.calls) == 3)
        assert all(not call.fault for call in at.running.calls)


GROQS = {
    "lab-invalid": groq.BadRequestError,
    "lab-auth": groq.AuthenticationError,
    "lab-rate-limit-1": groq.RateLimitError,
    "lab-498": groq.APIStatusError,
    "lab-503": groq.InternalServerError,
}


@pytest.mark.parametrize("model", GROQS)
async def test_groqs_errors_are_those_of_a_direct_call(tmp_path: Path, model: str) -> None:
    async with (
        stage(tmp_path, ONE_TRY, prefixes={"openai": "/groq/openai/v1"}) as at,
        groq_client(at) as agent,
        AsyncGroq(base_url=f"{at.lab.url}/u/groq", api_key="gsk", max_retries=0) as direct,
    ):
        at.lab.script([model.removeprefix("lab-")] * 2)
        with pytest.raises(GROQS[model]) as got:
            await groqs(agent)
        with pytest.raises(groq.APIStatusError) as wanted:
            await direct.post("/v1/chat/completions", cast_to=object, body={"model": "llama", "messages": ASK})
        assert got.value.status_code == wanted.value.status_code and got.value.body == wanted.value.body


@pytest.mark.parametrize("model", ["lab-invalid", "lab-auth", "lab-rate-limit-1", "lab-503"])
async def test_mistrals_errors_are_those_of_a_direct_call(tmp_path: Path, model: str) -> None:
    async with (
        stage(tmp_path, ONE_TRY, prefixes={"openai": "/mistral/v1"}) as at,
        mistral_client(at) as agent,
        Mistral(server_url=at.lab.url, api_key="key") as direct,
    ):
        with pytest.raises(MistralError) as got:
            await mistrals(agent, model)
        with pytest.raises(MistralError) as wanted:
            await mistrals(direct, model)
        assert (type(got.value), got.value.status_code) == (type(wanted.value), wanted.value.status_code)
        assert got.value.body == wanted.value.body


@pytest.mark.parametrize("fault", ["reset", "cut-1", "error-prelude", "malformed-1", "503"])
@pytest.mark.parametrize("client", ["groq", "mistral"])
async def test_what_breaks_before_content_is_made_good(tmp_path: Path, client: str, fault: str) -> None:
    prefix = {"groq": "/groq/openai/v1", "mistral": "/mistral/v1"}[client]
    async with stage(tmp_path, QUICK_RETRIES, prefixes={"openai": prefix}) as at:
        at.lab.script([fault])
        if client == "groq":
            async with groq_client(at) as agent:
                assert await groqs_stream(agent)
        else:
            async with mistral_client(at) as other:
                assert await mistrals_stream(other)
        assert (await at.running.call()).outcome.value == "retry"


@pytest.mark.parametrize("fault", ["cut-5", "reset-5", "malformed-5", "stall-5"])
async def test_what_breaks_after_content_is_never_passed_off_as_whole(tmp_path: Path, fault: str) -> None:
    rule = f"{QUICK_RETRIES}\ntimeouts: {{streamIdle: 200ms}}"
    async with stage(tmp_path, rule, prefixes={"openai": "/groq/openai/v1"}) as at, groq_client(at) as agent:
        with pytest.raises(groq.APIError):
            await groqs_stream(agent, f"lab-gap-5ms+{fault}")
    async with stage(tmp_path, rule, prefixes={"openai": "/mistral/v1"}) as at, mistral_client(at) as agent:
        # It knows no error events: the one of seawall's is no chunk to it, and nor is a break.
        with pytest.raises((ResponseValidationError, ValidationError, RemoteProtocolError)):
            await mistrals_stream(agent, f"lab-gap-5ms+{fault}")
