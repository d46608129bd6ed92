"""Gemini's requests as JSON: each member may be written `likeThis` or `like_this` (ProtoJSON), and clients do both."""

import msgspec

from seawall.dialects._json import read

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EMPTY = (b"null", b"[]", b"{}", b'""')


def members(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """An object's members by their names likeThis; none where it is no object."""
    found = read(_MEMBERS, data) if data else None
    return {} if found is None else {_camel(name): value for name, value in found.items()}


def filled(request: dict[str, msgspec.Raw], name: str) -> bool:
    """Whether a member is there and not null. An empty object counts: `{"googleSearch": {}}` asks for something."""
    return bytes(request.get(name, b"null")) != b"null"


def holds(request: dict[str, msgspec.Raw], name: str) -> bool:
    """Whether a member is there and not empty."""
    return bytes(request.get(name, b"null")) not in _EMPTY


def _camel(name: str) -> str:
    if "_" not in name:
        return name
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)
