"""The turns of a Gemini request as pydantic-ai's messages: text, files, thoughts, function calls and their results.
Code that the provider ran, its own tools and files of the account do not fit.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
    VideoUrl,
)

from seawall.translate.calls import Calls
from seawall.translate.gemini_fields import GeminiFields
from seawall.translate.openai_parts import quoted

LEFT_OUT: Mapping[str, str] = {
    "partMetadata": "the agent's own notes",
    "thoughtSignature": "hidden reasoning, which only the model that wrote it can read",
}
"""Fields of a part that are harmless to leave out, each with the reason."""

File = BinaryContent | ImageUrl | DocumentUrl | AudioUrl | VideoUrl

# Names that Gemini's clients have for what other providers know by another.
_SYNONYMS = {
    "audio/mp3": "audio/mpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "image/jpg": "image/jpeg",
}
_DETAILS = {"MEDIA_RESOLUTION_LOW": "low", "MEDIA_RESOLUTION_HIGH": "high", "MEDIA_RESOLUTION_ULTRA_HIGH": "high"}
_KEPT = "/files/"
_GOOGLE = ".googleapis.com"
_FILMS = frozenset({"youtube.com", "www.youtube.com", "youtu.be"})


@dataclass(slots=True)
class Conversation:
    """Messages as far as they have been read, and the calls in them. detail: how finely images are looked at."""

    detail: str | None = None
    messages: list[ModelMessage] = field(default_factory=list)
    calls: Calls = field(default_factory=Calls)

    def add(self, turn: GeminiFields) -> None:
        """Read one element of `contents`."""
        noted = len(turn.unfit)
        role, parts = turn.take("role", str) or "user", turn.each("parts")
        if role == "model":
            self._say([said for part in parts if (said := self._model(part)) is not None])
        elif role in ("user", "function", "tool"):
            heard = self._user(parts)
            if not heard and noted == len(turn.unfit):
                turn.refuse("parts", "say nothing")
            self._hear(heard)
        else:
            turn.refuse("role", f"{quoted(role)} is neither user nor model")
        turn.close()

    def finish(self, top: GeminiFields) -> None:
        """Check what only the whole conversation can tell."""
        if not self.messages and not top.unfit:
            top.refuse("contents", "is empty")
        elif self.messages and isinstance(self.messages[-1], ModelResponse):
            top.refuse("contents", "ends with the model's words, which other providers do not continue")

    # Results of one turn's calls may come in several contents, and other providers want them together.

    def _hear(self, parts: list[ModelRequestPart]) -> None:
        last = self.messages[-1] if self.messages else None
        if isinstance(last, ModelRequest):
            last.parts = [*last.parts, *parts]
        elif parts:
            self.messages.append(ModelRequest(parts=parts))

    def _say(self, parts: list[ModelResponsePart]) -> None:
        last = self.messages[-1] if self.messages else None
        if isinstance(last, ModelResponse):
            last.parts = [*last.parts, *parts]
        elif parts:
            self.messages.append(ModelResponse(parts=parts))

    def _user(self, parts: list[GeminiFields]) -> list[ModelRequestPart]:
        heard: list[ModelRequestPart] = []
        said: list[UserContent] = []
        for part in parts:
            if (result := part.inner("functionResponse")) is not None:
                _speak(heard, said)
                heard.append(self._result(result))
            elif (text := part.take("text", str)) is not None:
                # Empty words say nothing, and Anthropic refuses them.
                said += [text] if text else []
            elif (file := _file(part, self.detail)) is not None:
                said.append(file)
            part.off("thought", "is a model's")
            part.close(LEFT_OUT)
        _speak(heard, said)
        return heard

    def _model(self, part: GeminiFields) -> ModelResponsePart | None:
        said: ModelResponsePart | None = None
        thought = part.take("thought", bool)
        if (text := part.take("text", str)) is not None:
            said = ThinkingPart(content=text) if thought else TextPart(content=text)
            said = said if text else None
        elif (call := part.inner("functionCall")) is not None:
            said = self._call(call)
        part.close(LEFT_OUT, "belongs to the provider that made it")
        return said

    def _call(self, call: GeminiFields) -> ToolCallPart:
        name, given = call.need("name", str, ""), call.take("id", str) or ""
        args = call.take("args", dict) or {}
        call.off("willContinue", "is known to Google's models only")
        call.close()
        return ToolCallPart(tool_name=name, args=args, tool_call_id=self.calls.make(given, name))

    def _result(self, result: GeminiFields) -> ToolReturnPart[object]:
        """The API's own ids are not in all conversations; without, the first call of that name is meant that has no
        result yet."""
        name, given = result.need("name", str, ""), result.take("id", str)
        known = self.calls.answer(given) if given else None
        if known is None and (unnamed := self.calls.answer_by_name(name)) is not None:
            known = name, unnamed
        if known is None:
            result.refuse("name", "answers no functionCall before it")
        tool, call = known or (name, "")
        response: dict[str, Any] = result.take("response", dict) or {}
        files = [file for part in result.each("parts") if (file := _result_file(part, self.detail)) is not None]
        result.off("willContinue", "other providers take a result whole")
        if result.word("scheduling") is not None:
            result.refuse("scheduling", "other providers wait for a result")
        result.close()
        # So the API has a failure told.
        failed = response.keys() == {"error"}
        told = response["error"] if failed else response
        value: object = [told, *files] if files else told
        part: ToolReturnPart[object] = ToolReturnPart(tool, value, call)
        return replace(part, outcome="failed") if failed else part


def texts(content: GeminiFields) -> list[str]:
    """The texts of a content whose parts may be nothing else (`systemInstruction`)."""
    found = []
    for part in content.each("parts"):
        if text := part.take("text", str):
            found.append(text)
        part.close(LEFT_OUT, "stands where only text may be")
    return found


def _speak(heard: list[ModelRequestPart], said: list[UserContent]) -> None:
    """What was said between results becomes one prompt; a single text a plain one."""
    if said:
        only = said[0]
        heard.append(UserPromptPart(content=only if len(said) == 1 and isinstance(only, str) else list(said)))
        said.clear()


def _result_file(part: GeminiFields, detail: str | None) -> File | None:
    file = _file(part, detail)
    part.close(LEFT_OUT)
    return file


def _file(part: GeminiFields, detail: str | None) -> File | None:
    """A file within the part, or one by a link; None where there is none that fits, which is noted."""
    if (resolution := part.inner("mediaResolution")) is not None:
        detail = _DETAILS.get(resolution.word("level") or "")
        resolution.take("numTokens", object)
        resolution.close()
    if (blob := part.inner("inlineData")) is not None:
        return _inline(blob, detail)
    if (link := part.inner("fileData")) is not None:
        return _linked(link, detail)
    return None


def _inline(blob: GeminiFields, detail: str | None) -> BinaryContent | None:
    media, data = _media(blob.need("mimeType", str, "")), blob.need("data", str, "")
    name = blob.take("displayName", str)
    blob.close()
    if not media:
        return None
    # Both alphabets are taken, and padding is not asked for (ProtoJSON).
    data = data.translate(_PLAIN_ALPHABET).rstrip("=")
    try:
        raw = base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        blob.refuse("data", "is not base64")
        return None
    metadata = {"detail": detail} if detail and media.startswith("image/") else None
    content = BinaryContent(raw, media_type=media, vendor_metadata=metadata, identifier=name)
    try:
        known = bool(content.format)
    except ValueError:
        known = False
    if not known or media == "application/octet-stream":
        blob.refuse("mimeType", f"{quoted(media)} is not known to other providers")
        return None
    return BinaryContent.narrow_type(content)


_PLAIN_ALPHABET = str.maketrans("-_", "+/")


def _linked(link: GeminiFields, detail: str | None) -> File | None:
    """A file anywhere in the web; one that Google keeps is known to the account that holds it only."""
    uri, media = link.need("fileUri", str, ""), _media(link.take("mimeType", str) or "")
    link.take("displayName", str)
    link.close()
    try:
        parts = urlsplit(uri)
        host = (parts.hostname or "").lower()
    except ValueError:
        link.refuse("fileUri", "is no address")
        return None
    if parts.scheme not in ("http", "https") or not host or (host.endswith(_GOOGLE) and _KEPT in parts.path):
        link.refuse("fileUri", "known to the account that holds the file only")
        return None
    metadata = {"detail": detail} if detail else None
    if media.startswith("image/"):
        return ImageUrl(uri, media_type=media, vendor_metadata=metadata)
    if media.startswith("audio/"):
        return AudioUrl(uri, media_type=media)
    if media.startswith("video/") or host in _FILMS:
        return VideoUrl(uri, media_type=media or None)
    if media:
        return DocumentUrl(uri, media_type=media)
    link.refuse("mimeType", "is missing")
    return None


def _media(given: str) -> str:
    """A media type without its parameters."""
    media = given.partition(";")[0].strip().lower()
    return _SYNONYMS.get(media, media)
