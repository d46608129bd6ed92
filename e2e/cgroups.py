"""The control groups of a node's pods: the one thing that name spaces do not hold, and that is taken away by hand."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
NAME = "seawall-e2e"
_MEMORY = 6 * 2**30
"""Bytes for all pods: a test that goes wrong must not take the machine with it."""
_SECONDS = 10.0


def unified() -> bool:
    """Version 2, all controllers in one hierarchy."""
    return (MOUNT / "cgroup.controllers").is_file()


def roots() -> list[Path]:
    """One for each hierarchy."""
    if unified():
        return [MOUNT / NAME]
    return [one / NAME for one in sorted(MOUNT.iterdir()) if one.is_dir() and not one.is_symlink()]


def _make() -> None:
    for root in roots():
        root.mkdir(exist_ok=True)
    if unified():
        (MOUNT / NAME / "memory.max").write_text(str(_MEMORY))
        return
    for name in ("cpuset.cpus", "cpuset.mems"):
        # Version 1 leaves them empty, and then nothing may run there.
        (MOUNT / "cpuset" / NAME / name).write_text((MOUNT / "cpuset" / name).read_text())
    (MOUNT / "memory" / NAME / "memory.limit_in_bytes").write_text(str(_MEMORY))


def clear() -> None:
    """Those of this node and of one that was there before. Their processes must have ended; that takes them a moment to
    notice."""
    limit = time.monotonic() + _SECONDS
    while left := [one for root in roots() if root.is_dir() for one in (*root.rglob("*/"), root)]:
        for one in sorted(left, key=lambda path: len(path.parts), reverse=True):
            try:
                one.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                if time.monotonic() > limit:
                    raise
        time.sleep(0.1)


def peak(container: str) -> int:
    """Bytes that a container has had at most, files in memory included."""
    return int(_of(container, "memory.peak" if unified() else "memory.max_usage_in_bytes"))


def kills(container: str) -> int:
    """How often the kernel took a process of it for want of memory."""
    lines = _of(container, "memory.events" if unified() else "memory.oom_control").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _of(container: str, file: str) -> str:
    root = MOUNT / NAME if unified() else MOUNT / "memory" / NAME
    [found] = root.rglob(f"*{container}*/{file}")
    return found.read_text()


@contextmanager
def cgroups() -> Iterator[str]:
    """Made, and its name: what the kubelet calls its cgroupRoot."""
    clear()
    try:
        _make()
        yield f"/{NAME}"
    finally:
        clear()
