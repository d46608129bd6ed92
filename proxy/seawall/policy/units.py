"""Durations, sizes and percents as policy documents write them, and the field types that check them.

A document keeps what was written (it is never rewritten); only effective settings hold seconds and bytes. This module
must never guess: a bare number is no duration.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict
from pydantic_core import PydanticCustomError

DURATION_PATTERN = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"  # GEP-2257
SIZE_PATTERN = r"^[0-9]{1,12}(k|M|G|Ki|Mi|Gi)?$"  # the part of Kubernetes' quantities that makes sense for bytes

_DURATION = re.compile(DURATION_PATTERN)
_DURATION_PART = re.compile(r"([0-9]{1,5})(ms|h|m|s)")
_SIZE = re.compile(r"([0-9]{1,12})(k|M|G|Ki|Mi|Gi)?")
_UNIT_MS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_UNIT_BYTES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def seconds(duration: str) -> float:
    """A GEP-2257 duration in seconds: `1h30m` → 5400.0. Raises ValueError for anything else."""
    if not _DURATION.fullmatch(duration):
        raise ValueError(f"not a duration: {duration!r}")
    return sum(int(count) * _UNIT_MS[unit] for count, unit in _DURATION_PART.findall(duration)) / 1000


def size_bytes(size: str) -> int:
    """A size in bytes: `4Mi` → 4194304. Raises ValueError for anything else."""
    match = _SIZE.fullmatch(size)
    if not match:
        raise ValueError(f"not a size: {size!r}")
    return int(match[1]) * _UNIT_BYTES[match[2] or ""]


def _wrong(kind: str, message: str, hint: str) -> PydanticCustomError:
    # Braces would be read as a template's places.
    return PydanticCustomError(kind, "{text}", {"text": message, "hint": hint})


def _duration(value: Any) -> str:
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 100_000:
        raise _wrong("duration", "must be a duration", f"durations are strings such as {value}s or 500ms")
    raise _wrong("duration", "must be a duration", "durations are strings such as 10s, 500ms or 1h30m")


def _delay(value: Any) -> str:
    return value if value == "P95" else _duration(value)


def _positive_duration(value: Any) -> str:
    if seconds(_duration(value)) == 0:
        raise _wrong("duration", "must be longer than 0s", "")
    return str(value)


def _size(value: Any) -> str:
    if isinstance(value, str) and _SIZE.fullmatch(value):
        return value
    raise _wrong("size", "must be a size", 'sizes are strings such as 4Mi, 512Ki or "1048576"')


def _positive_size(value: Any) -> str:
    if size_bytes(_size(value)) == 0:
        raise _wrong("size", "must be larger than 0", "")
    return str(value)


def _percent(value: Any) -> Any:
    if isinstance(value, str) and value.rstrip("% ").isdecimal():
        raise _wrong("percent", "must be a whole number", f"percents are whole numbers: {value.rstrip('% ')[:3]}")
    return value


Duration = Annotated[str, BeforeValidator(_duration), Field(pattern=DURATION_PATTERN)]
PositiveDuration = Annotated[str, BeforeValidator(_positive_duration), Field(pattern=DURATION_PATTERN)]
Delay = Annotated[str, BeforeValidator(_delay), Field(pattern=r"^(P95|([0-9]{1,5}(h|m|s|ms)){1,4})$")]
"""A duration, or `P95` of what was measured."""
Size = Annotated[str, BeforeValidator(_size), Field(pattern=SIZE_PATTERN)]
PositiveSize = Annotated[str, BeforeValidator(_positive_size), Field(pattern=SIZE_PATTERN)]
Percent = Annotated[int, BeforeValidator(_percent), Strict(), Field(ge=0, le=100)]
PositivePercent = Annotated[int, BeforeValidator(_percent), Strict(), Field(ge=1, le=100)]
Count = Annotated[int, Strict(), Field(ge=0, le=1_000_000_000)]
PositiveCount = Annotated[int, Strict(), Field(ge=1, le=1_000_000_000)]
