"""Answers of the responses API: a stream's last event holds the whole, and a whole can be told as the events that would
have led to it.
"""

from collections.abc import Iterator

from seawall.dialects._replay import Object, Unjoinable, decode, encode, events, named, obj, objects, text

_TERMINAL = ("response.completed", "response.incomplete", "response.failed")


def join(stream: bytes) -> bytes:
    """The answer that a stream's last event repeats. Raises Unjoinable."""
    items: list[tuple[int, Object]] = []
    for event in events(stream):
        kind = event.get("type")
        if kind == "response.output_item.done" and isinstance(event.get("output_index"), int):
            items.append((int(str(event["output_index"])), obj(event.get("item"))))
        if kind in _TERMINAL:
            response = obj(event.get("response"))
            if not response.get("output") and items:
                # Some servers leave out there what they have told before.
                response["output"] = [item for _, item in sorted(items, key=lambda pair: pair[0])]
            return encode(response)
    raise Unjoinable("no terminal event")


def write(body: bytes) -> bytes:
    """An answer as a stream. Raises Unjoinable."""
    whole = decode(body)
    if whole.get("status") != "completed":
        raise Unjoinable("not completed")
    begun = {**whole, "status": "in_progress", "output": []}
    for name in ("usage", "completed_at"):
        if name in whole:
            begun[name] = None
    found: list[Object] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(objects(whole.get("output"))):
        found += _item(index, item)
    found.append({"type": "response.completed", "response": whole})
    return named({**event, "sequence_number": number} for number, event in enumerate(found))


def _item(index: int, item: Object) -> Iterator[Object]:
    at: Object = {"item_id": item.get("id") or "", "output_index": index}
    begun = {**item, **({"status": "in_progress"} if "status" in item else {})}
    told: list[Object] = []
    match item.get("type"):
        case "message":
            begun["content"] = []
            told = [e for n, part in enumerate(objects(item.get("content"))) for e in _part(at, n, part)]
        case "reasoning":
            begun["summary"] = []
            told = [e for n, part in enumerate(objects(item.get("summary"))) for e in _summary(at, n, part)]
            if item.get("content"):
                begun["content"] = []
                told += [e for n, part in enumerate(objects(item.get("content"))) for e in _part(at, n, part)]
        case "function_call":
            begun["arguments"] = ""
            told = _text_events("response.function_call_arguments", at, "arguments", text(item.get("arguments")))
            told[-1]["name"] = item.get("name")
        case "custom_tool_call":
            begun["input"] = ""
            told = _text_events("response.custom_tool_call_input", at, "input", text(item.get("input")))
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    yield from told
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part(at: Object, number: int, part: Object) -> Iterator[Object]:
    here: Object = {**at, "content_index": number}
    match part.get("type"):
        case "output_text":
            empty: Object = {name: [] for name in ("annotations", "logprobs") if name in part}
            begun = {**part, "text": "", **empty}
            logprobs: Object = {"logprobs": part.get("logprobs") or []}
            told = _text_events("response.output_text", here, "text", text(part.get("text")), logprobs)
            told[1:1] = [
                {"type": "response.output_text.annotation.added", **here, "annotation_index": n, "annotation": note}
                for n, note in enumerate(objects(part.get("annotations")))
            ]
        case "refusal":
            begun = {**part, "refusal": ""}
            told = _text_events("response.refusal", here, "refusal", text(part.get("refusal")))
        case "reasoning_text":
            begun = {**part, "text": ""}
            told = _text_events("response.reasoning_text", here, "text", text(part.get("text")))
        case _:
            begun, told = part, []
    yield {"type": "response.content_part.added", **here, "part": begun}
    yield from told
    yield {"type": "response.content_part.done", **here, "part": part}


def _summary(at: Object, number: int, part: Object) -> Iterator[Object]:
    here: Object = {**at, "summary_index": number}
    yield {"type": "response.reasoning_summary_part.added", **here, "part": {**part, "text": ""}}
    yield from _text_events("response.reasoning_summary_text", here, "text", text(part.get("text")))
    yield {"type": "response.reasoning_summary_part.done", **here, "part": part}


def _text_events(kind: str, at: Object, member: str, value: str, more: Object | None = None) -> list[Object]:
    """A text's one delta, and its end."""
    return [
        {"type": f"{kind}.delta", **at, "delta": value, **(more or {})},
        {"type": f"{kind}.done", **at, member: value, **(more or {})},
    ]
