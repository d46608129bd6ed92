"""Replace the model's name in a request's body, JSON or a form, and leave every other byte as it came (SEMANTICS §2).

A body whose model can not be found beyond doubt is given back as None: never a guess, never a re-encoded body.
"""

import re

import msgspec

from seawall.dialects._form import with_form_model
from seawall.dialects._json import read

_MODEL = re.compile(rb'"model"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')

# Each try decodes the body once more. Clients write the model first or last; behind more look-alikes than this with the
# very same name, on both sides, it is not looked for.
_TRIES = 8


class _Request(msgspec.Struct, gc=False):
    model: object = None


_DECODER = msgspec.json.Decoder(_Request)


def _model(body: bytes) -> object:
    request = read(_DECODER, body)
    return None if request is None else request.model


def with_model(body: bytes, model: str) -> bytes | None:
    """The body with another top-level `model`; None when it is neither a JSON object with a string of that name nor a
    form with such a field.

    Text that looks the same deeper down or within a string is told apart by decoding the result. Of repeated keys the
    last one counts, as for every usual JSON decoder.
    """
    if body.startswith(b"--"):
        return with_form_model(body, model)
    current = _model(body)
    if not isinstance(current, str):
        return None
    if current == model:
        return body
    value = msgspec.json.encode(model)
    spans = [match.span(1) for match in _MODEL.finditer(body) if _text(match[1]) == current]
    for start, end in [*spans[: -_TRIES - 1 : -1], *spans[:_TRIES]]:
        spliced = body[:start] + value + body[end:]
        if _model(spliced) == model:
            return spliced
    return None


def _text(value: bytes) -> object:
    try:
        return msgspec.json.decode(value)
    except ValueError:
        return None
