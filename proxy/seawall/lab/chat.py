"""The OpenAI chat completions operation: reads the request, writes the plain answer or its stream. Pure."""

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
from seawall.lab.families import OpenAI
from seawall.lab.plan import Scenario, Status, Trouble

FAMILY = OpenAI()
SSE = b"text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"


def data(body: object) -> bytes:
    return b"data: " + encode(body) + b"\n\n"


def error_event(trouble: Trouble, failed: bool, sent: int) -> bytes:
    """An error in the midst of a stream: a bare error object, as the API sends it."""
    return data({"error": FAMILY.error_object(trouble, Status())})


def read(body: Json) -> Ask:
    """Raises RejectedError as the provider would."""
    messages = listed(body, "messages")
    if not messages or not isinstance(body.get("model"), str):
        raise RejectedError(Trouble.INVALID, "you must provide a model parameter and at least one message")
    last = max((at for at, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    turns = [message for message in messages[last + 1 :] if message.get("role") == "assistant"]
    called = {str(section(call, "function").get("name")) for turn in turns for call in listed(turn, "tool_calls")}
    form = section(body, "response_format")
    schema: Any = None
    if form.get("type") == "json_schema":
        schema = section(form, "json_schema").get("schema", {})
    elif form.get("type") == "json_object":
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    return Ask(
        model=body["model"],
        stream=bool(body.get("stream")),
        prompt=spoken(messages[last].get("content")) if last >= 0 else "",
        input_tokens=sum(tokens(spoken(message.get("content"))) for message in messages),
        tools=[
            Tool(str(function.get("name")), function.get("parameters"))
            for function in (section(tool, "function") for tool in listed(body, "tools"))
            if function
        ],
        choice=_choice(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        rounds=sum(bool(turn.get("tool_calls")) for turn in turns),
        called=called,
        schema=schema,
        max_tokens=count(body, "max_completion_tokens", count(body, "max_tokens")),
    )


def _choice(value: Any) -> str:
    if isinstance(value, dict):
        return "=" + str(section(value, "function").get("name"))
    return value if isinstance(value, str) else "auto"


class Chat:
    name = "chat"
    family = FAMILY

    def answer(self, body: Json, scenario: Scenario, mint: Mint) -> Answer:
        ask = read(body)
        said = decide(ask, scenario, mint.seed)
        choices = count(body, "n", 1) or 1
        if choices > 128:
            raise RejectedError(Trouble.INVALID, "n: must be at most 128")
        head = {"id": mint.id("chatcmpl-", 29), "created": mint.now, "model": ask.model, "service_tier": "default"}
        head["system_fingerprint"] = "fp_seawall_lab"
        usage = _usage(ask, said, choices)
        if not ask.stream:
            made = [_choice_object(index, said, mint) for index in range(choices)]
            return plain({**head, "object": "chat.completion", "choices": made, "usage": usage})
        options = section(body, "stream_options")
        return _stream(head, said, choices, usage if options.get("include_usage") else None, mint)


def _finish(said: Said) -> str:
    return "tool_calls" if said.calls else "length" if said.cut else "stop"


def _usage(ask: Ask, said: Said, choices: int) -> dict[str, object]:
    output = said.tokens * choices
    return {
        "prompt_tokens": ask.input_tokens,
        "completion_tokens": output,
        "total_tokens": ask.input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _choice_object(index: int, said: Said, mint: Mint) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": said.text or None, "refusal": None, "annotations": []}
    if said.calls:
        message["tool_calls"] = [
            {"id": mint.id("call_"), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in said.calls
        ]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": _finish(said)}


def _stream(head: Json, said: Said, choices: int, usage: object, mint: Mint) -> Answer:
    usage_null = {} if usage is None else {"usage": None}

    def chunk(index: int, delta: object, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data({**head, "object": "chat.completion.chunk", "choices": [choice], **usage_null})

    every = range(choices)
    frames = [chunk(index, {"role": "assistant", "content": "", "refusal": None}) for index in every]
    frames += [chunk(index, {"content": piece}) for piece in said.pieces for index in every]
    for number, call in enumerate(said.calls):
        for index in every:
            function = {"name": call.name, "arguments": ""}
            opened = {"index": number, "id": mint.id("call_"), "type": "function", "function": function}
            frames.append(chunk(index, {"tool_calls": [opened]}))
            frames += [
                chunk(index, {"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
                for piece in slices(call.arguments)
            ]
    frames += [chunk(index, {}, _finish(said)) for index in every]
    if usage is not None:
        frames.append(data({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}))
    frames.append(DONE)
    terminal = choices + (usage is not None) + 1
    return Answer(frames, SSE, stream=True, prelude=choices, terminal=terminal, error_event=error_event)
