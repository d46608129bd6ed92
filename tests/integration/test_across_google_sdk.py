"""The google-genai package before providers that speak OpenAI's, Anthropic's and Bedrock's dialects: answers plain,
streamed and by schema, tools over several turns, conversations, errors and failover, as its own API gives them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from across import OWN, key_file
from aws import access_keys
from google.genai import Client, errors, types
from google.genai.client import AsyncClient
from harness import Running, lab, proxy, route, until, upstream
from peers import agent as raw_agent
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider
from stage import LENIENT, ONE_TRY, QUICK_RETRIES

from seawall.lab import Lab

MODELS = {
    "OpenAI": "gpt-5-mini",
    "Anthropic": "claude-haiku-4-5",
    "Bedrock": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
}
EACH = pytest.mark.parametrize("provider", list(MODELS))
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
FLASH = "gemini-2.5-flash"
HI = "How is the sea?"
AT = types.Schema(type=types.Type.OBJECT, properties={"at": types.Schema(type=types.Type.STRING)}, required=["at"])
LOOK = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(name="look", description="looks", parameters=AT),
        types.FunctionDeclaration(name="hear", parameters_json_schema={"type": "object", "properties": {}}),
    ]
)


class City(BaseModel):
    name: str
    inhabitants: int


@dataclass(frozen=True)
class Stage:
    lab: Lab
    running: Running
    agent: AsyncClient

    async def ask(self, contents: Any = HI, *, stream: bool = False, model: str = FLASH, **config: Any) -> Any:
        """The answer; of a stream all its pieces joined into one."""
        settings = types.GenerateContentConfig(**config)
        if not stream:
            return await self.agent.models.generate_content(model=model, contents=contents, config=settings)
        pieces = [
            piece
            async for piece in await self.agent.models.generate_content_stream(
                model=model, contents=contents, config=settings
            )
        ]
        return joined(pieces)


def joined(pieces: list[types.GenerateContentResponse]) -> types.GenerateContentResponse:
    """As an agent puts a stream together: every part, and the last piece's end and usage."""
    last = pieces[-1]
    parts = [part for piece in pieces for part in parts_of(piece) if part.text != ""]
    assert last.candidates and last.candidates[0].content
    assert {piece.response_id for piece in pieces} == {last.response_id}
    last.candidates[0].content.parts = parts
    return last


def parts_of(answer: types.GenerateContentResponse) -> list[types.Part]:
    assert answer.candidates and answer.candidates[0].content
    return answer.candidates[0].content.parts or []


def text_of(answer: types.GenerateContentResponse) -> str:
    return "".join(part.text or "" for part in parts_of(answer) if not part.thought)


def calls_of(answer: types.GenerateContentResponse) -> list[types.FunctionCall]:
    return [part.function_call for part in parts_of(answer) if part.function_call]


def finish_of(answer: types.GenerateContentResponse) -> str:
    assert answer.candidates
    return str(answer.candidates[0].finish_reason.value if answer.candidates[0].finish_reason else "")


@asynccontextmanager
async def stage(
    folder: Path, backends: str, rule: str = ONE_TRY, own: str = "", extra: str = LENIENT
) -> AsyncIterator[Stage]:
    """backends: of one rule for agents of Gemini's dialect; `own` is what an upstream of theirs meets."""
    key = f"auth: {{type: APIKey, keyFile: {key_file(folder)}}}\n"
    aws = f"auth: {{type: AWSSigV4, region: us-east-1, credentialsFile: {access_keys(folder)}}}\n"
    async with lab(seed=3) as upstreams:
        url = upstreams.url
        policy = (
            upstream("openai", f"{url}/u/OpenAI/v1", "OpenAI", key + extra_of(extra))
            + upstream("anthropic", f"{url}/u/Anthropic", "Anthropic", key + extra_of(extra))
            + upstream("bedrock", f"{url}/u/Bedrock", "Bedrock", aws + extra_of(extra))
            + upstream("gemini", f"{url}/u/Gemini", "Gemini", extra_of(extra))
            + route("models", "/gemini", backends.lower(), f"dialect: Gemini\n{rule}")
        )
        for name, model in MODELS.items():
            policy = policy.replace(
                f"{{name: {name.lower()}, priority", f"{{name: {name.lower()}, model: '{model}', priority"
            )
        upstreams.script([], upstream="Gemini", then=own or "ok")
        async with proxy(policy, folder) as running:
            http = types.HttpOptions(base_url=f"{running.url}/gemini", async_client_args={"verify": False})
            async with Client(api_key=OWN, http_options=http).aio as agent:
                yield Stage(upstreams, running, agent)


