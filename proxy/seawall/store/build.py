"""From settings to a store that can be used. What a kind of store needs is imported only where it is asked for."""

from dataclasses import dataclass, field
from pathlib import Path

from seawall.clock import Clock
from seawall.store.base import Store
from seawall.store.guarded import Bounds, Guarded, Watch


@dataclass(frozen=True, slots=True)
class InMemory:
    bound: int = 32 * 2**20
    """Bytes, everything counted."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    folder: Path
    bound: int = 2**30
    """Bytes of all its files."""


@dataclass(frozen=True, slots=True)
class InRedis:
    url: str = field(repr=False)
    """It may hold a password."""
    password_file: Path | None = None
    ca_file: Path | None = None


Settings = InMemory | OnDisk | InRedis


def open_store(settings: Settings, clock: Clock, bounds: Bounds | None = None, watch: Watch | None = None) -> Guarded:
    """A store as calls use it. Nothing is connected or opened before it is asked. Raises ValueError for a URL that is
    none, and ModuleNotFoundError where redis-py is not installed (`pip install seawall[redis]`)."""
    return Guarded(_plain(settings, clock), clock, bounds, watch)


def _plain(settings: Settings, clock: Clock) -> Store:
    match settings:
        case InMemory():
            from seawall.store.memory import Memory

            return Memory(clock, settings.bound)
        case OnDisk():
            from seawall.store.disk import Disk

            return Disk(settings.folder, clock, settings.bound)
        case InRedis():
            from seawall.store.redis import SharedStore, address

            where = address(settings.url, password_file=settings.password_file, ca_file=settings.ca_file)
            return SharedStore(where, clock)
