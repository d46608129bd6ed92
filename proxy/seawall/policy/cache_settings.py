"""The effective `cache` of a rule, in seconds and bytes, and its defaults: they hold only where it is enabled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from seawall.policy.units import seconds, size_bytes


@dataclass(frozen=True, slots=True)
class Cache:
    """Of a rule that has one. Seconds and bytes."""

    ttl: float
    """0: nothing is fresh unless it says so itself."""
    stale_while_revalidate: float
    stale_if_error: float
    negative_ttl: float
    """0: refusals are not kept."""
    scope: Literal["Tenant", "Namespace"]
    nondeterministic: bool
    tool_calls: bool
    heuristic: bool
    max_entry: int
    store: Literal["Memory", "Disk", "Redis"]
    timeout: float
    """Of one access to the store; always above 0."""


# What holds once `cache.mode` is Enabled. Of no ttl, since what is enabled for outages must not change what agents get
# while there is none.
DEFAULTS: Mapping[str, object] = {
    "cache.ttl": "0s",
    "cache.staleWhileRevalidate": "0s",
    "cache.staleIfError": "24h",
    "cache.negativeTtl": "0s",
    "cache.scope": "Tenant",
    "cache.nondeterministic": "Deny",
    "cache.toolCalls": "Deny",
    "cache.heuristic": "Deny",
    "cache.maxEntry": "1Mi",
    "cache.store": "Memory",
    "cache.timeout": "50ms",
}


def cache_of(written: Mapping[str, object]) -> Cache | None:
    """None where no document enables it."""
    if written.get("cache.mode") != "Enabled":
        return None
    values = {**DEFAULTS, **written}
    return Cache(
        ttl=_seconds(values, "cache.ttl"),
        stale_while_revalidate=_seconds(values, "cache.staleWhileRevalidate"),
        stale_if_error=_seconds(values, "cache.staleIfError"),
        negative_ttl=_seconds(values, "cache.negativeTtl"),
        scope=cast('Literal["Tenant", "Namespace"]', values["cache.scope"]),
        nondeterministic=values["cache.nondeterministic"] == "Allow",
        tool_calls=values["cache.toolCalls"] == "Allow",
        heuristic=values["cache.heuristic"] == "Allow",
        max_entry=size_bytes(str(values["cache.maxEntry"])),
        store=cast('Literal["Memory", "Disk", "Redis"]', values["cache.store"]),
        timeout=_seconds(values, "cache.timeout"),
    )


def _seconds(values: Mapping[str, object], path: str) -> float:
    return seconds(str(values[path]))