def extra_of(extra: str) -> str:
    return "\n".join(line.strip() for line in extra.splitlines()) + "\n"


@EACH
@STREAMED
async def test_an_answer_has_text_end_usage_and_model(tmp_path: Path, provider: str, stream: bool) -> None:
    async with stage(tmp_path, provider) as at:
        at.lab.script([], then="ok; text=The sea is blue.")
        answer = await at.ask(stream=stream, system_instruction="Be brief.", max_output_tokens=2000)
        assert (text_of(answer), finish_of(answer)) == ("The sea is blue.", "STOP")
        # Bedrock does not say which model it is.
        assert answer.model_version == MODELS[provider] and answer.response_id
        call = await at.running.call()
        assert (call.outcome.value, call.fault, call.operation, call.stream) == ("primary", "", "generate", stream)
        usage = answer.usage_metadata
        assert usage and call.usage
        thoughts = usage.thoughts_token_count or 0
        assert (usage.prompt_token_count, usage.candidates_token_count + thoughts) == (
            call.usage.input,
            call.usage.output,
        )
        assert usage.total_token_count == call.usage.input + call.usage.output > 0
        [attempt] = at.lab.attempts()
        assert (attempt.upstream, attempt.healthy) == (provider, True)


@EACH
@STREAMED
async def test_functions_are_called_and_their_results_taken(tmp_path: Path, provider: str, stream: bool) -> None:
    async with stage(tmp_path, provider) as at:
        at.lab.script([], then='tool-look,look+rounds-1; args={"at": "sea"}')
        asked = types.Content(role="user", parts=[types.Part(text=HI)])
        first = await at.ask([asked], stream=stream, tools=[LOOK])
        calls = calls_of(first)
        assert [(call.name, call.args) for call in calls] == [("look", {"at": "sea"})] * 2
        assert len({call.id for call in calls}) == 2 and finish_of(first) == "STOP"
        # Back at Gemini 3, the first of a turn's calls needs a signature, and others' models have none.
        signed = [part.thought_signature for part in parts_of(first) if part.function_call]
        assert signed == [b"skip_thought_signature_validator", None]
        results = [
            types.Part(
                function_response=types.FunctionResponse(id=call.id, name=call.name, response={"result": "blue"})
            )
            for call in calls
        ]
        said = types.Content(role="model", parts=parts_of(first))
        last = await at.ask([asked, said, types.Content(role="user", parts=results)], stream=stream, tools=[LOOK])
        assert text_of(last) and not calls_of(last)
        assert {attempt.healthy for attempt in at.lab.attempts()} == {True}


@EACH
async def test_results_without_ids_belong_to_the_calls_of_their_names(tmp_path: Path, provider: str) -> None:
    """So agents of the older API write their conversations."""
    call = types.Part(function_call=types.FunctionCall(name="look", args={"at": "sea"}))
    heard = types.Part(function_call=types.FunctionCall(name="hear", args={}))
    results = [
        types.Part(function_response=types.FunctionResponse(name=name, response={"result": name}))
        for name in ("hear", "look", "look")
    ]
    contents = [
        types.Content(role="user", parts=[types.Part(text=HI)]),
        types.Content(role="model", parts=[call, heard, call]),
        *(types.Content(role="user", parts=[result]) for result in results),
    ]
    async with stage(tmp_path, provider) as at:
        assert text_of(await at.ask(contents, tools=[LOOK]))
        assert [attempt.healthy for attempt in at.lab.attempts()] == [True]


@EACH
async def test_a_chat_with_automatic_function_calling(tmp_path: Path, provider: str) -> None:
    seen: list[str] = []

    async def look(at: str) -> str:
        """Looks at something."""
        seen.append(at)
        return "blue"

    async with stage(tmp_path, provider) as at:
        at.lab.script([], then='tool-look+rounds-1; args={"at": "sea"}')
        chat = at.agent.chats.create(model=FLASH, config=types.GenerateContentConfig(tools=[look]))
        answer = await chat.send_message(HI)
        assert answer.text and seen == ["sea"]
        at.lab.script([], then="ok; text=And so on.")
        pieces = [piece async for piece in await chat.send_message_stream("and now?")]
        assert "".join(piece.text or "" for piece in pieces) == "And so on."
        # The client keeps what it takes for valid only.
        assert chat.get_history(curated=True) == chat.get_history()
        assert {attempt.healthy for attempt in at.lab.attempts()} == {True}


