"""Recorded answers, decoded so that nothing is lost when they are written again in another form: numbers keep their
digits, members their order. Shared by the dialects' conversions, which know what events mean.
"""

from collections.abc import Iterable, Iterator
from typing import cast

import msgspec

from seawall.dialects.sse import whole_events

Object = dict[str, object]


class Unjoinable(Exception):
    """A stream holds what its dialect's plain answer has no place for, or what is not known here."""


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


_DECODER = msgspec.json.Decoder(float_hook=_raw)


class Pieces:
    """A text that is told piece by piece, put together once: adding each to those before takes squared time."""

    __slots__ = ("_pieces",)

    def __init__(self, *pieces: str) -> None:
        self._pieces = list(pieces)

    def add(self, piece: str) -> "Pieces":
        self._pieces.append(piece)
        return self

    def __str__(self) -> str:
        return "".join(self._pieces)


def more(known: object, piece: object) -> Pieces:
    """A text with one more piece. Raises Unjoinable where either is none; null is an empty one."""
    return known.add(text(piece)) if isinstance(known, Pieces) else Pieces(text(known), text(piece))


def _written(value: object) -> object:
    if isinstance(value, Pieces):
        return str(value)
    raise NotImplementedError(type(value))


encode = msgspec.json.Encoder(enc_hook=_written).encode


def decode(data: bytes) -> Object:
    """A JSON object. Raises Unjoinable for anything else."""
    try:
        found = _DECODER.decode(data)
    except (ValueError, RecursionError) as error:
        raise Unjoinable("not JSON") from error
    return obj(found)


def obj(value: object) -> Object:
    """That this is an object. Raises Unjoinable where it is none."""
    if not isinstance(value, dict):
        raise Unjoinable("not an object")
    return cast("Object", value)


def objects(value: object) -> list[Object]:
    """That this is a list of objects; none is an empty one. Raises Unjoinable."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unjoinable("not a list")
    return [obj(one) for one in value]


def text(value: object) -> str:
    """That this is a text; none is an empty one. Raises Unjoinable."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unjoinable("not a text")
    return value


def events(stream: bytes) -> Iterator[Object]:
    """What a stream's events hold, down to `[DONE]`. Raises Unjoinable."""
    for _, data in whole_events(stream):
        if data.startswith(b"[DONE]"):
            return
        if data:
            yield decode(data)


def named(found: Iterable[Object]) -> bytes:
    """Events that are named by their `type`."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (str(one["type"]).encode(), encode(one)) for one in found)


def unnamed(found: Iterable[Object]) -> bytes:
    """Events that end with `[DONE]`."""
    return b"".join(b"data: %b\n\n" % encode(one) for one in found) + b"data: [DONE]\n\n"
