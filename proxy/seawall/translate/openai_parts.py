"""What the requests of chat completions and of responses have in common: how fields are judged, and content parts.

Every field that is not null is carried, listed as harmless with the reason, or makes the request unfit by its name. No
reason holds anything that an agent or its user wrote, but for short names.
"""

import base64
import binascii
import mimetypes
from collections.abc import Container, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec
from pydantic_ai.messages import BinaryContent, DocumentUrl, ImageUrl

Json = dict[str, Any]
"""An object of a request, as it was decoded."""

File = BinaryContent | DocumentUrl | ImageUrl

_AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_TYPE_NAMES: dict[type, str] = {str: "a text", bool: "a boolean", int: "an integer", float: "a number"}

CACHE_HINT = "prompt_cache_breakpoint"
"""On any content part; harmless to leave out, as caching changes the price and not the answer."""


def decoded(body: bytes) -> Json | None:
    """The request's object; None where the body is no JSON object."""
    try:
        request = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    return request if isinstance(request, dict) else None


def opened(
    found: "Findings", body: bytes, carried: Container[str], harmless: Container[str], unfit: Mapping[str, str]
) -> Json:
    """A request's object, its own fields judged; an empty one where the body is none."""
    request = decoded(body)
    if request is None:
        found.refuse("body", "not a JSON object")
        request = {}
    found.sort("", request, carried, harmless, unfit)
    return request


def quoted(value: object) -> str:
    """A name out of a request, short enough for a log."""
    return f'"{value[:40]}"' if isinstance(value, str) else "this value"


class Findings:
    """Collects what makes a request unfit, while its fields are read. A field that is wrong reads as absent."""

    __slots__ = ("_unfit",)

    def __init__(self) -> None:
        self._unfit: dict[str, None] = {}

    @property
    def unfit(self) -> tuple[str, ...]:
        return tuple(self._unfit)

    def refuse(self, field: str, why: str) -> None:
        # Names are the agent's, and a line of a log is a line.
        reason = f"{field}: {why}"
        self._unfit["".join(one if one.isprintable() else "?" for one in reason)] = None

    def sort(
        self,
        at: str,
        value: Json,
        carried: Container[str],
        harmless: Container[str] = (),
        unfit: Mapping[str, str] | None = None,
    ) -> None:
        """Refuses the fields that are neither carried nor harmless. unfit: why the known ones are; null is absent."""
        for name, field in value.items():
            if field is not None and name not in carried and name not in harmless:
                self.refuse(f"{at}{name[:64]}", (unfit or {}).get(name, "unknown field"))

    def take(self, value: Json, name: str, kind: type, at: str = "") -> Any:
        """A field of that type; None where it is absent, null or of another type, which is refused."""
        field = value.get(name)
        if field is None:
            return None
        fits = isinstance(field, kind) and (kind is bool or not isinstance(field, bool))
        if kind is float and isinstance(field, int) and not isinstance(field, bool):
            fits = True
        if not fits:
            self.refuse(at + name, f"not {_TYPE_NAMES.get(kind, 'of the right form')}")
            return None
        return field

    def choice(self, value: Json, name: str, known: Container[str], at: str = "") -> Any:
        """One of several words; None where it is absent, or refused as one that no other provider knows."""
        word = value.get(name)
        if word is None:
            return None
        if isinstance(word, str) and word in known:
            return word
        self.refuse(at + name, f"{quoted(word)} is not known to other providers")
        return None

    def objects(self, value: Json, name: str, at: str = "") -> Iterable[tuple[str, Json]]:
        """The objects of a list, each with where it stands."""
        for index, one in enumerate(self.take(value, name, list, at) or ()):
            where = f"{at}{name}[{index}]"
            if isinstance(one, dict):
                yield where, one
            else:
                self.refuse(where, "not an object")


def words(found: Findings, at: str, content: object, kinds: Mapping[str, str]) -> list[str]:
    """Content that can only be text, as its parts. kinds: a part's type, and the field that holds its text."""
    if isinstance(content, str):
        return [content]
    if content is None:
        found.refuse(at, "missing")
    texts = []
    for where, part in found.objects({"": content}, "", at):
        kind = part.get("type")
        field = kinds.get(kind) if isinstance(kind, str) else None
        if field is None:
            found.refuse(where, f"content of type {quoted(kind)} cannot stand here")
            continue
        found.sort(f"{where}.", part, ("type", field), (CACHE_HINT, "annotations", "logprobs"))
        text = part.get(field)
        if isinstance(text, str):
            texts.append(text)
        else:
            found.refuse(f"{where}.{field}", "not a text")
    return texts


