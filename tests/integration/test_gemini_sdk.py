"""The google-genai package on a Generic route: no dialect knows it, so everything must simply pass."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import ClientPayloadError
from google import genai
from google.genai import errors, types
from harness import until
from pydantic_ai import Agent
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider
from recorded import ABSENT, WIRE, Recording
from replay_server import Break, replay
from stage import QUICK_RETRIES, Stage, stage
from wired import RECORDED, RUNS, wired

HOST = "generativelanguage.googleapis.com"
STREAMS = [r for r in RECORDED if r.host == HOST and r.stream]
ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Paris"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
    "modelVersion": "gemini-2.5-flash",
}


def client(base_url: str, headers: dict[str, str]) -> genai.Client:
    options = types.HttpOptions(base_url=base_url, api_version="v1beta", headers=headers)
    return genai.Client(api_key="key", http_options=options)


def answering(at: Stage, status: int, body: object) -> genai.Client:
    return client(f"{at.running.url}/other", {"x-lab-fault": f"{status}; body={json.dumps(body)}"})


async def test_a_plain_answer_and_its_request_pass(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, answering(at, 200, ANSWER).aio as agent:
        answer = await agent.models.generate_content(model="gemini-2.5-flash", contents="capital of France?")
        assert answer.text == "Paris"
        [seen] = at.lab.attempts()
        assert seen.path == "/v1beta/models/gemini-2.5-flash:generateContent"
        assert "x-goog-api-key" in seen.header_names
        assert (await at.running.call()).outcome.value == "primary"


async def test_a_repeated_user_agent_is_carried(tmp_path: Path) -> None:
    """As google-genai sends it where its caller sets one as well, on httpx clients of many releases."""
    async with stage(tmp_path) as at, httpx2.AsyncClient() as agent:
        headers = [("User-Agent", "pydantic-ai/1"), ("user-agent", "google-genai-sdk/1 gl-python/3.11")]
        answer = await agent.post(f"{at.running.url}/other/inspect", json={}, headers=headers)
        assert answer.status_code == 200
        [seen] = at.lab.attempts()
        assert [name.lower() for name in seen.header_names].count("user-agent") == 2


async def test_a_bare_path_of_gemini_never_goes_to_another_provider(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        for version in ("v1", "v1beta"):
            options = types.HttpOptions(base_url=at.running.url, api_version=version)
            async with genai.Client(api_key="key", http_options=options).aio as agent:
                with pytest.raises(errors.ClientError) as caught:
                    await agent.models.generate_content(model="gemini-2.5-flash", contents="hi")
            assert caught.value.code == 404 and "/other" in str(caught.value)
        assert not at.lab.attempts()


async def test_pydantic_ai_asks_gemini_through_a_generic_route(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        google = answering(at, 200, ANSWER)
        model = GoogleModel("gemini-2.5-flash", provider=GoogleProvider(client=google))
        result = await Agent(model).run("capital of France?")
        assert result.output == "Paris" and result.usage.output_tokens == 1
        await google.aio.aclose()


@pytest.mark.parametrize(
    ("status", "kind"), [(400, errors.ClientError), (429, errors.ClientError), (503, errors.ServerError)]
)
async def test_errors_raise_their_usual_exception(tmp_path: Path, status: int, kind: type[errors.APIError]) -> None:
    body = {"error": {"code": status, "message": "told", "status": "RESOURCE_EXHAUSTED"}}
    async with stage(tmp_path, QUICK_RETRIES) as at, answering(at, status, body).aio as agent:
        with pytest.raises(kind) as caught:
            await agent.models.generate_content(model="gemini-2.5-flash", contents="hi")
        assert (caught.value.code, caught.value.message) == (status, "told")
        assert len(at.lab.attempts()) == 1, "a POST without an idempotency key is never repeated"


async def test_a_broken_transfer_raises(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(f"{at.running.url}/other", {"x-lab-fault": "reset"}).aio as agent:
        with pytest.raises(errors.ServerError) as caught:
            await agent.models.generate_content(model="gemini-2.5-flash", contents="hi")
        assert caught.value.code == 502
        assert "CONNECTION_LOST" in str(caught.value)


@pytest.fixture(scope="module")
def replay_port() -> Iterator[int]:
    with replay() as port:
        yield port


def asked(recording: Recording, run: str) -> dict[str, str]:
    fields = {"x-replay-cassette": recording.cassette, "x-replay-host": HOST, "x-replay-run": run}
    return {**fields, "x-replay-skip": str(recording.nth)}


def model_of(recording: Recording) -> str:
    return recording.target.partition("/models/")[2].partition(":")[0]


async def chunks_of(agent: Any, recording: Recording) -> list[types.GenerateContentResponse]:
    stream = await agent.models.generate_content_stream(model=model_of(recording), contents="hi")
    return [chunk async for chunk in stream]


@pytest.mark.skipif(not WIRE.is_dir(), reason=ABSENT)
@pytest.mark.parametrize("number", range(len(STREAMS)))
async def test_recorded_streams_read_the_same_as_directly(number: int, replay_port: int, tmp_path: Path) -> None:
    recording = STREAMS[number]
    async with wired(replay_port, tmp_path, QUICK_RETRIES) as (running, between):
        run = f"run {next(RUNS)}"
        async with (
            client(f"http://127.0.0.1:{replay_port}", asked(recording, f"direct {run}")).aio as direct,
            client(f"{running.url}/at/{HOST}", asked(recording, run)).aio as agent,
        ):
            wanted, got = await chunks_of(direct, recording), await chunks_of(agent, recording)
        assert len(got) == len(wanted) > 0
        assert [c.candidates for c in got] == [c.candidates for c in wanted]
        assert [c.usage_metadata for c in got] == [c.usage_metadata for c in wanted]
        await until(lambda: running.calls)
        assert running.calls[0].fault == ""
        assert between.requests[run]


@pytest.mark.skipif(not WIRE.is_dir(), reason=ABSENT)
@pytest.mark.parametrize("number", range(len(STREAMS)))
async def test_a_recorded_stream_that_is_cut_raises(number: int, replay_port: int, tmp_path: Path) -> None:
    recording = STREAMS[number]
    async with wired(replay_port, tmp_path, QUICK_RETRIES) as (running, between):
        run = f"run {next(RUNS)}"
        between.breaks[run] = [Break(40, "close")]
        async with client(f"{running.url}/at/{HOST}", asked(recording, run)).aio as agent:
            with pytest.raises((httpx2.RemoteProtocolError, ClientPayloadError)):
                await chunks_of(agent, recording)
        assert len(between.requests[run]) == 1
