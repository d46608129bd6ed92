"""A policy's settings in the words of machines and plans. Values only; compile.py puts them where they belong."""

from seawall.core.breaker import BreakerSettings
from seawall.core.cache import CacheSettings, Scope
from seawall.core.retry import RetrySettings
from seawall.policy.settings import CircuitBreaker, RuleSettings
from seawall.policy.settings import Timeouts as PolicyTimeouts
from seawall.runtime import Hedging, Static, Timeouts

# `timeouts.request: 0s` means none; a century serves as well and keeps the arithmetic plain.
NEVER = 3.2e9


def breaker_settings(settings: CircuitBreaker) -> BreakerSettings:
    return BreakerSettings(
        consecutive_failures=settings.consecutive_failures,
        failure_percent=settings.error_percent,
        window=settings.error_window,
        minimum_calls=settings.minimum_calls,
        slow_call=settings.slow_call,
        slow_percent=settings.slow_percent,
        open_base=settings.open_base,
        open_max=settings.open_max,
        jitter_percent=settings.jitter_percent,
        forget_after=settings.forget_after,
        permits=settings.half_open_permits,
        successes=settings.half_open_successes,
        ramp_seconds=settings.ramp_up,
        ramp_start_percent=settings.ramp_start_percent,
    )


def plan_timeouts(timeouts: PolicyTimeouts) -> Timeouts:
    return Timeouts(
        request=timeouts.request or NEVER,
        request_set=timeouts.request_set,
        connect=timeouts.connect,
        agent_write=timeouts.agent_write,
        backend_request=timeouts.backend_request,
        first_byte=timeouts.first_byte,
        first_content=timeouts.first_content,
        stream_idle=timeouts.stream_idle,
        session_idle=timeouts.stream_idle if timeouts.stream_idle_set else None,
    )


def retry_settings(settings: RuleSettings) -> RetrySettings:
    retry = settings.retry
    return RetrySettings(
        retry.attempts, retry.backoff_base, retry.backoff_max, retry.retry_after_max, retry.codes or None
    )


def cache_settings(settings: RuleSettings) -> CacheSettings | None:
    cache = settings.cache
    if cache is None:
        return None
    return CacheSettings(
        ttl=cache.ttl,
        while_revalidate=cache.stale_while_revalidate,
        if_error=cache.stale_if_error,
        negative_ttl=cache.negative_ttl,
        scope=Scope(cache.scope),
        nondeterministic=cache.nondeterministic,
        tool_calls=cache.tool_calls,
        heuristic=cache.heuristic,
        max_entry=cache.max_entry,
        store=cache.store,
        timeout=cache.timeout,
    )


def plan_hedging(settings: RuleSettings) -> Hedging | None:
    return None if settings.hedging is None else Hedging(settings.hedging.attempts, settings.hedging.delay)


def plan_static(settings: RuleSettings) -> Static | None:
    return None if settings.fallback is None else Static(settings.fallback.status, settings.fallback.text)
