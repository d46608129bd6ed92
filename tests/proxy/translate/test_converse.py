"""Bedrock's Converse asked without boto3's HTTP: the same requests and the same answers as with it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from asking import CONVERSE, MODELS, STREAMED, TOOL, Upstream, asked, at, formed, key_in, outcome
from aws import access_keys, signature
from peers import answer, closed_port, serving
from pydantic_ai import direct
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.bedrock import BedrockConverseModel
from pydantic_ai.providers.bedrock import BedrockProvider
from recorded import ABSENT, WIRE

from seawall.clock import SystemClock
from seawall.faults import Code, Fault
from seawall.translate.provider import ask
from seawall.translate.types import Asked
from seawall.upstream.pool import Pool
from seawall.upstream.sigv4 import AccessKeys, Signature, Source

CLAUDE = MODELS["Bedrock"]
NOVA = "us.amazon.nova-micro-v1:0"
LLAMA = "us.meta.llama4-scout-17b-instruct-v1:0"
PNG = BinaryContent(b"\x89PNG", media_type="image/png")
PDF = BinaryContent(b"%PDF", media_type="application/pdf")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def conversation() -> Asked:
    call = ToolCallPart("look", {"at": "sea"}, tool_call_id="t1")
    thought = ThinkingPart("", id="redacted_content", signature="c2VhbGVk", provider_name="bedrock")
    return replace(
        asked(tools=True),
        messages=[
            ModelRequest([SystemPromptPart("Be brief."), UserPromptPart(["hi", PNG, PDF])]),
            ModelResponse([thought, TextPart("Let me see."), call], provider_name="bedrock"),
            ModelRequest([ToolReturnPart("look", {"depth": 3}, tool_call_id="t1"), UserPromptPart("and?")]),
        ],
    )


REQUESTS = {
    "plain": asked(),
    "settings": asked(temperature=0.5, stop_sequences=["x"], service_tier="flex", max_tokens=7),
    "tools": asked(tools=True, tool_choice="required"),
    "conversation": conversation(),
    "thinking": asked(thinking="high", max_tokens=30_000),
    "schema": formed(SCHEMA),
    "top_k": asked(top_k=3),
    "half an emoji": asked("\ud83d", PNG),
}


@asynccontextmanager
async def asked_by_boto3(model: str, port: int) -> AsyncIterator[BedrockConverseModel]:
    client = boto3.client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="a", aws_secret_access_key="b",
    )  # fmt: skip
    try:
        yield BedrockConverseModel(model, provider=BedrockProvider(bedrock_client=client))
    finally:
        client.close()


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_is_the_one_that_boto3_sends(pool: Pool, name: str) -> None:
    request, upstream = REQUESTS[name], Upstream(answer(json.dumps(CONVERSE).encode()))
    async with serving(upstream) as port, asked_by_boto3(CLAUDE, port) as model:
        asking = at(pool, "Bedrock", port).asking(CLAUDE)
        assert asking.unfit(request) == ()
        ours = await ask(asking, request)
        theirs = await direct.model_request(
            model, model.prepare_messages(request.messages, request.parameters), model_settings=request.settings,
            model_request_parameters=request.parameters, instrument=False,
        )  # fmt: skip
    assert isinstance(ours, ModelResponse)
    assert upstream.bodies[0] == upstream.bodies[1]
    lines = [head.split(b"\r\n")[0] for head in upstream.heads]
    assert lines[0] == lines[1] == b"POST /model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse HTTP/1.1"
    assert ours.parts == theirs.parts and ours.usage == theirs.usage and ours.finish_reason == theirs.finish_reason


def recorded_streams() -> list[tuple[str, bytes]]:
    found = []
    for file in sorted((WIRE / "cassettes" / "test_bedrock").glob("*.yaml")):
        for entry in yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)["interactions"]:
            if entry["request"]["uri"].endswith("converse-stream") and entry["response"]["status"]["code"] == 200:
                found.append((file.stem, entry["response"]["body"]["string"]))
    return found


STREAMS = recorded_streams() if WIRE.is_dir() else []


def untimed(response: ModelResponse) -> list[dict[str, Any]]:
    return [{name: value for name, value in vars(part).items() if name != "timestamp"} for part in response.parts]


@pytest.mark.skipif(not WIRE.is_dir(), reason=ABSENT)
@pytest.mark.parametrize(("name", "body"), STREAMS, ids=[name for name, _ in STREAMS])
async def test_a_recorded_stream_reads_as_with_boto3(pool: Pool, name: str, body: bytes) -> None:
    request = asked(tools=True)
    upstream = Upstream(answer(body, "application/vnd.amazon.eventstream"))
    async with serving(upstream) as port, asked_by_boto3(NOVA, port) as model:
        ours = await outcome(at(pool, "Bedrock", port).asking(NOVA, stream=True), request, True)
        async with direct.model_request_stream(
            model, request.messages, model_settings=request.settings, model_request_parameters=request.parameters,
            instrument=False,
        ) as streamed:  # fmt: skip
            async for _ in streamed:
                pass
        theirs = streamed.get()
    assert isinstance(ours, ModelResponse)
    assert untimed(ours) == untimed(theirs) and ours.parts
    assert (ours.usage, ours.finish_reason) == (theirs.usage, theirs.finish_reason)


async def test_sealed_reasoning_comes_and_goes_as_bytes(pool: Pool) -> None:
    sealed = {**CONVERSE, "output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
        {"toolUse": {"toolUseId": "t", "name": "look", "input": {"reasoningContent": {"redactedContent": "as it is"}}}},
    ]}}}  # fmt: skip
    upstream = Upstream(answer(json.dumps(sealed).encode()))
    async with serving(upstream) as port:
        provider = at(pool, "Bedrock", port)
        response = await ask(provider.asking(CLAUDE), asked(tools=True))
        assert isinstance(response, ModelResponse)
        thought, call = response.parts
        assert isinstance(thought, ThinkingPart) and thought.signature == "sealed"
        assert isinstance(call, ToolCallPart)
        assert call.args == {"reasoningContent": {"redactedContent": "as it is"}}
        result = ModelRequest([ToolReturnPart("look", "ok", tool_call_id="t")])
        request = replace(asked(tools=True), messages=[*asked().messages, response, result])
        assert isinstance(await ask(provider.asking(CLAUDE), request), ModelResponse)
    assert upstream.bodies[1]["messages"][1]["content"][0] == sealed["output"]["message"]["content"][0]  # type: ignore[index]


@STREAMED
async def test_requests_are_signed_as_the_policy_says(pool: Pool, tmp_path: Path, stream: bool) -> None:
    keys = AccessKeys(Source(access_keys(tmp_path), "default", "eu-west-1"), SystemClock())
    credential = Signature(keys, "eu-west-1", "bedrock", frozenset())
    upstream = Upstream(answer(b'{"message": "no"}', status=400))
    async with serving(upstream) as port:
        asking = at(pool, "Bedrock", port).asking(CLAUDE, stream=stream, credential=credential)
        fault = await outcome(asking, asked(), stream)
        assert isinstance(fault, Fault) and fault.code is Code.INVALID_REQUEST
    body = json.dumps(upstream.bodies[0], separators=(",", ":")).encode()
    assert signature(upstream.heads[0], body)["region"] == "eu-west-1"


async def test_keys_that_are_missing_are_a_fault_and_nothing_is_sent(pool: Pool, tmp_path: Path) -> None:
    keys = AccessKeys(Source(tmp_path / "none", "default", "eu-west-1"), SystemClock())
    credential = Signature(keys, "eu-west-1", "bedrock", frozenset())
    asking = at(pool, "Bedrock", closed_port()).asking(CLAUDE, credential=credential)
    fault = await ask(asking, asked())
    assert isinstance(fault, Fault) and fault.code is Code.CREDENTIAL_UNREADABLE
    assert not asking.wire.connected


async def test_a_key_of_bedrocks_own_goes_out_too(pool: Pool, tmp_path: Path) -> None:
    upstream = Upstream(answer(json.dumps(CONVERSE).encode()))
    async with serving(upstream) as port:
        asking = at(pool, "Bedrock", port).asking(CLAUDE, credential=key_in(tmp_path, b"abc"))
        assert isinstance(await ask(asking, asked()), ModelResponse)
    assert b"\r\nauthorization: Bearer abc\r\n" in upstream.heads[0]


async def test_more_answers_at_once_than_boto3_has_threads(pool: Pool) -> None:
    """pydantic-ai gives boto3's calls 40 threads, each of which waits for its answer."""
    waiting = asyncio.Semaphore(0)
    go = asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        waiting.release()
        await go.wait()
        writer.write(answer(json.dumps(CONVERSE).encode()))

    async with serving(upstream) as port, asyncio.timeout(10):
        provider = at(pool, "Bedrock", port)
        calls = [asyncio.create_task(ask(provider.asking(CLAUDE), asked())) for _ in range(60)]
        for _ in range(60):
            await waiting.acquire()
        go.set()
        assert all(isinstance(one, ModelResponse) for one in await asyncio.gather(*calls))


