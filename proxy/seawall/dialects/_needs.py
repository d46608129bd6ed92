"""What a request asks a model to be able to do, in a policy's words, from the few fields that tell in any dialect."""

import re

import msgspec

_EMPTY = (b"", b"null", b"[]")


class Format(msgspec.Struct, gc=False):
    """The wanted form of an answer."""

    type: object = None


def needed(
    tools: tuple[bytes, ...], formats: tuple[Format | None, ...], image: "re.Pattern[bytes]", body: bytes
) -> frozenset[str]:
    """tools: lists of them as JSON. image: an image part's type; quotes within a JSON string are escaped, so that text
    can not look like it."""
    found = set()
    if any(one not in _EMPTY for one in tools):
        found.add("Tools")
    if any(one is not None and one.type == "json_schema" for one in formats):
        found.add("JSONSchema")
    if image.search(body):
        found.add("Images")
    return frozenset(found)
