"""Writes log lines from a background thread, in batches, so that a slow or full disk or a pipe that nobody reads never
holds the event loop up. What does not fit its bounded buffer is dropped and counted; a failed write is counted and
tried again; nothing is ever raised.
"""

import os
import select
import stat
import threading
import time
from collections import deque

# POSIX: a pipe or terminal that polls as writable takes this much at once without blocking (PIPE_BUF).
_PIPE_CHUNK = 4096
_FILE_CHUNK = 256 * 1024


class LineWriter:
    """Lines to one file descriptor, which stays the caller's to close.

    limit: bytes that may wait. interval: seconds within which a line is written. retry: seconds after a failed write
    until the next try.
    """

    def __init__(
        self, fd: int, *, limit: int = 4 * 1024 * 1024, interval: float = 0.05, retry: float = 1.0, name: str = "log"
    ) -> None:
        self.dropped = 0
        """Lines lost because the buffer was full, or left over at the end."""
        self.failures = 0
        """Writes that failed: disk full, reader gone."""
        self._fd = fd
        self._limit = limit
        self._interval = interval
        self._retry = retry
        self._lines: deque[bytes] = deque()
        # Each is changed by one thread only, so that neither needs a lock; their difference is what waits.
        self._taken_in = 0
        self._let_go = 0
        self._asleep = False
        self._closed = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._chunk = _FILE_CHUNK if stat.S_ISREG(os.fstat(fd).st_mode) else _PIPE_CHUNK
        self._thread = threading.Thread(target=self._run, name=f"seawall-{name}", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue a line (its newline included). Costs well below a microsecond; never blocks."""
        size = len(line)
        if self._closed or self._taken_in - self._let_go + size > self._limit:
            self.dropped += 1
            return
        self._taken_in += size
        self._lines.append(line)
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits, for at most `timeout` seconds; the rest is dropped."""
        if self._closed:
            return
        self._closed = True
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._wake.set()
        # The thread may hang in a write to a dead network disk: it is a daemon and is left behind then.
        self._thread.join(timeout + 0.5)

    def _run(self) -> None:
        while not (self._closing.is_set() and not self._lines):
            self._asleep = True
            if not self._lines:
                self._wake.wait()
            self._wake.clear()
            self._asleep = False
            self._closing.wait(self._interval)
            while self._lines:
                batch, count = self._batch()
                if not self._write(batch):
                    self.dropped += count + len(self._lines)
                    return

    def _batch(self) -> tuple[bytes, int]:
        """Whole lines up to the chunk size, at least one; and how many."""
        lines = [self._lines.popleft()]
        size = len(lines[0])
        while self._lines and size + len(self._lines[0]) <= self._chunk:
            lines.append(self._lines.popleft())
            size += len(lines[-1])
        return b"".join(lines), len(lines)

    def _write(self, batch: bytes) -> bool:
        """Write it all, however often that has to be tried; False when time was up before."""
        rest = memoryview(batch)
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while rest:
            last = self._closing.is_set()
            if last and time.monotonic() >= self._deadline:
                return False
            try:
                if not poll.poll(100):
                    continue
                written = os.write(self._fd, rest[: self._chunk])
            except OSError:
                self.failures += 1
                if last:
                    return False
                self._closing.wait(self._retry)
                continue
            rest = rest[written:]
            self._let_go += written
        return True
