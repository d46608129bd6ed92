"""The google-genai package before providers of other dialects that fail: its usual exceptions, failover, and the names
of what cannot be carried."""

from pathlib import Path
from typing import Any

import pytest
from across_google import EACH, FLASH, HI, MODELS, STREAMED, finish_of, stage, text_of
from google.genai import errors, types
from harness import until
from peers import agent as raw_agent
from stage import ONE_TRY, QUICK_RETRIES

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
    async with stage(tmp_path, "OpenAI") as at, raw_agent(at.running) as http:
        at.lab.script([], then="gap-50ms+tokens-500")
        path = f"/gemini/v1beta/models/{FLASH}:streamGenerateContent?alt=sse"
        async with http.stream("POST", path, json={"contents": [{"parts": [{"text": HI}]}]}) as answer:
            await anext(answer.aiter_raw())
        await until(lambda: [attempt for attempt in at.lab.attempts() if attempt.gone])
        assert (await at.running.call()).fault == "AGENT_GONE"
