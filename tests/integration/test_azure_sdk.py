"""The openai package's Azure client through the proxy: deployments, both kinds of paths, keys and tokens, failures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from harness import Running, lab, proxy, route, upstream
from openai import AsyncAzureOpenAI, AsyncOpenAI
from stage import LENIENT, ONE_TRY, QUICK_RETRIES

from seawall.lab import Lab

ASK: list[Any] = [{"role": "user", "content": "hi"}]
VERSION = "2024-10-21"


@dataclass(frozen=True)
class Stage:
    lab: Lab
    running: Running


@asynccontextmanager
async def azure(folder: Path, rule: str = ONE_TRY) -> AsyncIterator[Stage]:
    """Two regions: `/azure` is the one, `/both` the one before the other, where deployments have other names."""
    async with lab() as regions:
        policy = (
            upstream("east", f"{regions.url}/u/east", "AzureOpenAI", LENIENT)
            + upstream("west", f"{regions.url}/u/west", "AzureOpenAI", LENIENT)
            + route("azure", "/azure", "east", rule)
            + route("both", "/both", "east west", rule).replace(
                "{name: west, priority: 1}", "{name: west, priority: 1, modelMap: [{from: gpt*, to: west gpt}]}"
            )
        )
        async with proxy(policy, folder) as running:
            yield Stage(regions, running)


def client(at: Stage, prefix: str = "/azure", **options: Any) -> AsyncAzureOpenAI:
    given: dict[str, Any] = {"api_key": "sk-azure", "api_version": VERSION, "max_retries": 0, **options}
    return AsyncAzureOpenAI(azure_endpoint=at.running.url + prefix, **given)


async def test_chat_plain_and_streamed(tmp_path: Path) -> None:
    async with azure(tmp_path) as at, client(at) as agent:
        plain = await agent.chat.completions.create(model="gpt-4o", messages=ASK)
        stream = await agent.chat.completions.create(
            model="gpt-4o", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert not chunks[0].choices and chunks[0].model_extra and "prompt_filter_results" in chunks[0].model_extra
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert text == plain.choices[0].message.content != ""
        calls = [await at.running.call(1), await at.running.call(2)]
        assert [(c.dialect, c.operation, c.model, c.stream) for c in calls] == [
            ("AzureOpenAI", "chat", "gpt-4o", False),
            ("AzureOpenAI", "chat", "gpt-4o", True),
        ]
        assert all(call.usage and call.usage.output for call in calls)
        seen = at.lab.attempts()
        assert {attempt.path for attempt in seen} == {"/openai/deployments/gpt-4o/chat/completions"}
        assert all(attempt.healthy and "api-key" in attempt.header_names for attempt in seen)


async def test_other_operations_and_the_newer_paths(tmp_path: Path) -> None:
    async with (
        azure(tmp_path) as at,
        client(at) as agent,
        AsyncOpenAI(base_url=f"{at.running.url}/azure/openai/v1", api_key="k", max_retries=0) as newer,
    ):
        assert len((await agent.embeddings.create(model="small", input=["a", "b"])).data) == 2
        assert (await agent.responses.create(model="gpt", input="hi")).output_text
        async with agent.responses.stream(model="gpt", input="hi") as stream:
            assert [event.type async for event in stream][-1] == "response.completed"
        assert (await newer.chat.completions.create(model="gpt", messages=ASK)).choices
        paths = [(a.path, a.model) for a in at.lab.attempts()]
        assert paths == [
            ("/openai/deployments/small/embeddings", "small"),
            ("/openai/responses", "gpt"),
            ("/openai/responses", "gpt"),
            ("/openai/v1/chat/completions", "gpt"),
        ]


async def test_without_an_api_version_azure_itself_refuses(tmp_path: Path) -> None:
    """So it must have arrived in all other tests."""
    async with (
        azure(tmp_path) as at,
        AsyncOpenAI(base_url=f"{at.running.url}/azure/openai/deployments/gpt", api_key="k", max_retries=0) as agent,
    ):
        with pytest.raises(openai.NotFoundError):
            await agent.chat.completions.create(model="gpt", messages=ASK)


async def test_an_entra_token_passes_through(tmp_path: Path) -> None:
    async with azure(tmp_path) as at, client(at, api_key=None, azure_ad_token="token") as agent:
        await agent.chat.completions.create(model="gpt", messages=ASK)
        [seen] = at.lab.attempts()
        names = [name.lower() for name in seen.header_names]
        assert "authorization" in names and "api-key" not in names


ERRORS = {
    "lab-invalid": openai.BadRequestError,
    "lab-context": openai.BadRequestError,
    "lab-filter": openai.BadRequestError,
    "lab-auth": openai.AuthenticationError,
    "lab-forbidden": openai.PermissionDeniedError,
    "lab-not-found": openai.NotFoundError,
    "lab-rate-limit-1": openai.RateLimitError,
    "lab-quota": openai.PermissionDeniedError,
    "lab-overloaded": openai.RateLimitError,
    "lab-timeout": openai.APIStatusError,
    "lab-500": openai.InternalServerError,
}
CODES = {
    "lab-filter": "CONTENT_POLICY",
    "lab-context": "CONTEXT_LENGTH",
    "lab-quota": "QUOTA_EXHAUSTED",
    "lab-overloaded": "OVERLOADED",
    "lab-rate-limit-1": "RATE_LIMITED",
    "lab-timeout": "UPSTREAM_TIMEOUT",
    "lab-not-found": "NOT_FOUND",
}


@pytest.mark.parametrize("model", ERRORS)
async def test_azures_error_is_the_same_as_in_a_direct_call(tmp_path: Path, model: str) -> None:
    async with (
        azure(tmp_path) as at,
        AsyncAzureOpenAI(azure_endpoint=at.lab.url, api_key="k", api_version=VERSION, max_retries=0) as direct,
        client(at) as agent,
    ):
        with pytest.raises(ERRORS[model]) as wanted:
            await direct.chat.completions.create(model=model, messages=ASK)
        with pytest.raises(ERRORS[model]) as got:
            await agent.chat.completions.create(model=model, messages=ASK)
        assert type(got.value) is type(wanted.value)
        assert isinstance(got.value, openai.APIStatusError) and isinstance(wanted.value, openai.APIStatusError)
        assert got.value.status_code == wanted.value.status_code and got.value.body == wanted.value.body
        assert (await at.running.call()).fault == CODES.get(model, (await at.running.call()).fault) != ""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["overloaded", "quota", "rate-limit-30", "reset", "500"])
async def test_another_region_takes_over_under_its_own_deployment(tmp_path: Path, fault: str, stream: bool) -> None:
    async with azure(tmp_path) as at, client(at, "/both") as agent:
        at.lab.script([fault], upstream="east")
        answer: Any = await agent.chat.completions.create(model="gpt-4o", messages=ASK, stream=stream)
        if stream:
            assert [chunk async for chunk in answer]
        assert [(a.upstream, a.path) for a in at.lab.attempts()] == [
            ("east", "/openai/deployments/gpt-4o/chat/completions"),
            ("west", "/openai/deployments/west%20gpt/chat/completions"),
        ]
        assert at.lab.attempts()[1].model == "west gpt"
        assert (await at.running.call()).outcome.value == "failover"


async def test_the_newer_paths_take_another_deployment_in_the_body(tmp_path: Path) -> None:
    async with azure(tmp_path) as at, client(at, "/both") as agent:
        at.lab.script(["503"], upstream="east")
        await agent.responses.create(model="gpt-4o", input="hi")
        assert [a.model for a in at.lab.attempts()] == ["gpt-4o", "west gpt"]
        assert {a.path for a in at.lab.attempts()} == {"/openai/responses"}


async def test_what_the_filter_refuses_moves_only_where_it_is_listed(tmp_path: Path) -> None:
    async with azure(tmp_path) as at, client(at, "/both") as agent:
        with pytest.raises(openai.BadRequestError) as refused:
            await agent.chat.completions.create(model="gpt", messages=ASK, extra_headers={"x-lab-fault": "filter"})
        assert refused.value.code == "content_filter" and len(at.lab.attempts()) == 1
    async with azure(tmp_path, f"{ONE_TRY}\nfallbackOn: [ContentPolicy]") as at, client(at, "/both") as agent:
        at.lab.script(["filter"], upstream="east")
        assert (await agent.chat.completions.create(model="gpt", messages=ASK)).choices
        assert at.running.moves == []


async def test_the_wait_in_milliseconds_is_kept(tmp_path: Path) -> None:
    async with azure(tmp_path, QUICK_RETRIES) as at, client(at) as agent:
        at.lab.script(["rate-limit-9; retry-after-ms=50"], upstream="east")
        assert (await agent.chat.completions.create(model="gpt", messages=ASK)).choices
        first, second = at.lab.attempts()
        assert 0.05 <= second.received - first.received < 5


@pytest.mark.parametrize("fault", ["reset", "cut-1", "error-prelude", "malformed-1", "stall-1"])
async def test_a_stream_that_breaks_before_content_is_made_good(tmp_path: Path, fault: str) -> None:
    """The chunk of the prompt's filter is no content: `cut-1` breaks off right behind it."""
    async with azure(tmp_path, f"{QUICK_RETRIES}\ntimeouts: {{streamIdle: 200ms}}") as at, client(at) as agent:
        at.lab.script([fault], upstream="east")
        async with agent.chat.completions.stream(model="gpt", messages=ASK) as stream:
            assert (await stream.get_final_completion()).choices[0].message.content
        assert (await at.running.call()).outcome.value == "retry"


