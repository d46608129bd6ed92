"""Finds the model in a multipart form (RFC 7578), as audio and image requests send it. It looks, and copies nothing.

Only a form that begins with its boundary is read, as every client writes it; anything else has no model here.
"""

import re

# RFC 2046 §5.1.1: at most 70 characters, and the two dashes.
_LONGEST_BOUNDARY = 72
_PARTS = 64
_HEAD = 1024
_LONGEST_MODEL = 512
_IS_MODEL = re.compile(
    rb'content-disposition:[ \t]*form-data[^\r\n]*?[; \t]name="?model"?[ \t]*(?:\r\n|;|$)', re.IGNORECASE
)


def model_span(body: bytes) -> tuple[int, int] | None:
    """Where in a form the value of the field `model` stands; None where there is none, or the form is cut off."""
    first = body.find(b"\r\n", 0, _LONGEST_BOUNDARY + 2)
    if first < 0 or not body.startswith(b"--"):
        return None
    delimiter = b"\r\n" + body[:first]
    at = first + 2
    for _ in range(_PARTS):
        end = body.find(delimiter, at)
        head_end = body.find(b"\r\n\r\n", at, at + _HEAD)
        if end < 0:
            return None
        if 0 <= head_end < end and _IS_MODEL.search(body, at, head_end):
            start = head_end + 4
            return (start, end) if start < end <= start + _LONGEST_MODEL else None
        at = end + len(delimiter) + 2
    return None


def form_model(body: bytes) -> str:
    """The value of the field `model`; "" where it is not to be found."""
    span = model_span(body)
    return "" if span is None else body[span[0] : span[1]].decode("utf-8", "replace")


def with_form_model(body: bytes, model: str) -> bytes | None:
    """The form with another model, all other bytes as they came; None where it has no place for it."""
    span = model_span(body)
    value = model.encode()
    if span is None or b"\r" in value or b"\n" in value:
        return None
    return body[: span[0]] + value + body[span[1] :]
