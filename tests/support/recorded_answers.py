"""What recorded answers say, read from their own bytes without anything of the project, and an upstream that gives any
of them to a request for the model that is named after it."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from recorded import Recording
from replay_server import Message, ask, receive
from wired import RUNS


@dataclass
class Meaning:
    """text: what was said. calls: (id, name, arguments). end: `stop`, `length`, `tools` or `filter`. tokens: input,
    with what the cache had; output."""

    text: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    end: str = ""
    tokens: tuple[int, int] = (0, 0)
    model: str = ""


ENDS = {
    "stop": "stop", "end_turn": "stop", "stop_sequence": "stop", "length": "length", "max_tokens": "length",
    "tool_calls": "tools", "tool_use": "tools", "content_filter": "filter", "refusal": "filter",
}  # fmt: skip


def data_of(body: bytes) -> Iterator[dict[str, Any]]:
    """The JSON of a stream's events."""
    for line in body.decode().splitlines():
        if line.startswith("data:") and (text := line[5:].strip()) not in ("", "[DONE]"):
            yield json.loads(text)


def of_message(body: bytes, stream: bool) -> Meaning:
    """An Anthropic answer."""
    message = _joined_message(body) if stream else json.loads(body)
    usage, found = message["usage"], Meaning(model=message["model"], end=ENDS[message["stop_reason"]])
    for block in message["content"]:
        if block["type"] == "text":
            found.text += block["text"]
        elif block["type"] == "tool_use":
            found.calls.append((block["id"], block["name"], block["input"]))
    steps = usage.get("iterations") or []
    # Where the provider compacted the conversation first, the whole says what its last step alone took.
    for step in steps if any(step["type"] == "compaction" for step in steps) else [usage]:
        cached = (step.get("cache_read_input_tokens") or 0) + (step.get("cache_creation_input_tokens") or 0)
        before = found.tokens
        found.tokens = before[0] + step["input_tokens"] + cached, before[1] + step["output_tokens"]
    return found


def _joined_message(body: bytes) -> dict[str, Any]:
    message: dict[str, Any] = {}
    for event in data_of(body):
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                message["content"].append(dict(event["content_block"], json=""))
            case "content_block_delta":
                block, delta = message["content"][event["index"]], event["delta"]
                if delta["type"] == "text_delta":
                    block["text"] += delta["text"]
                elif delta["type"] == "input_json_delta":
                    block["json"] += delta["partial_json"]
            case "message_delta":
                message |= event["delta"]
                message["usage"] |= {name: value for name, value in event["usage"].items() if value is not None}
    for block in message["content"]:
        if block["type"] == "tool_use" and block["json"]:
            block["input"] = json.loads(block["json"])
    return message


def of_completion(body: bytes, stream: bool) -> Meaning:
    """An answer in the form of OpenAI's chat completions."""
    parts = list(data_of(body)) if stream else [json.loads(body)]
    found, calls = Meaning(), dict[int, list[str]]()
    for part in parts:
        found.model = part.get("model") or found.model
        usage = part.get("usage") or (part.get("x_groq") or {}).get("usage")
        if usage:
            found.tokens = usage["prompt_tokens"], usage["completion_tokens"]
        for choice in part.get("choices") or ():
            said = choice.get("delta") or choice.get("message") or {}
            found.text += _text(said.get("content"))
            for position, call in enumerate(said.get("tool_calls") or ()):
                known = calls.setdefault(call.get("index") or position, ["", "", ""])
                known[0] = known[0] or call.get("id") or ""
                known[1] += call["function"].get("name") or ""
                known[2] += call["function"].get("arguments") or ""
            if choice.get("finish_reason"):
                found.end = ENDS[choice["finish_reason"]]
    found.calls = [(id_, name, json.loads(arguments or "{}")) for id_, name, arguments in calls.values()]
    # Snowflake does not tell why an answer ends.
    found.end = found.end or ("tools" if found.calls else "stop")
    # Some servers leave reasoning in the text.
    found.text = re.sub(r"^<think>.*?</think>", "", found.text, flags=re.DOTALL)
    return found


def _text(content: Any) -> str:
    """Mistral's may come in parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if part["type"] == "text")
    return content or ""


@dataclass
class Player:
    """Answers a request for the model `recorded-N` with the Nth recording, event by event where that streams."""

    recordings: list[Recording]
    answers: list[Message] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)

    async def load(self, replay_port: int) -> None:
        """Fetch every answer from the replay server."""
        limit = asyncio.Semaphore(8)

        async def one(recording: Recording) -> Message:
            async with limit:
                return await ask(replay_port, recording.request(f"player {next(RUNS)}"))

        self.answers = await asyncio.gather(*map(one, self.recordings))

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await receive(reader)
            self.heads.append(request.head)
            number = int(json.loads(request.body)["model"].removeprefix("recorded-"))
            answer = self.answers[number]
            writer.write(answer.head)
            for piece in answer.pieces:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
                await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n" if answer.chunked else b"")
