"""Writes responses: the object with its output items. Reasoning is left out, also where a summary of it was asked for:
agents send it back with the next request, where the API looks for it by its id and refuses what it does not find.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic_ai.messages import ModelResponse, ModelResponsePart, TextPart, ToolCallPart
from pydantic_ai.usage import RequestUsage

from seawall.translate.answer import arguments, encoded, finish, measured, reasoning_tokens, refusal
from seawall.translate.calls import fitting
from seawall.translate.types import Asked

Kind = Literal["message", "refusal", "function_call"]
Status = Literal["in_progress", "completed", "incomplete", "failed"]

_PREFIX: dict[Kind, str] = {"message": "msg", "refusal": "msg", "function_call": "fc"}

_DEFAULTS: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "prompt_cache_key": None,
    "temperature": None,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""What the API repeats of a request that did not say it. `store` is always false: nothing was kept."""

_TOOL: dict[str, Any] = {"description": None, "parameters": None, "strict": None}
"""What the API repeats of a function that did not say it."""

_REASON = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(slots=True, eq=False)
class Item:
    """One item of the output, whole or growing. text: of a message or a refusal, or a call's arguments."""

    kind: Kind
    text: str = ""
    name: str = ""
    call_id: str = ""
    held: dict[str, Any] | None = field(default=None)
    """Arguments that came as an object, which may still grow."""
    id_: str = ""
    index: int = -1
    """Its place in the output; -1 before it has one."""
    open: bool = True

    def place(self, asked: Asked, index: int) -> None:
        self.id_, self.index = f"{_PREFIX[self.kind]}_{asked.id_}{index:02x}", index

    def content(self) -> dict[str, Any]:
        """The one content part of a message."""
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": self.text}
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": self.text}

    def json(self, status: Status) -> dict[str, Any]:
        """in_progress: as it is when it is added, with nothing in it."""
        new = status == "in_progress"
        if self.kind == "function_call":
            return {
                "id": self.id_,
                "type": "function_call",
                "status": status,
                "arguments": "" if new else self.text,
                "call_id": self.call_id,
                "name": self.name,
            }
        content = [] if new else [self.content()]
        return {"id": self.id_, "type": "message", "status": status, "content": content, "role": "assistant"}


def called(part: ToolCallPart) -> Item:
    """The item of a call, without arguments and place."""
    return Item("function_call", name=part.tool_name, call_id=fitting(part.tool_call_id))


def whole(asked: Asked, response: ModelResponse, model: str) -> bytes:
    """See `AgentSide.whole`."""
    output = [one for part in response.parts if (one := _item(part)) is not None]
    if words := refusal(response):
        output.append(Item("refusal", words))
    for index, one in enumerate(output):
        one.place(asked, index)
    return encoded(finished(asked, response, model, output))


def _item(part: ModelResponsePart) -> Item | None:
    match part:
        case TextPart(content=content) if content:
            return Item("message", content)
        case ToolCallPart(args=args):
            one = called(part)
            one.text = arguments(args)
            return one
    return None


def status_of(response: ModelResponse) -> Status:
    match finish(response):
        case "error":
            return "failed"
        case "length":
            return "incomplete"
        case "content_filter" if not refusal(response):
            return "incomplete"
    return "completed"


def last_status(response: ModelResponse) -> Status:
    """Of the last item: where the response was broken off, so was that."""
    return "completed" if status_of(response) == "completed" else "incomplete"


def finished(asked: Asked, response: ModelResponse, model: str, output: list[Item]) -> dict[str, Any]:
    """The response as a whole."""
    status = status_of(response)
    last = last_status(response)
    items = [one.json(last if one is output[-1] else "completed") for one in output]
    answer = beginning(asked, model) | {"status": status, "output": items, "usage": _usage(response.usage)}
    if status == "incomplete":
        answer["incomplete_details"] = {"reason": _REASON[response.finish_reason or "length"]}
    if status == "failed":
        answer["error"] = {"code": "server_error", "message": "The model's provider broke the answer off."}
    return answer


def beginning(asked: Asked, model: str) -> dict[str, Any]:
    """The response before there is any output."""
    echo = dict(asked.echo or {})
    for name in ("reasoning", "text"):
        if isinstance(given := echo.get(name), dict):
            echo[name] = _DEFAULTS[name] | given
    if isinstance(tools := echo.get("tools"), list):
        echo["tools"] = [_TOOL | tool for tool in tools]
    return {
        "id": f"resp_{asked.id_}",
        "object": "response",
        "created_at": asked.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "store": False,
        "usage": None,
        **_DEFAULTS,
        **echo,
    }


def _usage(usage: RequestUsage) -> dict[str, Any] | None:
    if not measured(usage):
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens(usage)},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
