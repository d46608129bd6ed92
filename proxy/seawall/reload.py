"""Watches the policy's files and takes what they say, or refuses it and keeps the old: a bad policy changes nothing but
a metric and a log line.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from seawall.policy import EffectivePolicy, Issue, load_policy, unreadable_files
from seawall.types import Observer, Reloaded

# Files are looked at this often, in seconds. A mounted ConfigMap swaps a symlink, which file notification misses on
# many file systems; looking costs microseconds.
INTERVAL = 1.0

log = logging.getLogger(__name__)

Stamp = tuple[tuple[str, int, int, int], ...]


def stamp(paths: Sequence[Path]) -> Stamp:
    """What tells that a file, or a folder of files, has changed."""
    found: list[tuple[str, int, int, int]] = []
    for path in paths:
        files = sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
        for file in files:
            try:
                status = os.stat(file)  # noqa: PTH116 - follows the ConfigMap's symlinks, without Path's caching
            except OSError:
                found.append((str(file), 0, 0, 0))
            else:
                found.append((str(file), status.st_mtime_ns, status.st_ino, status.st_size))
    return tuple(found)


def read(paths: Sequence[Path]) -> tuple[EffectivePolicy | None, list[Issue]]:
    """Load and check for a start. The policy is None where an issue is an error; files that it names must be readable
    too, since whoever starts a process looks at what it says."""
    loaded = load_policy(paths)
    if loaded.policy is None:
        return None, list(loaded.issues)
    missing = unreadable_files(loaded.policy)
    return (None if missing else loaded.policy), [*loaded.issues, *missing]


async def take(
    policy: EffectivePolicy,
    prepare: Callable[[EffectivePolicy], None],
    apply: Callable[[EffectivePolicy], None],
    observe: Observer,
) -> tuple[str, ...]:
    """Run a policy from now on, and tell of it. Why not, where it cannot be used; then nothing has changed."""
    try:
        # A key that is not mounted yet is a fault of the calls that need it, and no reason to refuse all the rest.
        await asyncio.to_thread(prepare, policy)
        apply(policy)
    except OSError as error:
        errors: tuple[str, ...] = (f"{error.filename or 'policy'}: {error.strerror or error}",)
    except Exception:
        log.exception("a bug: an accepted policy could not be applied; the old one stays")
        errors = ("internal error, see the log",)
    else:
        errors = ()
    observe(Reloaded("" if errors else policy.revision, errors))
    return errors


class Reloader:
    """Keeps a process on the newest good policy. `prepare` may take its time, in a thread of its own; `apply` may not.
    Both may raise OSError for what cannot be used."""

    def __init__(
        self,
        paths: Sequence[Path],
        prepare: Callable[[EffectivePolicy], None],
        apply: Callable[[EffectivePolicy], None],
        observe: Observer,
    ) -> None:
        self._paths = paths
        self._prepare = prepare
        self._apply = apply
        self._observe = observe
        self._seen = stamp(paths)
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Look now and take the policy even if nothing seems to have changed (SIGHUP)."""
        self._asked.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                async with asyncio.timeout(INTERVAL):
                    await self._asked.wait()
            except TimeoutError:
                seen = stamp(self._paths)
                if seen == self._seen:
                    continue
            self._asked.clear()
            self._seen = stamp(self._paths)
            await self._reload()

    async def _reload(self) -> None:
        # Parsing takes milliseconds that no stream should wait for.
        loaded = await asyncio.to_thread(load_policy, self._paths)
        policy = loaded.policy
        if policy is None:
            self._observe(Reloaded("", tuple(str(issue) for issue in loaded.issues if issue.severity == "error")))
            return
        await take(policy, self._prepare, self._apply, self._observe)
