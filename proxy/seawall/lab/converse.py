"""The Bedrock operations: Converse and InvokeModel, plain and as event streams, and the counting of tokens. Pure.

The model, and whether it streams, stand in the path. An invoked model is Anthropic's: its body and its events are those
of the messages API, within Bedrock's own frames.
"""

import re
import struct
from base64 import b64encode
from typing import Any
from urllib.parse import unquote
from zlib import crc32

import msgspec

from seawall.lab.answer import (
    Answer,
    Ask,
    Json,
    Mint,
    RejectedError,
    Said,
    Tool,
    count,
    decide,
    encode,
    listed,
    plain,
    section,
    slices,
    spoken,
    tokens,
)
from seawall.lab.families import Bedrock
from seawall.lab.messages import Messages
from seawall.lab.plan import Scenario, Status, Trouble

FAMILY = Bedrock()
EVENTS = b"application/vnd.amazon.eventstream"
_PATH = re.compile(r"/model/([^/]+)/(converse|converse-stream|invoke|invoke-with-response-stream|count-tokens)")


def asked(path: str) -> tuple[str, str] | None:
    """Model and operation in a path; None where it is no model's."""
    found = _PATH.fullmatch(path)
    return (unquote(found[1]), found[2]) if found else None


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message of an event stream: lengths, their checksum, headers, payload, and a checksum over all."""
    block = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack("!II", 16 + len(block) + len(payload), len(block))
    body = lengths + struct.pack("!I", crc32(lengths)) + block + payload
    return body + struct.pack("!I", crc32(body))


def _event(kind: str, payload: object) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, encode(payload))


def malformed(sent: bytes) -> bytes:
    """A message of which one byte has changed on its way."""
    at = len(sent) - 6
    return sent[:at] + bytes([sent[at] ^ 1]) + sent[at + 1 :]


def error_event(trouble: Trouble, failed: bool, sent: int) -> bytes:
    """An exception in the midst of a stream."""
    name = FAMILY.name_of(trouble, Status())
    headers = {":exception-type": name[0].lower() + name[1:], ":content-type": "application/json"}
    return frame({**headers, ":message-type": "exception"}, FAMILY.error(trouble, Status(), Mint(0, 0, 0)))


def read(body: Json, model: str, stream: bool) -> Ask:
    """Raises RejectedError as the provider would."""
    turns = listed(body, "messages")
    if not turns:
        raise RejectedError(Trouble.INVALID, "The provided request is not valid: messages must not be empty")
    if any(not isinstance(turn.get("content"), list) for turn in turns):
        raise RejectedError(Trouble.INVALID, "Unexpected field type: content must be a list")
    last = max((at for at, turn in enumerate(turns) if _by_user(turn)), default=-1)
    called = [
        [section(block, "toolUse") for block in turn["content"] if "toolUse" in block] for turn in turns[last + 1 :]
    ]
    config = section(body, "toolConfig")
    choice = section(config, "toolChoice")
    form = section(section(section(body, "outputConfig"), "textFormat"), "structure")
    return Ask(
        model=model,
        stream=stream,
        prompt=spoken(turns[last]["content"]) if last >= 0 else "",
        input_tokens=sum(tokens(spoken(words)) for words in [body.get("system"), *(t["content"] for t in turns)]),
        tools=[
            Tool(str(spec.get("name")), section(spec, "inputSchema").get("json"))
            for spec in (section(tool, "toolSpec") for tool in listed(config, "tools"))
            if spec
        ],
        choice="required" if "any" in choice else f"={choice['tool'].get('name')}" if "tool" in choice else "auto",
        rounds=sum(bool(uses) for uses in called),
        called={str(use.get("name")) for uses in called for use in uses},
        schema=_schema(section(form, "jsonSchema").get("schema")),
        max_tokens=count(section(body, "inferenceConfig"), "maxTokens"),
    )


def _schema(text: Any) -> Any:
    """It is sent as a text."""
    return msgspec.json.decode(text) if isinstance(text, str) else None


def _by_user(turn: Json) -> bool:
    """Whether the user speaks, rather than a tool's result."""
    blocks = turn["content"]
    return turn.get("role") == "user" and not any(isinstance(b, dict) and "toolResult" in b for b in blocks)


