"""Ids of what a provider keeps for its callers (responses, conversations, files, batches, containers), as they stand in
requests and answers. Whoever names one must be sent to the upstream that made it.
"""

import re

# Prefixes as the providers document them. Ids are opaque otherwise, and at least 16 characters long.
_ID = rb"(?:resp|conv|file|batch|msgbatch|cntr|container|vs|upload|thread|asst|run)[-_][A-Za-z0-9_-]{10,200}"
_MADE = re.compile(rb'"(?:id|container_id)"\s*:\s*"(' + _ID + rb')"')
_NAMED = re.compile(rb'"(' + _ID + rb')"')
_IN_PATH = re.compile(r"/(" + _ID.decode() + r")(?=[/?]|$)")

# An answer tells what was made at its beginning; a request may name what it builds upon anywhere.
_BEGINNING = 4096


def made(data: bytes) -> str:
    """The first id that an answer's beginning gives out; "" where there is none."""
    found = _MADE.search(data, 0, _BEGINNING)
    return found[1].decode("ascii") if found else ""


def named(path: str, body: bytes) -> tuple[str, ...]:
    """The ids that a request names, those of its path first."""
    ids = [*_IN_PATH.findall(path), *(found.decode("ascii") for found in _NAMED.findall(body))]
    return tuple(dict.fromkeys(ids))[:32]
