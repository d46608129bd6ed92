"""Puts another model into a Gemini request: into its path, and into its body where that names the same once more.

As with other dialects only the names themselves are spliced; what can not be told beyond doubt is given up (None).
"""

import re

import msgspec

from seawall.dialects._gemini_facts import CALL
from seawall.dialects._gemini_json import members
from seawall.dialects._json import read

# What may stand in a path as it is. Nobody's models need more, and nothing else may be led elsewhere.
_NAME = re.compile(r"(?:models/)?([A-Za-z0-9][A-Za-z0-9._@-]*)")
# A resource name, with whatever is before the model's own: `models/X`, `publishers/google/models/X`.
_NAMED = re.compile(rb'("model"\s*:\s*"(?:[A-Za-z0-9._/@-]*/)?)([A-Za-z0-9._@-]+)"')
_REQUESTS = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)


def with_model(path: str, body: bytes, model: str) -> tuple[str, bytes] | None:
    """See `Dialect.with_model`. Only a model takes another's place: what was tuned has other parameters."""
    before, _, query = path.partition("?")
    call, name = CALL.fullmatch(before), _NAME.fullmatch(model)
    if call is None or name is None or call[2] != "models":
        return None
    there = f"{call[1]}models/{name[1]}:{call[4]}" + (f"?{query}" if query else "")
    known = _models(body)
    if not known:
        return there, body
    value = b"\\g<1>" + name[1].encode() + b'"'
    spliced, count = _NAMED.subn(value, body)
    # Of as many as there are; one more is something else of that name, deeper down.
    good = count == len(known) and all(one.rpartition("/")[2] == name[1] for one in _models(spliced))
    return (there, spliced) if good else None


def _models(body: bytes) -> list[str]:
    """The models that a body names where the API knows them: on its own, of the request whose tokens are counted, of
    each of several."""
    if b'"model"' not in body:
        return []
    request = members(body)
    inner = read(_REQUESTS, request.get("requests", b"null")) or []
    holders = [request, members(request.get("generateContentRequest", b"")), *map(members, inner)]
    found = [read(_TEXT, holder["model"]) for holder in holders if "model" in holder]
    return [one for one in found if one is not None]
