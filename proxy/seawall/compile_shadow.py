"""The part of compiling that is about policies with `enforcement: Shadow`: which upstreams need machines for them, and
what a rule's plan carries. Where nothing would be different there is neither.
"""

from seawall.core.shadow import Shadow, ShadowSettings
from seawall.policy.effective import EffectivePolicy, EffectiveRule, EffectiveUpstream
from seawall.runtime import Candidate, PlanShadow, Upstream
from seawall.settings import NEVER, breaker_settings, plan_hedging, plan_static, retry_settings


def shadowed(policy: EffectivePolicy) -> set[str]:
    """The upstreams that need machines for policies that are only evaluated: those which would be different, and those
    of rules that would be, for their budgets."""
    found = {u.key for u in policy.upstreams.values() if u.shadow is not None}
    for rule in (rule for route in policy.routes for rule in route.rules):
        found |= {b.upstream.key for b in rule.backends if rule.shadow is not None or b.shadow is not None}
    return found


def configure_shadow(upstream: Upstream, effective: EffectiveUpstream | None) -> None:
    """None: it needs none."""
    if effective is None:
        upstream.shadow = None
        return
    real = effective.settings
    settings = real if effective.shadow is None else effective.shadow.settings
    retries, breaker = settings.retry_constraint, settings.circuit_breaker
    # How long one may wait for a place cannot be compared.
    places, real_places = ((of.concurrency.max_parallel, of.concurrency.max_pending) for of in (settings, real))
    wanted = ShadowSettings(
        breaker=None if breaker == real.circuit_breaker else breaker_settings(breaker),
        places=None if places == real_places else places,
        percent=retries.percent,
        interval=retries.interval,
        min_per_second=retries.min_per_second,
        budgeted=retries != real.retry_constraint,
    )
    origin = upstream.target.endpoint.origin
    if upstream.shadow is None:
        upstream.shadow = Shadow(wanted, origin)
    else:
        upstream.shadow.configure(wanted, origin)


def plan_shadow(rule: EffectiveRule, groups: tuple[tuple[Candidate, ...], ...]) -> PlanShadow | None:
    """None where nothing of the rule, and nothing of its upstreams, would be different."""
    if rule.shadow is None and all(c.upstream.shadow is None for group in groups for c in group):
        return None
    real = rule.settings
    settings = real if rule.shadow is None else rule.shadow.settings
    timeouts = settings.timeouts
    return PlanShadow(
        retry=retry_settings(settings),
        fallback_on=settings.fallback_on,
        request=(timeouts.request or NEVER) if timeouts.request_set else None,
        hedging=plan_hedging(settings),
        static=plan_static(settings),
        offline=settings.offline,
        retries=(settings.retry, settings.fallback_on) != (real.retry, real.fallback_on),
        timed=(timeouts.request, timeouts.request_set) != (real.timeouts.request, real.timeouts.request_set),
        hedges=settings.hedging != real.hedging,
        answers=(settings.fallback, settings.offline) != (real.fallback, real.offline),
    )
