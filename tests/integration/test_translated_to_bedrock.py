"""OpenAI's and Anthropic's SDKs answered by a Bedrock upstream: what they get, raise and let go of."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from aws import access_keys
from harness import Running, lab, proxy, route, until, upstream
from stage import LENIENT, ONE_TRY, QUICK_RETRIES

from seawall.lab import Lab

MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
HI: Any = [{"role": "user", "content": "hi"}]
CHAT_TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {
    "type": "object", "properties": {"at": {"type": "string"}}}}}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    lab: Lab
    running: Running
    chat: openai.AsyncOpenAI
    messages: anthropic.AsyncAnthropic

    async def ask(self, dialect: str, **more: Any) -> str:
        if dialect == "OpenAI":
            answer = await self.chat.chat.completions.create(model="gpt-5", messages=HI, **more)
            return answer.choices[0].message.content or ""
        message = await self.messages.messages.create(model="claude", max_tokens=100, messages=HI, **more)
        return getattr(message.content[0], "text", "")

    async def stream(self, dialect: str) -> str:
        said = ""
        if dialect == "OpenAI":
            async for chunk in await self.chat.chat.completions.create(model="gpt-5", messages=HI, stream=True):
                said += chunk.choices[0].delta.content or "" if chunk.choices else ""
            return said
        async with self.messages.messages.stream(model="claude", max_tokens=100, messages=HI) as stream:
            async for text in stream.text_stream:
                said += text
        return said


@asynccontextmanager
async def stage(folder: Path, rule: str = ONE_TRY) -> AsyncIterator[Stage]:
    auth = f"{LENIENT}    auth: {{type: AWSSigV4, region: us-east-1, credentialsFile: {access_keys(folder)}}}\n"
    async with lab(seed=5) as upstreams:
        policy = upstream("bedrock", f"{upstreams.url}/u/bedrock", "Bedrock", auth)
        for dialect, prefix in (("OpenAI", "/openai/v1"), ("Anthropic", "/anthropic")):
            policy += route(dialect.lower(), prefix, "bedrock", f"dialect: {dialect}\n{rule}").replace(
                "{name: bedrock, priority: 0}", f"{{name: bedrock, model: '{MODEL}'}}"
            )
        async with (
            proxy(policy, folder) as running,
            openai.AsyncOpenAI(api_key="own", base_url=f"{running.url}/openai/v1", max_retries=0) as chat,
            anthropic.AsyncAnthropic(api_key="own", base_url=f"{running.url}/anthropic", max_retries=0) as messages,
        ):
            yield Stage(upstreams, running, chat, messages)


agents = pytest.mark.parametrize("dialect", ["OpenAI", "Anthropic"])


@agents
async def test_agents_of_either_dialect_are_answered(tmp_path: Path, dialect: str) -> None:
    async with stage(tmp_path) as at:
        at.lab.script([], then="ok; text=The sea is blue.")
        assert await at.ask(dialect) == await at.stream(dialect) == "The sea is blue."
        await until(lambda: len(at.running.calls) == 2)
        for call, attempt in zip(at.running.calls, at.lab.attempts(), strict=True):
            assert (call.upstream, call.model, call.fault, call.dialect) == ("bedrock", MODEL, "", dialect)
            assert call.usage is not None and call.usage.output > 0
            assert (attempt.model, attempt.dialect) == (MODEL, "Bedrock")
            assert "Authorization" in attempt.header_names and "X-Amz-Date" in attempt.header_names
            assert not {"x-api-key", "anthropic-version"} & {name.lower() for name in attempt.header_names}
        assert at.running.calls[0].usage == at.running.calls[1].usage


async def test_tools_are_called_and_their_results_read(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        first = await at.chat.chat.completions.create(model="gpt-5", messages=HI, tools=[CHAT_TOOL])
        said = first.choices[0].message
        assert said.tool_calls is not None
        [call] = said.tool_calls
        assert call.type == "function"
        assert (call.function.name, json.loads(call.function.arguments)) == ("look", {"at": "lab"})
        assert first.choices[0].finish_reason == "tool_calls"
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "deep"}
        then = [*HI, said.model_dump(exclude_none=True), result]
        second = await at.chat.chat.completions.create(model="gpt-5", messages=then, tools=[CHAT_TOOL])
        assert second.choices[0].message.content and second.choices[0].finish_reason == "stop"


ERRORS = [
    ("rate-limit-2", openai.RateLimitError, anthropic.RateLimitError),
    ("context", openai.BadRequestError, anthropic.BadRequestError),
    ("not-found", openai.NotFoundError, anthropic.NotFoundError),
    ("overloaded", openai.InternalServerError, anthropic.InternalServerError),
]


@pytest.mark.parametrize(("fault", "of_openai", "of_anthropic"), ERRORS)
async def test_bedrocks_errors_raise_in_the_agents_words(
    tmp_path: Path, fault: str, of_openai: type[Exception], of_anthropic: type[Exception]
) -> None:
    async with stage(tmp_path) as at:
        at.lab.script([], then=fault)
        for dialect, kind in (("OpenAI", of_openai), ("Anthropic", of_anthropic)):
            for ask in (at.ask, at.stream):
                with pytest.raises(kind) as caught:
                    await ask(dialect)
                if fault == "rate-limit-2":
                    assert caught.value.response.headers["retry-after"] == "2"  # type: ignore[attr-defined]


@agents
@pytest.mark.parametrize("fault", ["503", "reset", "cut-prelude", "malformed-prelude", "error-prelude-server"])
async def test_what_fails_before_its_content_is_asked_again(tmp_path: Path, dialect: str, fault: str) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at:
        at.lab.script([fault])
        assert await at.stream(dialect)
        assert len(at.lab.attempts()) == 2
        assert (await at.running.call()).outcome.value == "retry"


@agents
@pytest.mark.parametrize("fault", ["cut-5", "malformed-5", "error-5-server", "reset-5"])
async def test_a_stream_that_breaks_raises(tmp_path: Path, dialect: str, fault: str) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at:
        at.lab.script([], then=f"gap-10ms+{fault}")
        with pytest.raises((openai.APIError, anthropic.APIError)):
            await at.stream(dialect)
        assert len(at.lab.attempts()) == 1
        assert (await at.running.call()).fault


@agents
async def test_an_agent_that_leaves_ends_the_request_at_once(tmp_path: Path, dialect: str) -> None:
    async with stage(tmp_path) as at:
        at.lab.script([], then="tokens-1000+gap-20ms")
        leaving = asyncio.create_task(at.stream(dialect))
        await until(lambda: at.lab.attempts() and at.lab.attempts()[0].status)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await until(lambda: at.lab.attempts()[0].gone, 2)
        assert (await at.running.call()).fault == "AGENT_GONE"


async def test_a_late_answer_is_a_fault_by_the_policys_own_limit(tmp_path: Path) -> None:
    async with stage(tmp_path, f"{ONE_TRY}\ntimeouts: {{firstContent: 200ms}}") as at:
        at.lab.script([], then="first-token-5s")
        with pytest.raises(openai.APIError):
            await at.stream("OpenAI")
        assert (await at.running.call()).fault == "TIMEOUT_FIRST_CONTENT"


async def test_what_converse_cannot_be_asked_is_passed_over_by_name(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        with pytest.raises(openai.APIStatusError):
            await at.ask("OpenAI", seed=3)
        assert at.lab.attempts() == []
        assert any("seed: the provider has none" in one for one in (await at.running.call()).skipped)
