"""Chat completions and legacy completions that were recorded as streams, joined, and plain ones written as streams.

Joined as openai-python's accumulator does it, but for what compatible servers repeat in each chunk (roles, types, ids)
and for fields that it does not know: those come out as a plain answer would have had them.
"""

from collections.abc import Iterator

from seawall.dialects._replay import Object, Pieces, Unjoinable, decode, encode, events, more, obj, objects, unnamed

# In each chunk, as the provider repeats them; the rest of a completion's own members stand in the first.
_REPEATED = ("id", "created", "model", "system_fingerprint", "service_tier")
_PADDING = "obfuscation"
# Texts that are said anew, not continued.
_WORDS = frozenset({"role", "type", "index", "format", "status"})
_NAMES = frozenset({"id", "name"})
_REASONING = ("reasoning_content", "reasoning", "reasoning_details")
_LATER = (*_REASONING, "content", "refusal", "tool_calls")


def join(stream: bytes) -> bytes:
    """A stream's chunks as one completion. Raises Unjoinable."""
    whole: Object = {}
    choices: dict[int, Object] = {}
    for chunk in events(stream):
        for name, value in chunk.items():
            if name not in ("choices", "object", _PADDING) and (value is not None or name not in whole):
                whole.setdefault(name, None)
                whole[name] = value if name != "x_groq" else {**obj(whole[name] or {}), **obj(value or {})}
        for choice in objects(chunk.get("choices")):
            _take(choices.setdefault(_index(choice), {}), choice)
    if "error" in whole or not choices or any(not choice.get("finish_reason") for choice in choices.values()):
        raise Unjoinable("not a whole answer")
    _groq_usage(whole)
    legacy = all("text" in choice for choice in choices.values())
    usage = {"usage": whole.pop("usage")} if "usage" in whole else {}
    kind = "text_completion" if legacy else "chat.completion"
    ordered = [_finished(choices[index]) for index in sorted(choices)]
    return encode({"id": whole.pop("id", None), "object": kind, **whole, "choices": ordered, **usage})


def _groq_usage(whole: Object) -> None:
    """Groq counts in a member of its own, where nobody has asked for usage."""
    if isinstance(groq := whole.get("x_groq"), dict) and "usage" in groq:
        usage = groq.pop("usage")
        if whole.get("usage") is None:
            whole["usage"] = usage


def _index(value: Object) -> int:
    index = value.get("index", 0)
    if not isinstance(index, int) or not 0 <= index <= 1024:
        raise Unjoinable("no index")
    return index


def _take(into: Object, choice: Object) -> None:
    into.setdefault("index", _index(choice))
    for name, value in choice.items():
        if name == "delta":
            _merge(obj(into.setdefault("message", {})), _joinable(obj(value or {})))
        elif name == "text":
            into["text"] = more(into.get("text"), value)
        elif name == "logprobs" and isinstance(value, dict):
            known = obj(into.get("logprobs") or {})
            into["logprobs"] = known
            _merge(known, value)
        elif name != "index" and (value is not None or name not in into):
            into[name] = value


def _joinable(delta: Object) -> Object:
    """Sound does not join by its text, and fragments of lists do not say which part they go on with."""
    sound = delta.get("audio")
    if isinstance(delta.get("content"), list) or (isinstance(sound, dict) and any(sound.values())):
        raise Unjoinable("content in parts")
    return delta


def _merge(into: Object, delta: Object) -> None:
    for name, value in delta.items():
        known = into.get(name)
        if isinstance(value, list):
            into[name] = _extended(known, value)
        elif known is None:
            into[name] = value
        elif isinstance(value, str) and isinstance(known, str | Pieces):
            into[name] = _continued(name, known, value)
        elif isinstance(value, dict) and isinstance(known, dict):
            _merge(known, value)
        elif value is not None:
            if type(value) is not type(known):
                raise Unjoinable(f"{name} changes its type")
            into[name] = value


def _continued(name: str, known: str | Pieces, value: str) -> str | Pieces:
    if name in _WORDS:
        return value or str(known)
    return known if name in _NAMES and known == value else more(known, value)


def _extended(known: object, entries: list[object]) -> list[object]:
    """Entries with an index go on with the one of that index; others are new."""
    if known is not None and not isinstance(known, list):
        raise Unjoinable("a list goes on with something else")
    found: list[object] = known or []
    for entry in entries:
        if isinstance(entry, dict):
            _merge(_begun(found, entry), entry)
        else:
            found.append(entry)
    return found


def _begun(found: list[object], entry: Object) -> Object:
    """What an entry goes on with: the last of its index and type, or a new one. Servers give two kinds of reasoning one
    index, and a type may be said only once."""
    index = entry.get("index")
    for one in reversed(found) if index is not None else ():
        if isinstance(one, dict) and one.get("index") == index and entry.get("type") in (None, one.get("type")):
            return one
    new: Object = {}
    found.append(new)
    return new


def _finished(choice: Object) -> Object:
    message = choice.get("message")
    if isinstance(message, dict):
        for call in objects(message.get("tool_calls")):
            call.pop("index", None)
    return choice


def write(body: bytes, *, usage: bool) -> bytes:
    """A completion as a stream. Raises Unjoinable."""
    whole = decode(body)
    choices = objects(whole.get("choices"))
    if not choices or not all(choice.get("finish_reason") for choice in choices):
        raise Unjoinable("not a whole answer")
    legacy = whole.get("object") == "text_completion"
    kind = "text_completion" if legacy else "chat.completion.chunk"
    own = {name: value for name, value in whole.items() if name not in ("object", "choices", "usage")}
    repeated: Object = {name: own[name] for name in _REPEATED if name in own}
    nothing: Object = {"usage": None} if usage else {}
    found: list[Object] = []
    for choice in choices:
        for part in [choice] if legacy else _parts(choice):
            found.append({**(repeated if found else own), "object": kind, "choices": [part], **nothing})
    if usage:
        found.append({**repeated, "object": kind, "choices": [], "usage": obj(whole.get("usage"))})
    return unnamed(found)


def _parts(choice: Object) -> Iterator[Object]:
    """One choice in deltas: who speaks, what was thought, said and called, and how it ended."""
    message = obj(choice.get("message"))
    index = _index(choice)
    said = {name: value for name, value in message.items() if name in _LATER and value not in (None, "")}
    deltas: list[Object] = [{name: value for name, value in message.items() if name not in said}]
    for name in _LATER:
        if name in said:
            deltas.append({name: _numbered(objects(said[name])) if name == "tool_calls" else said[name]})
    logprobs: Object = {"logprobs": choice["logprobs"]} if "logprobs" in choice else {}
    for number, delta in enumerate(deltas):
        # They are those of the text, and come once.
        with_text = number == len(deltas) - 1
        yield {"index": index, "delta": delta, **(logprobs if with_text else {}), "finish_reason": None}
    rest = {name: value for name, value in choice.items() if name not in ("index", "message", "logprobs")}
    yield {"index": index, "delta": {}, **rest}


def _numbered(calls: list[Object]) -> list[Object]:
    return [{"index": number, **call} for number, call in enumerate(calls)]
