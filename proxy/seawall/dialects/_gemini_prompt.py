"""What a Gemini request asks a model to be able to do, and which conversation it goes on with. Read only for rules
whose policy asks for it.
"""

import re

import msgspec

from seawall.dialects._gemini_json import holds, members
from seawall.dialects._json import read
from seawall.dialects._openai_prompt import opening

# `responseMimeType` has another beginning.
_IMAGE = re.compile(rb'"(?:mimeType|mime_type)"\s*:\s*"image/')
_CONTENTS = msgspec.json.Decoder(list[msgspec.Raw])


def needs(body: bytes) -> frozenset[str]:
    """See `Dialect.needs`."""
    request = members(body)
    found = set()
    if holds(request, "tools"):
        found.add("Tools")
    config = members(request.get("generationConfig", b""))
    if any(holds(config, name) for name in ("responseSchema", "responseJsonSchema")):
        found.add("JSONSchema")
    if _IMAGE.search(body):
        found.add("Images")
    return frozenset(found)


def conversation(body: bytes) -> bytes:
    """See `Dialect.conversation`."""
    request = members(body)
    contents = read(_CONTENTS, request["contents"]) if "contents" in request else None
    if not contents:
        return b""
    return bytes(request.get("systemInstruction", b"")) + b"".join(opening(contents))
