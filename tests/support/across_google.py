"""Google's SDK before one upstream of each other dialect that is translated to, maybe behind one of Gemini's own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from across import google, key_file
from aws import access_keys
from google.genai import types
from google.genai.client import AsyncClient
from harness import Running, lab, proxy, route, upstream
from stage import LENIENT, ONE_TRY

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
async def stage(folder: Path, backends: str, rule: str = ONE_TRY, own: str = "") -> AsyncIterator[Stage]:
    """backends: of one rule for agents of Gemini's dialect; `own` is what an upstream of theirs meets."""
    key = f"auth: {{type: APIKey, keyFile: {key_file(folder)}}}\n"
    aws = f"auth: {{type: AWSSigV4, region: us-east-1, credentialsFile: {access_keys(folder)}}}\n"
    async with lab(seed=3) as upstreams:
        url = upstreams.url
        policy = (
            upstream("openai", f"{url}/u/OpenAI/v1", "OpenAI", key + dedent(LENIENT))
            + upstream("anthropic", f"{url}/u/Anthropic", "Anthropic", key + dedent(LENIENT))
            + upstream("bedrock", f"{url}/u/Bedrock", "Bedrock", aws + dedent(LENIENT))
            + upstream("gemini", f"{url}/u/Gemini", "Gemini", dedent(LENIENT))
            + route("models", "/gemini", backends.lower(), f"dialect: Gemini\n{rule}")
        )
        for name, model in MODELS.items():
            policy = policy.replace(
                f"{{name: {name.lower()}, priority", f"{{name: {name.lower()}, model: '{model}', priority"
            )
        upstreams.script([], upstream="Gemini", then=own or "ok")
        async with proxy(policy, folder) as running, google(f"{running.url}/gemini") as agent:
            yield Stage(upstreams, running, agent)
