"""How much memory this process may take, where somebody limits it. Bounds that nobody has set are drawn from that."""

from collections.abc import Sequence
from pathlib import Path

# Of control groups version 2 and 1, as they are seen from within a container. Outside of one there is none, or one
# that is larger than any machine.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def limit(files: Sequence[Path] = LIMITS) -> int | None:
    """Bytes; None: nobody says."""
    for file in files:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdecimal() else None
    return None


def share(most: int, parts: int, files: Sequence[Path] = LIMITS) -> int:
    """Bytes: `most`, or one of so many parts of the limit where that is less."""
    known = limit(files)
    return most if known is None else min(most, known // parts)
