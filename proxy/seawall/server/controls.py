"""What an operator may do to the running proxy. Only the Unix socket offers it (admin.py); the engine's owner
implements it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from seawall.store.base import Which
from seawall.telemetry.report import BreakerView


class UnknownNameError(LookupError):
    """No such upstream, or no breaker for such a model. `known`: the names there are."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        names = ", ".join(self.known) or "none"
        super().__init__(f'no {kind} "{name}"; known: {names}')


class Controls(Protocol):
    """Breaker actions take an upstream and, to narrow them, a model; they return the breakers as they are afterwards
    and raise UnknownNameError."""

    def isolate(self, upstream: str, model: str | None) -> Sequence[BreakerView]:
        """Open by hand: no call goes there until `reset`."""

    def force_close(self, upstream: str, model: str | None) -> Sequence[BreakerView]:
        """Close by hand: calls go there whatever happens, until `reset`."""

    def reset(self, upstream: str, model: str | None) -> Sequence[BreakerView]:
        """Back to closed, with an empty history."""

    def set_offline(self, route: str | None, offline: bool) -> Sequence[str]:
        """Keep the calls of a route (None: of all) from every upstream, or let them again; the routes that are kept
        from them by hand now. A route that the policy takes offline stays so."""

    def cache(self) -> Mapping[str, object]:
        """What the cache has done, by route and store."""

    async def purge(self, which: Which) -> Mapping[str, int]:
        """Forget kept answers; how many, by store. Raises store.base.Unavailable where one cannot be reached."""

    def drain(self) -> None:
        """Begin a drain, as on SIGTERM: take no new calls, finish the streams."""
