"""Checks of merged values: contradictions that no single document holds, each naming both sources. Built-in defaults
only contradict what someone set where a default would cut it short.
"""

from collections.abc import Iterable
from dataclasses import replace

from seawall.policy.cache_checks import cache_issues
from seawall.policy.defaults import DEFAULT
from seawall.policy.documents import AgentRoute
from seawall.policy.effective import Built, EffectiveRule, limit_of
from seawall.policy.issues import Issue
from seawall.policy.located import Located
from seawall.policy.merge import Merged
from seawall.policy.route_checks import knows_candidates
from seawall.policy.units import seconds

# One call may become so many requests before someone should be told.
MAX_MULTIPLICATION = 10

MAX_REQUESTS_PER_UPSTREAM = 32
"""(1 + retry.attempts) × hedging.maxAttempts of one rule: more is a storm, whatever the budgets say."""


def merged_values(built: Built) -> Iterable[Issue]:
    """All issues of the effective policy's merged fields."""
    for located, fields in built.upstreams:
        yield from _timeouts(fields, located)
        yield from _order(fields, located, "circuitBreaker.open.base", "circuitBreaker.open.max")
        yield from _slow_call(fields, located)
    for route, (located, merged) in zip(built.policy.routes, built.routes, strict=True):
        document = located.document
        assert isinstance(document, AgentRoute)  # build() lists only these
        for effective, rule, fields in zip(route.rules, document.spec.rules, merged, strict=True):
            yield from _timeouts(fields, located)
            yield from _order(fields, located, "retry.backoff.base", "retry.backoff.max")
            yield from cache_issues(effective, fields, located)
            if knows_candidates(effective, rule, located):
                yield from _hedging(effective, fields, located)
                yield from _candidates(effective, fields, located)
            if fields.certain("streaming.commit"):
                yield from _holding(effective, fields, located)


def _holding(rule: EffectiveRule, fields: Merged, located: Located) -> Iterable[Issue]:
    """What a rule says of streams that are held, where none is."""
    commit, keep_alive = rule.settings.streaming.commit, "streaming.keepAlive"
    if _is_inline(fields, "streaming.maxHold", located) and commit != "Complete":
        message = "does nothing unless streaming.commit is Complete"
        yield _at(fields, "streaming.maxHold", located, "warning", message)
    # What is translated has silences of its own: its provider's pings do not come through.
    same = all(backend.upstream.spec.dialect == rule.dialect for backend in rule.backends)
    asked = _is_inline(fields, keep_alive, located) and rule.settings.streaming.keep_alive
    if asked and commit == "Headers" and same:
        message = "does nothing: streaming.commit Headers holds nothing back"
        yield _at(fields, keep_alive, located, "warning", message)


def _slow_call(fields: Merged, located: Located) -> Iterable[Issue]:
    percent, duration = "circuitBreaker.slowCall.percent", "circuitBreaker.slowCall.duration"
    is_off = not seconds(str(fields.values.get(duration, "0s")))
    if _is_set(fields, percent) and is_off and fields.certain(duration):
        yield _at(fields, percent, located, "warning", "does nothing without slowCall.duration")


def _hedging(rule: EffectiveRule, fields: Merged, located: Located) -> Iterable[Issue]:
    hedged = next((path for path in sorted(fields.values) if path.startswith("hedging.")), None)
    if hedged and rule.settings.streaming.commit == "Headers" and fields.certain("streaming.commit"):
        message = "a race is won by the first content, and streaming.commit Headers does not wait for that"
        issue = _at(fields, hedged, located, "error", message, "use commit FirstContent")
        yield _between(issue, fields, hedged, "streaming.commit")
    delay, most = "hedging.hedgingDelay", "hedging.maxAttempts"
    retries, hedges = rule.settings.retry.attempts, rule.settings.hedging.attempts if rule.settings.hedging else 1
    if (1 + retries) * hedges > MAX_REQUESTS_PER_UPSTREAM and fields.certain("retry.attempts") and fields.certain(most):
        message = (
            f"(1 + {retries} retries) × {hedges} attempts in parallel exceeds {MAX_REQUESTS_PER_UPSTREAM}: "
            "so many requests may one call become while an upstream fails"
        )
        hint = f"retry.attempts is from {fields.source('retry.attempts')}"
        yield _between(_at(fields, most, located, "error", message, hint), fields, most, "retry.attempts")
    if delay in fields.values and fields.values.get(most) == 1 and fields.certain(most):
        yield _at(fields, delay, located, "warning", "does nothing: hedging.maxAttempts 1 is no race")
    for backend in rule.backends:
        dialect = backend.upstream.spec.dialect
        if hedged and dialect == "Trino" and backend.ref.weight:
            message = f"{backend.ref.name} answers before a statement has run, so that there is nothing to win"
            yield _at(fields, hedged, located, "error", message, "leave hedging out of this rule")
        if hedged and dialect == "Generic" and backend.ref.weight:
            message = f"{backend.ref.name} serves requests that must not be sent twice, so they cannot be hedged"
            yield _at(fields, hedged, located, "error", message, "move them to a rule of their own")
            return


