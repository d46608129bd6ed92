"""What seawall puts into a request in place of the agent's own credential, and an API key in a mounted file, which is
re-read when it changes (the kubelet swaps files under a running pod).

The key never leaves these objects except as the header value that is sent; their reprs show the file only. A file that
holds no usable key any more (removed, emptied, unreadable, more than a line) leaves the last one in use for as long as
that lasts, since a file that is being replaced is such a one too, and a revoked key is refused by its provider anyway;
`problem` tells of it all the while.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from seawall.clock import Clock
from seawall.types import Headers

# A file is looked at again at most this often; a rotation is in effect after so many seconds.
_CHECK_SECONDS = 1.0
# More than any key; a file that is none must not be read whole.
_LONGEST = 64 * 1024


class Unsigned(msgspec.Struct, frozen=True):
    """A request that is complete but for its credential. body: None where it flows, so that nobody sees all of it."""

    method: str
    target: str
    headers: Headers
    body: bytes | None

    def __repr__(self) -> str:
        # Target and fields may hold what is nobody's business.
        return f"Unsigned({self.method})"


class Credential(Protocol):
    """What authorises requests to one upstream. Shared by all of them; made anew for each policy, over what lasts."""

    @property
    def replaces(self) -> frozenset[bytes]:
        """Lower-case names of the agent's fields that must not be sent beside it."""

    @property
    def covers_body(self) -> bool:
        """It is made of the whole request, whose body must be there."""

    @property
    def error(self) -> str:
        """What is wrong with its source, as of the last look; "": nothing."""

    @property
    def usable(self) -> bool:
        """Whether there is something to send, be it the last that could be had."""

    async def prepare(self, seconds: float | None) -> None:
        """Wait, for so long at most, while it is not `usable` yet and may soon be."""

    def fields(self, request: Unsigned) -> Headers | None:
        """The header fields that authorise this request, now; None where there is nothing to send (`error` says why).
        Never waits."""

    def problem(self) -> str:
        """What is wrong with its source now, without its content; "": nothing."""


class KeyFile:
    """The key in `path`; nothing is read before somebody asks."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._key: bytes | None = None
        self._stamp: tuple[int, int, int, int] | None = None
        self._checked = float("-inf")
        self.error = ""
        """What is wrong with the file, as of the last look; "": nothing."""

    def __repr__(self) -> str:
        return f"KeyFile({str(self.path)!r})"

    def key(self) -> bytes | None:
        """The file's key, or the last one while the file is unusable; None where it never held any (`error` says
        why)."""
        now = self._clock.now()
        if now - self._checked >= _CHECK_SECONDS:
            self._checked = now
            self._read()
        return self._key

    def problem(self) -> str:
        """What is wrong with the file now, without its content; "": nothing. Whether calls go on with a last key, `key`
        tells."""
        self.key()
        return self.error

    def _read(self) -> None:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - one call instead of Path's two objects
            # The change time as well: it shows permissions, and an edit that kept size and modification time.
            stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
            if stamp == self._stamp and not self.error:
                return
            with self.path.open("rb") as file:
                key = file.read(_LONGEST + 1).strip()
        except OSError as error:
            self.error = f"{self.path}: {error.strerror}"
            return
        if wrong := _wrong(key):
            self.error = f"{self.path}: {wrong}"
            return
        self._stamp, self._key, self.error = stamp, key, ""


@dataclass(frozen=True, slots=True)
class InjectedKey:
    """A file's key as a header field. See `Credential`."""

    file: KeyFile
    field: Callable[[bytes], tuple[bytes, bytes]]
    replaces: frozenset[bytes]
    covers_body: bool = False

    @property
    def error(self) -> str:
        return self.file.error

    @property
    def usable(self) -> bool:
        return self.file.key() is not None

    async def prepare(self, seconds: float | None) -> None:
        return

    def fields(self, request: Unsigned) -> Headers | None:
        key = self.file.key()
        return None if key is None else [self.field(key)]

    def problem(self) -> str:
        return self.file.problem()


def _wrong(key: bytes) -> str:
    """Why this is no key; "": it is one."""
    if not key:
        return "holds no key"
    if b"\n" in key or b"\r" in key:
        return "holds more than one line"
    if len(key) > _LONGEST:
        return f"holds more than {_LONGEST // 1024} KiB"
    if any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in key):
        return "holds a control character"  # no header field may (RFC 9110 §5.5)
    return ""
