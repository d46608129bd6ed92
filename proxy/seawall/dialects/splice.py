"""Replace one name in a request's body, JSON or a form, or in its query, and leave every other byte as it came
(SEMANTICS §2): that of the model, or of the warehouse that stands in its place.

A body in which it can not be found beyond doubt is given back as None: never a guess, never a re-encoded body.
"""

import re
from urllib.parse import quote, unquote_plus

import msgspec

from seawall.dialects._form import with_form_model
from seawall.dialects._json import read

_PARAMETER = re.compile(r"(?:^|&)(model|deployment)=([^&]*)")

# Each try decodes the body once more. Clients write the model first or last; behind more look-alikes than this with the
# very same name, on both sides, it is not looked for.
_TRIES = 8


class Member:
    """A top-level member of JSON bodies whose value is a text."""

    __slots__ = ("_decoder", "_pattern")

    def __init__(self, name: str) -> None:
        self._pattern = re.compile(rb'"' + re.escape(name.encode()) + rb'"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
        fields: list[tuple[str, object, object]] = [("value", object, None)]
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("_Body", fields, rename={"value": name}, gc=False))

    def of(self, body: bytes) -> object:
        """Its value; None where the body has none, or is no JSON object."""
        return getattr(read(self._decoder, body), "value", None)

    def replaced(self, body: bytes, text: str) -> bytes | None:
        """The body with another value; None when it is no JSON object with a text there.

        Text that looks the same deeper down or within a string is told apart by decoding the result. Of repeated keys
        the last one counts, as for every usual JSON decoder.
        """
        current = self.of(body)
        if not isinstance(current, str):
            return None
        if current == text:
            return body
        value = msgspec.json.encode(text)
        spans = [match.span(1) for match in self._pattern.finditer(body) if _text(match[1]) == current]
        for start, end in [*spans[: -_TRIES - 1 : -1], *spans[:_TRIES]]:
            spliced = body[:start] + value + body[end:]
            if self.of(spliced) == text:
                return spliced
        return None


_MODEL = Member("model")


def with_model(body: bytes, model: str) -> bytes | None:
    """The body with another top-level `model`; None when it is neither a JSON object with a string of that name nor a
    form with such a field."""
    if body.startswith(b"--"):
        return with_form_model(body, model)
    return _MODEL.replaced(body, model)


def model_in_query(query: str) -> str:
    """The model that a query names, as requests for a WebSocket do; "" for none. Azure's own word is `deployment`."""
    found = _PARAMETER.search(query)
    return "" if found is None else unquote_plus(found[2])


def with_model_in_query(path: str, model: str) -> str | None:
    """The path with another model in its query; None where that names none."""
    before, question, query = path.partition("?")
    found = _PARAMETER.search(query)
    if found is None:
        return None
    return before + question + query[: found.start(2)] + quote(model, safe="") + query[found.end(2) :]


def _text(value: bytes) -> object:
    try:
        return msgspec.json.decode(value)
    except ValueError:
        return None
