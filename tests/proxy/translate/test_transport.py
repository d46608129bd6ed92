"""Raw upstreams asked through pydantic-ai: what goes out, and what comes of answers that are none."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from asking import (
    CHAT,
    CLOCK,
    EACH,
    GEMINI,
    MODELS,
    STREAMED,
    Upstream,
    asked,
    at,
    good,
    key_in,
    outcome,
)
from peers import always, answer, closed_port, serving
from pydantic_ai.messages import (
    ModelResponse,
    TextPart,
    ToolCallPart,
)

from seawall.faults import Code, Fault
from seawall.translate.provider import ask
from seawall.upstream.pool import Pool


@pytest.mark.parametrize("dialect", ["OpenAI", "Anthropic", "Gemini", "Bedrock"])
async def test_only_the_given_credential_goes_out(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dialect: str
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "GOOGLE_API_KEY"):
        monkeypatch.setenv(name, "of-the-environment")
    upstream = Upstream(good(dialect))
    async with serving(upstream) as port:
        provider = at(pool, dialect, port)
        for key in (b"first", b"second"):
            credential = key_in(tmp_path, key)
            assert isinstance(
                await ask(provider.asking(MODELS[dialect], credential=credential), asked()), ModelResponse
            )
        credential = key_in(tmp_path, b"third", lambda key: (b"x-own", key))
        assert isinstance(await ask(provider.asking(MODELS[dialect], credential=credential), asked()), ModelResponse)
    fields = [{line.partition(b":")[0].lower(): line for line in head.split(b"\r\n")[1:-2]} for head in upstream.heads]
    known = {b"host", b"accept", b"content-type", b"user-agent", b"anthropic-version", b"content-length"}
    extra = [{name: line for name, line in one.items() if name not in known} for one in fields]
    assert [b" ".join(one.values()).split()[-1] for one in extra] == [b"first", b"second", b"third"]
    assert all(len(one) == 1 for one in extra)
    assert all(one[b"host"] == b"host: upstream.test" for one in fields)
    assert upstream.connections == 1


@pytest.mark.parametrize(
    ("dialect", "path", "target"),
    [
        ("OpenAI", "/v1", b"/v1/chat/completions"),
        ("OpenAI", "/openai/v1/", b"/openai/v1/chat/completions"),
        ("Anthropic", "", b"/v1/messages"),
        ("Anthropic", "/v1", b"/v1/messages"),
        ("Anthropic", "/proxy", b"/proxy/v1/messages"),
        ("Gemini", "", b"/v1beta/models/gemini-2.5-flash:generateContent"),
        ("Gemini", "/v1", b"/v1/models/gemini-2.5-flash:generateContent"),
        ("Gemini", "/v1beta", b"/v1beta/models/gemini-2.5-flash:generateContent"),
    ],
)
async def test_a_version_in_the_base_url_stands_once(pool: Pool, dialect: str, path: str, target: bytes) -> None:
    upstream = Upstream(good(dialect))
    async with serving(upstream) as port:
        response = await ask(at(pool, dialect, port, path).asking(MODELS[dialect]), asked())
        assert isinstance(response, ModelResponse)
    assert upstream.heads[0].split(b" ")[1] == target


async def test_attempts_at_once_keep_to_their_own_wires(pool: Pool, tmp_path: Path) -> None:
    upstream = Upstream(good("OpenAI"))
    async with serving(upstream) as port:
        provider = at(pool, "OpenAI", port)
        askings = [provider.asking("gpt-4o", credential=key_in(tmp_path, b"%d" % number)) for number in range(8)]
        await asyncio.gather(*(ask(asking, asked()) for asking in askings))
    assert [asking.wire.model for asking in askings] == ["gpt-other"] * 8
    keys = sorted(head.partition(b"Bearer ")[2].split(b"\r\n")[0] for head in upstream.heads)
    assert keys == [b"%d" % number for number in range(8)]


@STREAMED
async def test_gemini_answers_and_fails(pool: Pool, stream: bool) -> None:
    event = b"data: " + json.dumps(GEMINI).encode() + b"\r\n\r\n"
    cut = (
        b"data: " + json.dumps({"candidates": [{"content": GEMINI["candidates"][0]["content"]}]}).encode() + b"\r\n\r\n"
    )
    limited = answer(
        b'{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}', status=429, extra="retry-after: 4\r\n"
    )
    whole = answer(event, "text/event-stream") if stream else good("Gemini")
    async with serving(Upstream(whole)) as port:
        response = await outcome(at(pool, "Gemini", port).asking("gemini-2.5-flash", stream=stream), asked(), stream)
        assert isinstance(response, ModelResponse)
        assert [part.content for part in response.parts if isinstance(part, TextPart)] == ["a"]
    async with serving(Upstream(limited)) as port:
        fault = await outcome(at(pool, "Gemini", port).asking("gemini-2.5-flash", stream=stream), asked(), stream)
        assert isinstance(fault, Fault) and (fault.code, fault.hint) == (Code.RATE_LIMITED, 4.0)
    if stream:
        async with serving(Upstream(answer(cut, "text/event-stream"))) as port:
            fault = await outcome(at(pool, "Gemini", port).asking("gemini-2.5-flash", stream=True), asked(), True)
            assert isinstance(fault, Fault) and fault.code is Code.TRUNCATED


NO_ANSWERS = {
    "half": (answer(b'{"id": "chat')[:-2], Code.TRUNCATED),
    "cut-json": (answer(b'{"id": "chat'), Code.TRUNCATED),
    "html": (answer(b"<html>hello</html>", "text/html"), Code.MALFORMED_EVENT),
    "empty": (answer(b"{}"), Code.MALFORMED_EVENT),
    "redirect": (answer(b"", status=307, extra="location: http://elsewhere.test/\r\n"), Code.PROTOCOL_ERROR),
    "error": (
        answer(
            b'{"error": {"type": "overloaded_error", "status": "UNAVAILABLE", "message": "busy"}}',
            extra="x-amzn-errortype: ServiceUnavailableException\r\n",  # as Bedrock names its own
        ),
        Code.OVERLOADED,
    ),
    "no-http": (b"hello\r\n\r\n", Code.PROTOCOL_ERROR),
    "huge": (answer(b" " * (9 << 20)), Code.PROTOCOL_ERROR),
}


@EACH
@STREAMED
@pytest.mark.parametrize("kind", NO_ANSWERS)
async def test_what_is_no_answer_is_a_fault(pool: Pool, dialect: str, stream: bool, kind: str) -> None:
    body, code = NO_ANSWERS[kind]
    async with serving(always(body)) as port:
        fault = await outcome(at(pool, dialect, port).asking(MODELS[dialect], stream=stream), asked(), stream)
    assert isinstance(fault, Fault)
    assert fault.code is code
    assert "hello" not in fault.detail


@EACH
async def test_a_plain_answer_is_no_stream(pool: Pool, dialect: str) -> None:
    async with serving(Upstream(good(dialect))) as port:
        fault = await outcome(at(pool, dialect, port).asking(MODELS[dialect], stream=True), asked(), True)
    assert isinstance(fault, Fault) and fault.code is Code.MALFORMED_EVENT


@pytest.mark.parametrize(
    ("model", "field"), [("gpt-4o", "max_tokens"), ("o3", "max_completion_tokens"), ("mistral-large", "max_tokens")]
)
async def test_other_makers_servers_are_told_the_limit_by_the_name_they_know(
    pool: Pool, model: str, field: str
) -> None:
    upstream = Upstream(good("OpenAI"))
    async with serving(upstream) as port:
        assert isinstance(await ask(at(pool, "OpenAI", port).asking(model), asked()), ModelResponse)
    assert {name: value for name, value in upstream.bodies[0].items() if name.startswith("max")} == {field: 100}


@pytest.mark.parametrize(
    "odd", [{"type": None}, {"function": {"name": "look", "arguments": None}}], ids=["no-type", "no-arguments"]
)
async def test_other_makers_calls_are_understood(pool: Pool, odd: dict[str, Any]) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}, **odd}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    body = {**CHAT, "choices": [{"index": 0, "message": message, "finish_reason": ""}]}
    async with serving(Upstream(answer(json.dumps(body).encode()))) as port:
        response = await ask(at(pool, "OpenAI", port).asking("mistral-large"), asked(tools=True))
    assert isinstance(response, ModelResponse)
    (found,) = (part for part in response.parts if isinstance(part, ToolCallPart))
    assert (found.tool_name, found.args_as_dict(), found.tool_call_id) == ("look", {}, "c")


@STREAMED
async def test_withheld_content_is_an_answer_of_its_own(pool: Pool, stream: bool) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "content_filter"}
    piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "content_filter"}]}
    events = b"data: " + json.dumps({**piece, **delta}).encode() + b"\n\ndata: [DONE]\n\n"
    plain = answer(json.dumps({**CHAT, "choices": [choice]}).encode())
    async with serving(Upstream(answer(events, "text/event-stream") if stream else plain)) as port:
        asking = at(pool, "OpenAI", port).asking("gpt-4o", stream=stream)
        response = await outcome(asking, asked(), stream)
    assert isinstance(response, ModelResponse) and response.finish_reason == "content_filter"
    assert asking.wire.withheld is not None and asking.wire.withheld.code is Code.CONTENT_POLICY


@EACH
@STREAMED
async def test_faults_before_anything_is_sent(pool: Pool, dialect: str, stream: bool) -> None:
    asking = at(pool, dialect, closed_port()).asking(MODELS[dialect], stream=stream)
    fault = await outcome(asking, asked(), stream)
    assert isinstance(fault, Fault) and fault.code is Code.CONNECT_FAILED
    assert not asking.wire.connected


@EACH
@STREAMED
async def test_deadlines_are_the_engines(pool: Pool, dialect: str, stream: bool) -> None:
    async with serving(always(hang=True)) as port:
        started = CLOCK.now()
        asking = at(pool, dialect, port).asking(MODELS[dialect], stream=stream)
        asking.wire.expect_by(started + 0.05, Code.TIMEOUT_FIRST_BYTE)
        fault = await outcome(asking, asked(), stream)
        assert isinstance(fault, Fault) and fault.code is Code.TIMEOUT_FIRST_BYTE
        assert CLOCK.now() - started < 1
