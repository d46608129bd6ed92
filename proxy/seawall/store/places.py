"""The stores of a process: where each kind keeps its answers, as the command line says, and whose they are."""

import errno
import importlib
import importlib.util
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from seawall.clock import Clock
from seawall.store.build import InMemory, InRedis, OnDisk, Settings, open_store
from seawall.store.guarded import Guarded, GuardedStats, Result

KINDS = ("Memory", "Disk", "Redis")
_KEY_BYTES = 32
_KEY_FILE = "tenants.key"

Watch = Callable[[str, str, Result, float], None]
"""Is told of a store's kind, and what guarded.Watch is told."""


@dataclass(frozen=True, slots=True)
class Places:
    """memory, disk: bytes at most. folder, redis: where these are; None, "": nowhere. key_file: holds the secret of the
    tenants' HMAC, which replicas that share a store share. identity: of this pod, whose answers those that its own keys
    paid for are; "": the host's name."""

    memory: int = 32 * 2**20
    folder: Path | None = None
    disk: int = 2**30
    redis: str = field(default="", repr=False)
    redis_password_file: Path | None = None
    redis_ca_file: Path | None = None
    key_file: Path | None = None
    identity: str = ""


class Stores:
    """Opens a store when a policy first asks for its kind, and keeps it to the end of the process."""

    def __init__(self, places: Places, clock: Clock, watch: Watch | None = None) -> None:
        self._places = places
        self._clock = clock
        self._watch = watch
        self._open: dict[str, Guarded] = {}
        self._secret = b""
        self._drawn = False
        """For this process alone."""
        self.identity = places.identity or socket.gethostname()

    @property
    def secret(self) -> bytes:
        """There after `require`."""
        return self._secret

    def require(self, kinds: Iterable[str]) -> None:
        """Import and read what these kinds need; may be called from another thread. Raises OSError where something is
        missing, with words for people."""
        kinds, places = frozenset(kinds), self._places
        if "Disk" in kinds and places.folder is None:
            raise OSError(errno.EINVAL, "a rule keeps answers on disk: --cache-folder must say where")
        if "Redis" in kinds:
            self._require_redis()
        if kinds and (not self._secret or (self._drawn and "Disk" in kinds)):
            self._read_secret(kinds)

    def _require_redis(self) -> None:
        places = self._places
        if not places.redis:
            raise OSError(errno.EINVAL, "a rule keeps answers in Redis: --cache-redis must say where")
        if places.key_file is None:
            what = "answers in Redis are found again only with a key that replicas share: --cache-key-file"
            raise OSError(errno.EINVAL, what)
        if importlib.util.find_spec("redis") is None:
            raise OSError(errno.ENOPKG, "a rule keeps answers in Redis, which needs seawall[redis] to be installed")
        from seawall.store.redis import address

        try:
            address(places.redis, password_file=places.redis_password_file, ca_file=places.redis_ca_file)
        except ValueError as error:
            raise OSError(errno.EINVAL, f"--cache-redis: {error}") from None

    def of(self, kind: str) -> Guarded:
        """The store of a policy's `cache.store`, after `require`."""
        found = self._open.get(kind)
        if found is None:
            watch = self._watch
            told = None if watch is None else lambda name, result, seconds: watch(kind, name, result, seconds)
            found = self._open[kind] = open_store(self._settings(kind), self._clock, watch=told)
        return found

    def opened(self) -> dict[str, Guarded]:
        """By kind, those that are in use."""
        return dict(self._open)

    def stats(self) -> dict[str, GuardedStats]:
        """By kind."""
        return {kind: store.stats() for kind, store in self._open.items()}

    async def close(self) -> None:
        for store in self._open.values():
            await store.close()

    def _settings(self, kind: str) -> Settings:
        places = self._places
        if kind == "Disk":
            assert places.folder is not None, "require() came first"
            return OnDisk(places.folder, places.disk)
        if kind == "Redis":
            return InRedis(places.redis, places.redis_password_file, places.redis_ca_file)
        return InMemory(places.memory)

    def _read_secret(self, kinds: frozenset[str]) -> None:
        """What nobody gave is drawn: for the process, or beside the answers that are to outlive it. These may come with
        a later policy; what memory has kept until then is not found any more."""
        places = self._places
        if places.key_file is not None:
            self._secret = _long_enough(places.key_file.read_bytes().strip(), places.key_file)
        elif "Disk" in kinds and places.folder is not None:
            self._secret, self._drawn = _kept_secret(places.folder), False
        else:
            self._secret, self._drawn = os.urandom(_KEY_BYTES), True


def _kept_secret(folder: Path) -> bytes:
    """Of the folder's answers, made with the first of them. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / _KEY_FILE
    try:
        # Whole or not at all, whoever else is doing the same.
        drawn = folder / f"{_KEY_FILE}.{os.getpid()}.{os.urandom(4).hex()}"
        drawn.touch(mode=0o600, exist_ok=False)
        drawn.write_bytes(os.urandom(_KEY_BYTES))
        try:
            os.link(drawn, file)
        finally:
            drawn.unlink()
    except FileExistsError:
        pass
    return _long_enough(file.read_bytes(), file)


def _long_enough(secret: bytes, file: Path) -> bytes:
    if len(secret) < _KEY_BYTES:
        raise OSError(errno.EINVAL, f"must hold {_KEY_BYTES} bytes or more", str(file))
    return secret
