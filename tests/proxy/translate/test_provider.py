"""The lab asked through pydantic-ai over our own wire, in both dialects: answers, faults, and leaving midway."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from asking import (
    CHAT,
    CLOCK,
    EACH,
    MESSAGE,
    MODELS,
    STREAMED,
    Upstream,
    asked,
    at,
    good,
    in_lab,
    key_in,
    open_stream,
    outcome,
    tasks_gone,
)
from harness import until
from leftovers import gone, sockets
from nothing_read import FACTS
from peers import serving
from pydantic_ai import direct
from pydantic_ai.messages import (
    BinaryContent,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    ToolCallPart,
    UserPromptPart,
)

from seawall.dialects import REGISTRY
from seawall.dialects.eventstream import encode
from seawall.faults import Code, Fault
from seawall.lab import Lab
from seawall.translate.anthropic_messages import AnthropicMessages
from seawall.translate.openai_chat import OpenAIChat
from seawall.translate.openai_responses import OpenAIResponses
from seawall.translate.provider import ask
from seawall.translate.rows import ROWS
from seawall.types import Facts, Usage
from seawall.upstream.pool import Pool


@EACH
@STREAMED
async def test_an_answer_comes_with_its_model_and_usage(
    pool: Pool, lab: Lab, tmp_path: Path, dialect: str, stream: bool
) -> None:
    lab.script([], then="ok; text=The sea is blue.")
    credential = key_in(tmp_path, b"secret", REGISTRY[dialect].credential)
    asking = in_lab(pool, lab, dialect).asking(MODELS[dialect], stream=stream, credential=credential)
    response = await outcome(asking, asked(), stream)
    assert isinstance(response, ModelResponse)
    assert [part.content for part in response.parts if isinstance(part, TextPart)] == ["The sea is blue."]
    assert (response.finish_reason, response.state) == ("stop", "complete")
    # Converse does not say which model answered.
    assert asking.wire.model == ("" if dialect == "Bedrock" else MODELS[dialect])
    assert response.model_name == MODELS[dialect]
    assert asking.wire.usage == Usage(response.usage.input_tokens, response.usage.output_tokens)
    assert asking.wire.usage.output > 0
    (attempt,) = lab.attempts()
    assert (attempt.model, attempt.stream, attempt.healthy) == (MODELS[dialect], stream, True)


@EACH
@STREAMED
async def test_a_tool_is_called(pool: Pool, lab: Lab, dialect: str, stream: bool) -> None:
    lab.script([], then='tool-look; args={"at": "sea"}')
    asking = in_lab(pool, lab, dialect).asking(MODELS[dialect], stream=stream)
    response = await outcome(asking, asked(tools=True), stream)
    assert isinstance(response, ModelResponse)
    (call,) = (part for part in response.parts if isinstance(part, ToolCallPart))
    assert (call.tool_name, call.args_as_dict()) == ("look", {"at": "sea"})
    # Gemini has no reason of its own for it.
    assert response.finish_reason == ("stop" if dialect == "Gemini" else "tool_call")


async def test_a_plain_answer_that_the_sdk_must_stream_is_whole_too(pool: Pool, lab: Lab) -> None:
    lab.script([], then="ok; text=The sea is blue.")
    asking = in_lab(pool, lab, "Anthropic").asking(MODELS["Anthropic"])
    response = await ask(asking, replace(asked(), settings={}))
    assert isinstance(response, ModelResponse)
    assert response.parts == [TextPart("The sea is blue.")]
    assert [attempt.stream for attempt in lab.attempts()] == [True]
    assert asking.wire.model == MODELS["Anthropic"]


@EACH
async def test_events_come_one_by_one(pool: Pool, lab: Lab, dialect: str) -> None:
    lab.script([], then="tokens-20+gap-5ms")
    asking = in_lab(pool, lab, dialect).asking(MODELS[dialect], stream=True)
    times = []
    async with open_stream(asking, asked()) as answering:
        while (event := await answering.next()) is not None:
            assert not isinstance(event, Fault)
            if isinstance(event, PartStartEvent | PartDeltaEvent):
                assert asking.wire.content
                times.append(CLOCK.now())
    assert len(times) >= 10
    assert times[-1] - times[0] > 0.05


FAULTS = {
    "400": (Code.INVALID_REQUEST, None),
    "401": (Code.UNAUTHORIZED, None),
    "404": (Code.NOT_FOUND, None),
    "429-retry-after-2": (Code.RATE_LIMITED, 2.0),
    "invalid": (Code.INVALID_REQUEST, None),
    "context": (Code.CONTEXT_LENGTH, None),
    "500": (Code.SERVER_ERROR, None),
    "503-retry-after-3": (Code.OVERLOADED, 3.0),
    "reset": (Code.CONNECTION_LOST, None),
}


@EACH
@STREAMED
@pytest.mark.parametrize("trouble", FAULTS)
async def test_an_error_is_the_fault_that_its_dialect_sees_and_is_asked_for_once(
    pool: Pool, lab: Lab, dialect: str, stream: bool, trouble: str
) -> None:
    lab.script([], then=trouble)
    fault = await outcome(in_lab(pool, lab, dialect).asking(MODELS[dialect], stream=stream), asked(), stream)
    assert isinstance(fault, Fault)
    assert (fault.code, fault.hint) == FAULTS[trouble]
    assert len(lab.attempts()) == 1


@EACH
@pytest.mark.parametrize(
    ("trouble", "codes"),
    [
        ("cut-5", {Code.TRUNCATED, Code.CONNECTION_LOST}),
        ("error-5-overloaded", {Code.OVERLOADED}),
        ("error-5-rate-limit", {Code.RATE_LIMITED}),
        ("malformed-5", {Code.MALFORMED_EVENT}),
        ("no-terminal", {Code.TRUNCATED}),
    ],
)
async def test_a_stream_that_breaks_is_never_whole(
    pool: Pool, lab: Lab, dialect: str, trouble: str, codes: set[Code]
) -> None:
    lab.script([], then=f"tokens-20+{trouble}")
    asking = in_lab(pool, lab, dialect).asking(MODELS[dialect], stream=True)
    async with open_stream(asking, asked()) as answering:
        seen: list[Any] = []
        while (event := await answering.next()) is not None:
            seen.append(event)
        assert isinstance(seen[-1], Fault) and seen[-1].code in codes
        assert len(seen) > 1
        assert any(isinstance(part, TextPart) for part in answering.response.parts)
        assert answering.response.state == "incomplete"


FIRST = {
    "OpenAI": b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    b'"delta":{"role":"assistant","content":"a"},"finish_reason":null}]}\n\n',
    "Anthropic": b'event: message_start\ndata: {"type":"message_start","message":' + json.dumps(MESSAGE).encode()
    + b'}\n\nevent: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
    b'{"type":"text","text":""}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"a"}}\n\n',
    "Bedrock": encode(
        [(":event-type", "contentBlockDelta"), (":message-type", "event")],
        b'{"contentBlockIndex":0,"delta":{"text":"a"}}',
    ),
    "Gemini": b'data: {"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"},"index":0}]}\r\n\r\n',
}  # fmt: skip


def head_of(dialect: str) -> bytes:
    kind = REGISTRY[dialect].stream_type(Facts("chat"))
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % kind


@EACH
@STREAMED
async def test_a_cancelled_attempt_leaves_nothing(pool: Pool, dialect: str, stream: bool) -> None:
    left = asyncio.Event()
    came = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        came.set()
        while await reader.read(65536):
            pass
        left.set()

    async with serving(upstream) as port:
        asking = at(pool, dialect, port).asking(MODELS[dialect], stream=stream)
        task = asyncio.create_task(outcome(asking, asked(), stream))
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(1):
            await left.wait()
        assert pool.connections == 0
        await gone(port)
    await tasks_gone()


@EACH
async def test_leaving_a_stream_closes_the_upstream_at_once(pool: Pool, dialect: str) -> None:
    left = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head_of(dialect) + b"%x\r\n%b\r\n" % (len(FIRST[dialect]), FIRST[dialect]))
        while await reader.read(65536):
            pass
        left.set()

    async with serving(upstream) as port:
        asking = at(pool, dialect, port).asking(MODELS[dialect], stream=True)
        async with open_stream(asking, asked()) as answering:
            event = await answering.next()
            assert isinstance(event, PartStartEvent)
        async with asyncio.timeout(1):
            await left.wait()
        assert pool.connections == 0
        await gone(port)
    await tasks_gone()


@EACH
async def test_many_left_streams_leave_no_sockets(pool: Pool, lab: Lab, dialect: str) -> None:
    lab.script([], then="tokens-50+gap-5ms")
    provider = in_lab(pool, lab, dialect)

    async def leave() -> None:
        async with open_stream(provider.asking(MODELS[dialect], stream=True), asked()) as answering:
            assert isinstance(await answering.next(), PartStartEvent)

    before = sockets()
    for _ in range(5):
        await asyncio.gather(*(leave() for _ in range(10)))
    await until(lambda: sockets() == before and pool.connections == 0)


@EACH
async def test_an_agents_own_failure_passes_through_a_stream(pool: Pool, lab: Lab, dialect: str) -> None:
    asking = in_lab(pool, lab, dialect).asking(MODELS[dialect], stream=True)
    with pytest.raises(ZeroDivisionError):
        async with open_stream(asking, asked()):
            raise ZeroDivisionError


def tool_said(content: Any) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": content},
    ]
    return {"model": "m", "messages": messages, "max_tokens": 9}


@pytest.mark.parametrize("content", ["", [], [{"type": "text", "text": ""}]])
async def test_a_tool_that_said_nothing_sends_no_empty_text(pool: Pool, content: Any) -> None:
    """Anthropic's API refuses one."""
    upstream = Upstream(good("Anthropic"))
    request = OpenAIChat().read(json.dumps(tool_said(content)).encode(), FACTS, created=1, id_="01")
    async with serving(upstream) as port:
        answer = await ask(at(pool, "Anthropic", port).asking(MODELS["Anthropic"]), request)
        assert isinstance(answer, ModelResponse)
    (result,) = upstream.bodies[0]["messages"][-1]["content"]
    assert (result["type"], result["content"]) == ("tool_result", "")


