"""Answers in a redis or valkey that replicas share. The server expires and evicts them (each has a TTL; how much it may
hold is its `maxmemory`), and whatever it returns is checked before it is believed (codec.py).

The only module that imports redis-py, the extra `redis`. Secrets appear in no repr, message or argument list.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import RedisError

from seawall.clock import Clock
from seawall.store.base import Corrupt, Stats, Unavailable, Which
from seawall.store.codec import LABELS_WITHIN, decode, encode, labels_of
from seawall.store.entry import SCHEMA, Entry

T = TypeVar("T")


class _Client(Protocol):
    """What is used of redis-py, with types."""

    def execute_command(self, *args: bytes | str | int) -> Awaitable[Any]: ...
    def pipeline(self, transaction: bool) -> "_Pipeline": ...
    def aclose(self, close_connection_pool: bool) -> Awaitable[None]: ...


class _Pipeline(Protocol):
    def execute_command(self, *args: bytes | str | int) -> object: ...
    def execute(self) -> Awaitable[list[Any]]: ...


PREFIX = b"seawall:%d:" % SCHEMA
# Keys per SCAN of a purge: a server looks at so many in well under a millisecond.
_SCAN = 500
_LARGEST = 8 * 2**20
_GLOB = frozenset(b"*?[]^-\\")
_FORM = "a redis URL is redis://[user[:password]@]host[:port][/database], with a database number"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is, and who asks. password_file: read for every connection, so that a new password is in effect
    without a restart; it comes before a password in the URL. ca_file: whom to trust instead of the system's
    authorities."""

    host: str
    port: int = 6379
    database: int = 0
    tls: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    ca_file: Path | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.database}"


def address(url: str, *, password_file: Path | None = None, ca_file: Path | None = None) -> Address:
    """`redis://` or, with TLS, `rediss://[user[:password]@]host[:port][/database]`. Raises ValueError, whose message
    does not repeat the URL. Options behind a `?` are refused: one of redis-py's own would turn TLS's checks off."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # Its own message may repeat all that stands before the path.
        raise ValueError(_FORM) from None
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("a redis URL begins with redis:// or rediss://")
    if parts.query or parts.fragment:
        raise ValueError("a redis URL takes no options")
    try:
        port = parts.port or 6379
    except ValueError:
        raise ValueError("the port in the redis URL is no number from 1 to 65535") from None
    database = parts.path.strip("/")
    if not parts.hostname or not (database or "0").isascii() or not (database or "0").isdigit():
        raise ValueError(_FORM)
    return Address(
        parts.hostname,
        port,
        int(database or 0),
        parts.scheme == "rediss",
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        password_file,
        ca_file,
    )


class SharedStore:
    """connections: at most so many at a time; who finds none waits. patience: seconds that a command may take with all
    that it waits for. It is longer than what a call waits for the store, so that a connection can be made at all
    where that takes longer, and so that an answer a little late does not cost its connection."""

    instant = False

    def __init__(self, where: Address, clock: Clock, connections: int = 16, patience: float = 1.0) -> None:
        self._where = where
        self._wall = clock.wall
        self._patience = patience
        self._refused = 0
        self._login = _Login(where)
        options: dict[str, Any] = {}
        if where.tls:
            options["ssl_min_version"] = ssl.TLSVersion.TLSv1_2
            options["ssl_ca_certs"] = str(where.ca_file) if where.ca_file else None
        pool = BlockingConnectionPool(
            connections,
            timeout=None,
            connection_class=SSLConnection if where.tls else Connection,
            host=where.host,
            port=where.port,
            db=where.database,
            credential_provider=self._login if where.username or where.password or where.password_file else None,
            # One limit for all of it is `patience`.
            socket_timeout=None,
            socket_connect_timeout=None,
            # A connection that the server closed meanwhile is no failure yet.
            retry=Retry(NoBackoff(), 1, (NotConnected,)),
            # What every server speaks; nothing is pushed, and nothing asked before the first command but AUTH, SELECT.
            protocol=2,
            driver_info=None,
            **options,
        )
        self._redis = cast(_Client, Redis.from_pool(pool))

    def __repr__(self) -> str:
        return f"SharedStore({self._where})"

    async def get(self, key: bytes) -> Entry | None:
        data = await self._ask(self._redis.execute_command("GET", PREFIX + key))
        if data is None:
            return None
        entry = decode(key, data)
        return entry if entry is not None and self._wall() < entry.expires_at else None

    async def put(self, key: bytes, entry: Entry) -> None:
        milliseconds = int((entry.expires_at - self._wall()) * 1000)
        data = encode(key, entry) if milliseconds > 0 else None
        if data is None or len(data) > _LARGEST:
            self._refused += milliseconds > 0
            await self.delete(key)
            return
        await self._ask(self._redis.execute_command("SET", PREFIX + key, data, "PX", milliseconds))

    async def delete(self, key: bytes) -> None:
        await self._ask(self._redis.execute_command("UNLINK", PREFIX + key))

    async def purge(self, which: Which) -> int:
        """By SCAN, reading only the labels of what it finds. Sets of keys per route, upstream and model would find
        them at once, but cost every put three more writes and outlive the keys that the server expires or evicts;
        purges are rare and may take a while (a second or two for 100,000 entries)."""
        pattern = b"".join(b"\\%c" % byte if byte in _GLOB else b"%c" % byte for byte in PREFIX + which.prefix) + b"*"
        cursor, gone = 0, 0
        while True:
            scan = self._redis.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN)
            cursor, keys = await self._ask(scan)
            if keys and which != Which(prefix=which.prefix):
                keys = await self._matching(which, keys)
            if keys:
                gone += await self._ask(self._redis.execute_command("UNLINK", *keys))
            if not int(cursor):
                return gone

    def stats(self) -> Stats:
        """What the server holds is not known here: others write to it too."""
        return Stats("redis", refused=self._refused)

    async def close(self) -> None:
        await self._ask(self._redis.aclose(close_connection_pool=True))

    async def _matching(self, which: Which, keys: Sequence[bytes]) -> list[bytes]:
        matching, size = [], LABELS_WITHIN
        while keys:
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.execute_command("GETRANGE", key, 0, size - 1)
            longer = []
            for key, start in zip(keys, await self._ask(pipeline.execute()), strict=True):
                try:
                    labels = labels_of(start)
                except Corrupt:
                    # Gone meanwhile, or never served.
                    continue
                if isinstance(labels, int):
                    if labels > size:
                        longer.append((labels, key))
                elif which.matches(key.removeprefix(PREFIX), *labels):
                    matching.append(key)
            keys = [key for _, key in longer]
            size = max((labels for labels, _ in longer), default=0)
        return matching

    async def _ask(self, command: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._patience):
                return await command
        except TimeoutError:
            raise Unavailable(f"{self._where}: no answer within {self._patience:g} s") from None
        except (RedisError, OSError) as error:
            text = f"{type(error).__name__}: {error}"[:300]
            raise Unavailable(f"{self._where}: {self._login.hide(text)}") from None


class _Login(CredentialProvider):
    """Name and password, anew for each connection."""

    def __init__(self, where: Address) -> None:
        self._where = where
        self._last = where.password

    def __repr__(self) -> str:
        return f"_Login({self._where})"

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        where = self._where
        if where.password_file is not None:
            self._last = where.password_file.read_text().strip()
        return (where.username, self._last) if where.username else (self._last,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        # A mounted file of a few bytes: not worth a thread.
        return self.get_credentials()

    def hide(self, text: str) -> str:
        """The text without the password, should a server or a library repeat it."""
        return text.replace(self._last, "***") if self._last else text
