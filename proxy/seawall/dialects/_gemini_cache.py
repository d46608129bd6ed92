"""What may be kept of Gemini's dialect, and under which key (SEMANTICS §6). Streams and plain answers have paths of
their own, and so keys of their own: nothing is ever told in another form.
"""

from collections.abc import Iterable

from seawall.dialects._canonical import readable
from seawall.dialects._gemini_facts import ARRAY
from seawall.dialects._openai_cache import is_zero
from seawall.dialects._replay import Object, Unjoinable, decode, events, objects
from seawall.dialects.base import Finish, Form, Material, Never
from seawall.types import Facts

# Who asks, for Vertex AI's bills.
NO_MATTER = frozenset({"labels"})


def material(facts: Facts, body: bytes) -> Material | Never:
    """See `Dialect.cache_material`."""
    if facts.framing == ARRAY:
        return Never("operation")
    read = readable(facts, body, ("generate", "embeddings"), NO_MATTER)
    if isinstance(read, Never):
        return read
    found, asked = read
    # The API takes both ways to write it.
    config = found.get("generationConfig", found.get("generation_config"))
    certain = facts.operation == "embeddings" or (isinstance(config, dict) and is_zero(config.get("temperature")))
    return Material(asked, certain, Form.STREAM if facts.stream else Form.PLAIN)


def finish(facts: Facts, body: bytes, form: Form) -> Finish:
    """See `Dialect.finish`."""
    try:
        if facts.operation == "embeddings":
            whole = decode(body)
            return Finish() if whole.get("embedding") or whole.get("embeddings") else Finish("no embedding")
        return _generated([decode(body)] if form is Form.PLAIN else events(body))
    except Unjoinable as why:
        return Finish(str(why))


def _generated(chunks: Iterable[Object]) -> Finish:
    """A stream's chunks are answers in small; each candidate says in one of them why it ended."""
    reasons: dict[int, object] = {}
    calls = False
    for chunk in chunks:
        if chunk.get("error"):
            return Finish("error")
        for candidate in objects(chunk.get("candidates")):
            index = candidate.get("index", 0)
            if not isinstance(index, int):
                return Finish("no index")
            reasons[index] = candidate.get("finishReason") or reasons.get(index)
            content = candidate.get("content")
            parts = objects(content.get("parts")) if isinstance(content, dict) else []
            calls = calls or any("functionCall" in part for part in parts)
    for reason in reasons.values():
        if reason != "STOP":
            return Finish(f"finishReason {reason}")
    return Finish(calls_tools=calls) if reasons else Finish("no candidates")
