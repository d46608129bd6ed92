"""EffectivePolicy + the previous Runtime → Runtime: immutable plans over upstreams whose machines live on.

What an identity keeps through a reload: its breakers, budget, limiter, cooldowns and health. Changed settings are
applied in place. Compiling an accepted policy cannot fail on its content.
"""

import errno
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from seawall.clock import Clock
from seawall.compile_shadow import configure_shadow, plan_shadow, shadowed
from seawall.core.breaker import Breaker
from seawall.core.budget import Budget
from seawall.core.limit import Limiter, Queued
from seawall.dialects import REGISTRY
from seawall.dialects.base import Dialect
from seawall.policy.documents import DEFAULT_NAMESPACE, Auth
from seawall.policy.effective import EffectiveBackend, EffectivePolicy, EffectiveRule, EffectiveUpstream
from seawall.runtime import (
    Candidate,
    Commit,
    Match,
    Plan,
    Runtime,
    Target,
    Upstream,
)
from seawall.settings import breaker_settings, cache_settings, plan_hedging, plan_static, plan_timeouts, retry_settings
from seawall.upstream.connect import Endpoint, environment_proxy
from seawall.upstream.credential import Credential, InjectedKey, KeyFile
from seawall.upstream.sigv4 import SIGNATURE_FIELDS, AccessKeys, Signature, Source


@dataclass(frozen=True, slots=True)
class Compiled:
    """granted: queued calls that got a place because a limit was raised; the engine wakes them."""

    runtime: Runtime
    granted: tuple[Queued, ...]


def compile_policy(policy: EffectivePolicy, previous: Runtime | None, clock: Clock) -> Compiled:
    """Compile. Raises OSError when a file that the policy names (tls.caFile) cannot be used."""
    # Everything that can fail comes first, so that a failed compile has changed no living machine.
    endpoints = {u.key: _endpoint(u) for u in policy.upstreams.values()}
    now = clock.now()
    granted: list[Queued] = []
    upstreams: dict[str, Upstream] = {}
    transports = (
        {} if previous is None else {u.target.endpoint.origin: u.transport for u in previous.upstreams.values()}
    )
    names, evaluated = _names(policy), shadowed(policy)
    for effective in policy.upstreams.values():
        kept = previous.upstreams.get(effective.key) if previous is not None else None
        upstream = kept or _new(effective)
        target = _target(effective, endpoints[effective.key], kept.target if kept else None, clock)
        if kept is None or kept.target.endpoint.origin != target.endpoint.origin:
            # Another origin has a health of its own.
            upstream.transport = Breaker(upstream.breaker_settings)
        upstream.transport = transports.setdefault(target.endpoint.origin, upstream.transport)
        upstream.name, upstream.type, upstream.target = names[effective.key], effective.type, target
        granted += _configure(upstream, effective, now)
        configure_shadow(upstream, effective if effective.key in evaluated else None)
        upstreams[effective.key] = upstream
    plans = [
        (rule, _plan(_label(route.namespace, route.name), rule, upstreams))
        for route in policy.routes
        for rule in route.rules
    ]
    return Compiled(_runtime(policy.revision, upstreams, plans), tuple(granted))


def _label(namespace: str, name: str) -> str:
    """A short name for headers, metrics and logs."""
    return name if namespace in ("", DEFAULT_NAMESPACE) else f"{namespace}/{name}"


def _names(policy: EffectivePolicy) -> dict[str, str]:
    """By key. Where a namespace and the cluster have an upstream of one name, the cluster's has the short one."""
    short = {u.key: _label(u.namespace, u.name) for u in policy.upstreams.values()}
    return {key: key if key != name and name in short else name for key, name in short.items()}


def _endpoint(effective: EffectiveUpstream) -> Endpoint:
    url = urlsplit(effective.base_url)
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    proxy = environment_proxy(url.scheme, host) if effective.proxy == "Environment" else None
    if url.scheme != "https":
        return Endpoint(host, port, proxy=proxy)
    tls = effective.tls
    ca = os.stat(tls.ca_file) if tls.ca_file else None  # noqa: PTH116 - a str, and one call
    changed = (ca.st_mtime_ns, ca.st_ino) if ca else None
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except ssl.SSLError as error:
        raise OSError(errno.EINVAL, f"holds no usable certificate ({error.reason})", tls.ca_file) from error
    context.set_alpn_protocols(["http/1.1"])
    if tls.verification == "None":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return Endpoint(host, port, context, tls.server_name, proxy, source=(tls, changed))


def _new(effective: EffectiveUpstream) -> Upstream:
    settings = effective.settings
    retries, places = settings.retry_constraint, settings.concurrency
    return Upstream(
        effective.key,
        breaker_settings(settings.circuit_breaker),
        Budget(retries.percent, retries.interval, retries.min_per_second),
        Limiter(places.max_parallel, places.max_pending, places.queue_timeout),
    )


def _configure(upstream: Upstream, effective: EffectiveUpstream, now: float) -> list[Queued]:
    """New settings for living machines."""
    settings = effective.settings
    retries, places = settings.retry_constraint, settings.concurrency
    upstream.configure_breakers(breaker_settings(settings.circuit_breaker))
    upstream.budget.configure(retries.percent, retries.interval, retries.min_per_second)
    return upstream.limiter.configure(places.max_parallel, places.max_pending, places.queue_timeout, now)


