"""From a status, or the words in an error body, to a fault's code (SEMANTICS §1): tables that all dialects share.

Only top-level error objects are believed, never text of an answer; what a dialect's provider calls its errors is in
that dialect's `Words`. Nothing of a body gets into a fault but the provider's own short error name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from seawall.dialects._json import is_strict, lenient, read
from seawall.dialects.hints import retry_hint
from seawall.faults import Code, Fault
from seawall.types import Headers, header

WHOLE_BELOW = 64 * 1024
"""Bytes; a body that is as long as this may be only the beginning of one."""

STATUS: Mapping[int, Code] = {
    401: Code.UNAUTHORIZED,
    402: Code.QUOTA_EXHAUSTED,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    408: Code.UPSTREAM_TIMEOUT,
    409: Code.CONFLICT,
    429: Code.RATE_LIMITED,
    # Groq: the flexible tier has no capacity left.
    498: Code.OVERLOADED,
    # Not Implemented and HTTP Version Not Supported stay so however often they are asked.
    501: Code.INVALID_REQUEST,
    503: Code.OVERLOADED,
    504: Code.UPSTREAM_TIMEOUT,
    505: Code.INVALID_REQUEST,
    529: Code.OVERLOADED,
}

_REFUSED = frozenset({Code.INVALID_REQUEST, Code.FORBIDDEN})
_LIMITED = frozenset({Code.RATE_LIMITED})
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


def by_status(status: int) -> Code | None:
    """The code for an HTTP status; None for those below 400. Unknown 4xx are refusals, unknown 5xx server errors."""
    if status < 400:
        return None
    return STATUS.get(status) or (Code.INVALID_REQUEST if status < 500 else Code.SERVER_ERROR)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A provider's documented wording, where its error has no name of its own. Matched at the beginning of the message
    only, so that text which a message quotes from a request decides nothing.

    when: the codes that it makes more exact.
    """

    pattern: re.Pattern[str]
    code: Code
    when: frozenset[Code] = _REFUSED | _LIMITED


def phrase(pattern: str, code: Code, *, limited: bool = False) -> Phrase:
    return Phrase(re.compile(pattern, re.IGNORECASE), code, _LIMITED if limited else _REFUSED | _LIMITED)


@dataclass(frozen=True, slots=True)
class Words:
    """What a dialect's providers call their errors (`error.code`, `error.type`).

    exact: names that say more than any status. general: names that decide only where there is no status to go by, as
    in a stream or a 200.
    """

    exact: Mapping[str, Code]
    general: Mapping[str, Code]
    phrases: tuple[Phrase, ...]


class _Details(msgspec.Struct, gc=False):
    error_code: object = None


class _Inner(msgspec.Struct, gc=False):
    code: object = None


class Said(msgspec.Struct, gc=False):
    """An error object, or what stands at a body's top level; all of it may be missing or of any type."""

    error: msgspec.Raw = msgspec.Raw(b"")
    code: object = None
    type: object = None
    status: object = None
    status_code: object = None
    message: object = None
    details: msgspec.Raw = msgspec.Raw(b"")
    innererror: msgspec.Raw = msgspec.Raw(b"")
    inner_error: msgspec.Raw = msgspec.Raw(b"")


_SAID = msgspec.json.Decoder(Said)
_DETAILS = msgspec.json.Decoder(_Details)
_INNER = msgspec.json.Decoder(_Inner)
_TEXT = msgspec.json.Decoder(str)
_ANY = msgspec.json.Decoder()


def said(data: bytes | msgspec.Raw) -> Said | None:
    """The top level of an error, decoded; a bare text is its message. None when it is neither object nor text."""
    found = read(_SAID, data)
    if found is not None:
        return found
    text = read(_TEXT, data)
    return None if text is None else Said(message=text)


def inner(body: Said) -> Said | None:
    """The `error` object (or text) of a body; None when it has none."""
    return said(body.error) if is_something(body.error) else None


def is_something(raw: msgspec.Raw) -> bool:
    """Whether a raw value is there and more than null, empty, zero or false."""
    return len(raw) > 2 and bytes(raw) != b"null" and bool(read(_ANY, raw))


def _names(error: Said) -> list[str]:
    """From the most exact to the least: details.error_code (Anthropic), innererror.code (Azure, in both of its
    spellings), code, type, status."""
    names: list[object] = [error.code, error.type, error.status]
    for one in (error.inner_error, error.innererror):
        if len(one) and (inner := read(_INNER, one)) is not None:
            names.insert(0, inner.code)
    if len(error.details) and (details := read(_DETAILS, error.details)) is not None:
        names.insert(0, details.error_code)
    return [name for name in names if isinstance(name, str)]


def _number(error: Said) -> Code | None:
    """The code for an HTTP status within the error: OpenRouter's `code`, Groq's `status_code`."""
    for value in (error.code, error.status_code, error.status):
        if isinstance(value, str) and len(value) == 3 and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return by_status(value)
    return None


def code_of(words: Words, error: Said, status: Code | None) -> Code:
    """An error object's code. status: what the HTTP status says; None in a stream or a 200."""
    names = _names(error)
    for name in names:
        if (exact := words.exact.get(name)) is not None:
            return exact
    code = status
    if code is None:
        code = next((words.general[name] for name in names if name in words.general), None)
    if code is None:
        code = _number(error) or Code.SERVER_ERROR
    if isinstance(error.message, str):
        for known in words.phrases:
            if code in known.when and known.pattern.match(error.message):
                return known.code
    return code


def fault_of(words: Words, error: Said, status: int | None = None, hint: float | None = None) -> Fault:
    """The fault for an error object that came with an error status, in a 200 (status None) or in a stream (None)."""
    code = code_of(words, error, by_status(status) if status is not None else None)
    name = next((name for name in _names(error) if _NAME.fullmatch(name)), "")
    return Fault(code, f"{status or 'error'} {name}".rstrip(), status, hint)


def judge_status(words: Words, status: int, headers: Headers, body: bytes, wall: float) -> Fault | None:
    """Classify an answer by its status and, where that is an error, by the words of its body."""
    if status < 400:
        return None
    top = said(body)
    error = (inner(top) or top) if top is not None else None
    return fault_of(words, error or Said(), status, retry_hint(headers, wall))


def judge_good(words: Words, status: int, headers: Headers, body: bytes, wall: float, *, whole: bool) -> Fault | None:
    """Classify a 2xx answer of an operation that promises a JSON object: an error in it, or one that is cut off."""
    if not _promises_json(headers):
        return None
    top = said(body)
    if top is None:
        known = whole or len(body) < WHOLE_BELOW
        good = not known or is_strict(body) or lenient(body) is not None
        return None if good else Fault(Code.TRUNCATED, "the body is not whole JSON", status)
    error = inner(top)
    if error is None:
        return None
    fault = fault_of(words, error, None, retry_hint(headers, wall))
    return Fault(fault.code, f"{status} with {fault.detail}", status, fault.hint)


def _promises_json(headers: Headers) -> bool:
    media = (header(headers, b"content-type") or b"").partition(b";")[0].strip().lower()
    return media == b"application/json" or media.endswith(b"+json")
