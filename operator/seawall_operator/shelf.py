"""The newest bundle of each profile, and who is told of others."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from seawall_operator.sidecars import Key


@dataclass(frozen=True, slots=True)
class Served:
    """One bundle, as it is sent."""

    revision: str
    packed: bytes


class Shelf:
    """What is served, and up to what it is known."""

    def __init__(self, other: Callable[[str, str], Served]) -> None:
        """`other` makes the bundle of a namespace or profile that nothing is known of."""
        self._served: dict[Key, Served] = {}
        self._other = other
        self._sequence = 0
        self.ready = asyncio.Event()
        """Everything was read once: before, what is missing might only not be known yet."""
        self.closed = False
        self.tell: Callable[[str | None], None] = lambda namespace: None
        """Is called when bundles of a namespace have changed; with None when the sequence has grown, and at the end."""

    @property
    def sequence(self) -> int:
        """All bundles here hold what was known up to this: the resourceVersion of the newest change."""
        return self._sequence

    @sequence.setter
    def sequence(self, value: int) -> None:
        if value != self._sequence:
            self._sequence = value
            self.tell(None)

    def of(self, key: Key) -> Served:
        return self._served.get(key) or self._other(*key)

    def revisions(self) -> dict[Key, str]:
        return {key: one.revision for key, one in self._served.items()}

    def put(self, namespace: str, bundles: dict[Key, Served]) -> None:
        """All bundles of a namespace, in place of those before."""
        for key in [key for key in self._served if key[0] == namespace and key not in bundles]:
            del self._served[key]
        self._served |= bundles
        self.tell(namespace)

    def close(self) -> None:
        """Nobody needs to wait any more."""
        self.closed = True
        self.tell(None)
