"""What an OpenAI request asks a model to be able to do, and which conversation it goes on with. Read only for rules
whose policy asks for it.
"""

import re

import msgspec

from seawall.dialects._json import read
from seawall.dialects._needs import Format, needed

_IMAGE = re.compile(rb'"type"\s*:\s*"(?:image_url|input_image)"')
_NOTHING = msgspec.Raw(b"")


class _Text(msgspec.Struct, gc=False):
    format: Format | None = None


class _Request(msgspec.Struct, gc=False):
    tools: msgspec.Raw = _NOTHING
    functions: msgspec.Raw = _NOTHING
    response_format: Format | None = None
    text: _Text | None = None
    instructions: msgspec.Raw = _NOTHING
    messages: list[msgspec.Raw] | None = None
    input: msgspec.Raw = _NOTHING


class _Item(msgspec.Struct, gc=False):
    role: object = None


_REQUEST = msgspec.json.Decoder(_Request)
_ITEM = msgspec.json.Decoder(_Item)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


def needs(body: bytes) -> frozenset[str]:
    """See `Dialect.needs`."""
    request = read(_REQUEST, body)
    if request is None:
        return frozenset()
    # `functions` is what tools were called before.
    tools = (bytes(request.tools), bytes(request.functions))
    return needed(tools, (request.response_format, request.text.format if request.text else None), _IMAGE, body)


def conversation(body: bytes) -> bytes:
    """See `Dialect.conversation`."""
    request = read(_REQUEST, body)
    if request is None:
        return b""
    items = request.messages
    if items is None:
        items = read(_ITEMS, request.input) if bytes(request.input)[:1] == b"[" else [request.input]
    return bytes(request.instructions) + b"".join(opening(items or []))


def opening(items: list[msgspec.Raw]) -> list[bytes]:
    """The messages down to the first that the user wrote: they stay when a conversation grows."""
    first: list[bytes] = []
    for item in items:
        first.append(bytes(item))
        read_item = read(_ITEM, item)
        if read_item is None or read_item.role == "user":
            break
    return first
