"""What may be kept of OpenAI's dialect, under which key, and in which forms it can be given again (SEMANTICS §6)."""

from seawall.dialects import _chat_replay, _responses_replay
from seawall.dialects._canonical import readable
from seawall.dialects._replay import Object, Unjoinable, decode, objects
from seawall.dialects.base import Finish, Form, Material, Never
from seawall.types import Facts

_KEPT = frozenset({"chat", "responses", "completions", "embeddings"})

# How it is told, who asks, and what is cheaper: nothing of these changes what a model says.
NO_MATTER = frozenset(
    {"stream", "stream_options", "user", "metadata", "safety_identifier"}
    | {"prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"}
)
# Compared by equality: what stands there may be of any kind.
_NORMAL = ("stop", "tool_calls", "function_call")


def material(facts: Facts, body: bytes) -> Material | Never:
    """See `Dialect.cache_material`."""
    read = readable(facts, body, _KEPT, NO_MATTER)
    if isinstance(read, Never):
        return read
    found, asked = read
    if found.get("store") is True:
        # The agent wants it kept there; where it says nothing (the default of responses), it need not be a new one.
        return Never("store")
    if found.get("audio") is not None:
        return Never("audio")
    form = Form.PLAIN
    if facts.stream:
        options = found.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage") is True
        form = Form.STREAM_WITH_USAGE if counted and facts.operation != "responses" else Form.STREAM
    certain = facts.operation == "embeddings" or is_zero(found.get("temperature"))
    return Material(asked, certain, form)


def is_zero(temperature: object) -> bool:
    return temperature == 0 and isinstance(temperature, int) and not isinstance(temperature, bool)


def finish(facts: Facts, body: bytes, form: Form) -> Finish:
    """See `Dialect.finish`."""
    try:
        whole = decode(body if form is Form.PLAIN else _join(facts, body))
        if whole.get("error"):
            return Finish("error")
        match facts.operation:
            case "chat" | "completions":
                return _chat(objects(whole.get("choices")))
            case "responses":
                return _response(whole)
            case "embeddings":
                return Finish() if objects(whole.get("data")) else Finish("no data")
    except Unjoinable as why:
        return Finish(str(why))
    return Finish("operation")


def _chat(choices: list[Object]) -> Finish:
    calls = False
    for choice in choices:
        reason = choice.get("finish_reason")
        if reason not in _NORMAL:
            return Finish(f"finish_reason {reason}")
        message = choice.get("message")
        if isinstance(message, dict):
            if message.get("refusal"):
                return Finish("refusal")
            calls = calls or bool(message.get("tool_calls") or message.get("function_call"))
    return Finish(calls_tools=calls) if choices else Finish("no choices")


def _response(whole: Object) -> Finish:
    if whole.get("status") != "completed" or whole.get("incomplete_details"):
        return Finish(f"status {whole.get('status')}")
    calls = False
    for item in objects(whole.get("output")):
        calls = calls or str(item.get("type")).endswith("_call")
        parts = item.get("content")
        if item.get("type") == "message" and any(part.get("type") == "refusal" for part in objects(parts)):
            return Finish("refusal")
    return Finish(calls_tools=calls)


def replayed(facts: Facts, body: bytes, have: Form, want: Form) -> bytes | None:
    """See `Dialect.replayed`."""
    if have is want:
        return body
    try:
        whole = body if have is Form.PLAIN else _join(facts, body)
        if facts.operation not in ("chat", "completions", "responses") or not decode(whole).get("usage"):
            # A stream for which nobody asked for usage has none, which a plain answer always has.
            return None
        if want is Form.PLAIN:
            return whole
        if facts.operation == "responses":
            return _responses_replay.write(whole)
        return _chat_replay.write(whole, usage=want is Form.STREAM_WITH_USAGE)
    except Unjoinable:
        return None


def _join(facts: Facts, stream: bytes) -> bytes:
    return _responses_replay.join(stream) if facts.operation == "responses" else _chat_replay.join(stream)
