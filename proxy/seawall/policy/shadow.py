"""What policies with `enforcement: Shadow` would change: the same merge a second time, with them counted as enforced.

What is enforced is built without them and never changed here; the second result only lies beside the first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from seawall.policy.attached import AnyPolicy, is_shadow
from seawall.policy.attachments import LEVELS
from seawall.policy.defaults import DEFAULT
from seawall.policy.effective import Built, EffectivePolicy, EffectiveRoute, EffectiveRule, EffectiveUpstream, build
from seawall.policy.inventory import Documents
from seawall.policy.settings import Shadow, Values

S = TypeVar("S")
_Sources = Mapping[str, str]


def build_both(documents: Documents) -> Built:
    """What holds, each rule and upstream with what Shadow policies would make of it. Without such policies there is no
    second merge."""
    built = build(documents)
    if not any(isinstance(d := one.document, AnyPolicy) and is_shadow(d) for one in documents.readable):
        return built
    shadow = build(documents, shadow=True)
    return replace(built, policy=_beside(built.policy, shadow.policy), shadow=shadow)


@dataclass(frozen=True, slots=True)
class Change:
    """What one level of one Shadow policy would change. targets: rules and upstreams in which any of it differs."""

    source: str
    fields: tuple[str, ...]
    targets: int

    def __str__(self) -> str:
        if not self.targets:
            return f"{self.source} would change nothing"
        at = "1 target" if self.targets == 1 else f"{self.targets} targets"
        return f"{self.source} would change {', '.join(self.fields)} at {at}"


def changes(documents: Documents, policy: EffectivePolicy) -> list[Change]:
    """Of every Shadow policy, in the order of the documents."""
    fields: dict[str, set[str]] = {}
    targets: dict[str, int] = {}
    for located in documents.readable:
        if isinstance(document := located.document, AnyPolicy) and is_shadow(document):
            for level in LEVELS:
                if level in document.spec.levels:
                    fields[f"{document.KIND} {document.key} {level}"] = set()
    for sources in _targets(policy):
        for source in set(sources.values()) & fields.keys():
            fields[source] |= {path for path, found in sources.items() if found == source}
            targets[source] = targets.get(source, 0) + 1
    return [Change(source, tuple(sorted(paths)), targets.get(source, 0)) for source, paths in fields.items()]


def differences(values: Values, shadow: Shadow[S]) -> Iterator[str]:
    """Each field that would be another one: `retry.attempts 2 → 5, ResiliencePolicy …`."""
    for path, value in sorted(shadow.values.items()):
        before = _shown(values[path]) if path in values else "unset"
        yield f"{path} {before} → {_shown(value)}, {shadow.sources[path]}"


def _shown(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _targets(policy: EffectivePolicy) -> Iterator[_Sources]:
    """The sources of what would differ, by rule and by upstream. A timeout may differ only for one of a rule's
    upstreams, whose own caps it."""
    for upstream in policy.upstreams.values():
        if upstream.shadow is not None:
            yield upstream.shadow.sources
    for route in policy.routes:
        for rule in route.rules:
            pairs = [backend.shadow.sources for backend in rule.backends if backend.shadow is not None]
            own = rule.shadow.sources if rule.shadow is not None else {}
            if own or pairs:
                yield {path: source for sources in (*pairs, own) for path, source in sources.items()}


def _beside(policy: EffectivePolicy, other: EffectivePolicy) -> EffectivePolicy:
    """The policy with what is different in `other`, which is made of the same documents."""
    upstreams = {}
    for key, one in policy.upstreams.items():
        there = other.upstreams[key]
        shadow = _shadow((one.values, one.sources), (there.values, there.sources), there.settings)
        upstreams[key] = replace(one, shadow=shadow)
    routes = [_route(one, there, upstreams) for one, there in zip(policy.routes, other.routes, strict=True)]
    return replace(policy, upstreams=upstreams, routes=tuple(routes))


def _route(route: EffectiveRoute, other: EffectiveRoute, upstreams: Mapping[str, EffectiveUpstream]) -> EffectiveRoute:
    rules: Sequence[tuple[EffectiveRule, EffectiveRule]] = list(zip(route.rules, other.rules, strict=True))
    return replace(route, rules=tuple(_rule(one, there, upstreams) for one, there in rules))


def _rule(rule: EffectiveRule, other: EffectiveRule, upstreams: Mapping[str, EffectiveUpstream]) -> EffectiveRule:
    backends = []
    for one, there in zip(rule.backends, other.backends, strict=True):
        shadow = _shadow(
            (one.timeout_values, one.timeout_sources), (there.timeout_values, there.timeout_sources), there.timeouts
        )
        backends.append(replace(one, upstream=upstreams[one.upstream.key], shadow=shadow))
    own = _shadow((rule.values, rule.sources), (other.values, other.sources), other.settings)
    return replace(rule, backends=tuple(backends), shadow=own)


def _shadow(here: tuple[Values, _Sources], there: tuple[Values, _Sources], settings: S) -> Shadow[S] | None:
    (values, sources), (others, other_sources) = here, there
    paths = [
        path
        for path, value in others.items()
        # A timeout that is only a default gives way to an Upstream's, and does not cut streams; one that is set does.
        if values.get(path) != value
        or (path.startswith("timeouts.") and DEFAULT == sources[path] != other_sources[path])
    ]
    if not paths:
        return None
    return Shadow(settings, {path: others[path] for path in paths}, {path: other_sources[path] for path in paths})
