"""What an Anthropic request asks a model to be able to do, and which conversation it goes on with. Read only for rules
whose policy asks for it.
"""

import re

import msgspec

from seawall.dialects._json import read
from seawall.dialects._needs import Format, needed

_IMAGE = re.compile(rb'"type"\s*:\s*"image"')
_NOTHING = msgspec.Raw(b"")


class _Output(msgspec.Struct, gc=False):
    format: Format | None = None


class _Request(msgspec.Struct, gc=False):
    tools: msgspec.Raw = _NOTHING
    output_format: Format | None = None
    output_config: _Output | None = None
    system: msgspec.Raw = _NOTHING
    messages: list[msgspec.Raw] | None = None


_REQUEST = msgspec.json.Decoder(_Request)


def needs(body: bytes) -> frozenset[str]:
    """See `Dialect.needs`."""
    request = read(_REQUEST, body)
    if request is None:
        return frozenset()
    formats = (request.output_format, request.output_config.format if request.output_config else None)
    return needed((bytes(request.tools),), formats, _IMAGE, body)


def conversation(body: bytes) -> bytes:
    """See `Dialect.conversation`."""
    request = read(_REQUEST, body)
    if request is None or not request.messages:
        return b""
    return bytes(request.system) + bytes(request.messages[0])
