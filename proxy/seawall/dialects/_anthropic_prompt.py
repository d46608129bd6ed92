"""What an Anthropic request asks a model to be able to do, and which conversation it goes on with. Read only for rules
whose policy asks for it.
"""

import re

import msgspec

from seawall.dialects._json import read

# A content block's type. Quotes within a JSON string are escaped, so text can not look like it.
_IMAGE = re.compile(rb'"type"\s*:\s*"image"')
_NOTHING = msgspec.Raw(b"")


class _Format(msgspec.Struct, gc=False):
    type: object = None


class _Output(msgspec.Struct, gc=False):
    format: _Format | None = None


class _Request(msgspec.Struct, gc=False):
    tools: msgspec.Raw = _NOTHING
    output_format: _Format | None = None
    output_config: _Output | None = None
    system: msgspec.Raw = _NOTHING
    messages: list[msgspec.Raw] | None = None


_REQUEST = msgspec.json.Decoder(_Request)
_EMPTY = (b"", b"null", b"[]")


def needs(body: bytes) -> frozenset[str]:
    """See `Dialect.needs`."""
    request = read(_REQUEST, body)
    if request is None:
        return frozenset()
    found = set()
    if bytes(request.tools) not in _EMPTY:
        found.add("Tools")
    formats = (request.output_format, request.output_config.format if request.output_config else None)
    if any(one is not None and one.type == "json_schema" for one in formats):
        found.add("JSONSchema")
    if _IMAGE.search(body):
        found.add("Images")
    return frozenset(found)


def conversation(body: bytes) -> bytes:
    """See `Dialect.conversation`."""
    request = read(_REQUEST, body)
    if request is None or not request.messages:
        return b""
    return bytes(request.system) + bytes(request.messages[0])
