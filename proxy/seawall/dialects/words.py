"""What a provider says of its own error, in words for people; for telling it anew in another form. Never for deciding
what the error is: that is `_classify`'s.
"""

import msgspec

# So much is passed on, in characters.
_MOST = 2000


class _Told(msgspec.Struct):
    message: object = None


class _Error(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")
    message: object = None


def own_words(body: bytes) -> str:
    """A provider's own words for its error: all dialects say them in `message`, most of them within `error`; "" where
    there are none."""
    try:
        told = msgspec.json.decode(body, type=_Error)
        words = told.message
        if bytes(told.error).startswith(b"{"):
            words = msgspec.json.decode(told.error, type=_Told).message or words
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return words[:_MOST] if isinstance(words, str) else ""
