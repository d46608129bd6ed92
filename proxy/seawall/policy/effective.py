"""What holds after merging: every route's rules with their upstreams, complete settings, and the source of each field.

Pure and tolerant: it can be built from documents that checks.py will refuse (references that lead nowhere and upstreams
in doubt are left out), so that checks can look at merged values too. It never does I/O.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from seawall.policy import defaults
from seawall.policy.attached import PolicyIndex
from seawall.policy.blocks import RouteFields, UpstreamFields
from seawall.policy.documents import (
    TLS,
    AgentRoute,
    Auth,
    BackendRef,
    ClusterUpstream,
    Identity,
    Model,
    Rule,
    RuleMatch,
    Upstream,
    UpstreamSpec,
)
from seawall.policy.inventory import Documents
from seawall.policy.issues import FieldPath
from seawall.policy.located import Located
from seawall.policy.merge import Layer, Merged, layer_of, merge
from seawall.policy.revision import revision
from seawall.policy.settings import (
    TIMEOUT_NAMES,
    RuleSettings,
    Shadow,
    Timeouts,
    UpstreamSettings,
    Value,
    Values,
    rule_settings,
    timeouts_of,
    upstream_settings,
)
from seawall.policy.units import seconds

WAREHOUSES = frozenset({"Snowflake", "Databricks", "BigQuery", "Trino", "ClickHouse"})


SIGNED_SERVICES: Mapping[str, str] = {"Bedrock": "bedrock"}
"""Dialects whose providers want requests signed (AWS Signature Version 4), and the service that it is made for."""

# bedrock-runtime.us-east-1.amazonaws.com, vpce-….bedrock-runtime.us-gov-west-1.vpce.amazonaws.com, ….api.aws
_REGION = re.compile(r"(?:^|\.)([a-z]{2}(?:-[a-z]+)+-\d{1,2})\.(?:.+\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)$")


def region_of(base_url: str) -> str:
    """The AWS region in a host's name; "" where there is none."""
    found = _REGION.search(urlsplit(base_url).hostname or "")
    return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class EffectiveUpstream:
    """One upstream. `key` is its identity: `namespace/name`, or `name` of a ClusterUpstream."""

    key: str
    kind: Literal["Upstream", "ClusterUpstream"]
    namespace: str
    name: str
    spec: UpstreamSpec
    settings: UpstreamSettings
    values: Values
    """Fields as written, by dotted path; its `timeouts` are here only where a document sets them."""
    sources: Mapping[str, str]
    """The same paths → who set them."""
    shadow: Shadow[UpstreamSettings] | None = None

    @property
    def type(self) -> Literal["LLM", "Warehouse", "HTTP"]:
        return self.spec.type or upstream_type(self.spec.dialect)

    @property
    def base_url(self) -> str:
        """Without a trailing slash."""
        return self.spec.base_url.rstrip("/")

    @property
    def auth(self) -> Auth:
        return self.spec.auth or Auth(type="Passthrough")

    @property
    def region(self) -> str:
        """That signatures are for: what the document says, else what the host's name tells; "" where neither does."""
        return self.auth.region or region_of(self.spec.base_url)

    @property
    def service(self) -> str:
        """Likewise."""
        return self.auth.service or SIGNED_SERVICES.get(self.spec.dialect, "")

    @property
    def tls(self) -> TLS:
        return self.spec.tls or TLS()

    @property
    def proxy(self) -> Literal["Direct", "Environment"]:
        return self.spec.proxy.mode if self.spec.proxy else "Direct"

    @property
    def host_header(self) -> Literal["Upstream", "Passthrough"]:
        return self.spec.host_header or "Upstream"

    @property
    def read_only(self) -> bool:
        """Whether it is asked for nothing but what surely only reads."""
        return self.spec.statements == "ReadOnly"

    @property
    def models(self) -> tuple[Model, ...]:
        return self.spec.models or ()


@dataclass(frozen=True, slots=True)
class EffectiveHeader:
    name: str
    """In lower case."""
    type: Literal["Exact", "RegularExpression"]
    value: str


@dataclass(frozen=True, slots=True)
class EffectiveMatch:
    """All that is given must match; no models: any, and requests without one too."""

    path_type: Literal["PathPrefix", "Exact"]
    path: str
    """A prefix has no trailing slash, unless it is `/` itself."""
    headers: tuple[EffectiveHeader, ...] = ()
    """Sorted by name, type and value."""
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EffectiveRef:
    kind: Literal["Upstream", "ClusterUpstream"]
    namespace: str
    name: str
    priority: int
    weight: int
    """0: gets no calls."""
    model: str
    """Replaces the agent's; "" leaves it."""
    model_map: tuple[tuple[str, str], ...] = ()
    """(an agent's name or pattern, the upstream's own), the more specific first; before `model`."""

    @property
    def identity(self) -> Identity:
        return self.kind, self.namespace, self.name


