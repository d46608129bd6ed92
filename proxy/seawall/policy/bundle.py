"""What the operator hands to sidecars: an effective policy with its revision, packed, and read back.

Merged and validated already: a sidecar compiles it and knows no documents. It holds no secret, since documents hold
none. The revision names the content alone, so that equal content is never sent twice; the sequence only grows, so that
a replica that lags cannot take a sidecar back; a reader understands its own schema version and the ones beside it.
"""

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from seawall.policy import defaults
from seawall.policy.blocks import RouteFields, UpstreamFields
from seawall.policy.bundle_wire import (
    Fields,
    FieldsError,
    WireBackend,
    WirePolicy,
    WireRule,
    WireUpstream,
    checked,
    upstream_spec,
)
from seawall.policy.documents import AgentRoute
from seawall.policy.effective import (
    EffectiveBackend,
    EffectiveHeader,
    EffectiveMatch,
    EffectivePolicy,
    EffectiveRef,
    EffectiveRoute,
    EffectiveRule,
    EffectiveUpstream,
)
from seawall.policy.settings import Shadow, Values, rule_settings, timeouts_of, upstream_settings

SCHEMA = 1
MAX_BYTES = 32 * 1024 * 1024
"""Unpacked. A ConfigMap holds 1 MiB, packed."""

_TIMEOUTS: Values = {path: value for path, value in defaults.RULE.items() if path.startswith("timeouts.")}

S = TypeVar("S")
_Sources = Mapping[str, str]


class BundleError(ValueError):
    """A bundle that must not be used. Its text, for people, names the field and holds no value."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """`policy.revision` is the bundle's. `dropped`: fields of a newer operator that this version does not know."""

    namespace: str
    profile: str
    sequence: int
    policy: EffectivePolicy
    dropped: tuple[str, ...] = ()

    @property
    def revision(self) -> str:
        return self.policy.revision


def bundle(namespace: str, profile: str, sequence: int, policy: EffectivePolicy) -> Bundle:
    """A policy, named by its content."""
    revision = _revision(_content(policy))
    return Bundle(namespace, profile, sequence, replace(policy, revision=revision))


def pack(made: Bundle) -> bytes:
    """gzip of JSON: the same bytes for the same bundle."""
    head = {"schema": SCHEMA, "namespace": made.namespace, "profile": made.profile, "revision": made.revision}
    data = {**head, "sequence": made.sequence, "policy": _content(made.policy)}
    return gzip.compress(_canonical(data), mtime=0)


def unpack(packed: bytes) -> Bundle:
    """Raises BundleError."""
    data = _json(packed)
    try:
        schema, sequence, revision = int(data["schema"]), int(data["sequence"]), str(data["revision"])
        namespace, profile, content = str(data["namespace"]), str(data["profile"]), data["policy"]
    except (KeyError, TypeError, ValueError):
        raise BundleError("not a bundle: its head is not complete") from None
    if abs(schema - SCHEMA) > 1:
        raise BundleError(f"its schema version is {schema}, and this version understands {SCHEMA - 1} to {SCHEMA + 1}")
    if _revision(content) != revision:
        raise BundleError("its revision does not name its content")
    reading = _Reading(newer=schema > SCHEMA)
    try:
        policy = reading.policy(WirePolicy.model_validate(content, by_alias=True, by_name=False), revision)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{reading.at}{where}: {first['msg']}") from None
    except (FieldsError, json.JSONDecodeError) as error:
        raise BundleError(f"{reading.at}{error}") from None
    return Bundle(namespace, profile, sequence, policy, tuple(sorted(reading.dropped)))


