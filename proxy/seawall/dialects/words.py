"""What a provider says of its own error, in words for people; for telling it anew in another form. Never for deciding
what the error is: that is `_classify`'s.
"""

import msgspec

# So much is passed on, in characters.
_MOST = 2000


class _Error(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")
    message: object = None


def own_words(body: bytes) -> str:
    """A provider's own words for its error: all dialects say them in `message`, most of them within `error`, and some
    servers have nothing but a text there; "" where there are none."""
    try:
        told = msgspec.json.decode(body, type=_Error)
        error = bytes(told.error)
        words = msgspec.json.decode(error) if error.startswith(b'"') else told.message
        if error.startswith(b"{"):
            words = msgspec.json.decode(error, type=_Error).message or words
    except (ValueError, RecursionError):
        return ""
    return words[:_MOST] if isinstance(words, str) else ""
