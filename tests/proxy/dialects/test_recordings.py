"""Recorded provider traffic: every stream is recognised as whole whatever the cuts, every good answer as good.

The recordings lie beside the checkout and are not part of it; without them these tests are skipped.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from seawall.dialects import REGISTRY
from seawall.dialects.base import Dialect, Watch
from seawall.faults import Code
from seawall.types import Facts, Head, Safety, Usage

CASSETTES = Path(__file__).parents[4] / "shared" / "wire" / "cassettes"

pytestmark = pytest.mark.skipif(not CASSETTES.is_dir(), reason=f"no recordings at {CASSETTES}")

DIALECTS = {
    "api.openai.com": "OpenAI",
    "api.groq.com": "OpenAI",
    "api.deepseek.com": "OpenAI",
    "api.mistral.ai": "OpenAI",
    "api.cerebras.ai": "OpenAI",
    "openrouter.ai": "OpenAI",
    "router.huggingface.co": "OpenAI",
    "myorg-myaccount.snowflakecomputing.com": "OpenAI",
    "api.anthropic.com": "Anthropic",
    "generativelanguage.googleapis.com": "Gemini",
    "aiplatform.googleapis.com": "Gemini",
    "europe-west4-aiplatform.googleapis.com": "Gemini",
}

# Streams in which the provider itself reports an error: (recording, number of the interaction) → what it is.
FAILED = {
    ("test_tool_use_failed_error_streaming.yaml", 0): Code.INVALID_REQUEST,
    ("test_tool_use_failed_error_streaming_with_text.yaml", 0): Code.INVALID_REQUEST,
    ("test_openrouter_stream_error.yaml", 0): Code.INVALID_REQUEST,
}
# Of those, the ones that go on to `[DONE]` after the error.
FAILED_BUT_ENDED = {("test_openrouter_stream_error.yaml", 0)}
# Plain answers that the provider's filters withheld.
WITHHELD = {"test_google_model_safety_settings.yaml", "test_google_model_armor_response_template_real_block.yaml"}


@dataclass(frozen=True)
class Recorded:
    name: str
    number: int
    dialect: Dialect
    facts: Facts
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    kinds: frozenset[str | None]
    """Of the tools that the request offers."""

    @property
    def key(self) -> tuple[str, int]:
        return self.name, self.number

    def watch(self) -> Watch:
        return self.dialect.watch(self.facts)


def _bytes(data: object) -> bytes:
    return data if isinstance(data, bytes) else b"" if data is None else str(data).encode()


def _kinds(dialect: Dialect, tool: dict[str, Any]) -> list[str | None]:
    if dialect.name == "Gemini":
        return ["function" if kind == "functionDeclarations" else kind for kind in tool]
    return [tool.get("type")]


def _recorded(name: str, number: int, interaction: dict[str, Any]) -> Recorded | None:
    request, response = interaction["request"], interaction["response"]
    url = urlsplit(request["uri"])
    if url.hostname not in DIALECTS:
        return None
    dialect = REGISTRY[DIALECTS[url.hostname]]
    asked = request.get("parsed_body")
    sent = json.dumps(asked).encode() if asked is not None else _bytes(request.get("body"))
    target = url.path + (f"?{url.query}" if url.query else "")
    answer = response.get("parsed_body")
    body = json.dumps(answer).encode() if answer is not None else _bytes((response.get("body") or {}).get("string"))
    headers = [(key.encode(), str(value).encode()) for key, values in response["headers"].items() for value in values]
    facts = dialect.read(Head(request["method"].upper(), target, []), target, sent)
    tools = asked.get("tools") or [] if isinstance(asked, dict) else []
    kinds = frozenset(kind for tool in tools for kind in _kinds(dialect, tool))
    return Recorded(name, number, dialect, facts, response["status"]["code"], headers, body, kinds)


def _load() -> list[Recorded]:
    found = []
    for file in sorted(CASSETTES.rglob("*.yaml")):
        interactions = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["interactions"]
        for number, interaction in enumerate(interactions):
            if "uri" in interaction.get("request", {}):
                found.append(_recorded(file.name, number, interaction))
    return [recorded for recorded in found if recorded is not None]


RECORDED = _load()
STREAMS = [
    r for r in RECORDED if any(v.startswith(b"text/event-stream") for k, v in r.headers if k.lower() == b"content-type")
]
PLAIN = [r for r in RECORDED if r not in STREAMS]
each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda r: f"{r.name}-{r.number}")


def blocks(body: bytes) -> list[bytes]:
    return re.findall(rb".*?(?:\r\n\r\n|\n\n|\Z)", body, re.DOTALL)[:-1]


def test_there_is_something_to_test() -> None:
    assert len(STREAMS) >= 35
    assert len(PLAIN) >= 150


def test_requests_whose_tools_the_agent_runs_may_be_sent_again() -> None:
    offered = [r for r in RECORDED if r.kinds and r.kinds <= {"function", "custom", None} and not r.facts.pinned]
    assert len({r.name for r in offered}) >= 30
    assert [r.name for r in offered if r.facts.safety is not Safety.SAFE_BILLED] == []


@each_stream
def test_a_recorded_stream_is_asked_for_as_one(stream: Recorded) -> None:
    assert stream.facts.stream
    assert stream.facts.operation in {"chat", "responses", "messages", "generate"}


@each_stream
@pytest.mark.parametrize("size", [3, 1000, 4096, 1 << 24, 0])
def test_a_recorded_stream_is_whole_and_comes_through_unchanged(stream: Recorded, size: int) -> None:
    if size == 3 and len(stream.body) > 50_000:
        size = 101  # the same, in less time
    cut = [stream.body[at : at + size] for at in range(0, len(stream.body), size)] if size else blocks(stream.body)
    watch = stream.watch()
    assert b"".join([*map(watch.feed, cut), watch.end()]) == stream.body
    assert watch.content
    assert watch.progress > 0
    assert watch.model
    assert (watch.fault.code if watch.fault is not None else None) is FAILED.get(stream.key)
    assert watch.terminal is (stream.key not in FAILED or stream.key in FAILED_BUT_ENDED)


@each_stream
def test_a_recorded_stream_that_is_cut_short_is_not_whole(stream: Recorded) -> None:
    watch = stream.watch()
    before = 0
    for block in blocks(stream.body):
        watch.feed(block)
        if watch.terminal:
            break
        before += len(block)
    cuts = {before, before - 1, before - 2, *range(0, before, max(before // 12, 1))}
    for cut in sorted(cut for cut in cuts if cut >= 0):
        short = stream.watch()
        released = short.feed(stream.body[:cut])
        released += short.end()
        assert not short.terminal
        assert stream.body.startswith(released)


def usages(stream: Recorded) -> list[dict[str, Any]]:
    """All that a stream says of its usage, in order, wherever it stands in an event."""
    found = []
    for data in re.findall(rb"^data: (\{.*\})\s*$", stream.body, re.MULTILINE):
        event = json.loads(data)
        holders = (event, event.get("message"), event.get("response"), event.get("x_groq"))
        found += [event["usageMetadata"]] if "usageMetadata" in event else []
        found += [holder["usage"] for holder in holders if isinstance(holder, dict) and holder.get("usage")]
    return found


def counted(said: list[dict[str, Any]]) -> Usage | None:
    """What the last word for each number is, as the SDKs add them up."""
    last = {key: value for usage in said for key, value in usage.items() if value is not None}
    if not last:
        return None
    if "promptTokenCount" in last:
        return Usage(
            input=last["promptTokenCount"] + last.get("toolUsePromptTokenCount", 0),
            output=last.get("candidatesTokenCount", 0) + last.get("thoughtsTokenCount", 0),
            cached=last.get("cachedContentTokenCount", 0),
            reasoning=last.get("thoughtsTokenCount", 0),
        )
    given = last.get("prompt_tokens_details") or last.get("input_tokens_details") or {}
    made = last.get("completion_tokens_details") or last.get("output_tokens_details") or {}
    cached = last.get("cache_read_input_tokens", 0)
    return Usage(
        input=last.get("prompt_tokens") or last["input_tokens"] + cached + last.get("cache_creation_input_tokens", 0),
        output=last.get("completion_tokens") or last.get("output_tokens", 0),  # embeddings have none
        cached=cached or given.get("cached_tokens") or last.get("prompt_cache_hit_tokens") or 0,
        reasoning=made.get("reasoning_tokens") or made.get("thinking_tokens") or 0,
    )


@each_stream
def test_a_recorded_stream_tells_its_usage(stream: Recorded) -> None:
    watch = stream.watch()
    watch.feed(stream.body)
    assert watch.usage == counted(usages(stream))


@pytest.mark.parametrize("answer", PLAIN, ids=lambda r: f"{r.name}-{r.number}")
def test_recorded_plain_answers_are_judged_by_what_they_are(answer: Recorded) -> None:
    fault = answer.dialect.judge(answer.facts, answer.status, answer.headers, answer.body, 0.0, whole=True)
    if answer.status == 200:
        assert (fault.code if fault is not None else None) is (Code.CONTENT_POLICY if answer.name in WITHHELD else None)
        if answer.facts.operation in {"chat", "responses", "messages", "embeddings", "generate"}:
            model, usage = answer.dialect.answered(answer.facts, answer.body)
            # As Snowflake says; Gemini's embeddings name none.
            assert model or b'"model": ""' in answer.body or b'"embeddings": [{"values"' in answer.body
            body = json.loads(answer.body)
            said = body.get("usage") or body.get("usageMetadata")
            assert usage == counted([said] if said else [])
        return
    assert fault is not None
    assert fault.code is {400: Code.INVALID_REQUEST, 404: Code.NOT_FOUND, 429: Code.RATE_LIMITED}[answer.status]


def test_a_plain_answer_cut_anywhere_is_truncated() -> None:
    answer = next(r for r in PLAIN if r.facts.operation == "chat" and r.status == 200)
    for cut in range(0, len(answer.body) - 1, 37):
        fault = answer.dialect.judge(answer.facts, 200, answer.headers, answer.body[:cut], 0.0)
        assert fault is not None
        assert fault.code is Code.TRUNCATED
