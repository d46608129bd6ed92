"""The last events, for the dashboard. Bounded: plain good calls are kept apart, so that they do not push out what
matters."""

from collections import deque
from typing import TYPE_CHECKING

from seawall.types import AttemptEnded, AttemptTraced, CallEnded, CallTraced, Event, Outcome

if TYPE_CHECKING:
    from seawall.clock import Clock


_PLAIN = (Outcome.PRIMARY, Outcome.CACHE)


class Recent:
    """An `Observer` that remembers `calls` plain calls and `moves` other events."""

    def __init__(self, clock: "Clock", calls: int = 15, moves: int = 45) -> None:
        self._wall = clock.wall
        self._calls: deque[tuple[float, Event]] = deque(maxlen=calls)
        self._moves: deque[tuple[float, Event]] = deque(maxlen=moves)

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, AttemptTraced | CallTraced) or (isinstance(event, AttemptEnded) and event.result == "ok"):
            return
        plain = isinstance(event, CallEnded) and event.outcome in _PLAIN
        (self._calls if plain else self._moves).append((self._wall(), event))

    def events(self) -> list[tuple[float, Event]]:
        """Newest first, with the time of day at which each came in seconds since 1970."""
        return sorted((*self._calls, *self._moves), key=lambda entry: entry[0], reverse=True)