@pytest.mark.parametrize("fault", ["cut-5", "unclean-5", "reset-5", "malformed-5", "error-5", "stall-5"])
async def test_a_stream_that_breaks_after_content_raises(tmp_path: Path, fault: str) -> None:
    async with azure(tmp_path, f"{QUICK_RETRIES}\ntimeouts: {{streamIdle: 200ms}}") as at, client(at) as agent:
        stream = await agent.chat.completions.create(model=f"lab-gap-5ms+{fault}", messages=ASK, stream=True)
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass
        assert (await at.running.call()).attempts == 1


@pytest.mark.parametrize("newer", [False, True], ids=["deployment", "model"])
async def test_realtime_sessions_fail_over_to_another_regions_deployment(tmp_path: Path, newer: bool) -> None:
    async with azure(tmp_path) as at:
        # Without being told otherwise the Azure client insists on TLS.
        sockets = f"{at.running.url}/both/openai".replace("http:", "ws:")
        agent = client(at, "/both", websocket_base_url=sockets)
        at.lab.script(["503"], upstream="east")
        base = f"{at.running.url}/both/openai/v1"
        used: Any = AsyncOpenAI(base_url=base, api_key="k") if newer else agent
        async with used.realtime.connect(model="gpt-realtime") as session:
            created = await session.recv()
            assert created.type == "session.created" and created.session.model == "west gpt"
        path = "/openai/v1/realtime" if newer else "/openai/realtime"
        assert [(a.upstream, a.path, a.model) for a in at.lab.attempts()] == [
            ("east", path, "gpt-realtime"),
            ("west", path, "west gpt"),
        ]
        call = await at.running.call()
        assert (call.dialect, call.operation, call.model) == ("AzureOpenAI", "websocket", "west gpt")