@dataclass(frozen=True, slots=True)
class EffectiveBackend:
    """One upstream of a rule, with the timeouts that hold for this pair."""

    ref: EffectiveRef
    upstream: EffectiveUpstream
    timeouts: Timeouts
    timeout_values: Values
    timeout_sources: Mapping[str, str]
    shadow: Shadow[Timeouts] | None = None


@dataclass(frozen=True, slots=True)
class EffectiveRule:
    """`name` is the rule's own, or its index as text."""

    name: str
    index: int
    dialect: str
    """What its agents speak: what the rule says, else the dialect of its first upstream; "" where it has none."""
    matches: tuple[EffectiveMatch, ...]
    backends: tuple[EffectiveBackend, ...]
    """As written; weights of 0 included."""
    settings: RuleSettings
    values: Values
    sources: Mapping[str, str]
    shadow: Shadow[RuleSettings] | None = None


@dataclass(frozen=True, slots=True)
class EffectiveRoute:
    namespace: str
    name: str
    rules: tuple[EffectiveRule, ...]


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    upstreams: Mapping[str, EffectiveUpstream]
    """By key."""
    routes: tuple[EffectiveRoute, ...]
    """In the order of the documents."""
    revision: str

    @property
    def stores(self) -> frozenset[str]:
        """Kinds of stores in which some rule keeps answers."""
        rules = (rule for route in self.routes for rule in route.rules)
        return frozenset(rule.settings.cache.store for rule in rules if rule.settings.cache is not None)

    @property
    def dialects(self) -> frozenset[str]:
        """Of all upstreams, and of agents."""
        rules = (rule.dialect for route in self.routes for rule in route.rules if rule.dialect)
        return frozenset(upstream.spec.dialect for upstream in self.upstreams.values()).union(rules)

    @property
    def signed(self) -> bool:
        """Whether requests to some upstream are signed."""
        return any(upstream.auth.type == "AWSSigV4" for upstream in self.upstreams.values())

    @property
    def translated(self) -> frozenset[str]:
        """Dialects of upstreams whose agents speak another one."""
        rules = (rule for route in self.routes for rule in route.rules)
        pairs = ((rule.dialect, b.upstream.spec.dialect) for rule in rules for b in rule.backends if b.ref.weight)
        return frozenset(there for agents, there in pairs if there != agents)


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """An effective policy, with what checks need to point at documents. `routes` goes with the policy's."""

    policy: EffectivePolicy
    upstreams: tuple[tuple[Located, Merged], ...]
    """Of all upstreams, those that the policy leaves out included."""
    routes: tuple[tuple[Located, tuple[Merged, ...]], ...]
    """Of each route, with the fields of its rules."""
    shadow: "Built | None" = None
    """The same documents with all Shadow policies enforced; None where there are none (shadow.py)."""


def build(documents: Documents, *, shadow: bool = False) -> Built:
    """What holds. `shadow`: what would, if policies that say `enforcement: Shadow` were enforced as well."""
    policies = PolicyIndex(documents.readable, documents.broken, shadow=shadow)
    upstream_fields: list[tuple[Located, Merged]] = []
    by_key: dict[str, Merged] = {}
    upstreams: dict[str, EffectiveUpstream] = {}
    repeated = {located.document.identity for located in documents.readable if located.repeated}
    for located in documents.readable:
        if isinstance(document := located.document, Upstream | ClusterUpstream):
            fields = _upstream_fields(located, document, policies)
            upstream_fields.append((located, fields))
            if document.identity not in repeated and located.sure_of_name and located.sure(("spec", "dialect")):
                by_key[document.key] = fields
                upstreams[document.key] = _upstream(document, fields)
    route_fields: list[tuple[Located, tuple[Merged, ...]]] = []
    routes = []
    for located in documents.readable:
        if isinstance(document := located.document, AgentRoute):
            merged = tuple(_rule_fields(located, document, i, policies) for i in range(len(document.spec.rules)))
            route_fields.append((located, merged))
            rules = tuple(_rule(located, document, i, fields, upstreams, by_key) for i, fields in enumerate(merged))
            routes.append(EffectiveRoute(document.namespace, document.name, rules))
    policy = EffectivePolicy(upstreams, tuple(routes), revision(documents.readable))
    return Built(policy, tuple(upstream_fields), tuple(route_fields))


def reference(route: AgentRoute, ref: BackendRef) -> EffectiveRef:
    kind = ref.kind or "Upstream"
    namespace = "" if kind == "ClusterUpstream" else ref.namespace or route.namespace
    weight = 1 if ref.weight is None else ref.weight
    names = sorted(((m.from_, m.to) for m in ref.model_map or ()), key=lambda m: (m[0].endswith("*"), -len(m[0])))
    return EffectiveRef(kind, namespace, ref.name, ref.priority or 0, weight, ref.model or "", tuple(names))


