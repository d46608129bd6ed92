"""What ClickHouse says of failures: an exception's code, in a field or in words, in an error's body or behind the rows
of an answer that had begun with a 200.

The codes are ErrorCodes.cpp's. ClickHouse sends most of what its users do wrong with status 500, so that a status says
little where there is a code.
"""

import re

from seawall.dialects._classify import by_status
from seawall.faults import Category, Code, Fault, Problem
from seawall.types import Headers, header

_CODE = b"x-clickhouse-exception-code"
_TAG = b"x-clickhouse-exception-tag"

TAIL = 16 * 1024
"""Bytes of an answer's end in which an exception is looked for."""

# Servers, disks, networks and Keeper in trouble.
_TROUBLE = frozenset(
    {3, 23, 24, 32, 33, 40, 49, 74, 75, 86, 95, 96, 198, 204, 209, 210, 225, 234, 236, 242, 243, 244, 254, 255, 265}
    | {274, 275, 279, 280, 285, 286, 289, 297, 319, 369, 410, 415, 416, 425, 473, 499, 500, 519, 529, 568, 571, 660}
    | {999, 1000, 1001, 1002}
)
_CODES: dict[int, Code] = {
    **dict.fromkeys(_TROUBLE, Code.SERVER_ERROR),
    # Memory, threads and connections that other queries may give back; 745: SERVER_OVERLOADED.
    **dict.fromkeys((173, 203, 241, 439, 574, 745), Code.OVERLOADED),
    # Too many queries, too many parts to merge, and what another server said of the former.
    **dict.fromkeys((202, 252, 364), Code.RATE_LIMITED),
    201: Code.QUOTA_EXHAUSTED,
    # A session, or a query of the same id, is still at work.
    **dict.fromkeys((216, 373), Code.CONFLICT),
    **dict.fromkeys((60, 81, 372), Code.NOT_FOUND),
    **dict.fromkeys((192, 193, 194, 516), Code.UNAUTHORIZED),
    **dict.fromkeys((164, 195, 291, 446, 481, 497), Code.FORBIDDEN),
}
_QUERYS_OWN = re.compile(rb"Memory limit \((?:for query|for user)")

_SAID = re.compile(rb"Code: (\d{1,5})[.,] ")
# 25.11 and later, with a tag that the head tells; before that the mark alone, and before that nothing but the words.
_FRAME_END = re.compile(rb"\r?\n\d+ ([a-z]{16})\r\n__exception__\r\n\Z")
_MARKED = re.compile(rb"__exception__\r\n(Code: \d{1,5}\. DB::Exception: .*)\Z", re.DOTALL)
_WORDS = re.compile(
    rb"(?:\A|\n)(Code: \d{1,5}\. DB::Exception: [^\n]*(?:\n(?!Code: )[^\n]*)*\(version [^\n]*\)\)?)\n?\Z"
)
# http_write_exception_in_output_format, in the formats that are JSON.
_MEMBER = re.compile(rb'\n\s*\{?"exception":\s*"(Code: \d{1,5}\. DB::Exception: (?:[^"\\]|\\.)*)"\s*\}\s*\Z')

# Our own errors, as clients know them.
_OWN = {
    Category.VALIDATION: (36, "BAD_ARGUMENTS"),
    Category.AUTHENTICATION: (516, "AUTHENTICATION_FAILED"),
    Category.AUTHORIZATION: (497, "ACCESS_DENIED"),
    Category.RATE_LIMIT: (202, "TOO_MANY_SIMULTANEOUS_QUERIES"),
    Category.RESOURCE_EXHAUSTION: (202, "TOO_MANY_SIMULTANEOUS_QUERIES"),
    Category.TIMEOUT: (209, "SOCKET_TIMEOUT"),
    Category.NETWORK: (210, "NETWORK_ERROR"),
}
_UNKNOWN = (1002, "UNKNOWN_EXCEPTION")


def own(problem: Problem) -> tuple[int, str]:
    """Code and name of an error of ours."""
    if problem.fault.code is Code.STATEMENT_REFUSED:
        return 164, "READONLY"
    return _OWN.get(problem.fault.rule.category, _UNKNOWN)


def fault_of(headers: Headers, body: bytes, status: int, hint: float | None = None) -> Fault:
    """An error, or what stood for one behind the rows of a good status."""
    number = _number(headers, body)
    if number is None:
        code = by_status(status) or Code.SERVER_ERROR
        return Fault(code, str(status), status, hint)
    code = _CODES.get(number, Code.INVALID_REQUEST)
    if number == 241 and _QUERYS_OWN.search(body):
        code = Code.INVALID_REQUEST
    return Fault(code, f"{status} with exception {number}", status, hint)


def _number(headers: Headers, body: bytes) -> int | None:
    told = header(headers, _CODE)
    if told is not None and told.isdigit() and int(told[:6]):
        return int(told[:6])
    said = _SAID.search(body, 0, 4096)
    return int(said[1]) if said else None


def exception_in(headers: Headers, tail: bytes, *, ended: bool = True) -> bytes | None:
    """The words of an exception with which an answer ends; None where it ends with rows. Where the head tells a tag,
    only what is framed by it is one. ended: nothing follows, so that what looks like one is no row in between."""
    tag = header(headers, _TAG)
    if tag:
        end = _FRAME_END.search(tail)
        if end is None or end[1] != tag:
            return None
        begin = tail.rfind(b"__exception__\r\n%b\r\n" % tag, 0, end.start() + 1)
        return tail[begin + len(tag) + 17 : end.start()] if begin >= 0 else b""
    for pattern in (_MARKED, _WORDS, _MEMBER) if ended else (_MARKED,):
        found = pattern.search(tail)
        if found:
            return found[1]
    return None


def coded(headers: Headers) -> bool:
    """Whether an answer's head, whatever its status, tells of an exception."""
    told = header(headers, _CODE)
    return told is not None and told.strip() not in (b"", b"0")
