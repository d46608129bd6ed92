"""The OpenAI responses operation: reads the request, writes the plain answer or its stream of typed events. Pure."""

from collections.abc import Iterator
from typing import Any

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
from seawall.lab.chat import FAMILY, SSE
from seawall.lab.plan import Scenario, Status, Trouble


def read(body: Json) -> Ask:
    """Raises RejectedError as the provider would."""
    if not isinstance(body.get("model"), str) or "input" not in body:
        raise RejectedError(Trouble.INVALID, "Missing required parameter: 'model' or 'input'.")
    given = body["input"]
    items: list[Json] = [{"role": "user", "content": given}] if isinstance(given, str) else listed(body, "input")
    last = max((at for at, item in enumerate(items) if item.get("role") == "user"), default=-1)
    since = items[last + 1 :]
    form = section(section(body, "text"), "format")
    return Ask(
        model=body["model"],
        stream=bool(body.get("stream")),
        prompt=spoken(items[last].get("content")) if last >= 0 else "",
        input_tokens=sum(tokens(spoken(item.get("content") or item.get("output"))) for item in items) or 1,
        tools=[
            Tool(str(tool.get("name")), tool.get("parameters"))
            for tool in listed(body, "tools")
            if tool.get("type") == "function"
        ],
        choice=_choice(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        rounds=_rounds(since),
        called={str(item.get("name")) for item in since if item.get("type") == "function_call"},
        schema=form.get("schema") if form.get("type") == "json_schema" else None,
        max_tokens=count(body, "max_output_tokens"),
    )


def _choice(value: Any) -> str:
    if isinstance(value, dict):
        return "=" + str(value.get("name"))
    return value if isinstance(value, str) else "auto"


def _rounds(items: list[Json]) -> int:
    """Runs of tool results: each is one round."""
    outputs = [item.get("type") == "function_call_output" for item in items]
    return sum(is_output and not before for is_output, before in zip(outputs, [False, *outputs], strict=False))


class Responses:
    name = "responses"
    family = FAMILY

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        ask = read(body)
        said = decide(ask, scenario, mint.seed)
        base = _base(ask, body, mint)
        items = _items(said, mint)
        usage = {
            "input_tokens": ask.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": said.tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": ask.input_tokens + said.tokens,
        }
        whole = {
            **base,
            "status": "incomplete" if said.cut else "completed",
            "completed_at": mint.now,
            "incomplete_details": {"reason": "max_output_tokens"} if said.cut else None,
            "output": items,
            "usage": usage,
        }
        if not ask.stream:
            return plain(whole)
        events = list(_events(base, items, said))
        end = "response.incomplete" if said.cut else "response.completed"
        events.append({"type": end, "response": whole})
        frames = [_frame({**event, "sequence_number": number}) for number, event in enumerate(events)]

        def error_event(trouble: Trouble, failed: bool, sent: int) -> bytes:
            error = FAMILY.error_object(trouble, Status())
            brief = {"code": error["code"] or error["type"], "message": error["message"]}
            if failed:
                broken = {**base, "status": "failed", "error": brief}
                return _frame({"type": "response.failed", "response": broken, "sequence_number": sent})
            return _frame({"type": "error", **brief, "param": None, "sequence_number": sent})

        # A tool call is content from its item on, a text from its first delta.
        prelude = 2 if said.calls else 4
        return Answer(frames, SSE, stream=True, prelude=prelude, terminal=1, error_event=error_event)


def _frame(event: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), encode(event))


def _base(ask: Ask, body: Json, mint: Mint) -> dict[str, object]:
    return {
        "id": mint.id("resp_", 48),
        "object": "response",
        "created_at": mint.now,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": ask.model,
        "output": [],
        "parallel_tool_calls": ask.parallel,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": body.get("store") is not False,
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": None,
        "user": body.get("user"),
    }


def _items(said: Said, mint: Mint) -> list[dict[str, Any]]:
    if said.calls:
        return [
            {
                "id": mint.id("fc_", 48),
                "type": "function_call",
                "status": "completed",
                "call_id": mint.id("call_"),
                "name": call.name,
                "arguments": call.arguments,
            }
            for call in said.calls
        ]
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": said.text}
    status = "incomplete" if said.cut else "completed"
    return [{"id": mint.id("msg_", 48), "type": "message", "status": status, "role": "assistant", "content": [part]}]


def _events(base: Json, items: list[dict[str, Any]], said: Said) -> Iterator[dict[str, object]]:
    """All events but the last."""
    yield {"type": "response.created", "response": base}
    yield {"type": "response.in_progress", "response": base}
    for index, item in enumerate(items):
        where = {"item_id": item["id"], "output_index": index}
        opened: dict[str, object] = {**item, "status": "in_progress"}
        opened["arguments" if said.calls else "content"] = "" if said.calls else []
        yield {"type": "response.output_item.added", "output_index": index, "item": opened}
        yield from _arguments(where, item) if said.calls else _message(where, item, said)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _arguments(where: Json, item: dict[str, Any]) -> Iterator[dict[str, object]]:
    kind = "response.function_call_arguments."
    for piece in slices(item["arguments"]):
        yield {"type": kind + "delta", **where, "delta": piece}
    yield {"type": kind + "done", **where, "name": item["name"], "arguments": item["arguments"]}


def _message(where: Json, item: dict[str, Any], said: Said) -> Iterator[dict[str, object]]:
    where = {**where, "content_index": 0}
    part = item["content"][0]
    yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
    for piece in said.pieces:
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **where, "text": said.text, "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": part}
