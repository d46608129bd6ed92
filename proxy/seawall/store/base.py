"""What every store offers, how it fails, and what it tells about itself."""

from dataclasses import dataclass
from typing import Protocol

from seawall.store.entry import Entry


class Unavailable(Exception):
    """The store cannot be used now: a server that is gone or says no, a full disk, a folder that cannot be written.
    The message may be shown to people: it never holds a secret."""


class Corrupt(Exception):
    """What lies under a key is no entry, or not the one that was put there."""


@dataclass(frozen=True, slots=True)
class Which:
    """Entries to purge: those that agree with all that is set. Nothing set: every entry."""

    route: str = ""
    upstream: str = ""
    model: str = ""
    prefix: bytes = b""
    """The first bytes of their keys."""

    def matches(self, key: bytes, route: str, upstream: str, model: str) -> bool:
        return (
            self.route in ("", route)
            and self.upstream in ("", upstream)
            and self.model in ("", model)
            and key.startswith(self.prefix)
        )


@dataclass(frozen=True, slots=True)
class Stats:
    """What a store holds and has done since it was opened. None: it has no cheap way to know."""

    kind: str
    """`memory`, `disk` or `redis`."""
    entries: int | None = None
    bytes: int | None = None
    """Everything an entry costs, not only its body."""
    bound: int | None = None
    """What `bytes` never exceeds."""
    evictions: int = 0
    """Entries given up to stay within the bound."""
    refused: int = 0
    """Entries not kept because one alone would take too large a share."""
    renewed: int = 0
    """How often a damaged file was put aside and a new one begun."""


class Store(Protocol):
    """Entries by key. All methods are for one event loop; none blocks it. `get`, `put`, `delete` and `purge` raise
    Unavailable, and `get` Corrupt; a store is used through Guarded, which lets neither through."""

    @property
    def instant(self) -> bool:
        """`get`, `put` and `delete` never suspend and never fail: no timer, queue or task is needed around them."""

    async def get(self, key: bytes) -> Entry | None:
        """The entry, or None where there is none, or none of use (`expires_at`, SCHEMA)."""

    async def put(self, key: bytes, entry: Entry) -> None:
        """Keep the entry, in place of what is there. One too large, or of no use any more, is not kept, and nor is
        what it was to replace."""

    async def delete(self, key: bytes) -> None: ...

    async def purge(self, which: Which) -> int:
        """Remove what was there when it was called; returns how many."""

    def stats(self) -> Stats:
        """At once, from what is known."""

    async def close(self) -> None:
        """Give everything up that it holds of the system. It is not used again."""