@pytest.mark.parametrize(
    ("model", "request_", "why"),
    [
        (CLAUDE, asked(seed=1), "seed: the provider has none"),
        (CLAUDE, asked(parallel_tool_calls=False), "parallel_tool_calls: the provider has none"),
        (CLAUDE, asked(temperature=1.5), "temperature: the provider takes at most 1"),
        (CLAUDE, asked(temperature=0.5, top_p=0.5), "top_p: the provider takes it or temperature"),
        (CLAUDE, asked(thinking="high", max_tokens=1000), "max_tokens: the model thinks for 16384 before it answers"),
        (CLAUDE, asked(ImageUrl("https://sea.test/a.png")), "messages: the provider takes no image-url"),
        (CLAUDE, asked(BinaryContent(b"a", media_type="audio/wav")), "messages: the provider takes no audio/wav"),
        (CLAUDE, formed({"type": "object"}), "output schema: the provider knows no object whose fields are not listed"),
        (CLAUDE, asked(service_tier="reserved"), "service_tier: the provider has no reserved"),
        (NOVA, formed(SCHEMA), "output schema: the model keeps to none"),
        (NOVA, asked(thinking="low"), "thinking: the model has none"),
        (LLAMA, asked(top_k=3), "top_k: the model takes none"),
        (LLAMA, asked(tools=True, tool_choice="required"), "tool_choice: the model cannot be made to call a tool"),
        (
            NOVA, replace(conversation(), settings={"tool_choice": "none"}),
            "tool_choice: the model cannot be kept from calling tools that it has called before",
        ),
        ("us.deepseek.r1-v1:0", asked(thinking="low"), "thinking: the model cannot be told how much"),
    ],
)  # fmt: skip
async def test_what_a_model_cannot_be_asked(pool: Pool, model: str, request_: Asked, why: str) -> None:
    assert at(pool, "Bedrock", closed_port()).asking(model).unfit(request_) == (why,)


async def test_what_models_can_be_asked(pool: Pool) -> None:
    provider = at(pool, "Bedrock", closed_port())
    assert provider.asking(NOVA).unfit(asked(temperature=0.5, top_p=0.5, top_k=3)) == ()
    assert provider.asking(NOVA).unfit(asked(tools=True, tool_choice="required")) == ()
    assert provider.asking(CLAUDE).unfit(replace(conversation(), settings={"tool_choice": "none"})) == ()
    assert TOOL.name


async def test_a_top_p_that_says_nothing_is_not_said_to_claude(pool: Pool) -> None:
    upstream = Upstream(answer(json.dumps(CONVERSE).encode()))
    async with serving(upstream) as port:
        for model in (CLAUDE, NOVA):
            request: Any = asked(temperature=0.5, top_p=1)
            assert isinstance(await ask(at(pool, "Bedrock", port).asking(model), request), ModelResponse)
    assert [body["inferenceConfig"].get("topP") for body in upstream.bodies] == [None, 1]
