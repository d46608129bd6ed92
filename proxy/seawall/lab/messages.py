"""The Anthropic operations: messages (plain and stream), count_tokens, models. Pure."""

from collections.abc import Iterator
from typing import Any

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
from seawall.lab.chat import SSE
from seawall.lab.families import Anthropic
from seawall.lab.plan import Scenario, Status, Trouble

FAMILY = Anthropic()


def read(body: Json) -> Ask:
    """Raises RejectedError as the provider would."""
    messages = listed(body, "messages")
    if not messages:
        raise RejectedError(Trouble.INVALID, "messages: at least one message is required")
    if not isinstance(body.get("model"), str):
        raise RejectedError(Trouble.INVALID, "model: Field required")
    last = max((at for at, message in enumerate(messages) if _by_user(message)), default=-1)
    turns = [_uses(message) for message in messages[last + 1 :]]
    choice = section(body, "tool_choice")
    form = section(section(body, "output_config"), "format") or section(body, "output_format")
    words = [body.get("system"), *(message.get("content") for message in messages)]
    return Ask(
        model=body["model"],
        stream=bool(body.get("stream")),
        prompt=spoken(messages[last].get("content")) if last >= 0 else "",
        input_tokens=sum(tokens(spoken(content)) for content in words),
        tools=[
            Tool(str(tool.get("name")), tool["input_schema"])
            for tool in listed(body, "tools")
            if "input_schema" in tool
        ],
        choice={"any": "required", "none": "none", "tool": f"={choice.get('name')}"}.get(
            str(choice.get("type")), "auto"
        ),
        parallel=choice.get("disable_parallel_tool_use") is not True,
        rounds=sum(bool(names) for names in turns),
        called={name for names in turns for name in names},
        schema=form.get("schema") if form.get("type") == "json_schema" else None,
        max_tokens=count(body, "max_tokens"),
    )


def _blocks(message: Json) -> list[Json]:
    content = message.get("content")
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _by_user(message: Json) -> bool:
    """Whether the user speaks, rather than a tool's result."""
    return message.get("role") == "user" and not any(block.get("type") == "tool_result" for block in _blocks(message))


def _uses(message: Json) -> list[str]:
    return [str(block.get("name")) for block in _blocks(message) if block.get("type") == "tool_use"]


class Messages:
    name = "messages"
    family = FAMILY

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        ask = read(body)
        if ask.max_tokens is None:
            raise RejectedError(Trouble.INVALID, "max_tokens: Field required")
        said = decide(ask, scenario, mint.seed)
        blocks = _content(said, mint)
        usage = {
            "input_tokens": ask.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": said.tokens,
            "service_tier": "standard",
        }
        message = {
            "id": mint.id("msg_01", 22),
            "type": "message",
            "role": "assistant",
            "model": ask.model,
            "content": blocks,
            "stop_reason": "tool_use" if said.calls else "max_tokens" if said.cut else "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
        if not ask.stream:
            return plain(message)

        def error_event(trouble: Trouble, failed: bool, sent: int) -> bytes:
            return b"event: error\ndata: %b\n\n" % FAMILY.error(trouble, Status(), mint)

        frames = [_frame(event) for event in _events(message, said)]
        # A tool call is content from its block's start, a text from its first delta.
        prelude = 1 if said.calls else 3
        return Answer(frames, SSE, stream=True, prelude=prelude, terminal=2, error_event=error_event)


def _frame(event: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), encode(event))


def _content(said: Said, mint: Mint) -> list[dict[str, Any]]:
    if not said.calls:
        return [{"type": "text", "text": said.text}]
    return [
        {"type": "tool_use", "id": mint.id("toolu_01", 22), "name": call.name, "input": _object(call.arguments)}
        for call in said.calls
    ]


def _object(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}


def _events(message: dict[str, Any], said: Said) -> Iterator[dict[str, object]]:
    usage = message["usage"]
    opened = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": opened}
    for index, block in enumerate(message["content"]):
        blank = {**block, "input": {}} if said.calls else {**block, "text": ""}
        yield {"type": "content_block_start", "index": index, "content_block": blank}
        if index == 0:
            yield {"type": "ping"}
        if said.calls:
            pieces = ["", *slices(said.calls[index].arguments)]
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        else:
            deltas = [{"type": "text_delta", "text": piece} for piece in said.pieces]
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended: dict[str, object] = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


class CountTokens:
    name = "count_tokens"
    family = FAMILY

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        return plain({"input_tokens": read(body).input_tokens})


class Models:
    name = "models"
    family = FAMILY

    def __init__(self, names: tuple[str, ...], only: str | None = None) -> None:
        self._names = names
        self._only = only

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        if self._only is not None:
            return plain(_model(self._only))
        made = [_model(name) for name in self._names]
        return plain({"data": made, "has_more": False, "first_id": self._names[0], "last_id": self._names[-1]})


def _model(name: str) -> dict[str, object]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}
