"""The SQLite file of the disk store: opened, laid out, and put aside when it is damaged. Several threads and processes
share one file; none of them may take a good one away from the others.

All of it blocks and belongs in threads. Errors of SQLite come out as they are; `damaged` tells which ones mean that
the file is no good. Never open the file itself: closing it would drop SQLite's locks of the whole process (POSIX).
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seawall.store.base import Unavailable

PAGE = 4096
# Layout of the tables below; a file of an older one is begun anew, one of a newer one is left alone.
_LAYOUT = 1
# How long SQLite waits for another process's write, and this module for another's opening. Seconds.
_BUSY = 1.0

# Bodies lie apart: what eviction and purge look at stays small. The trigger keeps them, and the totals, in step with
# `entries` whoever deletes. `tick` counts puts; `used` is the tick when an entry was last known to be asked for.
_TABLES = f"""
CREATE TABLE entries (
  id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, used INTEGER NOT NULL, until REAL NOT NULL,
  route TEXT NOT NULL, upstream TEXT NOT NULL, model TEXT NOT NULL
);
CREATE INDEX by_used ON entries (used);
CREATE INDEX by_until ON entries (until);
CREATE TABLE bodies (id INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE totals (entries INTEGER NOT NULL, tick INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0);
CREATE TRIGGER gone AFTER DELETE ON entries BEGIN
  DELETE FROM bodies WHERE id = old.id;
  UPDATE totals SET entries = entries - 1;
END;
PRAGMA user_version = {_LAYOUT};
"""
_DAMAGED = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    # Our statements are fixed and right, so a table or a row that they miss has been lost.
    | {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}
)


def damaged(error: sqlite3.Error) -> bool:
    """Whether the file is to blame, and not its surroundings (a full disk, a folder that cannot be written)."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def unavailable(error: sqlite3.Error | OSError, path: Path) -> Unavailable:
    text = error.strerror if isinstance(error, OSError) else str(error)
    return Unavailable(f"{path}: {text or type(error).__name__}")


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A connection, and which file it is to: a path may have come to mean another one."""

    connection: sqlite3.Connection
    file: tuple[int, int]

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()


class File:
    """path: of the main file; SQLite puts two more beside it. bound: bytes that all of them may take up."""

    def __init__(self, folder: Path, bound: int) -> None:
        self.path = folder / "cache.sqlite3"
        self.reserve = min(32 * 2**20, bound // 4)
        """Of the bound: for the log of what is not yet in the main file."""
        self.pages = (bound - self.reserve) // PAGE
        """How large the main file may become."""
        self._lock = threading.Lock()

    def connect(self) -> Opened:
        """Open the file; begin one where there is none, or none that is of use. Raises sqlite3.Error, OSError and
        Unavailable."""
        with self._alone():
            for again in (True, False):
                opened = self._connect()
                try:
                    if self._lay_out(opened.connection):
                        return opened
                except sqlite3.Error as error:
                    opened.close()
                    if not (again and damaged(error)):
                        raise
                    self._move(".bad")
                except BaseException:
                    opened.close()
                    raise
                else:
                    opened.close()
                    self._move(None)
        raise Unavailable(f"{self.path}: changed while it was opened")

    def current(self, opened: Opened) -> bool:
        """Whether the path still means this file: another process may have put it aside, or a person deleted it."""
        try:
            return self._identity() == opened.file
        except OSError:
            return False

    def put_aside(self, opened: Opened) -> bool:
        """Rename the damaged file, in place of the last such one; False: somebody else has."""
        with self._alone():
            if not self.current(opened):
                return False
            self._move(".bad")
            return True

    def log_size(self) -> int:
        """Bytes of the log beside the file."""
        try:
            return os.stat(f"{self.path}-wal").st_size  # noqa: PTH116 - one call instead of Path's two objects
        except OSError:
            return 0

    def _identity(self) -> tuple[int, int]:
        status = os.stat(self.path)  # noqa: PTH116
        return status.st_dev, status.st_ino

    def _connect(self) -> Opened:
        # Nobody else may read answers; the other two files take their mode from this one.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        return Opened(connection, self._identity())

    def _lay_out(self, connection: sqlite3.Connection) -> bool:
        """Whether the file may be used; False: it is to be begun anew."""
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        if layout > _LAYOUT:
            raise Unavailable(f"{self.path}: written by a newer version")
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        if layout != _LAYOUT and pages:
            return False
        if pages > self.pages:
            # It was made for a larger bound. To shrink it would take as long as it is large.
            return False
        if not pages:
            connection.execute(f"PRAGMA page_size = {PAGE}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
        # A crash of the process loses nothing; one of the machine may lose the last answers, never the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA max_page_count = {self.pages}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {max(64, self.reserve // 4 // PAGE)}")
        return True

    def _move(self, suffix: str | None) -> None:
        """Rename file and log, or remove them. The file goes first: SQLite drops a log that it finds beside an empty
        one, but would take one that is missing for no loss."""
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                if suffix is None or end == "-shm":
                    os.unlink(f"{self.path}{end}")  # noqa: PTH108
                else:
                    os.replace(f"{self.path}{end}", f"{self.path}{suffix}{end}")  # noqa: PTH105

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread of one process at a time opens the file or puts it aside."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock, (self.path.parent / "cache.lock").open("wb") as lock:
            until = time.monotonic() + _BUSY
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise Unavailable(f"{self.path}: another process holds its lock") from None
                    time.sleep(0.005)
            yield