def _target(effective: EffectiveUpstream, endpoint: Endpoint, kept: Target | None, clock: Clock) -> Target:
    url = urlsplit(effective.base_url)
    dialect = REGISTRY[effective.spec.dialect]
    return Target(
        dialect=dialect,
        # The old endpoint, where nothing of it has changed, keeps the connections that were made with its TLS context.
        endpoint=kept.endpoint if kept is not None and kept.endpoint.same_as(endpoint) else endpoint,
        base_path=url.path.rstrip("/"),
        host=url.netloc.encode("ascii"),
        keep_host=effective.host_header == "Passthrough",
        read_only=effective.read_only,
        credential=_credential(effective, dialect, None if kept is None else kept.credential, clock),
        aliases={alias: model.name for model in effective.models for alias in model.aliases or ()},
    )


def _credential(
    effective: EffectiveUpstream, dialect: Dialect, kept: Credential | None, clock: Clock
) -> Credential | None:
    """What the policy injects, over the keys that an unchanged source has given already."""
    auth = effective.auth
    if auth.type == "AWSSigV4":
        region, service = effective.region, effective.service
        source = Source(
            Path(auth.credentials_file) if auth.credentials_file else None, auth.profile or "default", region
        )
        same = isinstance(kept, Signature) and kept.keys.source == source
        keys = kept.keys if isinstance(kept, Signature) and same else AccessKeys(source, clock)
        return Signature(keys, region, service, dialect.credential_fields() | SIGNATURE_FIELDS)
    if auth.key_file is None:
        return None
    path, replaces = Path(auth.key_file), dialect.credential_fields()
    file = kept.file if isinstance(kept, InjectedKey) and kept.file.path == path else KeyFile(path, clock)
    if auth.header is None:
        return InjectedKey(file, dialect.credential, replaces)
    name = auth.header.encode("ascii")
    return InjectedKey(file, _field(name, auth), replaces | {name.lower()})


def _field(name: bytes, auth: Auth) -> Callable[[bytes], tuple[bytes, bytes]]:
    """The field that the policy names, instead of the dialect's own."""
    before = f"{auth.scheme} ".encode("ascii") if auth.scheme else b""
    return lambda key: (name, before + key)


def _candidate(backend: EffectiveBackend, upstream: Upstream, group: int, dialect: Dialect) -> Candidate:
    models = backend.upstream.models
    return Candidate(
        upstream=upstream,
        target=upstream.target,
        timeouts=plan_timeouts(backend.timeouts),
        model=backend.ref.model,
        models_asked=backend.ref.model_map,
        foreign=upstream.target.dialect is not dialect,
        group=group,
        weight=backend.ref.weight,
        windows={model.name: model.context_tokens for model in models},
        capabilities={model.name: frozenset(model.capabilities) for model in models if model.capabilities is not None},
        shadow=None if backend.shadow is None else plan_timeouts(backend.shadow.settings),
    )


def _plan(route: str, rule: EffectiveRule, upstreams: Mapping[str, Upstream]) -> Plan:
    backends = [b for b in rule.backends if b.ref.weight]
    priorities = sorted({b.ref.priority for b in backends})
    dialect = REGISTRY[rule.dialect]
    groups = tuple(
        tuple(_candidate(b, upstreams[b.upstream.key], group, dialect) for b in backends if b.ref.priority == priority)
        for group, priority in enumerate(priorities)
    )
    settings, streaming = rule.settings, rule.settings.streaming
    progress = streaming.min_progress
    return Plan(
        route=route,
        rule=rule.name,
        dialect=dialect,
        groups=groups,
        timeouts=plan_timeouts(settings.timeouts),
        retry=retry_settings(settings),
        fallback_on=settings.fallback_on,
        commit=Commit(streaming.commit),
        max_hold=streaming.max_hold,
        min_progress=None if progress is None else (progress.events, progress.interval),
        replay_buffer=settings.limits.replay_buffer,
        max_body=settings.limits.max_body,
        keep_alive=streaming.keep_alive,
        hedging=plan_hedging(settings),
        static=plan_static(settings),
        cache=cache_settings(settings),
        stale=settings.stale_cache,
        offline=settings.offline,
        client_hints=settings.client_hints,
        sticky=settings.sticky,
        fixed_order=tuple(group[0] for group in groups) if all(len(group) == 1 for group in groups) else None,
        shadow=plan_shadow(rule, groups),
    )


def _runtime(revision: str, upstreams: Mapping[str, Upstream], plans: list[tuple[EffectiveRule, Plan]]) -> Runtime:
    exact: dict[str, list[Match]] = {}
    prefixes: dict[str, list[Match]] = {}
    bare: dict[str, list[Match]] = {}
    for rule, plan in plans:
        for wanted in rule.matches:
            headers = tuple(
                (h.name.encode("ascii"), re.compile(h.value) if h.type == "RegularExpression" else h.value)
                for h in wanted.headers
            )
            path = wanted.path.rstrip("/") if wanted.path_type == "PathPrefix" else wanted.path
            match = Match(plan, path if wanted.path_type == "PathPrefix" else "", headers, wanted.models)
            (prefixes if wanted.path_type == "PathPrefix" else exact).setdefault(path, []).append(match)
            bare.setdefault(plan.dialect.name, []).append(match)
    return Runtime(
        revision,
        dict(upstreams),
        {path: _by_specificity(found) for path, found in exact.items()},
        {path: _by_specificity(found) for path, found in prefixes.items()},
        {name: tuple(found) for name, found in bare.items()},
        tuple(plan for _, plan in plans),
    )


def _by_specificity(matches: list[Match]) -> tuple[Match, ...]:
    """More header matches first, then those that name models, then the order of the documents."""
    return tuple(sorted(matches, key=lambda m: (-len(m.headers), not m.models)))
