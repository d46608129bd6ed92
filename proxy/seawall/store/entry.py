"""A kept answer, as stores hold it. Values only.

Its form is versioned: a store that finds an entry of another SCHEMA has found nothing.
"""

import msgspec

from seawall.types import Usage

SCHEMA = 1
"""Raise it with every change to Entry that a reader of the old one would misread."""


class Entry(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One answer and what must be known to reuse it. Times are seconds; `…_at` are seconds since 1970-01-01 UTC."""

    status: int
    headers: list[tuple[bytes, bytes]]
    pieces: tuple[bytes, ...]
    """The body as it came: a stream's events one by one, any other body as one piece."""
    stream: bool = False
    requested_at: float
    """When the request that brought it was sent, and when its answer's head came: RFC 9111 §4.2.3 corrects the age
    with the two."""
    responded_at: float
    fresh_seconds: float
    """From `responded_at`; may be below 0."""
    keep_seconds: float = 0.0
    """How much longer it may serve while stale: for revalidation, or in an outage."""
    must_revalidate: bool = False
    vary: tuple[tuple[bytes, bytes | None], ...] = ()
    """The request's fields that the answer depends on, and what they were; None: not sent."""
    route: str = ""
    upstream: str = ""
    model: str = ""
    dialect: str = ""
    usage: Usage | None = None
    """As the provider billed it, once."""
    more: dict[str, str] = {}
    """What newer code adds without a new SCHEMA."""

    @property
    def expires_at(self) -> float:
        """From then on it is of no use to anybody."""
        return self.responded_at + self.fresh_seconds + self.keep_seconds

    @property
    def size(self) -> int:
        """Bytes of body and header fields."""
        return sum(map(len, self.pieces)) + sum(len(name) + len(value) for name, value in self.headers)