def _candidates(rule: EffectiveRule, fields: Merged, located: Located) -> Iterable[Issue]:
    live = sum(1 for backend in rule.backends if backend.ref.weight)
    attempts = rule.settings.retry.attempts
    if attempts * live > MAX_MULTIPLICATION and fields.certain("retry.attempts"):
        message = (
            f"{attempts} retries ({fields.source('retry.attempts')}) on {live} upstreams: "
            f"one call may become {attempts + live} requests while they fail"
        )
        yield _at(fields, "retry.attempts", located, "warning", message, "the retry budget bounds it, fewer is kinder")
    if _is_inline(fields, "fallbackOn", located) and rule.settings.fallback_on and live == 1:
        yield _at(fields, "fallbackOn", located, "warning", "does nothing: the rule has no second upstream")


def _timeouts(fields: Merged, located: Located) -> Iterable[Issue]:
    attempt, whole = "timeouts.backendRequest", "timeouts.request"
    if _exceeds(fields, attempt, whole):
        message = _compared(fields, attempt, whole)
        issue = _at(fields, attempt, located, "error", message, "an attempt is part of its request; raise request too")
        yield _between(issue, fields, attempt, whole)
    for first in ("timeouts.firstByte", "timeouts.firstContent"):
        for bound in (attempt, whole):
            # Defaults are no contradiction: 300 s to the first content next to a tight request is simply not reached.
            if _is_set(fields, first) and _is_set(fields, bound) and _exceeds(fields, first, bound):
                yield _at(fields, first, located, "warning", _compared(fields, first, bound), "it never applies")
                break


def _order(fields: Merged, located: Located, low: str, high: str) -> Iterable[Issue]:
    sure = fields.certain(low) and fields.certain(high)
    if sure and seconds(str(fields.values[low])) > seconds(str(fields.values[high])):
        at = low if _is_set(fields, low) else high
        yield _between(_at(fields, at, located, "error", _compared(fields, low, high)), fields, low, high)


def _exceeds(fields: Merged, low: str, high: str) -> bool:
    if low not in fields.values or high not in fields.values or not (fields.certain(low) and fields.certain(high)):
        return False
    limit = limit_of(fields.values[low])
    return limit != float("inf") and limit > limit_of(fields.values[high])


def _compared(fields: Merged, low: str, high: str) -> str:
    return f"{fields.values[low]} ({fields.source(low)}) exceeds {high} {fields.values[high]} ({fields.source(high)})"


def _between(issue: Issue, fields: Merged, *paths: str) -> Issue:
    """With the documents that set these fields."""
    found = (fields.layers[path].located for path in paths if path in fields.layers)
    files = dict.fromkeys(located.origin.file for located in found if located is not None)
    return replace(issue, others=tuple(file for file in files if file != issue.file))


def _is_set(fields: Merged, path: str) -> bool:
    return path in fields.values and fields.source(path) != DEFAULT


def _is_inline(fields: Merged, path: str, located: Located) -> bool:
    """Set by the document itself. A policy for many routes may set what one of them has no use for."""
    return path in fields.values and fields.layers[path].located is located


def _at(fields: Merged, path: str, fallback: Located, severity: str, message: str, hint: str = "") -> Issue:
    """At the field, in whichever document sets it."""
    layer = fields.layers[path]
    located = layer.located or fallback
    return (located.error if severity == "error" else located.warning)(layer.at(path), message, hint)