class Converse:
    name = "converse"
    family = FAMILY

    def __init__(self, model: str, stream: bool) -> None:
        self._model = model
        self._stream = stream

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        ask = read(body, self._model, self._stream)
        said = decide(ask, scenario, mint.seed)
        usage = {"inputTokens": ask.input_tokens, "outputTokens": said.tokens}
        usage["totalTokens"] = ask.input_tokens + said.tokens
        told = {"usage": usage, "metrics": {"latencyMs": 7}}
        stop = "tool_use" if said.calls else "max_tokens" if said.cut else "end_turn"
        if not self._stream:
            message = {"role": "assistant", "content": _content(said, mint)}
            return plain({"output": {"message": message}, "stopReason": stop, **told})
        frames = [_event("messageStart", {"role": "assistant", "p": "abcdefgh"}), *_blocks(said, mint)]
        frames += [
            _event("messageStop", {"stopReason": stop, "p": "abcd"}),
            _event("metadata", {**told, "p": "abcdef"}),
        ]
        return _streamed(frames, prelude=1, terminal=2)


def _streamed(frames: list[bytes], *, prelude: int, terminal: int) -> Answer:
    return Answer(
        frames, EVENTS, stream=True, prelude=prelude, terminal=terminal, error_event=error_event, malformed=malformed
    )


def _content(said: Said, mint: Mint) -> list[dict[str, Any]]:
    if not said.calls:
        return [{"text": said.text}]
    return [
        {"toolUse": {"toolUseId": mint.id("tooluse_", 22), "name": c.name, "input": msgspec.json.decode(c.arguments)}}
        for c in said.calls
    ]


def _blocks(said: Said, mint: Mint) -> list[bytes]:
    """Text blocks begin with their first delta, tool calls with an event of their own."""
    frames: list[bytes] = []
    for index, call in enumerate(said.calls or (None,)):
        at = {"contentBlockIndex": index, "p": "abc"}
        if call is None:
            frames += [_event("contentBlockDelta", {**at, "delta": {"text": piece}}) for piece in said.pieces]
        else:
            start = {"toolUse": {"toolUseId": mint.id("tooluse_", 22), "name": call.name}}
            frames.append(_event("contentBlockStart", {**at, "start": start}))
            frames += [
                _event("contentBlockDelta", {**at, "delta": {"toolUse": {"input": piece}}})
                for piece in slices(call.arguments)
            ]
        frames.append(_event("contentBlockStop", at))
    return frames


class Invoke:
    name = "invoke"
    family = FAMILY

    def __init__(self, model: str, stream: bool) -> None:
        self._model = model
        self._stream = stream

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        if not isinstance(body.get("anthropic_version"), str):
            raise RejectedError(
                Trouble.INVALID, "Malformed input request: #: required key [anthropic_version] not found"
            )
        answer = Messages().answer({**body, "model": self._model, "stream": self._stream}, scenario, mint)
        if not self._stream:
            return answer
        written = [msgspec.json.decode(frame.rpartition(b"data: ")[2]) for frame in answer.frames]
        written[-1]["amazon-bedrock-invocationMetrics"] = {
            "inputTokenCount": written[0]["message"]["usage"]["input_tokens"],
            "outputTokenCount": written[-2]["usage"]["output_tokens"],
            "invocationLatency": 7,
            "firstByteLatency": 3,
        }
        frames = [_event("chunk", {"bytes": b64encode(encode(one)).decode(), "p": "abc"}) for one in written]
        return _streamed(frames, prelude=3, terminal=1)


class CountTokens:
    name = "count_tokens"
    family = FAMILY

    def __init__(self, model: str) -> None:
        self._model = model

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        return plain(
            {"inputTokens": read(section(section(body, "input"), "converse"), self._model, False).input_tokens}
        )
