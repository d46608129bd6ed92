"""The lowest layer of every merge: what holds where no document says anything. SEMANTICS' defaults, as documents
would write them. Never part of the models: a defaulted field would look set and beat an inherited one.

Fields that are not here have no default: they are off, or without limit, until a document sets them.
"""

from collections.abc import Mapping
from types import MappingProxyType

DEFAULT = "default"
"""The source of these values. `timeouts.request` with this source holds for plain calls only: a stream that lasts
longer would have finished in a direct call. Set by anyone, it holds for streams as well."""

RULE: Mapping[str, str | int | tuple[str | int, ...]] = MappingProxyType(
    {
        "timeouts.request": "600s",
        "timeouts.connect": "5s",
        "timeouts.firstContent": "300s",
        "timeouts.streamIdle": "300s",
        "timeouts.agentWrite": "30s",
        "retry.attempts": 2,
        "retry.backoff.base": "500ms",
        "retry.backoff.max": "8s",
        "retry.codes": (),
        "retry.retryAfterMax": "20s",
        "streaming.commit": "FirstContent",
        "streaming.maxHold": "8Mi",
        "streaming.keepAlive": "15s",
        "fallbackOn": (),
        "clientHints": (),
        "limits.replayBuffer": "4Mi",
    }
)

UPSTREAM: Mapping[str, str | int | tuple[str | int, ...]] = MappingProxyType(
    {
        "retryConstraint.budget.percent": 20,
        "retryConstraint.budget.interval": "10s",
        "retryConstraint.minRetryRate.count": 1,
        "retryConstraint.minRetryRate.interval": "1s",
        "circuitBreaker.consecutiveFailures": 5,
        "circuitBreaker.errorRate.percent": 50,
        "circuitBreaker.errorRate.window": "30s",
        "circuitBreaker.errorRate.minimumCalls": 10,
        "circuitBreaker.slowCall.percent": 80,
        "circuitBreaker.open.base": "10s",
        "circuitBreaker.open.max": "300s",
        "circuitBreaker.open.jitterPercent": 20,
        "circuitBreaker.open.forgetAfter": "5m",
        "circuitBreaker.halfOpen.permits": 1,
        "circuitBreaker.halfOpen.successes": 3,
        "circuitBreaker.rampUp.duration": "30s",
        "circuitBreaker.rampUp.startPercent": 10,
        "concurrency.maxParallelRequests": 1024,
        "concurrency.maxPendingRequests": 1024,
        "concurrency.queueTimeout": "10s",
    }
)