async def test_empty_texts_beside_what_a_tool_showed_are_left_out(pool: Pool) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": ""}, image]}
    call = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    request = AnthropicMessages().read(
        json.dumps({"model": "m", "max_tokens": 9, "messages": turns}).encode(), FACTS, created=1, id_="01"
    )
    upstream = Upstream(good("Anthropic"))
    async with serving(upstream) as port:
        answer = await ask(at(pool, "Anthropic", port).asking(MODELS["Anthropic"]), request)
        assert isinstance(answer, ModelResponse)
    assert upstream.bodies[0]["messages"][-1]["content"][0]["content"] == [image]


@pytest.mark.parametrize("dialect", ["Anthropic", "Gemini"])
async def test_how_finely_an_image_is_looked_at_is_openais_own_matter(pool: Pool, dialect: str) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    items = [
        {"role": "user", "content": [image]},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [image]},
    ]
    body = json.dumps({"model": "m", "input": items, "max_output_tokens": 9}).encode()
    upstream = Upstream(good(dialect))
    async with serving(upstream) as port:
        request = OpenAIResponses().read(body, FACTS, created=1, id_="01")
        answer = await ask(at(pool, dialect, port).asking(MODELS[dialect]), request)
        assert isinstance(answer, ModelResponse)
    assert json.dumps(upstream.bodies).count("AAAA") == 2
    assert "low" not in json.dumps(upstream.bodies)
    first = request.messages[0].parts[0]
    assert isinstance(first, UserPromptPart) and isinstance(first.content[0], BinaryContent)
    assert first.content[0].vendor_metadata == {"detail": "low"}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"temperature": 1, "top_p": 1}, {"temperature": 1}),
        ({"temperature": 0.5, "top_p": 1.0}, {"temperature": 0.5}),
        ({"temperature": 1.0, "top_p": 0.5}, {"top_p": 0.5}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
    ],
)
async def test_anthropic_is_told_only_one_of_two_settings(pool: Pool, given: Any, sent: Any) -> None:
    """Its newer models refuse both at once; 1 is what they take when nothing is said."""
    upstream = Upstream(good("Anthropic"))
    async with serving(upstream) as port:
        answer = await ask(at(pool, "Anthropic", port).asking(MODELS["Anthropic"]), asked(**given))
        assert isinstance(answer, ModelResponse)
    body = upstream.bodies[0]
    assert {name: body[name] for name in ("temperature", "top_p") if name in body} == sent


async def test_what_openai_writes_between_tags_is_text(pool: Pool) -> None:
    """Servers of other makers put reasoning there; OpenAI's own never do."""
    said = "Write <think>your thoughts</think> like so."
    message = {"role": "assistant", "content": said}
    completion = {**CHAT, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    found = {}
    for host in ("api.openai.com", "upstream.test"):
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=completion))
        model = ROWS["OpenAI"].build(f"https://{host}/v1", "gpt-4o", httpx2.AsyncClient(transport=transport))
        response = await direct.model_request(model, asked().messages)
        found[host] = [(part.part_kind, getattr(part, "content", None)) for part in response.parts]
    assert found["api.openai.com"] == [("text", said)]
    assert [kind for kind, _ in found["upstream.test"]] == ["text", "thinking", "text"]
