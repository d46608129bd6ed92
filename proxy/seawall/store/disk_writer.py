"""The one thread of a disk store that writes. Jobs that wait together share a transaction, so that a burst of answers
costs one commit; each either takes effect whole, or not at all.

It also keeps the file within its bound, a few entries at a time, and replaces one that turns out damaged.
"""

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from seawall.store.base import Unavailable
from seawall.store.disk_file import PAGE, File, Opened, damaged, unavailable

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

_EVICT_AT_ONCE = 16
_LAPSED_AT_ONCE = 32
# Pages that a put may need beside those of its body: its row, indexes and what splits.
_ROOM = 12
# Bytes that a job is taken to write beside a body.
_JOB_WEIGHT = 8 * PAGE
# Readers report entries that were asked for; so many wait at most, and from so many on they are written by themselves.
_TOUCHED_MOST = 8192
_TOUCHED_MANY = 2048


@dataclass(slots=True)
class _Waiting:
    job: Job[Any]
    weight: int
    """Bytes that it writes."""
    future: "Future[Any]"


class Writer:
    """Begins its thread with the first job."""

    def __init__(self, file: File, wall: Callable[[], float]) -> None:
        self._file = file
        self._wall = wall
        self._jobs: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._opened: Opened | None = None
        self._touched: dict[int, None] = {}
        self._starting = threading.Lock()
        self._closed = False
        # Written by the thread, read by the loop: plain numbers, each right at some recent time.
        self.entries = self.pages = self.tick = 0
        self.evictions = self.renewed = 0

    # On the event loop, or a reader's thread

    def submit(self, job: Job[T], weight: int = 0) -> "Future[T]":
        """Have the job run in a transaction; the future ends when it is committed, or with Unavailable."""
        future: Future[T] = Future()
        if self._closed:
            raise Unavailable(f"{self._file.path}: closed")
        # It cannot be taken back: who gives it up must not leave the others of its transaction in doubt.
        future.set_running_or_notify_cancel()
        self._jobs.put(_Waiting(job, weight + _JOB_WEIGHT, future))
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="seawall-store-writer", daemon=True)
                self._thread.start()
        return future

    def touch(self, number: int, used: int) -> None:
        """Entry `number`, last known to be used at tick `used`, was asked for. Its order of eviction is written only
        when a quarter of the entries have come or moved since, so that a read hardly ever costs a write."""
        if self.tick - used > self.entries // 4 and len(self._touched) < _TOUCHED_MOST:
            self._touched[number] = None
            if len(self._touched) == _TOUCHED_MANY:
                self.submit(lambda _: None)

    def renew(self, opened: Opened) -> None:
        """The file behind `opened` is damaged."""
        self.submit(lambda _: self._renew(opened))

    def close(self) -> None:
        """Blocks until all jobs are done."""
        self._closed = True
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()

    # In the thread

    def _run(self) -> None:
        last = False
        while not last:
            waiting = self._jobs.get()
            together: list[_Waiting] = []
            weight = 0
            while waiting is not None:
                together.append(waiting)
                weight += waiting.weight
                if weight > self._file.reserve // 4:
                    break
                try:
                    waiting = self._jobs.get_nowait()
                except queue.Empty:
                    break
            last = waiting is None
            if together or self._opened is not None:
                self._together(together)
        if self._opened is not None:
            self._opened.close()

    def _together(self, waiting: list[_Waiting]) -> None:
        try:
            results = self._transaction(waiting)
        except (sqlite3.Error, OSError, Unavailable) as error:
            self._failed(error)
            told = error if isinstance(error, Unavailable) else unavailable(error, self._file.path)
            for one in waiting:
                one.future.set_exception(told)
        except BaseException as error:
            # A bug. Nobody may wait for ever for it.
            for one in waiting:
                one.future.set_exception(error)
            raise
        else:
            for one, result in zip(waiting, results, strict=True):
                one.future.set_result(result)

    def _transaction(self, waiting: list[_Waiting]) -> list[Any]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        self._write_touched(connection)
        lapsed = (self._wall(), _LAPSED_AT_ONCE)
        connection.execute("DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE until <= ? LIMIT ?)", lapsed)
        results = [one.job(connection) for one in waiting]
        entries, tick = connection.execute("SELECT entries, tick FROM totals").fetchone()
        connection.execute("COMMIT")
        self.entries, self.tick, self.pages = entries, tick, pages_used(connection)
        if self._file.log_size() > self._file.reserve // 2:
            # Readers can keep SQLite's own checkpoints from starting the log over; this one waits for them. Where it
            # fails the next one is due soon, and what was written is safe in the log.
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return results

    def _write_touched(self, connection: sqlite3.Connection) -> None:
        if touched := self._touched:
            self._touched = {}
            (tick,) = connection.execute("SELECT tick FROM totals").fetchone()
            connection.executemany("UPDATE entries SET used = ? WHERE id = ?", [(tick, n) for n in list(touched)])

    def _connection(self) -> sqlite3.Connection:
        if self._opened is not None and not self._file.current(self._opened):
            self._opened.close()
            self._opened = None
        if self._opened is None:
            self._opened = self._file.connect()
            self._opened.connection.execute("PRAGMA cache_size = -8192")
        return self._opened.connection

    def _failed(self, error: Exception) -> None:
        if self._opened is None:
            return
        with contextlib.suppress(sqlite3.Error):
            self._opened.connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error) and damaged(error):
            with contextlib.suppress(OSError, Unavailable):
                self._renew(self._opened)

    def _renew(self, opened: Opened) -> None:
        if self._file.put_aside(opened):
            self.renewed += 1

    # Inside a transaction

    def make_room(self, connection: sqlite3.Connection, size: int) -> None:
        """Give up the entries that have gone unasked for the longest until `size` bytes fit."""
        wanted = self._file.pages - size // PAGE - _ROOM
        while pages_used(connection) > wanted:
            gone = connection.execute(
                "DELETE FROM entries WHERE id IN (SELECT id FROM entries ORDER BY used LIMIT ?)", (_EVICT_AT_ONCE,)
            ).rowcount
            if not gone:
                return
            self.evictions += gone


def pages_used(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(pages - free)
