"""The lab asked through pydantic-ai over our own wire, in both dialects: answers, faults, and leaving midway."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from asking import (
    BOTH,
    CLOCK,
    MESSAGE,
    MODELS,
    STREAMED,
    asked,
    at,
    in_lab,
    open_stream,
    outcome,
    tasks_gone,
)
from harness import until
from leftovers import gone, sockets
from peers import serving
from pydantic_ai.messages import (
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    ToolCallPart,
)

from seawall.faults import Code, Fault
from seawall.lab import Lab
from seawall.translate.provider import ask
from seawall.types import Usage
from seawall.upstream.pool import Pool


@BOTH
@STREAMED
async def test_an_answer_comes_with_its_model_and_usage(pool: Pool, lab: Lab, dialect: str, stream: bool) -> None:
    lab.script([], then="ok; text=The sea is blue.")
    asking = in_lab(pool, lab, dialect).asking(MODELS[dialect], stream=stream, key=b"secret")
    response = await outcome(asking, asked(), stream)
    assert isinstance(response, ModelResponse)
    assert [part.content for part in response.parts if isinstance(part, TextPart)] == ["The sea is blue."]
    assert (response.finish_reason, response.state) == ("stop", "complete")
    assert asking.wire.model == MODELS[dialect]
    assert asking.wire.usage == Usage(response.usage.input_tokens, response.usage.output_tokens)
    assert asking.wire.usage.output > 0
    (attempt,) = lab.attempts()
    assert (attempt.model, attempt.stream, attempt.healthy) == (MODELS[dialect], stream, True)


@BOTH
@STREAMED
async def test_a_tool_is_called(pool: Pool, lab: Lab, dialect: str, stream: bool) -> None:
    lab.script([], then='tool-look; args={"at": "sea"}')
    asking = in_lab(pool, lab, dialect).asking(MODELS[dialect], stream=stream)
    response = await outcome(asking, asked(tools=True), stream)
    assert isinstance(response, ModelResponse)
    (call,) = (part for part in response.parts if isinstance(part, ToolCallPart))
    assert (call.tool_name, call.args_as_dict()) == ("look", {"at": "sea"})
    assert response.finish_reason == "tool_call"


async def test_a_plain_answer_that_the_sdk_must_stream_is_whole_too(pool: Pool, lab: Lab) -> None:
    lab.script([], then="ok; text=The sea is blue.")
    asking = in_lab(pool, lab, "Anthropic").asking(MODELS["Anthropic"])
    response = await ask(asking, replace(asked(), settings={}))
    assert isinstance(response, ModelResponse)
    assert response.parts == [TextPart("The sea is blue.")]
    assert [attempt.stream for attempt in lab.attempts()] == [True]
    assert asking.wire.model == MODELS["Anthropic"]


@BOTH
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


@BOTH
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


@BOTH
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
}  # fmt: skip
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@BOTH
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


@BOTH
async def test_leaving_a_stream_closes_the_upstream_at_once(pool: Pool, dialect: str) -> None:
    left = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"%x\r\n%b\r\n" % (len(FIRST[dialect]), FIRST[dialect]))
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


@BOTH
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


@BOTH
async def test_an_agents_own_failure_passes_through_a_stream(pool: Pool, lab: Lab, dialect: str) -> None:
    asking = in_lab(pool, lab, dialect).asking(MODELS[dialect], stream=True)
    with pytest.raises(ZeroDivisionError):
        async with open_stream(asking, asked()):
            raise ZeroDivisionError
