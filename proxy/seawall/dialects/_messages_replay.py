"""Anthropic's messages that were recorded as streams, joined, and plain ones written as streams.

Joined as anthropic-python's accumulators do it. What neither of them knows is not guessed at: such a stream is replayed
only as the stream that it is.
"""

from collections.abc import Iterator

import msgspec

from seawall.dialects._replay import Object, Pieces, Unjoinable, decode, encode, events, more, named, obj, objects, text

# Known to the SDK besides the deltas of texts, and without a place in the message.
_MARKS = ("ping", "message_stop")
_TOLD_AT_END = ("container", "stop_details")
_BESIDE_DELTA = ("context_management", "input_transformations")


def join(stream: bytes) -> bytes:
    """A stream's events as one message. Raises Unjoinable."""
    message: Object = {}
    blocks: dict[int, Object] = {}
    inputs: dict[int, Pieces] = {}
    stopped = False
    for event in events(stream):
        match event.get("type"):
            case "message_start":
                message = obj(event.get("message"))
            case "content_block_start":
                blocks[_index(event)] = obj(event.get("content_block"))
            case "content_block_delta":
                at = _index(event)
                _take(blocks.get(at), obj(event.get("delta")), at, inputs)
            case "content_block_stop":
                _close(blocks.get(_index(event)), str(inputs.pop(_index(event), "")))
            case "message_delta":
                _end(message, event)
            case kind if kind in _MARKS:
                stopped = stopped or kind == "message_stop"
            case kind:
                raise Unjoinable(f"event {kind}")
    if not message or not stopped:
        raise Unjoinable("not a whole answer")
    return encode({**message, "content": [blocks[at] for at in sorted(blocks)]})


def _index(event: Object) -> int:
    index = event.get("index")
    if not isinstance(index, int):
        raise Unjoinable("no index")
    return index


def _take(block: Object | None, delta: Object, at: int, inputs: dict[int, Pieces]) -> None:
    if block is None:
        raise Unjoinable("a delta of no block")
    match delta.get("type"):
        case "text_delta":
            block["text"] = more(block.get("text"), delta.get("text"))
        case "thinking_delta":
            block["thinking"] = more(block.get("thinking"), delta.get("thinking"))
        case "signature_delta":
            block["signature"] = delta.get("signature")
        case "citations_delta":
            block["citations"] = [*objects(block.get("citations")), obj(delta.get("citation"))]
        case "input_json_delta":
            inputs[at] = more(inputs.get(at), delta.get("partial_json"))
        case "compaction_delta":
            block.update((name, value) for name, value in delta.items() if name != "type")
        case kind:
            raise Unjoinable(f"delta {kind}")


def _close(block: Object | None, given: str) -> None:
    if block is not None and given:
        decode(given.encode())
        block["input"] = msgspec.Raw(given.encode())


def _end(message: Object, event: Object) -> None:
    """What is known only at the end. Counts are totals, which replace those before."""
    told = obj(event.get("delta"))
    beside = {name: event[name] for name in _BESIDE_DELTA if event.get(name) is not None}
    message.update((name, value) for name, value in told.items() if value is not None or name not in message)
    message.update(beside)
    usage = obj(event.get("usage") or {})
    counted = obj(message.get("usage") or {})
    message["usage"] = {**counted, **{name: v for name, v in usage.items() if v is not None or name not in counted}}


def write(body: bytes) -> bytes:
    """A message as a stream. Raises Unjoinable."""
    whole = decode(body)
    usage = obj(whole.get("usage"))
    late = {name: None for name in (*_TOLD_AT_END, *_BESIDE_DELTA) if name in whole}
    begun = {**whole, "content": [], "stop_reason": None, "stop_sequence": None, **late}
    begun["usage"] = {**usage, "output_tokens": 0}
    found: list[Object] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(objects(whole.get("content"))):
        found += _block(index, block)
    delta: Object = {name: whole[name] for name in ("stop_reason", "stop_sequence", *_TOLD_AT_END) if name in whole}
    beside: Object = {name: whole[name] for name in _BESIDE_DELTA if name in whole}
    found += [{"type": "message_delta", "delta": delta, "usage": usage, **beside}, {"type": "message_stop"}]
    return named(found)


def _block(index: int, block: Object) -> Iterator[Object]:
    begun = dict(block)
    deltas: list[Object] = []
    match block.get("type"):
        case "text":
            begun["text"] = ""
            deltas = [{"type": "text_delta", "text": text(block.get("text"))}]
            if block.get("citations"):
                begun["citations"] = []
                deltas += [{"type": "citations_delta", "citation": one} for one in objects(block["citations"])]
        case "thinking":
            begun["thinking"] = ""
            deltas = [{"type": "thinking_delta", "thinking": text(block.get("thinking"))}]
            if block.get("signature"):
                begun["signature"] = ""
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case "tool_use" | "server_tool_use" | "mcp_tool_use" if block.get("input"):
            begun["input"] = {}
            deltas = [{"type": "input_json_delta", "partial_json": encode(block["input"]).decode()}]
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}