def upstream_type(dialect: str) -> Literal["LLM", "Warehouse", "HTTP"]:
    """What an upstream of a dialect is where it does not say so."""
    if dialect in WAREHOUSES:
        return "Warehouse"
    return "HTTP" if dialect == "Generic" else "LLM"


def rule_label(rule: Rule, index: int) -> str:
    return f'rule "{rule.name}"' if rule.name else f"rule {index}"


def _upstream_fields(located: Located, document: Upstream | ClusterUpstream, policies: PolicyIndex) -> Merged:
    above, below = policies.upstream_layers(located)
    inline = layer_of(f"{document.KIND} {document.key}", document.spec, UpstreamFields, located, ("spec",))
    return merge([*above, inline, *below, Layer(defaults.DEFAULT, defaults.UPSTREAM)])


def _rule_fields(located: Located, route: AgentRoute, index: int, policies: PolicyIndex) -> Merged:
    rule = route.spec.rules[index]
    at: FieldPath = ("spec", "rules", index)
    above, below = policies.rule_layers(located, rule.name, located.sure((*at, "name")))
    inline = layer_of(f"AgentRoute {route.key} {rule_label(rule, index)}", rule, RouteFields, located, at)
    return merge([*above, inline, *below, Layer(defaults.DEFAULT, defaults.RULE)])


def _upstream(document: Upstream | ClusterUpstream, fields: Merged) -> EffectiveUpstream:
    return EffectiveUpstream(
        key=document.key,
        kind=document.kind,
        namespace=document.namespace,
        name=document.name,
        spec=document.spec,
        settings=upstream_settings(fields.values),
        values=fields.values,
        sources=fields.sources,
    )


def _rule(
    located: Located,
    route: AgentRoute,
    index: int,
    fields: Merged,
    upstreams: Mapping[str, EffectiveUpstream],
    upstream_fields: Mapping[str, Merged],
) -> EffectiveRule:
    rule = route.spec.rules[index]
    backends = []
    for backend in rule.backend_refs:
        ref = reference(route, backend)
        key = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
        if key in upstreams:
            values, sources = _pair_timeouts(fields, upstream_fields[key])
            timeouts = timeouts_of(values, sources)
            backends.append(EffectiveBackend(ref, upstreams[key], timeouts, values, sources))
    sources = fields.sources
    matches = rule.matches or ()
    if not matches and located.whole(("spec", "rules", index, "matches")):
        matches = (RuleMatch(),)
    return EffectiveRule(
        name=rule.name or str(index),
        index=index,
        dialect=rule.dialect or _first_dialect(backends),
        matches=tuple(effective_match(match) for match in matches),
        backends=tuple(backends),
        settings=rule_settings(fields.values, sources),
        values=fields.values,
        sources=sources,
    )


def _first_dialect(backends: Sequence[EffectiveBackend]) -> str:
    """Of the upstream that is asked first: the lowest priority, then the order in which they are written."""
    asked = [backend for backend in backends if backend.ref.weight] or backends
    return min(asked, key=lambda backend: backend.ref.priority).upstream.spec.dialect if asked else ""


def effective_match(match: RuleMatch) -> EffectiveMatch:
    """With its defaults: without a path, every path."""
    path_type = (match.path and match.path.type) or "PathPrefix"
    path = match.path.value if match.path else "/"
    headers = [EffectiveHeader(h.name.lower(), h.type or "Exact", h.value) for h in match.headers or ()]
    return EffectiveMatch(
        path_type=path_type,
        path=path.rstrip("/") or "/" if path_type == "PathPrefix" else path,
        headers=tuple(sorted(headers, key=lambda h: (h.name, h.type, h.value))),
        models=match.models or (),
    )


def _pair_timeouts(rule: Merged, upstream: Merged) -> tuple[dict[str, Value], dict[str, str]]:
    """The upstream's timeouts cap the rule's. Against a built-in default the upstream's simply hold, longer or not."""
    values: dict[str, Value] = {}
    sources: dict[str, str] = {}
    for path in (f"timeouts.{name}" for name in TIMEOUT_NAMES):
        candidates = [fields for fields in (rule, upstream) if path in fields.values]
        set_by_someone = [fields for fields in candidates if fields.source(path) != defaults.DEFAULT]
        if candidates:
            winner = min(set_by_someone or candidates, key=lambda fields: limit_of(fields.values[path]))
            values[path], sources[path] = winner.values[path], winner.source(path)
    attempt, whole = "timeouts.backendRequest", "timeouts.request"
    if attempt in values and sources[whole] != defaults.DEFAULT and limit_of(values[attempt]) > limit_of(values[whole]):
        values[attempt], sources[attempt] = values[whole], sources[whole]
    return values, sources


def limit_of(timeout: Value) -> float:
    """Seconds; `0s` means no limit (Gateway API)."""
    return seconds(str(timeout)) or float("inf")