@EACH
@STREAMED
async def test_an_answer_by_schema(tmp_path: Path, provider: str, stream: bool) -> None:
    async with stage(tmp_path, provider) as at:
        asked: Any = {"response_mime_type": "application/json", "stream": stream}
        plain = await at.ask(response_schema=City, **asked)
        assert City.model_validate_json(text_of(plain))
        if not stream:
            assert isinstance(plain.parsed, City)
        schema = {**City.model_json_schema(), "additionalProperties": False}
        assert City.model_validate_json(text_of(await at.ask(response_json_schema=schema, **asked)))
        assert {attempt.healthy for attempt in at.lab.attempts()} == {True}


@EACH
async def test_a_pydantic_ai_agent_runs_its_tools_and_answers_in_its_type(tmp_path: Path, provider: str) -> None:
    async with stage(tmp_path, provider) as at:
        http = types.HttpOptions(base_url=f"{at.running.url}/gemini", async_client_args={"verify": False})
        model = GoogleModel(FLASH, provider=GoogleProvider(client=Client(api_key=OWN, http_options=http)))
        at.lab.script([], then="tool-get_weather+rounds-1")
        teller = Agent(model, system_prompt="Be brief.")

        @teller.tool_plain
        async def get_weather(city: str) -> str:
            """The weather in a city."""
            return f"18 degrees in {city}"

        assert (await teller.run(HI)).output
        async with teller.run_stream(HI) as run:
            assert "".join([piece async for piece in run.stream_text(delta=True)])
        at.lab.script([], then='tool-final_result; args={"name": "Rome", "inhabitants": 3}')
        typed = Agent(model, output_type=City)
        assert (await typed.run("Rome?")).output == City(name="Rome", inhabitants=3)
        assert {attempt.healthy for attempt in at.lab.attempts()} == {True}


@EACH
async def test_a_stream_as_one_array(tmp_path: Path, provider: str) -> None:
    body = {"contents": [{"parts": [{"text": HI}]}]}
    path = f"/gemini/v1beta/models/{FLASH}:streamGenerateContent"
    async with stage(tmp_path, provider) as at, raw_agent(at.running) as http:
        answer = await http.post(path, json=body)
        assert answer.headers["content-type"].startswith("application/json")
        elements = answer.json()
        assert elements[-1]["candidates"][0]["finishReason"] == "STOP" and len(elements) > 2
        events = (await http.post(f"{path}?alt=sse", json=body)).text
        assert [json.loads(event[6:]) for event in events.strip().split("\r\n\r\n")][-1]["usageMetadata"] == (
            elements[-1]["usageMetadata"]
        )
        at.lab.script(["cut-4", "invalid"])
        with pytest.raises(Exception, match="incomplete chunked read"):
            await http.post(path, json=body)
        refused = await http.post(path, json=body)
        assert refused.status_code == 400 and refused.json()[0]["error"]["status"] == "INVALID_ARGUMENT"


FAULTS: list[tuple[str, int, str]] = [
    ("invalid", 400, "INVALID_ARGUMENT"),
    ("auth", 401, "UNAUTHENTICATED"),
    ("404", 404, "NOT_FOUND"),
    ("429-retry-after-3", 429, "RESOURCE_EXHAUSTED"),
    ("500", 500, "INTERNAL"),
]


@EACH
@STREAMED
@pytest.mark.parametrize(("fault", "status", "name"), FAULTS)
async def test_errors_raise_the_clients_usual_exception(
    tmp_path: Path, provider: str, stream: bool, fault: str, status: int, name: str
) -> None:
    async with stage(tmp_path, provider) as at:
        at.lab.script([], then=fault)
        with pytest.raises(errors.APIError) as caught:
            await at.ask(stream=stream)
        told: Any = caught.value.details
        # A key that is wrong at Bedrock is one that may not do this.
        assert caught.value.code == status or (provider, fault) == ("Bedrock", "auth")
        assert told["error"]["message"] and told["seawall"]["upstream"] == provider.lower()
        if (provider, fault) != ("Bedrock", "auth"):
            assert told["error"]["status"] == name
        if "retry-after" in fault:
            assert caught.value.response.headers["retry-after"] == "3"


