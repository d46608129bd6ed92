"""An API key in a mounted file, re-read when it changes (the kubelet swaps files under a running pod).

The key never leaves this object except as the header value that is sent; its repr shows the file only.
"""

import os
from pathlib import Path

from seawall.clock import Clock

# A file is looked at again at most this often; a rotation is in effect after so many seconds.
_CHECK_SECONDS = 1.0


class Credential:
    """The key in `path`. `field` makes the header field from it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._key: bytes | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._checked = float("-inf")
        self.error = ""

    def __repr__(self) -> str:
        return f"Credential({str(self.path)!r})"

    def key(self) -> bytes | None:
        """The current key; None while the file cannot be read or is empty (`error` says why). A file that vanishes
        for a moment, as it does while it is replaced, leaves the last key in use."""
        now = self._clock.now()
        if now - self._checked >= _CHECK_SECONDS:
            self._checked = now
            self._read()
        return self._key

    def _read(self) -> None:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - one call instead of Path's two objects
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp == self._stamp:
                return
            key = self.path.read_bytes().strip()
        except OSError as error:
            self.error = f"{self.path}: {error.strerror}"
            return
        if not key or b"\n" in key or b"\r" in key:
            self.error = f"{self.path}: holds no key" if not key else f"{self.path}: holds more than one line"
            return
        self._stamp, self._key, self.error = stamp, key, ""
