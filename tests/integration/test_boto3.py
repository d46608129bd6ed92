"""boto3's client for bedrock-runtime through the proxy: Converse and InvokeModel, their streams, and their exceptions
raised as usual."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws import access_keys
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from harness import Running, lab, proxy, route, until, upstream
from stage import LENIENT, ONE_TRY, QUICK_RETRIES

from seawall.lab import Lab

MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "hi"}]}]
TOOLS = {
    "tools": [
        {
            "toolSpec": {
                "name": "look",
                "inputSchema": {"json": {"type": "object", "properties": {"at": {"type": "string"}}}},
            }
        }
    ]
}
INVOKED = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [
    {"role": "user", "content": "hi"}]})  # fmt: skip


@dataclass(frozen=True)
class Stage:
    lab: Lab
    running: Running
    client: Any

    async def converse(self, **more: Any) -> Any:
        return await asyncio.to_thread(self.client.converse, modelId=MODEL, messages=MESSAGES, **more)

    async def stream(self, **more: Any) -> list[dict[str, Any]]:
        def ask() -> list[dict[str, Any]]:
            with closing(self.client.converse_stream(modelId=MODEL, messages=MESSAGES, **more)["stream"]) as events:
                return list(events)

        return await asyncio.to_thread(ask)

    async def invoke(self, *, stream: bool = False) -> list[dict[str, Any]]:
        def ask() -> list[dict[str, Any]]:
            if not stream:
                return [json.loads(self.client.invoke_model(modelId=MODEL, body=INVOKED)["body"].read())]
            answer = self.client.invoke_model_with_response_stream(modelId=MODEL, body=INVOKED)
            return [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]

        return await asyncio.to_thread(ask)


@asynccontextmanager
async def stage(
    folder: Path, rule: str = ONE_TRY, *, retries: int = 0, prefix: str = "/bedrock"
) -> AsyncIterator[Stage]:
    """Two upstreams in the lab, `east` and then `west`, and a client whose own keys are worth nothing."""
    auth = f"{LENIENT}    auth: {{type: AWSSigV4, region: us-east-1, credentialsFile: {access_keys(folder)}}}\n"
    async with lab(seed=7) as upstreams:
        policy = "".join(upstream(name, f"{upstreams.url}/u/{name}", "Bedrock", auth) for name in ("east", "west"))
        async with proxy(policy + route("bedrock", "/bedrock", "east west", rule), folder) as running:
            client = boto3.client(
                "bedrock-runtime", region_name="us-east-1", endpoint_url=running.url + prefix,
                aws_access_key_id="agents", aws_secret_access_key="own", aws_session_token="token",
                config=Config(retries={"total_max_attempts": 1 + retries, "mode": "standard"}),
            )  # fmt: skip
            try:
                yield Stage(upstreams, running, client)
            finally:
                client.close()


def text_of(events: list[dict[str, Any]]) -> str:
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    return "".join(delta.get("text", "") for delta in deltas)


@pytest.mark.parametrize("prefix", ["/bedrock", ""])
async def test_answers_come_plain_and_as_streams(tmp_path: Path, prefix: str) -> None:
    async with stage(tmp_path, prefix=prefix) as at:
        plain = await at.converse()
        events = await at.stream()
        [invoked] = await at.invoke()
        chunks = await at.invoke(stream=True)
        said = plain["output"]["message"]["content"][0]["text"]
        assert said and said == text_of(events) == invoked["content"][0]["text"]
        assert said == "".join(one["delta"].get("text", "") for one in chunks if one["type"] == "content_block_delta")
        assert list(events[-1]) == ["metadata"] and events[-1]["metadata"]["usage"] == plain["usage"]
        fields = plain["ResponseMetadata"]["HTTPHeaders"]
        assert (fields["x-seawall-outcome"], fields["x-seawall-model"]) == ("primary", MODEL)
        await until(lambda: len(at.running.calls) == 4)
        calls = at.running.calls
        assert [(call.operation, call.stream, call.fault, call.model) for call in calls] == [
            ("converse", False, "", MODEL), ("converse", True, "", MODEL),
            ("invoke", False, "", MODEL), ("invoke", True, "", MODEL),
        ]  # fmt: skip
        assert len({call.usage for call in calls}) == 1 and calls[0].usage is not None and calls[0].usage.output > 0


async def test_tools_are_called(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        plain = await at.converse(toolConfig=TOOLS)
        assert plain["stopReason"] == "tool_use"
        call = plain["output"]["message"]["content"][0]["toolUse"]
        assert (call["name"], call["input"]) == ("look", {"at": "lab"})
        events = await at.stream(toolConfig=TOOLS)
        parts = [e["contentBlockDelta"]["delta"]["toolUse"]["input"] for e in events if "contentBlockDelta" in e]
        assert json.loads("".join(parts)) == call["input"]


async def test_the_agents_own_signature_does_not_go_out(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.converse()
        [seen] = at.lab.attempts()
        names = [name.lower() for name in seen.header_names]
        assert names.count("authorization") == names.count("x-amz-date") == 1
        assert "x-amz-security-token" not in names
        assert "amz-sdk-invocation-id" in names


ERRORS = [
    ("invalid", "ValidationException"),
    ("auth", "UnrecognizedClientException"),
    ("forbidden", "AccessDeniedException"),
    ("not-found", "ResourceNotFoundException"),
    ("context", "ValidationException"),
    ("rate-limit", "ThrottlingException"),
    ("quota", "ThrottlingException"),
    ("server", "InternalServerException"),
    ("overloaded", "ServiceUnavailableException"),
    ("timeout", "ModelTimeoutException"),
]


@pytest.mark.parametrize(("trouble", "name"), ERRORS)
async def test_the_providers_errors_raise_as_usual(tmp_path: Path, trouble: str, name: str) -> None:
    async with stage(tmp_path) as at:
        at.lab.script([], then=trouble)
        kind = getattr(at.client.exceptions, name, ClientError)
        for ask in (at.converse, at.stream, at.invoke):
            with pytest.raises(ClientError) as caught:
                await ask()
            assert type(caught.value) is kind
            assert caught.value.response["Error"]["Code"] == name


@pytest.mark.parametrize(
    ("fault", "name"),
    [("reset", "InternalServerException"), ("cut-3", "InternalServerException"), ("silent", "ModelTimeoutException"),
     ("garbage", "InternalServerException")],
)  # fmt: skip
async def test_seawalls_own_errors_raise_as_usual(tmp_path: Path, fault: str, name: str) -> None:
    async with stage(tmp_path, f"{ONE_TRY}\ntimeouts: {{backendRequest: 300ms}}") as at:
        at.lab.script([], then=fault)
        with pytest.raises(ClientError) as caught:
            await at.converse()
        assert type(caught.value) is getattr(at.client.exceptions, name)
        assert "seawall: " in caught.value.response["Error"]["Message"]
        assert len(at.lab.attempts()) == 2, "each upstream once"


async def test_an_unknown_route_raises_with_the_known_ones(tmp_path: Path) -> None:
    async with stage(tmp_path, prefix="/bedrok") as at:
        with pytest.raises(ClientError) as caught:
            await at.converse()
        assert "/bedrock" in caught.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    "fault", ["503", "reset", "429", "cut-prelude", "malformed-prelude", "error-prelude-overloaded"]
)
async def test_what_fails_before_its_content_is_made_good_elsewhere(tmp_path: Path, fault: str) -> None:
    async with stage(tmp_path) as at:
        at.lab.script([], upstream="east", then=fault)
        assert text_of(await at.stream())
        assert [attempt.upstream for attempt in at.lab.attempts()] == ["east", "west"]
        assert (await at.running.call()).outcome.value == "failover"


@pytest.mark.parametrize("fault", ["cut-5", "unclean-5", "malformed-5", "reset-5"])
async def test_a_stream_that_breaks_raises_after_what_came_before(tmp_path: Path, fault: str) -> None:
    async with stage(tmp_path, QUICK_RETRIES) as at:
        at.lab.script([], then=f"gap-10ms+{fault}")
        seen: list[dict[str, Any]] = []

        def read() -> None:
            with closing(at.client.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"]) as events:
                seen.extend(events)

        with pytest.raises(EventStreamError) as caught:
            await asyncio.to_thread(read)
        assert caught.value.response["Error"]["Code"] == "modelStreamErrorException"
        assert text_of(seen) and not any("messageStop" in event for event in seen)
        assert len(at.lab.attempts()) == 1


async def test_an_exception_of_the_provider_after_content_is_its_own(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        at.lab.script([], then="gap-10ms+error-5-rate-limit")
        with pytest.raises(EventStreamError) as caught:
            await at.stream()
        assert caught.value.response["Error"] == {
            "Code": "throttlingException", "Message": "Too many requests, please wait before trying again.",
        }  # fmt: skip
        assert (await at.running.call()).fault == "RATE_LIMITED"


async def test_the_sdks_retries_count_into_ours(tmp_path: Path) -> None:
    """Two tries at each upstream for its first request; where it says that it is its last, only one."""
    async with stage(tmp_path, "retry: {attempts: 1, backoff: {base: 1ms, max: 1ms}}", retries=1) as at:
        at.lab.script([], then="500")
        with pytest.raises(at.client.exceptions.InternalServerException):
            await at.converse()
        calls = at.running.calls
        assert [call.attempts for call in calls] == [3, 2]


async def test_a_static_answer_is_one_to_the_sdk(tmp_path: Path) -> None:
    fallback = f"{ONE_TRY}\nfallback: [{{type: StaticResponse, status: 200, text: Later.}}]"
    async with stage(tmp_path, fallback) as at:
        at.lab.script([], then="reset")
        assert (await at.converse())["output"]["message"]["content"] == [{"text": "Later."}]
        assert text_of(await at.stream()) == "Later."
        with pytest.raises(ClientError):
            await at.invoke()


async def test_tokens_are_counted(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        counted = await asyncio.to_thread(
            at.client.count_tokens, modelId=MODEL, input={"converse": {"messages": MESSAGES}}
        )
        assert counted["inputTokens"] > 0
        assert (await at.running.call()).operation == "count_tokens"