@EACH
@pytest.mark.parametrize("fault", ["cut-4", "unclean-4", "error-4-overloaded", "stall-4"])
async def test_a_stream_that_breaks_after_content_raises(tmp_path: Path, provider: str, fault: str) -> None:
    async with stage(tmp_path, provider, f"{ONE_TRY}\ntimeouts: {{streamIdle: 300ms}}") as at:
        at.lab.script([], then=f"{fault}+gap-5ms")
        seen = []
        with pytest.raises(errors.APIError):
            async for piece in await at.agent.models.generate_content_stream(model=FLASH, contents=HI):
                seen.append(piece.text)
        assert "".join(text or "" for text in seen)
        assert len(at.lab.attempts()) == 1


@EACH
@STREAMED
@pytest.mark.parametrize("fault", ["503", "reset", "cut-0", "error-body-overloaded", "quota"])
async def test_what_breaks_at_gemini_is_made_good_elsewhere(
    tmp_path: Path, provider: str, stream: bool, fault: str
) -> None:
    async with stage(tmp_path, f"gemini {provider}", ONE_TRY, own=fault) as at:
        answer = await at.ask(stream=stream)
        assert text_of(answer) and finish_of(answer) == "STOP"
        call = await at.running.call()
        assert (call.outcome.value, call.upstream, call.model) == ("failover", provider.lower(), MODELS[provider])


@EACH
@STREAMED
@pytest.mark.parametrize("fault", ["500", "reset", "cut-0", "error-0-overloaded", "malformed-0"])
async def test_what_breaks_there_before_content_is_made_good_there(
    tmp_path: Path, provider: str, stream: bool, fault: str
) -> None:
    async with stage(tmp_path, provider, QUICK_RETRIES) as at:
        at.lab.script([fault])
        assert text_of(await at.ask(stream=stream))
        assert len(at.lab.attempts()) == 2


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"candidate_count": 2}, "generationConfig.candidateCount"),
    ({"response_logprobs": True}, "generationConfig.responseLogprobs"),
    ({"tools": [types.Tool(google_search=types.GoogleSearch())]}, "tools[0].googleSearch"),
    ({"response_modalities": ["AUDIO"]}, "generationConfig.responseModalities"),
    ({"response_mime_type": "application/json", "response_schema": list[str]}, "generationConfig.responseSchema"),
    (
        {"safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]},
        "safetySettings[0].threshold",
    ),
]


@pytest.mark.parametrize(("config", "field"), UNFIT)
async def test_what_cannot_be_carried_is_named_and_answered_by_gemini_alone(
    tmp_path: Path, config: dict[str, Any], field: str
) -> None:
    async with stage(tmp_path, "OpenAI") as at:
        with pytest.raises(errors.ServerError, match="UNAVAILABLE") as caught:
            await at.ask(**config)
        assert f"openai: {field}: " in str(caught.value)
        assert at.lab.attempts() == []
    async with stage(tmp_path, "OpenAI gemini") as at:
        await at.ask(**config)
        call = await at.running.call()
        assert call.upstream == "gemini" and [why for why in call.skipped if why.startswith(f"openai: {field}: ")]


async def test_tokens_are_counted_by_gemini_alone(tmp_path: Path) -> None:
    async with stage(tmp_path, "OpenAI") as at:
        with pytest.raises(errors.ServerError, match="count_tokens is not translated to OpenAI"):
            await at.agent.models.count_tokens(model=FLASH, contents=HI)


async def test_a_stream_left_by_its_agent_stops_the_provider(tmp_path: Path) -> None:
    async with stage(tmp_path, "OpenAI") as at:
        at.lab.script([], then="gap-50ms+tokens-500")
        stream = await at.agent.models.generate_content_stream(model=FLASH, contents=HI)
        await anext(stream)
        await at.agent.aclose()
        await until(lambda: [attempt for attempt in at.lab.attempts() if attempt.gone])
        assert (await at.running.call()).fault == "AGENT_GONE"
