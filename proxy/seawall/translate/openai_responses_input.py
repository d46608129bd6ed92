"""Reads the `input` of a responses request: a text, or items of a conversation. Items that only their account knows,
and those of tools that the provider runs, are refused by type.
"""

from collections.abc import Mapping

from pydantic_ai.messages import TextPart, ThinkingPart, ToolCallPart, UserContent

from seawall.translate.openai_parts import (
    CACHE_HINT,
    File,
    Findings,
    Json,
    audio,
    document,
    image,
    quoted,
    text,
    words,
)
from seawall.translate.openai_turns import Turns, joined

HARMLESS: Mapping[str, str] = {
    "status": "an item that was broken off is carried as far as it goes",
    "phase": "tells OpenAI's models their own preambles from their answers",
    "encrypted_content": "hidden reasoning, which only the model that wrote it can read",
}
"""Of items."""

_INPUT = {"input_text": "text"}
_OUTPUT = {"output_text": "text", "refusal": "refusal"}
_SUMMARY = {"summary_text": "text"}
_REASONING = {"reasoning_text": "text"}


def items(found: Findings, given: object, turns: Turns) -> None:
    """Adds the whole input to the conversation."""
    if isinstance(given, str):
        turns.user(given)
        return
    for at, item in found.objects({"input": given}, "input"):
        match item.get("type") or ("message" if "role" in item else None):
            case "message":
                _message(found, at, item, turns)
            case "function_call":
                _call(found, at, item, turns)
            case "function_call_output":
                _result(found, at, item, turns)
            case "reasoning":
                _reasoning(found, at, item, turns)
            case "item_reference":
                found.refuse(at, "an item by reference is known to the account that holds it only")
            case kind:
                found.refuse(at, f"an item of type {quoted(kind)} cannot be carried")


def _message(found: Findings, at: str, item: Json, turns: Turns) -> None:
    found.sort(f"{at}.", item, ("type", "role", "content", "id"), HARMLESS)
    content = item.get("content")
    match item.get("role"):
        case "system" | "developer":
            turns.system(words(found, f"{at}.content", content, _INPUT))
        case "user":
            turns.user(content if isinstance(content, str) else _content(found, f"{at}.", item, "content"))
        case "assistant":
            id_ = found.take(item, "id", str, f"{at}.")
            turns.assistant(*(TextPart(one, id=id_) for one in words(found, f"{at}.content", content, _OUTPUT)))
        case role:
            found.refuse(f"{at}.role", f"{quoted(role)} cannot be carried")


def _content(found: Findings, at: str, holder: Json, name: str) -> list[UserContent]:
    if holder.get(name) is None:
        found.refuse(at + name, "missing")
    content: list[UserContent] = []
    for where, part in found.objects(holder, name, at):
        one = _part(found, where, part)
        if one is not None:
            content.append(one)
    return content


def _part(found: Findings, at: str, part: Json) -> str | File | None:
    match part.get("type"):
        case "input_text":
            return text(found, at, part)
        case "input_image":
            found.sort(f"{at}.", part, ("type", "image_url", "file_id", "detail"), (CACHE_HINT,))
            if part.get("file_id") is not None:
                found.refuse(f"{at}.file_id", "known to the account that holds the file only")
                return None
            return image(found, f"{at}.image_url", part.get("image_url"), part.get("detail"))
        case "input_audio":
            return audio(found, at, part)
        case "input_file":
            # How finely its pages are looked at is for each provider to choose.
            known = ("type", "file_data", "file_id", "file_url", "filename")
            found.sort(f"{at}.", part, known, (CACHE_HINT, "detail"))
            return document(found, at, part)
        case kind:
            found.refuse(at, f"content of type {quoted(kind)} cannot be carried")
            return None


def _call(found: Findings, at: str, item: Json, turns: Turns) -> None:
    carried = ["type", "name", "arguments", "call_id", "id"]
    if item.get("async") is False:
        carried.append("async")
    found.sort(f"{at}.", item, carried, HARMLESS, {"caller": "other providers' models do not call from programs"})
    name, call_id, args, id_ = (
        found.take(item, field, str, f"{at}.") for field in ("name", "call_id", "arguments", "id")
    )
    if not name or not call_id:
        found.refuse(at, "a call without name or call_id")
        return
    turns.assistant(ToolCallPart(name, args, call_id, id=id_))


def _result(found: Findings, at: str, item: Json, turns: Turns) -> None:
    # A tool's name stands with its call.
    found.sort(f"{at}.", item, ("type", "call_id", "output", "id", "name"), HARMLESS)
    output = item.get("output")
    content: str | list[str | File] = ""
    if isinstance(output, str):
        content = output
    else:
        parts = _content(found, f"{at}.", item, "output")
        content = joined([part for part in parts if isinstance(part, str | File)])
    turns.result(found, f"{at}.call_id", item.get("call_id"), content)


def _reasoning(found: Findings, at: str, item: Json, turns: Turns) -> None:
    """What a model thought, as far as it can be read."""
    found.sort(f"{at}.", item, ("type", "id", "summary", "content"), HARMLESS)
    id_ = found.take(item, "id", str, f"{at}.")
    for field, kinds in (("summary", _SUMMARY), ("content", _REASONING)):
        if item.get(field) is not None:
            texts = words(found, f"{at}.{field}", item[field], kinds)
            turns.assistant(*(ThinkingPart(one, id=id_) for one in texts if one))
