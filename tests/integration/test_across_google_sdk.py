"""The google-genai package before providers that speak OpenAI's, Anthropic's and Bedrock's dialects: answers plain,
streamed and by schema, tools over several turns and conversations, as its own API gives them."""

import json
from pathlib import Path
from typing import Any

import pytest
from across import OWN
from across_google import EACH, FLASH, HI, MODELS, STREAMED, calls_of, finish_of, parts_of, stage, text_of
from google.genai import Client, types
from peers import agent as raw_agent
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider

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
async def test_vertex_ais_paths_are_translated_alike(tmp_path: Path, provider: str) -> None:
    path = f"/gemini/v1/projects/p/locations/l/publishers/google/models/{FLASH}:generateContent"
    async with stage(tmp_path, provider) as at, raw_agent(at.running) as http:
        answer = await http.post(path, json={"contents": {"role": "user", "parts": {"text": HI}}, "labels": {"a": "b"}})
        assert (answer.status_code, answer.json()["modelVersion"]) == (200, MODELS[provider])


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
