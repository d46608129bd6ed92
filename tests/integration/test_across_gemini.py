"""OpenAI's and Anthropic's SDKs whose calls a Gemini upstream answers: each sees the API that it speaks."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from harness import Running, lab, proxy, route, upstream
from openai import AsyncOpenAI
from stage import LENIENT, QUICK_RETRIES

from seawall.lab import Lab

MODEL = "gemini-2.5-flash"
HI: list[Any] = [{"role": "user", "content": "how is the sea?"}]
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"], "additionalProperties": False}
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}


@asynccontextmanager
async def across(folder: Path, dialect: str = "OpenAI", own: str = "503") -> AsyncIterator[tuple[Lab, Running]]:
    """An upstream of the agents' own dialect, which meets `own` with every call, before one of Gemini's."""
    key = folder / "gemini-key"
    key.write_text("of-the-policy")
    auth = f"auth: {{type: APIKey, keyFile: {key}}}\n"
    async with lab() as upstreams:
        base = f"{upstreams.url}/u/own" + ("/v1" if dialect == "OpenAI" else "")
        policy = (
            upstream("own", base, dialect, LENIENT)
            + upstream("gemini", f"{upstreams.url}/u/gemini", "Gemini", auth + dedent(LENIENT))
            + route("models", "/models", "own gemini", QUICK_RETRIES).replace(
                "name: gemini,", f"name: gemini, model: {MODEL},"
            )
        )
        upstreams.script([], upstream="own", then=own)
        async with proxy(policy, folder) as running:
            yield upstreams, running


@asynccontextmanager
async def openai_at(running: Running) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{running.url}/models", api_key="agents-own", max_retries=0) as agent:
        yield agent


@asynccontextmanager
async def anthropic_at(running: Running) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=f"{running.url}/models", api_key="agents-own", max_retries=0) as agent:
        yield agent


@pytest.mark.parametrize("stream", [False, True])
async def test_chat_is_answered(tmp_path: Path, stream: bool) -> None:
    async with across(tmp_path) as (upstreams, running), openai_at(running) as agent:
        upstreams.script([], upstream="gemini", then="ok; text=The sea is blue.")
        if stream:
            options: Any = {"include_usage": True}
            async with agent.chat.completions.stream(model="gpt", messages=HI, stream_options=options) as events:
                done = await events.get_final_completion()
        else:
            done = await agent.chat.completions.create(model="gpt", messages=HI)  # type: ignore[assignment]
        assert done.choices[0].message.content == "The sea is blue."
        assert (done.choices[0].finish_reason, done.model) == ("stop", MODEL)
        assert done.usage is not None and (done.usage.prompt_tokens, done.usage.completion_tokens) == (3, 4)
        call = await running.call()
        assert (call.outcome.value, call.upstream, call.model, call.fault) == ("failover", "gemini", MODEL, "")
        assert call.usage is not None and (call.usage.input, call.usage.output) == (3, 4)
        [seen] = upstreams.attempts(upstream="gemini")
        method = "streamGenerateContent" if stream else "generateContent"
        assert seen.path == f"/v1beta/models/{MODEL}:{method}"
        names = [name.lower() for name in seen.header_names]
        assert names.count("x-goog-api-key") == 1 and "authorization" not in names


@pytest.mark.parametrize("stream", [False, True])
async def test_responses_are_answered(tmp_path: Path, stream: bool) -> None:
    async with across(tmp_path) as (upstreams, running), openai_at(running) as agent:
        upstreams.script([], upstream="gemini", then="ok; text=The sea is blue.")
        if stream:
            async with agent.responses.stream(model="gpt", input="hi") as events:
                done: Any = await events.get_final_response()
        else:
            done = await agent.responses.create(model="gpt", input="hi")
        assert (done.output_text, done.status, done.model) == ("The sea is blue.", "completed", MODEL)


@pytest.mark.parametrize("stream", [False, True])
async def test_messages_are_answered(tmp_path: Path, stream: bool) -> None:
    async with across(tmp_path, "Anthropic") as (upstreams, running), anthropic_at(running) as agent:
        upstreams.script([], upstream="gemini", then="ok; text=The sea is blue.")
        if stream:
            async with agent.messages.stream(model="claude", max_tokens=99, messages=HI) as events:
                done: Any = await events.get_final_message()
        else:
            done = await agent.messages.create(model="claude", max_tokens=99, messages=HI)
        assert [block.text for block in done.content] == ["The sea is blue."]
        assert (done.stop_reason, done.model) == ("end_turn", MODEL)
        assert (done.usage.input_tokens, done.usage.output_tokens) == (3, 4)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tools_round_goes_there_and_back(tmp_path: Path, stream: bool) -> None:
    async with across(tmp_path) as (upstreams, running), openai_at(running) as agent:

        async def ask(messages: list[Any]) -> Any:
            if not stream:
                return await agent.chat.completions.create(model="gpt", messages=messages, tools=[TOOL])
            async with agent.chat.completions.stream(model="gpt", messages=messages, tools=[TOOL]) as events:
                return await events.get_final_completion()

        called = (await ask(HI)).choices[0]
        assert called.finish_reason == "tool_calls"
        [call] = called.message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("look", {"at": "lab"})
        result = {"role": "tool", "tool_call_id": call.id, "content": "blue"}
        turn = {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": {
            "name": call.function.name, "arguments": call.function.arguments}}]}  # fmt: skip
        said = await ask([*HI, turn, result])
        assert len(said.choices[0].message.content.split()) == 12
        assert [seen.healthy for seen in upstreams.attempts(upstream="gemini")] == [True, True]


async def test_an_answer_by_schema(tmp_path: Path) -> None:
    async with across(tmp_path) as (_, running), openai_at(running) as agent:
        form: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
        done = await agent.chat.completions.create(model="gpt", messages=HI, response_format=form)
        assert json.loads(done.choices[0].message.content or "") == {"at": "lab"}


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_filter_withheld_is_told_in_the_agents_words(tmp_path: Path, stream: bool) -> None:
    async with across(tmp_path) as (upstreams, running), openai_at(running) as agent:
        upstreams.script([], upstream="gemini", then="filter")
        if stream:
            chunks = [c async for c in await agent.chat.completions.create(model="gpt", messages=HI, stream=True)]
            finish = chunks[-1].choices[0].finish_reason
        else:
            finish = (await agent.chat.completions.create(model="gpt", messages=HI)).choices[0].finish_reason
        assert finish == "content_filter"
        assert (await running.call()).fault == "CONTENT_POLICY"
        assert len(upstreams.attempts(upstream="gemini")) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("invalid", openai.BadRequestError), ("auth", openai.BadRequestError), ("quota", openai.RateLimitError),
     ("429-retry-after-3", openai.RateLimitError), ("500", openai.InternalServerError),
     ("timeout", openai.InternalServerError)],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_told_in_the_agents_words(
    tmp_path: Path, fault: str, kind: type[openai.APIStatusError], stream: bool
) -> None:
    async with across(tmp_path) as (upstreams, running), openai_at(running) as agent:
        upstreams.script([], upstream="gemini", then=fault)
        with pytest.raises(kind) as caught:
            await agent.chat.completions.create(model="gpt", messages=HI, stream=stream)
        assert caught.value.response.headers["x-seawall-upstream"] == "gemini"
        if "retry-after" in fault:
            assert caught.value.response.headers["retry-after"] == "3"


async def test_anthropics_sdk_raises_its_usual_exception(tmp_path: Path) -> None:
    async with across(tmp_path, "Anthropic") as (upstreams, running), anthropic_at(running) as agent:
        upstreams.script([], upstream="gemini", then="quota")
        with pytest.raises(anthropic.RateLimitError):
            await agent.messages.create(model="claude", max_tokens=99, messages=HI)


@pytest.mark.parametrize("fault", ["reset", "500", "cut-0", "error-0-overloaded", "malformed-0"])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_breaks_there_before_content_is_made_good_there(tmp_path: Path, fault: str, stream: bool) -> None:
    async with across(tmp_path, own="400") as (upstreams, running), openai_at(running) as agent:
        upstreams.script([], upstream="own", then="overloaded")
        upstreams.script([fault], upstream="gemini")
        if stream:
            async with agent.chat.completions.stream(model="gpt", messages=HI) as events:
                done: Any = await events.get_final_completion()
        else:
            done = await agent.chat.completions.create(model="gpt", messages=HI)
        assert len(done.choices[0].message.content.split()) == 12
        assert len(upstreams.attempts(upstream="gemini")) == 2


@pytest.mark.parametrize("fault", ["cut-4", "unclean-4", "error-4-overloaded", "no-terminal"])
async def test_a_stream_that_breaks_there_after_content_raises(tmp_path: Path, fault: str) -> None:
    async with across(tmp_path) as (upstreams, running), openai_at(running) as agent:
        upstreams.script([], upstream="gemini", then=f"{fault}+gap-5ms")
        seen = []
        with pytest.raises(openai.APIError):
            async for chunk in await agent.chat.completions.create(model="gpt", messages=HI, stream=True):
                seen.append(chunk)
        assert len(seen) >= 3
        assert len(upstreams.attempts(upstream="gemini")) == 1
