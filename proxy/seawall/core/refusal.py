"""The answer of a machine that does not admit a call. It is a value: a refusal is never an upstream's failure."""

from dataclasses import dataclass

SOON = 1.0
"""Seconds; what Retry-After says where nothing better is known (its smallest whole value)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Not now. retry_after: seconds after which another try makes sense, above 0."""

    retry_after: float