def _json(packed: bytes) -> Mapping[str, Any]:
    try:
        unzip = zlib.decompressobj(wbits=31)
        text = unzip.decompress(packed, MAX_BYTES)
        if unzip.unconsumed_tail:
            raise BundleError(f"larger than {MAX_BYTES // 2**20} MiB")
        if not unzip.eof:
            raise BundleError("it is cut short")
        data = json.loads(text)
    except (zlib.error, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise BundleError("not a bundle: no gzipped JSON") from None
    if not isinstance(data, dict):
        raise BundleError("not a bundle: no mapping")
    return data


def _canonical(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _revision(content: object) -> str:
    return f"sha256:{hashlib.sha256(_canonical(content)).hexdigest()[:12]}"


# -- writing -----------------------------------------------------------------------------------------------------------


def _content(policy: EffectivePolicy) -> dict[str, Any]:
    upstreams = [_upstream_out(policy.upstreams[key]) for key in sorted(policy.upstreams)]
    routes = [
        {"namespace": r.namespace, "name": r.name, "rules": [_rule_out(rule) for rule in r.rules]}
        for r in policy.routes
    ]
    return {"upstreams": upstreams, "routes": routes}


def _upstream_out(upstream: EffectiveUpstream) -> dict[str, Any]:
    merged = set(UpstreamFields.model_fields)
    spec = upstream.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=merged)
    return {
        "kind": upstream.kind,
        "namespace": upstream.namespace,
        "name": upstream.name,
        "spec": spec,
        "fields": _fields_out(upstream.values, upstream.sources),
        **_shadow_out(upstream.shadow),
    }


def _rule_out(rule: EffectiveRule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "index": rule.index,
        "dialect": rule.dialect,
        "matches": [
            {
                "pathType": match.path_type,
                "path": match.path,
                "headers": [{"name": h.name, "type": h.type, "value": h.value} for h in match.headers],
                "models": list(match.models),
            }
            for match in rule.matches
        ],
        "backends": [
            {
                "kind": b.ref.kind,
                "namespace": b.ref.namespace,
                "name": b.ref.name,
                "priority": b.ref.priority,
                "weight": b.ref.weight,
                "model": b.ref.model,
                "modelMap": [list(pair) for pair in b.ref.model_map],
                "timeouts": _fields_out(b.timeout_values, b.timeout_sources),
                **_shadow_out(b.shadow),
            }
            for b in rule.backends
        ],
        "fields": _fields_out(rule.values, rule.sources),
        **_shadow_out(rule.shadow),
    }


def _fields_out(values: Values, sources: _Sources) -> dict[str, list[Any]]:
    return {path: [list(v) if isinstance(v, tuple) else v, sources[path]] for path, v in values.items()}


def _shadow_out(shadow: Shadow[S] | None) -> dict[str, Any]:
    return {} if shadow is None else {"shadow": _fields_out(shadow.values, shadow.sources)}


# -- reading -----------------------------------------------------------------------------------------------------------


class _Reading:
    """One bundle's. `at`: what is being read, for messages."""

    def __init__(self, *, newer: bool) -> None:
        self._newer = newer
        self.at = ""
        self.dropped: set[str] = set()

    def policy(self, wire: WirePolicy, revision: str) -> EffectivePolicy:
        upstreams = {one.key: one for one in map(self._upstream, wire.upstreams)}
        routes = []
        for route in wire.routes:
            self.at = f"{AgentRoute.KIND} {route.namespace}/{route.name} "
            rules = tuple(self._rule(rule, upstreams) for rule in route.rules)
            routes.append(EffectiveRoute(route.namespace, route.name, rules))
        return EffectivePolicy(upstreams, tuple(routes), revision)

    def _upstream(self, wire: WireUpstream) -> EffectiveUpstream:
        key = f"{wire.namespace}/{wire.name}" if wire.namespace else wire.name
        self.at = f"{wire.kind} {key} "
        values, sources = self._fields(wire.fields_, UpstreamFields, defaults.UPSTREAM)
        return EffectiveUpstream(
            key=key,
            kind=wire.kind,
            namespace=wire.namespace,
            name=wire.name,
            spec=upstream_spec(wire.spec, newer=self._newer),
            settings=upstream_settings(values),
            values=values,
            sources=sources,
            shadow=self._shadow(wire.shadow, values, sources, UpstreamFields, lambda v, _: upstream_settings(v)),
        )

    def _rule(self, wire: WireRule, upstreams: Mapping[str, EffectiveUpstream]) -> EffectiveRule:
        values, sources = self._fields(wire.fields_, RouteFields, defaults.RULE)
        return EffectiveRule(
            name=wire.name,
            index=wire.index,
            dialect=wire.dialect,
            matches=tuple(
                EffectiveMatch(
                    match.path_type,
                    match.path,
                    tuple(EffectiveHeader(h.name, h.type, _pattern(h.type, h.value)) for h in match.headers),
                    match.models,
                )
                for match in wire.matches
            ),
            backends=tuple(self._backend(backend, upstreams) for backend in wire.backends),
            settings=rule_settings(values, sources),
            values=values,
            sources=sources,
            shadow=self._shadow(wire.shadow, values, sources, RouteFields, rule_settings),
        )

    def _backend(self, wire: WireBackend, upstreams: Mapping[str, EffectiveUpstream]) -> EffectiveBackend:
        ref = EffectiveRef(wire.kind, wire.namespace, wire.name, wire.priority, wire.weight, wire.model, wire.model_map)
        upstream = upstreams.get(f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name)
        if upstream is None or upstream.kind != ref.kind:
            raise FieldsError(f"backends: there is no {ref.kind} {ref.name}")
        values, sources = self._fields(wire.timeouts, RouteFields, _TIMEOUTS)
        shadow = self._shadow(wire.shadow, values, sources, RouteFields, timeouts_of)
        return EffectiveBackend(ref, upstream, timeouts_of(values, sources), values, sources, shadow)

    def _fields(
        self, fields: Fields, owned: type[RouteFields | UpstreamFields], missing: Values
    ) -> tuple[Values, _Sources]:
        """`missing`: what an older operator may not know yet, and what holds then."""
        values, unknown = checked({path: value for path, (value, _) in fields.items()}, owned, newer=self._newer)
        self.dropped.update(unknown)
        sources = {path: fields[path][1] for path in values}
        return {**missing, **values}, {**dict.fromkeys(missing, defaults.DEFAULT), **sources}

    def _shadow(
        self,
        fields: Fields | None,
        values: Values,
        sources: _Sources,
        owned: type[RouteFields | UpstreamFields],
        settings: Callable[[Values, _Sources], S],
    ) -> Shadow[S] | None:
        if fields is None:
            return None
        others, other_sources = self._fields(fields, owned, {})
        return Shadow(settings({**values, **others}, {**sources, **other_sources}), others, other_sources)


def _pattern(kind: str, value: str) -> str:
    if kind == "RegularExpression":
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise FieldsError(f"matches: a header's value is not a regular expression: {error}") from None
    return value
