"""What the lab saw: one record per request, in a bounded ring. Never holds a header's value or a body."""

from collections import deque

import msgspec


class Attempt(msgspec.Struct):
    """One request. Times are seconds since the lab's start, None for what has not happened (yet).

    key: the `x-lab-key` that it carried, so that a test finds its own. peer: the client's address and port, which tells
    connections apart. gone: the client went away before the end. status: None where no head was sent.
    """

    number: int
    received_at: str
    received: float
    upstream: str
    method: str
    path: str
    dialect: str = ""
    operation: str = ""
    model: str = ""
    stream: bool = False
    key: str = ""
    fault: str = ""
    healthy: bool = True
    status: int | None = None
    first_byte: float | None = None
    end: float | None = None
    gone: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    header_names: list[str] = msgspec.field(default_factory=list)
    body_sha256: str = ""
    peer: str = ""


class Ring:
    """The last `size` attempts; `total` counts all."""

    def __init__(self, size: int = 10_000) -> None:
        self._kept: deque[Attempt] = deque(maxlen=size)
        self.total = 0

    def add(self, attempt: Attempt) -> None:
        self._kept.append(attempt)
        self.total += 1

    def clear(self) -> None:
        self._kept.clear()
        self.total = 0

    def select(self, **wanted: str) -> list[Attempt]:
        """Those whose fields have these values, oldest first."""
        return [
            attempt
            for attempt in self._kept
            if all(str(getattr(attempt, name)) == value for name, value in wanted.items())
        ]
