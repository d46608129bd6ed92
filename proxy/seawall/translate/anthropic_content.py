"""The turns of an Anthropic request as pydantic-ai's messages: text, images, documents, thinking, tool calls and their
results. Blocks of server tools, uploaded files and citations belong to the provider that made them, and do not fit.
"""

import base64
import binascii
from dataclasses import dataclass, field, replace

from pydantic_ai.messages import (
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from seawall.translate.calls import Calls
from seawall.translate.fields import Fields

ANTHROPIC = "anthropic"
"""How pydantic-ai calls the provider whose signatures on thinking are Anthropic's own."""
REDACTED = "redacted_thinking"
"""The id by which pydantic-ai tells redacted thinking from other."""

HARMLESS = {
    # Both caches make the same answer cheaper; where breakpoints pay off differs from provider to provider.
    "cache_control": "changes the price of the answer, not the answer",
}

Content = str | BinaryContent | ImageUrl | DocumentUrl

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"
_TEXT = "text/plain"


@dataclass(slots=True)
class Conversation:
    """Messages as far as they have been read, and the tool calls in them."""

    messages: list[ModelMessage] = field(default_factory=list)
    calls: Calls = field(default_factory=Calls)

    def add(self, turn: Fields) -> None:
        """Read one element of `messages`."""
        role, blocks = turn.need("role", str, ""), turn.blocks("content")
        if not blocks:
            turn.refuse("content", "is empty")
        elif role == "user":
            self.messages.append(ModelRequest(parts=self._user(blocks)))
        elif role == "assistant":
            parts = [part for block in blocks if (part := self._assistant(block)) is not None]
            self.messages.append(ModelResponse(parts=parts))
        elif role == "system":
            prompts = [SystemPromptPart(content=said) for said in texts(blocks)]
            self.messages.append(ModelRequest(parts=prompts))
        else:
            turn.refuse("role", "is none of user, assistant, system")
        turn.close()

    def finish(self, top: Fields) -> None:
        """Check what only the whole conversation can tell."""
        if not self.messages:
            top.refuse("messages", "is empty")
        elif isinstance(self.messages[-1], ModelResponse):
            top.refuse("messages", "ends with the assistant's words, which other providers do not continue")

    def _user(self, blocks: list[Fields]) -> list[ModelRequestPart]:
        parts: list[ModelRequestPart] = []
        said: list[Content] = []
        for block in blocks:
            if block.kind == "tool_result":
                _speak(parts, said)
                parts.append(self._result(block))
                continue
            block_content = content(block)
            if block_content is not None:
                said.append(block_content)
        _speak(parts, said)
        return parts

    def _result(self, block: Fields) -> ToolReturnPart[object]:
        given = block.need("tool_use_id", str, "")
        name, call = self.calls.answer(given) or ("", "")
        if given and not call:
            block.refuse("tool_use_id", "names no tool call before it")
        failed = block.take("is_error", bool)
        found = []
        for inner in block.blocks("content"):
            # Empty words say nothing, and Anthropic refuses them.
            if item := content(inner):
                found.append(item)
        block.close(HARMLESS)
        # One text is said as such: providers whose tool results are strings get it without quotes and brackets.
        value = found[0] if len(found) == 1 and isinstance(found[0], str) else found
        result: ToolReturnPart[object] = ToolReturnPart(name, value, call)
        return replace(result, outcome="failed") if failed else result

    def _assistant(self, block: Fields) -> ModelResponsePart | None:
        match block.kind:
            case "text":
                return TextPart(content=text(block))
            case "thinking":
                said, signature = block.need("thinking", str, ""), block.take("signature", str)
                block.close()
                owner = ANTHROPIC if signature else None
                return ThinkingPart(content=said, signature=signature or None, provider_name=owner)
            case "redacted_thinking":
                data = block.need("data", str, "")
                block.close()
                return ThinkingPart(content="", id=REDACTED, signature=data, provider_name=ANTHROPIC)
            case "tool_use":
                return self._call(block)
            case kind:
                block.refuse("type", f"{kind} belongs to the provider that made it")
                return None

    def _call(self, block: Fields) -> ToolCallPart:
        name, call = block.need("name", str, ""), block.need("id", str, "")
        args = block.need("input", dict, {})
        caller = block.inner("caller")
        if caller is not None and caller.kind != "direct":
            block.refuse("caller", "is a server tool")
        block.close(HARMLESS)
        return ToolCallPart(tool_name=name, args=args, tool_call_id=self.calls.make(call, name))


def texts(blocks: list[Fields]) -> list[str]:
    """The texts of blocks that may be nothing else (`system`)."""
    found = []
    for block in blocks:
        if block.kind == "text":
            found.append(text(block))
        else:
            block.refuse("type", f"{block.kind} where only text may be")
    return found


def text(block: Fields) -> str:
    """A text block's text."""
    said = block.need("text", str, "")
    if block.take("citations", list):
        block.refuse("citations", "point into documents of the provider that made them")
    block.close(HARMLESS)
    return said


def content(block: Fields) -> Content | None:
    """A block that a user or a tool may send; None: it does not fit."""
    match block.kind:
        case "text":
            return text(block)
        case "image":
            return _image(block)
        case "document":
            return _document(block)
        case kind:
            block.refuse("type", f"{kind} has no counterpart")
            return None


def _speak(parts: list[ModelRequestPart], said: list[Content]) -> None:
    """What was said between tool results becomes one prompt; a single text a plain one."""
    if said:
        only = said[0]
        parts.append(UserPromptPart(content=only if len(said) == 1 and isinstance(only, str) else list(said)))
        said.clear()


def _image(block: Fields) -> BinaryContent | ImageUrl | None:
    source = block.inner("source")
    if block.take("transformations", dict):
        block.refuse("transformations", "has no counterpart")
    block.close(HARMLESS)
    if source is None:
        block.refuse("source", "is missing")
        return None
    match source.kind:
        case "base64":
            return _binary(source, _IMAGES)
        case "url":
            url = source.need("url", str, "")
            source.close()
            return ImageUrl(url=url)
        case kind:
            source.refuse("type", f"{kind} cannot be sent to another provider")
            return None


def _document(block: Fields) -> BinaryContent | DocumentUrl | None:
    source, citations = block.inner("source"), block.inner("citations")
    if citations is not None and citations.take("enabled", bool):
        block.refuse("citations", "would point into the provider's own reading of the document")
    block.close(HARMLESS)
    if source is None:
        block.refuse("source", "is missing")
        return None
    match source.kind:
        case "base64":
            return _binary(source, frozenset({_PDF}))
        case "text":
            said, media = source.need("data", str, ""), source.need("media_type", str, _TEXT)
            if media != _TEXT:
                source.refuse("media_type", f"{media} is none that this kind of source takes")
            source.close()
            return BinaryContent(data=said.encode(), media_type=_TEXT)
        case "url":
            url = source.need("url", str, "")
            source.close()
            return DocumentUrl(url=url, media_type=_PDF)
        case kind:
            source.refuse("type", f"{kind} cannot be sent to another provider")
            return None


def _binary(source: Fields, allowed: frozenset[str]) -> BinaryContent | None:
    media, encoded = source.need("media_type", str, ""), source.need("data", str, "")
    source.close()
    if media not in allowed:
        source.refuse("media_type", f"{media} is none that this kind of block takes")
        return None
    try:
        return BinaryContent(data=base64.b64decode(encoded, validate=True), media_type=media)
    except binascii.Error:
        source.refuse("data", "is not base64")
        return None
