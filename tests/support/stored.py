"""Entries and clocks for the tests of the cache's stores."""

import random
from typing import Any

from seawall.store.entry import Entry

START = 1_900_000_000.0


class Hands:
    """A clock that goes when it is told to."""

    def __init__(self, wall: float = START) -> None:
        self.time = wall

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time


def entry(*pieces: bytes, at: float = START, fresh: float = 3600.0, **fields: Any) -> Entry:
    """An answer that came at `at`."""
    given: dict[str, Any] = {
        "status": 200,
        "headers": [(b"Content-Type", b"application/json")],
        "pieces": pieces or (b'{"a": 1}',),
        "requested_at": at - 0.5,
        "responded_at": at,
        "fresh_seconds": fresh,
        "route": "chat",
        "upstream": "openai",
        "model": "gpt-4o",
        "dialect": "OpenAI",
    }
    return Entry(**{**given, **fields})


def key_of(number: int) -> bytes:
    """As long as real ones are, in no order."""
    return (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big") * 4


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that nothing makes smaller, other ones for each seed."""
    return random.Random(seed).randbytes(size)


class Recency:
    """Plain LRU over entries of one size, to compare hit rates with."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: dict[int, None] = {}

    def asks(self, number: int) -> bool:
        found = number in self.kept
        if found:
            del self.kept[number]
        self.kept[number] = None
        if len(self.kept) > self.most:
            del self.kept[next(iter(self.kept))]
        return found
