"""What an agent may ask of seawall by fields of its request, where its route takes that (`clientHints`). Advice: what
is not understood is passed over, and what is out of bounds is brought into them. No upstream sees these fields.
"""

import math
from collections.abc import Container
from dataclasses import dataclass, replace

from seawall.core.cache import CacheSettings
from seawall.core.limit import NORMAL
from seawall.types import Head, header

_PRIORITIES = {b"low": 0, b"normal": NORMAL, b"high": 2, b"critical": 3}
TIMEOUT = (1.0, 300.0)
"""Seconds, at least and at most."""
CACHE_TTL = (0.0, 3600.0)


@dataclass(frozen=True, slots=True)
class Hints:
    """timeout: seconds for the whole call, waits included. cache_ttl: seconds for which its answer is fresh."""

    priority: int = NORMAL
    timeout: float | None = None
    cache_ttl: float | None = None

    def cached(self, settings: CacheSettings) -> CacheSettings:
        """What holds for this call of its rule's cache."""
        return settings if self.cache_ttl is None else replace(settings, ttl=self.cache_ttl)


NO_HINTS = Hints()


def read(head: Head, taken: Container[str]) -> Hints:
    """taken: the names of those that the route takes."""

    def told(name: str, field: bytes) -> bytes:
        return (header(head.headers, field) or b"").strip().lower() if name in taken else b""

    return Hints(
        _PRIORITIES.get(told("Priority", b"x-seawall-priority"), NORMAL),
        _within(TIMEOUT, told("Timeout", b"x-seawall-timeout")),
        _within(CACHE_TTL, told("CacheTTL", b"x-seawall-cache-ttl")),
    )


def _within(bounds: tuple[float, float], text: bytes) -> float | None:
    """Seconds (`30`, `2.5`) or a number with an s behind it, within bounds; None for anything else."""
    least, most = bounds
    try:
        seconds = float(text.removesuffix(b"s"))
    except ValueError:
        return None
    return min(max(seconds, least), most) if math.isfinite(seconds) and seconds >= 0 else None
