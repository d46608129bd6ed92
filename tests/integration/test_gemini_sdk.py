"""The google-genai package through a route of the Gemini dialect: answers as they come directly, failures made good
where that is possible, and its usual exceptions where it is not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types
from harness import lab, proxy, route, until, upstream
from pydantic_ai import Agent
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider
from recorded import ABSENT, WIRE, Recording
from replay_server import Break, replay
from stage import LENIENT, QUICK_RETRIES, stage
from wired import RECORDED, RUNS, wired

HOST = "generativelanguage.googleapis.com"
STREAMS = [r for r in RECORDED if r.host == HOST and r.stream]
FLASH = "gemini-2.5-flash"
HI = "capital of France?"
WEATHER = types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather")])
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def client(base_url: str, headers: dict[str, str] | None = None, version: str = "v1beta") -> genai.Client:
    options = types.HttpOptions(base_url=base_url, api_version=version, headers=headers)
    return genai.Client(api_key="agents-key", http_options=options)


async def streamed(agent: Any, model: str = FLASH, **config: Any) -> list[types.GenerateContentResponse]:
    settings = types.GenerateContentConfig(**config)
    stream = await agent.models.generate_content_stream(model=model, contents=HI, config=settings)
    return [chunk async for chunk in stream]


def said(chunks: list[types.GenerateContentResponse]) -> str:
    return "".join(chunk.text or "" for chunk in chunks)


async def test_plain_and_streamed_answers_come_with_model_and_usage(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.gemini).aio as agent:
        at.lab.script([], then="ok; text=Paris it is.")
        plain = await agent.models.generate_content(model=FLASH, contents=HI)
        chunks = await streamed(agent)
        assert plain.text == said(chunks) == "Paris it is."
        first, second = await at.running.call(1), await at.running.call(2)
        for call, stream in ((first, False), (second, True)):
            assert (call.dialect, call.operation, call.model, call.stream) == ("Gemini", "generate", FLASH, stream)
            assert call.outcome.value == "primary" and call.fault == ""
            assert call.usage is not None and call.usage.output == 3
        assert [seen.path for seen in at.lab.attempts()] == [
            f"/v1beta/models/{FLASH}:generateContent",
            f"/v1beta/models/{FLASH}:streamGenerateContent",
        ]
        assert all("x-goog-api-key" in seen.header_names for seen in at.lab.attempts())


async def test_thoughts_calls_and_schemas(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.gemini).aio as agent:
        chunks = await streamed(agent, thinking_config=types.ThinkingConfig(include_thoughts=True))
        assert chunks[0].candidates and chunks[0].candidates[0].content and chunks[0].candidates[0].content.parts
        assert chunks[0].candidates[0].content.parts[0].thought
        called = [call.name for chunk in await streamed(agent, tools=[WEATHER]) for call in chunk.function_calls or ()]
        assert called == ["get_weather"]
        config = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=CITY)
        plain = await agent.models.generate_content(model=FLASH, contents=HI, config=config)
        assert json.loads(plain.text or "").keys() == {"city"}


async def test_embeddings_and_counted_tokens(tmp_path: Path) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at, client(at.gemini).aio as agent:
        at.lab.script(["503", "ok", "503", "ok"])
        made = await agent.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
        assert made.embeddings is not None and len(made.embeddings) == 2
        counted = await agent.models.count_tokens(model=FLASH, contents=HI)
        assert counted.total_tokens == 4
        assert [(await at.running.call(n)).operation for n in (1, 2)] == ["embeddings", "count_tokens"]
        assert [(await at.running.call(n)).attempts for n in (1, 2)] == [2, 2]


async def test_pydantic_ai_runs_its_tools_through_failures(tmp_path: Path) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at:
        at.lab.script(["503", "ok", "reset-1", "ok"])
        google = client(at.gemini)
        agent = Agent(GoogleModel(FLASH, provider=GoogleProvider(client=google)))

        @agent.tool_plain
        def get_weather() -> str:
            return "fine"

        result = await agent.run("use get_weather")
        assert len(result.output.split()) == 12 and result.usage.requests == 2
        assert len(at.lab.attempts()) == 4
        await google.aio.aclose()


async def test_a_repeated_user_agent_is_carried(tmp_path: Path) -> None:
    """As google-genai sends it where its caller sets one as well, on httpx clients of many releases."""
    async with stage(tmp_path) as at, httpx2.AsyncClient() as agent:
        headers = [("User-Agent", "pydantic-ai/1"), ("user-agent", "google-genai-sdk/1 gl-python/3.11")]
        answer = await agent.post(f"{at.running.url}/other/inspect", json={}, headers=headers)
        assert answer.status_code == 200
        [seen] = at.lab.attempts()
        assert [name.lower() for name in seen.header_names].count("user-agent") == 2


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_a_bare_path_goes_to_geminis_route(tmp_path: Path, version: str) -> None:
    async with stage(tmp_path) as at, client(at.running.url, version=version).aio as agent:
        assert (await agent.models.generate_content(model=FLASH, contents=HI)).text
        [seen] = at.lab.attempts()
        assert (seen.upstream, seen.path) == ("gemini", f"/{version}/models/{FLASH}:generateContent")


async def test_without_a_route_of_gemini_its_keys_go_nowhere(tmp_path: Path) -> None:
    async with lab() as upstreams:
        policy = upstream("openai", f"{upstreams.url}/v1") + route("openai", "/openai/v1", "openai")
        async with proxy(policy, tmp_path) as running:
            for version in ("v1", "v1beta"):
                async with client(running.url, version=version).aio as agent:
                    with pytest.raises(errors.ClientError) as caught:
                        await agent.models.generate_content(model=FLASH, contents=HI)
                assert caught.value.code == 404 and "/openai/v1" in str(caught.value)
            async with httpx2.AsyncClient() as agent:
                listed = await agent.get(f"{running.url}/v1/models", headers={"x-goog-api-key": "agents-key"})
            assert listed.status_code == 404
            assert not upstreams.attempts()


@pytest.mark.parametrize("fault", ["503", "500", "reset", "error-body-overloaded", "429", "504", "truncated", "cut"])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_breaks_before_content_is_made_good(tmp_path: Path, fault: str, stream: bool) -> None:
    if stream and fault in ("cut", "truncated"):
        fault += "-0"
    if stream and fault.startswith("error"):
        fault = "error-0-overloaded"
    async with stage(tmp_path, QUICK_RETRIES) as at, client(at.gemini).aio as agent:
        at.lab.script([f"{fault}; retry-after-ms=1" if fault == "429" else fault])
        if stream:
            assert len(said(await streamed(agent)).split()) == 12
        else:
            answer = await agent.models.generate_content(model=FLASH, contents=HI)
            assert len((answer.text or "").split()) == 12
        assert (await at.running.call()).outcome.value == "retry"


async def test_another_upstream_takes_over_with_a_model_of_its_own(tmp_path: Path) -> None:
    async with lab() as upstreams:
        policy = "".join(upstream(n, f"{upstreams.url}/u/{n}", "Gemini", LENIENT) for n in ("east", "west"))
        policy += route("gemini", "/gemini", "east west", "retry: {attempts: 0}").replace(
            "name: west,", "name: west, model: gemini-2.5-pro,"
        )
        upstreams.script([], upstream="east", then="quota")
        async with proxy(policy, tmp_path) as running, client(f"{running.url}/gemini").aio as agent:
            answer = await agent.models.generate_content(model=FLASH, contents=HI)
            made = await agent.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
            assert answer.model_version == "gemini-2.5-pro"
            assert made.embeddings is not None and len(made.embeddings) == 2
            paths = [seen.path for seen in upstreams.attempts(upstream="west")]
            assert paths == [f"/v1beta/models/gemini-2.5-pro:{m}" for m in ("generateContent", "batchEmbedContents")]


@pytest.mark.parametrize(
    ("fault", "kind", "code", "status"),
    [("invalid", errors.ClientError, 400, "INVALID_ARGUMENT"), ("auth", errors.ClientError, 400, "INVALID_ARGUMENT"),
     ("quota", errors.ClientError, 429, "RESOURCE_EXHAUSTED"), ("overloaded", errors.ServerError, 503, "UNAVAILABLE"),
     ("timeout", errors.ServerError, 504, "DEADLINE_EXCEEDED")],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_of_the_provider_raise_their_usual_exception(
    tmp_path: Path, fault: str, kind: type[errors.APIError], code: int, status: str, stream: bool
) -> None:
    async with stage(tmp_path) as at, client(at.gemini).aio as agent:
        at.lab.script([], then=fault)
        with pytest.raises(kind) as caught:
            if stream:
                await streamed(agent)
            else:
                await agent.models.generate_content(model=FLASH, contents=HI)
        assert (caught.value.code, caught.value.status) == (code, status)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_blocked_prompt_is_told_and_not_asked_again(tmp_path: Path, stream: bool) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at, client(at.gemini).aio as agent:
        at.lab.script([], then="filter")
        chunks = await streamed(agent) if stream else [await agent.models.generate_content(model=FLASH, contents=HI)]
        assert chunks[0].prompt_feedback is not None
        assert chunks[0].prompt_feedback.block_reason is types.BlockedReason.PROHIBITED_CONTENT
        call = await at.running.call()
        assert (call.fault, call.attempts) == ("CONTENT_POLICY", 1)


async def test_errors_of_seawalls_own_raise_their_usual_exception(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, client(at.gemini).aio as agent:
        at.lab.script([], then="reset")
        with pytest.raises(errors.ServerError) as caught:
            await agent.models.generate_content(model=FLASH, contents=HI)
        assert caught.value.code == 502
        assert caught.value.details["seawall"]["code"] == "CONNECTION_LOST"


@pytest.mark.parametrize(
    ("fault", "told"),
    [("cut-3", {"TRUNCATED"}), ("reset-3", {"CONNECTION_LOST", "TRUNCATED"}), ("malformed-3", {"MALFORMED_EVENT"}),
     ("no-terminal", {"TRUNCATED"})],
)  # fmt: skip
async def test_a_stream_that_breaks_after_content_raises(tmp_path: Path, fault: str, told: set[str]) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at, client(at.gemini).aio as agent:
        at.lab.script([], then=f"{fault}+gap-5ms")
        seen = []
        with pytest.raises(errors.ServerError) as caught:
            stream = await agent.models.generate_content_stream(model=FLASH, contents=HI)
            async for chunk in stream:
                seen.append(chunk)
        assert len(seen) >= 3
        assert caught.value.code == 502 and caught.value.details["seawall"]["code"] in told
        assert len(at.lab.attempts()) == 1


async def test_a_policys_own_words_are_taken_for_an_answer(tmp_path: Path) -> None:
    rule = "retry: {attempts: 0}\nfallback: [{type: StaticResponse, status: 200, text: '{model} is away'}]"
    async with stage(tmp_path, rule) as at, client(at.gemini).aio as agent, httpx2.AsyncClient() as other:
        at.lab.script([], then="503")
        plain = await agent.models.generate_content(model=FLASH, contents=HI)
        assert plain.text == said(await streamed(agent)) == f"{FLASH} is away"
        listed = (await other.post(f"{at.gemini}{ARRAY}", json=ASKED)).json()
        assert listed[0]["candidates"][0]["content"]["parts"][0]["text"] == f"{FLASH} is away"
        with pytest.raises(errors.ServerError):
            await agent.models.embed_content(model="gemini-embedding-001", contents="a")


async def test_a_stream_is_held_whole_where_the_policy_says_so(tmp_path: Path) -> None:
    rule = f"{QUICK_RETRIES}\nstreaming: {{commit: Complete}}"
    async with stage(tmp_path, rule) as at, client(at.gemini).aio as agent, httpx2.AsyncClient() as other:
        at.lab.script(["cut-5", "ok", "unclean-13", "ok"])
        assert len(said(await streamed(agent)).split()) == 12
        assert len((await other.post(f"{at.gemini}{ARRAY}", json=ASKED)).json()) == 13
        assert len(at.lab.attempts()) == 4


async def test_the_first_to_say_something_wins_a_race(tmp_path: Path) -> None:
    async with lab() as upstreams:
        policy = "".join(upstream(n, f"{upstreams.url}/u/{n}", "Gemini", LENIENT) for n in ("east", "west"))
        policy += route("gemini", "/gemini", "east|west", "hedging: {maxAttempts: 2, hedgingDelay: 0s}")
        upstreams.script([], upstream="east", then="first-byte-5s")
        async with proxy(policy, tmp_path) as running, client(f"{running.url}/gemini").aio as agent:
            assert len(said(await streamed(agent)).split()) == 12
            async with httpx2.AsyncClient() as other:
                assert len((await other.post(f"{running.url}/gemini{ARRAY}", json=ASKED)).json()) == 13
            assert {(await running.call(n)).upstream for n in (1, 2)} == {"west"}


async def test_what_runs_at_the_provider_is_never_asked_twice(tmp_path: Path) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at, client(at.gemini).aio as agent:
        at.lab.script([], then="503")
        config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
        with pytest.raises(errors.ServerError):
            await agent.models.generate_content(model=FLASH, contents=HI, config=config)
        assert len(at.lab.attempts()) == 1


# -- a stream as one array ---------------------------------------------------------------------------------------------

ARRAY = f"/v1beta/models/{FLASH}:streamGenerateContent"
ASKED = {"contents": [{"role": "user", "parts": [{"text": HI}]}]}


async def test_an_array_comes_piecewise_and_byte_for_byte(tmp_path: Path) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at, httpx2.AsyncClient() as agent:
        at.lab.script([], then="tokens-12+gap-2ms")
        direct = await agent.post(f"{at.lab.url}/u/gemini{ARRAY}", json=ASKED)
        at.lab.script(["503"], then="tokens-12+gap-2ms")
        pieces = []
        async with agent.stream("POST", f"{at.gemini}{ARRAY}", json=ASKED) as answer:
            pieces = [piece async for piece in answer.aiter_raw()]
        body = b"".join(pieces)
        assert [len(chunk["candidates"]) for chunk in json.loads(body)] == [1] * 13
        ids = [json.loads(one)[0]["responseId"] for one in (direct.content, body)]
        assert body.replace(ids[1].encode(), ids[0].encode()) == direct.content
        assert len(pieces) > 6
        call = await at.running.call()
        assert (call.stream, call.outcome.value, call.fault, call.model) == (True, "retry", "", FLASH)


@pytest.mark.parametrize(
    "fault", ["cut-3", "unclean-3", "reset-3", "malformed-3", "no-terminal", "cut-13", "drip-50-1ms+cut-4"]
)
async def test_an_array_that_breaks_ends_with_an_error_and_unclean(tmp_path: Path, fault: str) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at, httpx2.AsyncClient() as agent:
        at.lab.script([], then=f"{fault}+gap-5ms")
        body = b""
        with pytest.raises(httpx2.RemoteProtocolError):
            async with agent.stream("POST", f"{at.gemini}{ARRAY}", json=ASKED) as answer:
                async for piece in answer.aiter_raw():
                    body += piece
        with pytest.raises(ValueError, match="delimiter"):
            json.loads(body)
        chunks = json.loads(body + b"]")
        assert all("candidates" in chunk for chunk in chunks[:-1]) and len(chunks) >= 4
        assert chunks[-1]["seawall"]["code"] in {"TRUNCATED", "CONNECTION_LOST"}
        assert chunks[-1]["error"]["status"] == "UNAVAILABLE"


async def test_an_array_with_an_error_in_it_is_tried_again(tmp_path: Path) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at, httpx2.AsyncClient() as agent:
        at.lab.script(["error-0-server", "500"])
        answer = await agent.post(f"{at.gemini}{ARRAY}", json=ASKED)
        assert len(answer.json()) == 13 and len(at.lab.attempts()) == 3


# -- keys --------------------------------------------------------------------------------------------------------------


async def test_a_key_in_the_query_reaches_its_upstream_and_nobody_else(tmp_path: Path) -> None:
    async with stage(tmp_path) as at, httpx2.AsyncClient() as agent:
        at.lab.script(["ok", "503", "reset"])
        for _ in range(3):
            answer = await agent.post(f"{at.gemini}{ARRAY}?alt=sse&key=of-the-agent", json=ASKED)
            assert "of-the-agent" not in answer.text + repr(answer.headers)
        await agent.get(f"{at.running.url}/v1beta/nothing/here?key=of-the-agent")
        await at.running.call(4)
        page = await agent.get(f"{at.running.admin_url}/metrics")
        calls = await agent.get(f"{at.running.admin_url}/calls")
        told = repr(at.running.events) + page.text + calls.text
        assert "streamGenerateContent" in told and "of-the-agent" not in told


# -- recorded ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replay_port() -> Iterator[int]:
    with replay() as port:
        yield port


def asked(recording: Recording, run: str) -> dict[str, str]:
    fields = {"x-replay-cassette": recording.cassette, "x-replay-host": HOST, "x-replay-run": run}
    return {**fields, "x-replay-skip": str(recording.nth)}


def model_of(recording: Recording) -> str:
    return recording.target.partition("/models/")[2].partition(":")[0]


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
            wanted = await streamed(direct, model_of(recording))
            got = await streamed(agent, model_of(recording))
        assert len(got) == len(wanted) > 0
        assert [c.candidates for c in got] == [c.candidates for c in wanted]
        assert [c.usage_metadata for c in got] == [c.usage_metadata for c in wanted]
        await until(lambda: running.calls)
        assert running.calls[0].fault == "" and running.calls[0].usage is not None
        assert between.requests[run]


@pytest.mark.skipif(not WIRE.is_dir(), reason=ABSENT)
@pytest.mark.parametrize("number", range(len(STREAMS)))
async def test_a_recorded_stream_that_is_cut_every_time_raises(number: int, replay_port: int, tmp_path: Path) -> None:
    recording = STREAMS[number]
    async with wired(replay_port, tmp_path, QUICK_RETRIES) as (running, between):
        run = f"run {next(RUNS)}"
        between.breaks[run] = [Break(40, "close")] * 3
        async with client(f"{running.url}/at/{HOST}", asked(recording, run)).aio as agent:
            with pytest.raises(errors.ServerError) as caught:
                await streamed(agent, model_of(recording))
        assert caught.value.details["seawall"]["code"] in ("CONNECTION_LOST", "TRUNCATED")
        assert len(between.requests[run]) == 3
