"""Errors that seawall writes, as the real SDKs read them: the usual exception classes, plain and within streams."""

import json
import re
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from seawall.dialects import REGISTRY
from seawall.dialects.openai import OWN_CODES
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts

CHAT = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
)
DELTA = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":"i","output_index":0,'
    b'"content_index":0,"delta":"hi","logprobs":[],"sequence_number":1}\n\n'
)
BLOCK = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
    b'"text":"hi"}}\n\n'
)


def problem(code: Code) -> Problem:
    return Problem(
        Fault(code, "detail", 503), "upstream openai-eu did not answer", "req-1", "openai-eu", 3, 2.5,
        known_routes=("/openai", "/claude"),
    )  # fmt: skip


def answering(status: int, body: bytes, content_type: str = "application/json") -> httpx2.MockTransport:
    headers = {"content-type": content_type, "x-should-retry": "false"}
    return httpx2.MockTransport(lambda request: httpx2.Response(status, headers=headers, content=body))


def openai_client(transport: httpx2.MockTransport) -> openai.OpenAI:
    http = httpx2.Client(transport=transport)
    return openai.OpenAI(api_key="k", base_url="http://127.0.0.1/v1", http_client=http, max_retries=0)


def anthropic_client(transport: httpx2.MockTransport) -> anthropic.Anthropic:
    http = httpx2.Client(transport=transport)
    return anthropic.Anthropic(api_key="k", base_url="http://127.0.0.1", http_client=http, max_retries=0)


OPENAI_CLASSES = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    429: openai.RateLimitError,
}
ANTHROPIC_CLASSES = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    409: anthropic.ConflictError,
    429: anthropic.RateLimitError,
}


@pytest.mark.parametrize("code", Code)
def test_openai_raises_its_usual_exception(code: Code) -> None:
    body = REGISTRY["OpenAI"].error(Facts("chat"), problem(code))
    status = code.rule.status
    expected = OPENAI_CLASSES.get(status) or (openai.InternalServerError if status >= 500 else openai.APIStatusError)
    with openai_client(answering(status, body)) as client, pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model="m", messages=[])
    assert type(raised.value) is expected
    assert raised.value.code == OWN_CODES.get(code, code.value)
    assert raised.value.param is None
    assert raised.value.response.json()["seawall"]["code"] == code.value
    assert raised.value.type
    assert "did not answer" in raised.value.message


@pytest.mark.parametrize("code", Code)
def test_anthropic_raises_its_usual_exception(code: Code) -> None:
    body = REGISTRY["Anthropic"].error(Facts("messages"), problem(code))
    status = code.rule.status
    expected = ANTHROPIC_CLASSES.get(status) or (
        anthropic.InternalServerError if status >= 500 else anthropic.APIStatusError
    )
    with anthropic_client(answering(status, body)) as client, pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(model="m", max_tokens=1, messages=[])
    assert isinstance(raised.value, expected)
    assert raised.value.status_code == status
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["seawall"]["code"] == code.value
    assert raised.value.type
    assert "did not answer" in raised.value.message


def told(name: str, facts: Facts | None, code: Code) -> tuple[dict[str, Any], str]:
    """An error's JSON, and its message; ClickHouse has that in words before it."""
    text = REGISTRY[name].error(facts, problem(code))
    if name == "ClickHouse":
        words, body = text.decode().splitlines()
        found = re.fullmatch(r"Code: \d+\. DB::Exception: (.*)\. \([A-Z_]+\)", words)
        assert found is not None
        return json.loads(body), found[1]
    decoded = json.loads(text)
    return decoded, decoded.get("error", decoded)["message"]


@pytest.mark.parametrize("name", sorted(REGISTRY))
@pytest.mark.parametrize("facts", [None, Facts("other")])
def test_an_error_body_has_the_taxonomy_beside_it(name: str, facts: Facts | None) -> None:
    body, message = told(name, facts, Code.OVERLOADED)
    assert body["seawall"] == problem(Code.OVERLOADED).seawall()
    assert message == "upstream openai-eu did not answer"


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_an_unknown_route_is_told_the_known_ones(name: str) -> None:
    assert told(name, None, Code.NO_ROUTE)[1].endswith("(known routes: /openai, /claude)")


def test_quota_errors_keep_the_name_that_agents_look_for() -> None:
    body = json.loads(REGISTRY["OpenAI"].error(None, problem(Code.QUOTA_EXHAUSTED)))
    assert body["error"]["type"] == "insufficient_quota"


def _chat(client: openai.OpenAI) -> int:
    return sum(1 for _ in client.chat.completions.create(model="m", messages=[], stream=True))


def _completions(client: openai.OpenAI) -> int:
    return sum(1 for _ in client.completions.create(model="m", prompt="x", stream=True))


def _responses(client: openai.OpenAI) -> int:
    return sum(1 for _ in client.responses.create(model="m", input="x", stream=True))


@pytest.mark.parametrize(
    ("operation", "call", "event"),
    [("chat", _chat, CHAT), ("completions", _completions, CHAT), ("responses", _responses, DELTA)],
)
@pytest.mark.parametrize("code", [Code.CONNECTION_LOST, Code.TRUNCATED, Code.TIMEOUT_STREAM_IDLE, Code.OVERLOADED])
def test_openai_raises_at_the_error_event_of_a_stream(
    operation: str, call: Callable[[openai.OpenAI], int], event: bytes, code: Code
) -> None:
    error = REGISTRY["OpenAI"].error_event(Facts(operation), problem(code))
    assert error.endswith(b"\n\n")
    transport = answering(200, event + error, "text/event-stream")
    with openai_client(transport) as client, pytest.raises(openai.APIError) as raised:
        call(client)
    assert raised.value.code == code.value
    assert raised.value.message == "upstream openai-eu did not answer"


def test_openai_stream_helpers_raise_too() -> None:
    error = REGISTRY["OpenAI"].error_event(Facts("chat"), problem(Code.TRUNCATED))
    transport = answering(200, CHAT + error, "text/event-stream")
    with (
        openai_client(transport) as client,
        pytest.raises(openai.APIError),
        client.chat.completions.stream(model="m", messages=[]) as stream,
    ):
        stream.until_done()


@pytest.mark.parametrize("code", [Code.CONNECTION_LOST, Code.TRUNCATED, Code.TIMEOUT_STREAM_IDLE, Code.RATE_LIMITED])
def test_anthropic_raises_at_the_error_event_of_a_stream(code: Code) -> None:
    error = REGISTRY["Anthropic"].error_event(Facts("messages"), problem(code))
    transport = answering(200, BLOCK + error, "text/event-stream")
    with anthropic_client(transport) as client, pytest.raises(anthropic.APIError) as raised:
        for _ in client.messages.create(model="m", max_tokens=1, messages=[], stream=True):
            pass
    assert isinstance(raised.value, anthropic.APIStatusError)
    assert raised.value.type
    assert raised.value.api_message == "upstream openai-eu did not answer"


@pytest.mark.parametrize(
    ("name", "operation"), [("OpenAI", "chat"), ("OpenAI", "responses"), ("Anthropic", "messages")]
)
def test_our_own_error_events_are_faults_to_our_own_watches(name: str, operation: str) -> None:
    """A seawall behind a seawall must not take a broken stream for a whole one."""
    dialect = REGISTRY[name]
    watch = dialect.watch(Facts(operation))
    event = dialect.error_event(Facts(operation), problem(Code.TRUNCATED))
    assert watch.feed(event) == event
    assert watch.fault is not None
    assert watch.fault.code is Code.SERVER_ERROR
    assert not watch.terminal