def image(found: Findings, at: str, url: object, detail: object) -> File | None:
    """An image by data or by address. detail: low, high or original is kept for the providers that know it."""
    metadata = {"detail": detail} if detail in ("low", "high", "original") else None
    if detail is not None and metadata is None and detail != "auto":
        found.refuse(f"{at}.detail", f"{quoted(detail)} is not known to other providers")
    if isinstance(url, str) and url[:5].lower() == "data:":
        content = _inline(found, at, url, metadata)
        if content is not None and not content.is_image:
            found.refuse(at, "its data are not an image")
            return None
        return content
    if isinstance(url, str) and _is_web(url):
        return ImageUrl(url, vendor_metadata=metadata)
    found.refuse(at, "neither a data URI nor a web address")
    return None


def text(found: Findings, at: str, holder: Json) -> str | None:
    """A part that is a text."""
    found.sort(f"{at}.", holder, ("type", "text"), (CACHE_HINT,))
    said = holder.get("text")
    if isinstance(said, str):
        return said
    found.refuse(f"{at}.text", "not a text")
    return None


def audio(found: Findings, at: str, holder: Json) -> BinaryContent | None:
    """A part with an `input_audio` object: base64 data and a format."""
    found.sort(f"{at}.", holder, ("type", "input_audio"), (CACHE_HINT,))
    at, part = f"{at}.input_audio", holder.get("input_audio")
    if not isinstance(part, dict):
        found.refuse(at, "not an object")
        return None
    found.sort(f"{at}.", part, ("data", "format"))
    media_type = _AUDIO.get(part["format"]) if isinstance(part.get("format"), str) else None
    if media_type is None:
        found.refuse(f"{at}.format", f"{quoted(part.get('format'))} is not known to other providers")
        return None
    return _binary(found, f"{at}.data", part.get("data"), media_type, None)


def document(found: Findings, at: str, part: Json) -> File | None:
    """A file by data or by address; one by id is known to the account that holds it only."""
    if part.get("file_id") is not None:
        found.refuse(f"{at}.file_id", "known to the account that holds the file only")
        return None
    address = part.get("file_url")
    if address is not None:
        if isinstance(address, str) and _is_web(address):
            return DocumentUrl(address)
        found.refuse(f"{at}.file_url", "not a web address")
        return None
    name = found.take(part, "filename", str, f"{at}.")
    given = part.get("file_data")
    if isinstance(given, str) and _is_web(given):
        # OpenRouter takes addresses in its place.
        return DocumentUrl(given)
    if isinstance(given, str) and given[:5].lower() == "data:":
        return _inline(found, f"{at}.file_data", given, None, name)
    media_type = mimetypes.guess_type(name)[0] if name else None
    if media_type is None:
        found.refuse(f"{at}.file_data", "what kind of file it is can not be told")
        return None
    return _binary(found, f"{at}.file_data", given, media_type, None, name)


def _inline(
    found: Findings, at: str, uri: str, metadata: dict[str, Any] | None, name: str | None = None
) -> BinaryContent | None:
    """A data URI (RFC 2397); its parameters but `base64` are dropped, since texts are read as UTF-8 everywhere."""
    head, comma, data = uri[5:].partition(",")
    media_type, _, parameters = head.partition(";")
    if not comma or "base64" not in parameters.lower().split(";"):
        found.refuse(at, "not a data URI in base64")
        return None
    return _binary(found, at, data, media_type.strip().lower(), metadata, name)


def _binary(
    found: Findings, at: str, data: object, media_type: str, metadata: dict[str, Any] | None, name: str | None = None
) -> BinaryContent | None:
    if not isinstance(data, str):
        found.refuse(at, "not a text")
        return None
    try:
        raw = base64.b64decode(unquote_to_bytes(data) if "%" in data else data, validate=True)
    except (binascii.Error, ValueError):
        found.refuse(at, "not valid base64")
        return None
    content = BinaryContent(raw, media_type=media_type, vendor_metadata=metadata, identifier=name)
    try:
        kind = content.format
    except ValueError:
        kind = ""
    # A plain sequence of bytes is what a sender says who does not know either.
    if not kind or media_type == "application/octet-stream":
        found.refuse(at, f"{quoted(media_type)} is not known to other providers")
        return None
    return BinaryContent.narrow_type(content)


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
