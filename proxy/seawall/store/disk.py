"""Answers on disk, in one SQLite file: they survive restarts, and kill -9.

SQLite, because it is the embedded store whose behaviour in crashes, on full disks and with several processes is tested
and documented best, and it comes with Python. LMDB reads faster but through a memory map: a file that another process
cuts short, or a page gone bad, ends the process instead of being a miss. diskcache (itself on SQLite) has had no
release since 2023, pickles, and writes with every read that is to count for LRU.

Reads have threads of their own and never wait for the writer (WAL). A read writes nothing; that an entry was asked for
is noted in memory and written along with the next put, if it matters at all.
"""

import asyncio
import sqlite3
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

from seawall.clock import Clock
from seawall.store.base import Corrupt, Stats, Unavailable, Which
from seawall.store.codec import decode, encode
from seawall.store.disk_file import PAGE, File, Opened, damaged, unavailable
from seawall.store.disk_writer import Writer
from seawall.store.entry import Entry

_READERS = 4
_SMALLEST = 4 * 2**20
# So many rows are looked at in one transaction of a purge; puts get their turn in between.
_SLICE = 1000

_GET = "SELECT e.id, e.used, e.until, b.value FROM entries e JOIN bodies b ON b.id = e.id WHERE e.key = ?"
# Of an empty key SQLite's substr is NULL, which equals nothing.
_PURGE = """
DELETE FROM entries WHERE id > :low AND id <= :high AND :route IN ('', route) AND :upstream IN ('', upstream)
AND :model IN ('', model) AND (length(:prefix) = 0 OR substr(key, 1, length(:prefix)) = :prefix)
"""


class Disk:
    """folder: made if it is not there; several processes may share it, with the same bound. bound: bytes of all files
    together, 4 MiB at least; one damaged file may lie beside them. Nothing is opened before somebody asks."""

    instant = False

    def __init__(self, folder: Path, clock: Clock, bound: int = 2**30) -> None:
        bound = max(bound, _SMALLEST)
        self._bound = bound
        self._file = File(folder, bound)
        self._wall = clock.wall
        self._largest = self._file.reserve // 4
        self._writer = Writer(self._file, clock.wall)
        self._readers: Executor = ThreadPoolExecutor(_READERS, thread_name_prefix="seawall-store-reader")
        self._local = threading.local()
        self._connections: set[Opened] = set()
        self._refused = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"Disk({str(self._file.path.parent)!r}, {self._bound // 2**20} MiB)"

    async def get(self, key: bytes) -> Entry | None:
        if self._closed:
            raise Unavailable(f"{self._file.path}: closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._get, key)

    async def put(self, key: bytes, entry: Entry) -> None:
        await asyncio.wrap_future(self._writer.submit(partial(self._put, key, entry), entry.size))

    async def delete(self, key: bytes) -> None:
        await asyncio.wrap_future(self._writer.submit(partial(_delete, key)))

    async def purge(self, which: Which) -> int:
        """In small transactions: a purge of a million entries holds nobody up."""
        gone, low = 0, 0
        high = await asyncio.wrap_future(self._writer.submit(_last))
        while low < high:
            low, some = await asyncio.wrap_future(self._writer.submit(partial(_purge, which, low, high)))
            gone += some
        return gone

    def stats(self) -> Stats:
        writer = self._writer
        return Stats(
            "disk", writer.entries, writer.pages * PAGE, self._bound, writer.evictions, self._refused, writer.renewed
        )

    async def close(self) -> None:
        """Waits for what is being read and written."""
        self._closed = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._readers.shutdown(cancel_futures=True)
        for opened in self._connections:
            opened.close()
        self._connections.clear()
        self._writer.close()

    # In a reader's thread

    def _get(self, key: bytes) -> Entry | None:
        opened = self._opened()
        try:
            row = opened.connection.execute(_GET, (key,)).fetchone()
        except sqlite3.Error as error:
            self._let_go(opened)
            if not damaged(error):
                raise unavailable(error, self._file.path) from None
            self._writer.renew(opened)
            raise Corrupt(f"{self._file.path}: {error}") from None
        if row is None:
            return None
        number, used, until, value = row
        if self._wall() >= until:
            return None
        try:
            entry = decode(key, value)
        except Corrupt:
            self._writer.submit(partial(_delete, key))
            raise
        self._writer.touch(number, used)
        return entry

    def _opened(self) -> Opened:
        """This thread's connection, to the file that the path means now."""
        opened = cast(Opened | None, getattr(self._local, "opened", None))
        if opened is not None:
            if self._file.current(opened):
                return opened
            self._let_go(opened)
        try:
            opened = self._file.connect()
        except (sqlite3.Error, OSError) as error:
            raise unavailable(error, self._file.path) from None
        self._connections.add(opened)
        self._local.opened = opened
        if not self._writer.pages:
            # It looks what is there, for `stats`.
            self._writer.submit(lambda _: None)
        return opened

    def _let_go(self, opened: Opened) -> None:
        self._local.opened = None
        self._connections.discard(opened)
        opened.close()

    # In the writer's thread

    def _put(self, key: bytes, entry: Entry, connection: sqlite3.Connection) -> None:
        _delete(key, connection)
        value = encode(key, entry)
        if value is None or len(value) > self._largest:
            self._refused += 1
            return
        if entry.expires_at <= self._wall():
            return
        self._writer.make_room(connection, len(value))
        (tick,) = connection.execute(
            "UPDATE totals SET entries = entries + 1, tick = tick + 1 RETURNING tick"
        ).fetchone()
        row = (key, tick, entry.expires_at, entry.route, entry.upstream, entry.model)
        added = connection.execute(
            "INSERT INTO entries (key, used, until, route, upstream, model) VALUES (?, ?, ?, ?, ?, ?)", row
        )
        connection.execute("INSERT INTO bodies (id, value) VALUES (?, ?)", (added.lastrowid, value))


def _delete(key: bytes, connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM entries WHERE key = ?", (key,))


def _last(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()
    return int(last)


def _purge(which: Which, low: int, high: int, connection: sqlite3.Connection) -> tuple[int, int]:
    """Purge the next rows above `low`; returns how far it came, and how many went."""
    query = "SELECT max(id) FROM (SELECT id FROM entries WHERE id > ? AND id <= ? ORDER BY id LIMIT ?)"
    (end,) = connection.execute(query, (low, high, _SLICE)).fetchone()
    if end is None:
        return high, 0
    named = {"route": which.route, "upstream": which.upstream, "model": which.model, "prefix": which.prefix}
    return int(end), connection.execute(_PURGE, {"low": low, "high": end, **named}).rowcount
