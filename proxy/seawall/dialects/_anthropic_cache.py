"""What may be kept of Anthropic's dialect, under which key, and in which forms it can be given again (SEMANTICS §6)."""

from seawall.dialects import _messages_replay
from seawall.dialects._canonical import readable
from seawall.dialects._openai_cache import is_zero
from seawall.dialects._replay import Unjoinable, decode, objects
from seawall.dialects.base import Finish, Form, Material, Never
from seawall.types import Facts

# How it is told, who asks, and what is cheaper: nothing of these changes what a model says.
NO_MATTER = frozenset({"stream", "metadata", "cache_control"})
_NORMAL = ("end_turn", "stop_sequence", "tool_use")


def material(facts: Facts, body: bytes) -> Material | Never:
    """See `Dialect.cache_material`."""
    read = readable(facts, body, ("messages",), NO_MATTER)
    if isinstance(read, Never):
        return read
    found, asked = read
    form = Form.STREAM if facts.stream else Form.PLAIN
    return Material(asked, is_zero(found.get("temperature")), form)


def finish(body: bytes, form: Form) -> Finish:
    """See `Dialect.finish`."""
    try:
        whole = decode(body if form is Form.PLAIN else _messages_replay.join(body))
        reason = whole.get("stop_reason")
        if reason not in _NORMAL:
            return Finish(f"stop_reason {reason}")
        blocks = objects(whole.get("content"))
    except Unjoinable as why:
        return Finish(str(why))
    return Finish(calls_tools=any(str(block.get("type")).endswith("tool_use") for block in blocks))


def replayed(body: bytes, have: Form, want: Form) -> bytes | None:
    """See `Dialect.replayed`."""
    if have is want:
        return body
    try:
        return _messages_replay.join(body) if want is Form.PLAIN else _messages_replay.write(body)
    except Unjoinable:
        return None
