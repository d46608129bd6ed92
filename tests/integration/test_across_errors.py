"""A provider's errors reach agents of the other dialect as their SDK's usual exception, with its status, its own words
and a wait that the SDK understands."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from across import across, anthropic_agent, only, openai_agent, routes, upstreams
from harness import Running, proxy
from peers import agent, always, answer, serving
from stage import ONE_TRY, QUICK_RETRIES

ASK: list[Any] = [{"role": "user", "content": "hi"}]
OPERATIONS = pytest.mark.parametrize("operation", ["chat", "responses", "messages"])
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
WORDS = "words-of-the-provider"

# What the lab's providers say.
OVERLOADED = ("Overloaded", "The engine is currently overloaded, please try again later.")
BROKEN = ("Internal server error", "The server had an error while processing your request.")

# By the status that a provider answers with: what the two SDKs raise.
RAISED: dict[int, tuple[type[Exception], type[Exception]]] = {
    400: (openai.BadRequestError, anthropic.BadRequestError),
    401: (openai.AuthenticationError, anthropic.AuthenticationError),
    403: (openai.PermissionDeniedError, anthropic.PermissionDeniedError),
    404: (openai.NotFoundError, anthropic.NotFoundError),
    408: (openai.APIStatusError, anthropic.APIStatusError),
    409: (openai.ConflictError, anthropic.ConflictError),
    413: (openai.APIStatusError, anthropic.APIStatusError),
    422: (openai.UnprocessableEntityError, anthropic.UnprocessableEntityError),
    429: (openai.RateLimitError, anthropic.RateLimitError),
    500: (openai.InternalServerError, anthropic.InternalServerError),
    503: (openai.InternalServerError, anthropic.InternalServerError),
    529: (openai.InternalServerError, anthropic.InternalServerError),
}


async def ask(at: Any, operation: str, stream: bool, model: str = "m", **options: Any) -> Any:
    """One call by the SDK, read to its end. at: an `Across`, or what has its URLs."""
    if operation == "messages":
        async with anthropic_agent(at, **options) as claude:
            got: Any = await claude.messages.create(model=model, max_tokens=9, messages=ASK, stream=stream)
            return [event async for event in got] if stream else got
    async with openai_agent(at, **options) as gpt:
        if operation == "responses":
            got = await gpt.responses.create(model=model, input="hi", store=False, stream=stream)
        else:
            got = await gpt.chat.completions.create(model=model, messages=ASK, stream=stream)
        return [event async for event in got] if stream else got


def of_sdk(operation: str, pair: tuple[type[Exception], type[Exception]]) -> type[Exception]:
    return pair[1] if operation == "messages" else pair[0]


def body_of(error: Any) -> dict[str, Any]:
    """The error object as the dialect has it, whichever part of it the SDK keeps."""
    found: dict[str, Any] = error.body
    inner: dict[str, Any] = found.get("error", found)
    return {**inner, "seawall": found["seawall"]}


@OPERATIONS
@STREAMED
async def test_an_error_has_its_class_its_status_and_the_providers_words(
    tmp_path: Path, operation: str, stream: bool
) -> None:
    async with across(tmp_path) as at:
        for status, pair in RAISED.items():
            with pytest.raises(of_sdk(operation, pair)) as caught:
                await ask(at, operation, stream, f"lab-{status}; message={WORDS}")
            error: Any = caught.value
            assert error.status_code == status
            told = body_of(error)
            assert told["message"] == WORDS and WORDS in str(error)
            assert told["seawall"]["upstream"] == ("o" if operation == "messages" else "a")
            assert told["seawall"]["attempts"] == 1
            assert "x-should-retry" not in error.response.headers
        assert {call.status for call in at.running.calls} == set(RAISED)
        # Words may quote what was asked: they are the agent's alone.
        assert WORDS not in repr(at.running.events).replace(f"message={WORDS}", "")


@OPERATIONS
async def test_context_and_filter_and_quota_are_told_in_the_dialects_own_names(tmp_path: Path, operation: str) -> None:
    known = {
        "context": ("CONTEXT_LENGTH", "context_length_exceeded"),
        "filter": ("CONTENT_POLICY", "content_policy_violation"),
        "quota": ("QUOTA_EXHAUSTED", "insufficient_quota"),
    }
    async with across(tmp_path) as at:
        for fault, (code, theirs) in known.items():
            with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
                await ask(at, operation, False, f"lab-{fault}")
            told = body_of(caught.value)
            assert told["seawall"]["code"] == code
            assert operation == "messages" or told["code"] == theirs


@OPERATIONS
@STREAMED
@pytest.mark.parametrize(
    ("advice", "seconds"),
    [
        ("retry-after: 7", 7),
        ("retry-after-ms: 1500", 2),
        ("x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 4s", 4),
        ("anthropic-ratelimit-input-tokens-remaining: 0\r\nanthropic-ratelimit-input-tokens-reset: LATER", 30),
        ("retry-after: soon", None),
        ("", None),
    ],
)
async def test_a_wait_that_the_provider_asks_for_is_said_as_every_sdk_reads_it(
    tmp_path: Path, operation: str, stream: bool, advice: str, seconds: int | None
) -> None:
    later = (datetime.now(UTC) + timedelta(seconds=30)).isoformat(timespec="seconds")
    lines = f"{advice.replace('LATER', later)}\r\n" if advice else ""
    limited = answer(json.dumps({"error": {"message": WORDS}}).encode(), status=429, extra=lines)
    async with (
        serving(always(limited)) as port,
        proxy(upstreams(tmp_path, f"http://127.0.0.1:{port}") + routes(only, ONE_TRY), tmp_path) as running,
    ):
        with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)) as caught:
            await ask(_Urls(running), operation, stream)
        error: Any = caught.value
        found = error.response.headers.get("retry-after")
        assert (
            found == advice.partition(": ")[2] if seconds is None and advice else (found is None) is (seconds is None)
        )
        if seconds is not None:
            assert seconds - 2 <= int(found or 0) <= seconds


class _Urls:
    def __init__(self, running: Running) -> None:
        self.openai, self.anthropic = f"{running.url}/openai/v1", f"{running.url}/anthropic"


ERROR_EVENTS = {"error-prelude-overloaded": 0, "error-4-overloaded": 1, "failed-4-server": 1}


@OPERATIONS
@pytest.mark.parametrize("fault", ERROR_EVENTS)
async def test_an_error_event_raises_with_the_providers_words(tmp_path: Path, operation: str, fault: str) -> None:
    async with across(tmp_path) as at:
        with pytest.raises((openai.APIError, anthropic.APIStatusError)) as caught:
            await ask(at, operation, True, f"lab-{fault}")
        told = body_of(caught.value)
        assert told["message"] in (BROKEN if "failed" in fault else OVERLOADED)
        assert told["seawall"]["code"] == ("SERVER_ERROR" if "failed" in fault else "OVERLOADED")
        call = await at.running.call()
        assert (call.fault, call.status, call.outcome.value) == (told["seawall"]["code"], 200, "error")


@OPERATIONS
async def test_an_error_event_in_a_stream_that_is_held_has_a_status(tmp_path: Path, operation: str) -> None:
    """Nothing is committed yet, so that its agent can be told of more than a stream that ends."""
    async with across(tmp_path, rule=f"{QUICK_RETRIES}\nstreaming: {{commit: Complete}}\n") as at:
        with pytest.raises(of_sdk(operation, RAISED[500])) as caught:
            await ask(at, operation, True, "lab-error-4-server")
        error: Any = caught.value
        assert body_of(error)["message"] in BROKEN
        assert (error.status_code, error.response.headers["x-should-retry"]) == (502, "false")
        assert len(at.lab.attempts()) == 3


@OPERATIONS
@STREAMED
async def test_an_error_as_the_body_of_a_200_raises_with_the_providers_words(
    tmp_path: Path, operation: str, stream: bool
) -> None:
    async with across(tmp_path) as at:
        with pytest.raises(of_sdk(operation, RAISED[503])) as caught:
            await ask(at, operation, stream, "lab-error-body-overloaded")
        assert body_of(caught.value)["message"] in OVERLOADED


@OPERATIONS
@pytest.mark.parametrize(
    ("page", "words"),
    [
        (b"<html><body>502 Bad Gateway</body></html>", "SERVER_ERROR"),
        (b"", "SERVER_ERROR"),
        (b"\xff\xfe", "SERVER_ERROR"),
        (b"[1]", "SERVER_ERROR"),
        (b'{"error": "a text alone"}', "a text alone"),
        (b'{"message": "at the top"}', "at the top"),
        (b'{"error": {"message": {"not": "a text"}}}', "SERVER_ERROR"),
        (b'{"error": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", "SERVER_ERROR"),
        (b'{"error": {"message": "' + b"x" * 70_000, "SERVER_ERROR"),
        (b'{"error": {"message": "' + b"x" * 9_000 + b'"}}', "x" * 2000),
    ],
)
async def test_an_error_page_of_any_kind_raises_a_server_error(
    tmp_path: Path, operation: str, page: bytes, words: str
) -> None:
    async with (
        serving(always(answer(page, "text/html", status=502))) as port,
        proxy(upstreams(tmp_path, f"http://127.0.0.1:{port}") + routes(only, ONE_TRY), tmp_path) as running,
    ):
        with pytest.raises(of_sdk(operation, RAISED[500])) as caught:
            await ask(_Urls(running), operation, False)
        error: Any = caught.value
        assert error.status_code == 502
        assert words in body_of(error)["message"]
        assert (await running.call()).fault == "SERVER_ERROR"


async def test_a_redirect_is_not_followed_with_the_key(tmp_path: Path) -> None:
    elsewhere = answer(b"", status=307, extra="location: http://127.0.0.1:9/elsewhere\r\n")
    async with (
        serving(always(elsewhere)) as port,
        proxy(upstreams(tmp_path, f"http://127.0.0.1:{port}") + routes(only, ONE_TRY), tmp_path) as running,
        agent(running) as http,
    ):
        got = await http.post("/openai/v1/chat/completions", json={"model": "m", "messages": ASK})
        assert (got.status_code, got.json()["seawall"]["code"]) == (502, "PROTOCOL_ERROR")
