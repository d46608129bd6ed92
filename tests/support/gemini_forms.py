"""Gemini's requests: read by the agents' side, and as pydantic-ai's own model of Gemini writes them again."""

import json
from typing import Any

import httpx2
from google.genai import Client
from google.genai.types import HttpOptions
from pydantic_ai import direct
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.profiles.google import GoogleModelProfile
from pydantic_ai.providers.google import GoogleProvider

from seawall.translate.gemini_generate import GeminiGenerate
from seawall.translate.types import Asked
from seawall.types import Facts

Json = dict[str, Any]

SIDE = GeminiGenerate()
MODEL = "gemini-2.5-flash"
ANSWER: Json = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "a"}]}, "finishReason": "STOP", "index": 0}]
}
HI: list[Json] = [{"role": "user", "parts": [{"text": "hi"}]}]


def facts(stream: bool = False, framing: str = "") -> Facts:
    return Facts("generate", MODEL, stream, framing=framing)


def read(body: Json, **told: Any) -> Asked:
    return SIDE.read(json.dumps(body).encode(), facts(**told), created=1, id_="01")


def asked(contents: Any = None, *, stream: bool = False, framing: str = "", **fields: Any) -> Asked:
    """A request of a single word where nothing else is given."""
    return read({"contents": HI if contents is None else contents, **fields}, stream=stream, framing=framing)


async def rendered(request: Asked) -> Json:
    """The body that pydantic-ai sends for it."""
    bodies: list[Json] = []

    def answer(sent: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(sent.content))
        return httpx2.Response(200, json=ANSWER)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        options = HttpOptions(base_url="http://upstream.test", httpx_async_client=http)
        profile = GoogleModelProfile(
            supports_tools=True, supports_json_schema_output=True, json_schema_transformer=None, supports_thinking=True
        )
        model = GoogleModel(
            request.model, provider=GoogleProvider(client=Client(api_key="-", http_options=options)), profile=profile
        )
        messages = model.prepare_messages(request.messages, request.parameters)
        await direct.model_request(
            model, messages, model_settings=request.settings, model_request_parameters=request.parameters
        )
    (body,) = bodies
    return body


def normal(body: Json) -> Json:
    """A request in the one form that both are compared in: what only differs in how it is written is gone."""
    found = {name: value for name, value in body.items() if name not in ("labels", "safetySettings", "model")}
    config = dict(found.pop("generationConfig", None) or {})
    config.pop("responseModalities", None)
    config.pop("thinkingConfig", None)
    found["generationConfig"] = {name: value for name, value in config.items() if value not in (None, [])}
    if "systemInstruction" in found:
        found["systemInstruction"] = [part["text"] for part in found["systemInstruction"]["parts"]]
    turns: list[Json] = []
    for turn in found["contents"]:
        parts = [part for one in turn["parts"] if (part := _part(one))]
        role = "model" if turn.get("role") == "model" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({"role": role, "parts": parts})
    found["contents"] = turns
    tools = [one for tool in found.pop("tools", None) or [] for one in tool["functionDeclarations"]]
    found["tools"] = [_function(one) for one in tools]
    calling = (found.pop("toolConfig", None) or {}).get("functionCallingConfig") or {}
    # Among all of the functions, or among each by its name, is the same; so is `VALIDATED` but for a promise.
    names = sorted(calling.get("allowedFunctionNames") or [one["name"] for one in tools])
    mode = calling.get("mode", "AUTO")
    found["calling"] = (mode, names) if mode == "ANY" else (mode.replace("VALIDATED", "AUTO"), [])
    return found


def _function(given: Json) -> Json:
    schema = given.get("parametersJsonSchema") or given.get("parameters_json_schema") or lowered(given["parameters"])
    schema = {name: value for name, value in schema.items() if value != {}}
    return {"name": given["name"], "description": given.get("description") or "", "schema": schema}


def lowered(schema: Any) -> Any:
    """A schema of the API's own kind with the types of the other one."""
    if isinstance(schema, list):
        return [lowered(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: value.lower() if name == "type" else lowered(value) for name, value in schema.items()}


def _part(given: Json) -> Json | None:
    part = {name: value for name, value in given.items() if name not in ("thoughtSignature", "partMetadata")}
    if part.get("text") == "":
        return None
    for name in ("functionCall", "functionResponse"):
        if name in part:
            inner = {key: value for key, value in part[name].items() if key != "id"}
            part[name] = {"args": {}, **inner} if name == "functionCall" else inner
    if "inlineData" in part:
        inner = _camel(part["inlineData"])
        part["inlineData"] = inner | {"data": inner["data"].translate(str.maketrans("-_", "+/"))}
    if "fileData" in part:
        part["fileData"] = _camel(part["fileData"])
    return part


def _camel(given: Json) -> Json:
    names = {"mime_type": "mimeType", "file_uri": "fileUri"}
    return {
        names.get(name, name): value for name, value in given.items() if name not in ("displayName", "display_name")
    }
