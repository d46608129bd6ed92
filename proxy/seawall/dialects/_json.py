"""JSON as clients and servers in the field read it, for the few fields that a dialect needs. Never raises.

A strict decoder comes first. What it refuses and others take (lone surrogates, which JavaScript writes for half an
emoji; NaN; a byte order mark; UTF-16) is read again as Python's own decoder does, so that a policy sees what the
provider sees. The result is for looking only: it is never sent on.
"""

import json
import re
from typing import Annotated, TypeVar

import msgspec

_LONGEST_NAME = 512

_RAW = msgspec.json.Decoder(msgspec.Raw)

# Surrogate escapes, also those that make a pair: nothing that is looked for holds one.
_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
# What JavaScript and Python write for numbers that are none. Within a text it is replaced as well, which harms nobody.
_NO_NUMBER = re.compile(rb"(?<=[:,\[\s])(?:NaN|-?Infinity)(?=[\s,\]}])")

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Of tokens. One that is negative or beyond all bounds makes the object that holds it one of an unknown form."""


def read(decoder: "msgspec.json.Decoder[T]", data: bytes | msgspec.Raw) -> T | None:
    """The fields asked for; None where the data is not JSON, or not of that form."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        return None
    except (ValueError, RecursionError):
        strict = lenient(data)
    if strict is None:
        return None
    try:
        return decoder.decode(strict)
    except (ValueError, RecursionError):
        return None


def is_strict(data: bytes) -> bool:
    """Whether a strict decoder takes it for JSON, of whatever form."""
    try:
        _RAW.decode(data)
    except (ValueError, RecursionError):
        return False
    return True


def model_name(value: object) -> str:
    """A model's name as a text; "" for what is none, or longer than any provider's. Names are kept in memory, as keys
    of breakers and in logs, and agents choose them."""
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME else ""


def lenient(data: bytes | msgspec.Raw) -> bytes | None:
    """The same as strict JSON in UTF-8, with null for numbers that are none and "?" for half characters; None where it
    is no JSON to anyone. Bytes are replaced, not parsed: a body of megabytes must not hold up everybody else."""
    try:
        strict = _utf8(bytes(data))
    except UnicodeDecodeError:
        return None
    strict = _NO_NUMBER.sub(b"null", _HALF.sub(rb"\\u003f", strict))
    return strict if is_strict(strict) else None


def _utf8(data: bytes) -> bytes:
    """Without a byte order mark, and out of UTF-16 or UTF-32 (RFC 4627 §3 tells them by their first bytes)."""
    return data.decode(json.detect_encoding(data)).encode()
