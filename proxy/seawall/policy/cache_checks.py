"""Checks of a rule's merged cache fields: what would do nothing, and what does more than one may think."""

from collections.abc import Iterable

from seawall.policy.cache_settings import Cache
from seawall.policy.effective import EffectiveRule
from seawall.policy.issues import Issue
from seawall.policy.located import Located
from seawall.policy.merge import Merged

_OF_MODELS = ("cache.nondeterministic", "cache.toolCalls")
_OF_READS = ("cache.heuristic",)


def cache_issues(rule: EffectiveRule, fields: Merged, located: Located) -> Iterable[Issue]:
    """All issues of one rule's."""
    cache = rule.settings.cache
    given = [path for path in sorted(fields.values) if path.startswith("cache.") and path != "cache.mode"]
    if cache is None:
        inline = [path for path in given if _is_inline(fields, path, located)]
        if inline and fields.certain("cache.mode"):
            yield _warning(fields, inline[0], located, "does nothing unless cache.mode is Enabled")
        if rule.settings.stale_cache and _is_inline(fields, "fallback", located) and fields.certain("cache.mode"):
            yield _warning(fields, "fallback", located, "StaleCache finds nothing unless cache.mode is Enabled")
        return
    yield from _lifetimes(rule, cache, fields, located)
    yield from _inert(rule, fields, located)
    if cache.scope == "Namespace" and any(_passes(backend.upstream.auth.type) for backend in rule.backends):
        message = (
            "answers that one agent's own credential paid for are given to every agent of the namespace, "
            "those included whose credential the provider would refuse"
        )
        yield _warning(fields, "cache.scope", located, message, "scope Tenant keeps them apart")


def _passes(auth: str) -> bool:
    return auth == "Passthrough"


def _lifetimes(rule: EffectiveRule, cache: Cache, fields: Merged, located: Located) -> Iterable[Issue]:
    if not (fields.certain("cache.ttl") and fields.certain("fallback")):
        return
    speaks_http = rule.dialect == "Generic"
    if not cache.ttl and not speaks_http:
        if cache.stale_while_revalidate:
            message = "means that each answer is renewed whenever it is given: without cache.ttl none is fresh"
            yield _warning(fields, "cache.staleWhileRevalidate", located, message, "set cache.ttl")
        elif not rule.settings.stale_cache and not cache.negative_ttl:
            message = "gives no answer: without cache.ttl none is fresh, and no fallback StaleCache gives stale ones"
            yield _warning(fields, "cache.mode", located, message, "set cache.ttl, or add fallback type StaleCache")
            return
    if "cache.staleIfError" in fields.values and cache.stale_if_error and not rule.settings.stale_cache:
        yield _warning(fields, "cache.staleIfError", located, "is for fallback type StaleCache, which the rule lacks")
    if rule.settings.stale_cache and not cache.stale_if_error and not speaks_http:
        yield _warning(fields, "cache.staleIfError", located, "leaves fallback StaleCache nothing to give")
    if cache.ttl and cache.negative_ttl > cache.ttl:
        message = "keeps refusals for longer than cache.ttl keeps answers"
        yield _warning(fields, "cache.negativeTtl", located, message)


def _inert(rule: EffectiveRule, fields: Merged, located: Located) -> Iterable[Issue]:
    """A policy for many routes may set what one of them has no use for."""
    speaks_http = rule.dialect == "Generic"
    for path in _OF_MODELS if speaks_http else _OF_READS:
        if rule.dialect and _is_inline(fields, path, located):
            what = "model calls" if speaks_http else "GET and HEAD of dialect Generic"
            yield _warning(fields, path, located, f"does nothing here: it is about {what}")


def _is_inline(fields: Merged, path: str, located: Located) -> bool:
    return path in fields.values and fields.layers[path].located is located


def _warning(fields: Merged, path: str, fallback: Located, message: str, hint: str = "") -> Issue:
    """At the field, in whichever document sets it."""
    layer = fields.layers[path]
    return (layer.located or fallback).warning(layer.at(path), message, hint)
