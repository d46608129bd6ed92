"""What Trino says of failures: a query's error within a 200 (`QueryError`), by its name and type.

The names are StandardErrorCode's of Trino's SPI, the types ErrorType's. Only the top level of an answer is believed.
"""

import msgspec

from seawall.dialects._classify import WHOLE_BELOW
from seawall.dialects._json import is_strict, read
from seawall.faults import Category, Code, Fault, Problem

_BUSY = Code.OVERLOADED
_NAMES: dict[str, Code] = {
    "PERMISSION_DENIED": Code.FORBIDDEN,
    "NOT_FOUND": Code.NOT_FOUND,
    "CATALOG_NOT_FOUND": Code.NOT_FOUND,
    "SCHEMA_NOT_FOUND": Code.NOT_FOUND,
    "TABLE_NOT_FOUND": Code.NOT_FOUND,
    "QUERY_QUEUE_FULL": Code.RATE_LIMITED,
    "SERVER_STARTING_UP": _BUSY,
    "SERVER_SHUTTING_DOWN": _BUSY,
    "NO_NODES_AVAILABLE": _BUSY,
    "CLUSTER_OUT_OF_MEMORY": _BUSY,
    "ADMINISTRATIVELY_PREEMPTED": _BUSY,
    # The same statement would meet the same limits, or the same hand.
    "QUERY_REJECTED": Code.INVALID_REQUEST,
    "ADMINISTRATIVELY_KILLED": Code.INVALID_REQUEST,
    "NOT_SUPPORTED": Code.INVALID_REQUEST,
    "COMPILER_ERROR": Code.INVALID_REQUEST,
}
_TYPES = {
    "USER_ERROR": Code.INVALID_REQUEST,
    "INSUFFICIENT_RESOURCES": Code.OVERLOADED,
    "INTERNAL_ERROR": Code.SERVER_ERROR,
    "EXTERNAL": Code.SERVER_ERROR,
}

# Our own errors, as clients know them: number, name and type.
_REFUSED = (4, "PERMISSION_DENIED", "USER_ERROR")
_OWN = {
    Category.VALIDATION: (0, "GENERIC_USER_ERROR", "USER_ERROR"),
    Category.AUTHENTICATION: _REFUSED,
    Category.AUTHORIZATION: _REFUSED,
    Category.RATE_LIMIT: (131072, "GENERIC_INSUFFICIENT_RESOURCES", "INSUFFICIENT_RESOURCES"),
    Category.RESOURCE_EXHAUSTION: (131072, "GENERIC_INSUFFICIENT_RESOURCES", "INSUFFICIENT_RESOURCES"),
}
_INTERNAL = (65536, "GENERIC_INTERNAL_ERROR", "INTERNAL_ERROR")


class _Error(msgspec.Struct, gc=False):
    error_name: object = msgspec.field(name="errorName", default=None)
    error_type: object = msgspec.field(name="errorType", default=None)


class Results(msgspec.Struct, gc=False):
    """The few members of an answer that are read."""

    error: msgspec.Raw = msgspec.Raw(b"")
    next_uri: object = msgspec.field(name="nextUri", default=None)


_RESULTS = msgspec.json.Decoder(Results)
_ERROR = msgspec.json.Decoder(_Error)


def results(body: bytes) -> Results | None:
    """An answer; None when it is no JSON object."""
    return read(_RESULTS, body)


def judge(body: bytes, status: int, *, whole: bool, final: bool) -> Fault | None:
    """An error within a good status, or an answer that is cut off. final: the query is what has failed, not the
    request that tells of it."""
    found = results(body)
    if found is None:
        known = (whole or len(body) < WHOLE_BELOW) and not is_strict(body)
        return Fault(Code.TRUNCATED, "the body is not whole JSON", status) if known else None
    if len(found.error) == 0 or bytes(found.error) == b"null":
        return None
    error = read(_ERROR, found.error) or _Error()
    name = error.error_name if isinstance(error.error_name, str) else ""
    kind = error.error_type if isinstance(error.error_type, str) else ""
    if name.startswith("EXCEEDED_"):
        code = Code.INVALID_REQUEST
    else:
        code = _NAMES.get(name) or _TYPES.get(kind, Code.SERVER_ERROR)
    word = name if name.isascii() and name.replace("_", "").isalnum() else ""
    return Fault(code, f"{status} with {word[:64] or 'an error'}", status, final=final)


def error(problem: Problem, message: str) -> bytes:
    """An error of ours as a query's that has failed (QueryResults)."""
    number, name, kind = _OWN.get(problem.fault.rule.category, _INTERNAL)
    told = {
        "message": message,
        "errorCode": number,
        "errorName": name,
        "errorType": kind,
        "failureInfo": {"type": "seawall", "message": message, "suppressed": [], "stack": []},
    }
    body = {
        "id": problem.request_id,
        "infoUri": "about:blank",
        "stats": _STATS,
        "error": told,
        "warnings": [],
        "seawall": problem.seawall(),
    }
    return msgspec.json.encode(body)


_COUNTS = (
    "nodes totalSplits queuedSplits runningSplits completedSplits cpuTimeMillis wallTimeMillis queuedTimeMillis "
    "elapsedTimeMillis processedRows processedBytes physicalInputBytes physicalWrittenBytes peakMemoryBytes "
    "spilledBytes"
)
_STATS: dict[str, object] = {
    "state": "FAILED", "queued": False, "scheduled": False, **dict.fromkeys(_COUNTS.split(), 0),
}  # fmt: skip
