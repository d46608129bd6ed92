"""What fields say together, in CEL: those checks of seawall.policy that look at one document only, so that `kubectl
apply` names the field at once. What needs other documents is the webhook's and the compiler's business.

A rule here must never refuse a document that is good by itself. One that contradicts itself is refused even where a
policy's overrides would have hidden that.
"""

import re
from collections.abc import Iterator
from typing import Any

from seawall.policy.merged_checks import MAX_REQUESTS_PER_UPSTREAM

Schema = dict[str, Any]
Rule = dict[str, str]


def _rule(rule: str, message: str, field: str = "") -> Rule:
    found = {"rule": rule, "message": message, "reason": "FieldValueInvalid"}
    return {**found, "fieldPath": f".{field}"} if field else found


def _order(low: str, high: str, message: str) -> Rule:
    return _rule(
        f"!has(self.{low}) || !has(self.{high}) || duration(self.{low}) <= duration(self.{high})", message, low
    )


_ATTEMPTS = "(has(self.retry) && has(self.retry.attempts) ? self.retry.attempts : 2)"
_HEDGES = "(has(self.hedging) && has(self.hedging.maxAttempts) ? self.hedging.maxAttempts : 2)"

TIMEOUTS = (
    _rule(
        "!has(self.backendRequest) || !has(self.request) || duration(self.request) == duration('0s')"
        " || duration(self.backendRequest) <= duration(self.request)",
        "backendRequest must not exceed request: an attempt is part of its request",
        "backendRequest",
    ),
)
ROUTE_FIELDS = (
    _rule(
        f"!has(self.hedging) || (1 + {_ATTEMPTS}) * {_HEDGES} <= {MAX_REQUESTS_PER_UPSTREAM}",
        f"(1 + retry.attempts) × hedging.maxAttempts must not exceed {MAX_REQUESTS_PER_UPSTREAM}: "
        "so many requests may one call become while an upstream fails",
        "hedging",
    ),
    _rule(
        "!has(self.hedging) || !has(self.streaming) || !has(self.streaming.commit)"
        " || self.streaming.commit != 'Headers'",
        "a race is won by the first content, and streaming.commit Headers does not wait for that",
        "hedging",
    ),
)
FALLBACK = (
    _rule("self.type != 'StaticResponse' || has(self.text)", "type StaticResponse needs text", "text"),
    _rule(
        "self.type == 'StaticResponse' || (!has(self.status) && !has(self.text))",
        "status and text do nothing without type StaticResponse",
        "type",
    ),
    _rule("!has(self.status) || self.status == 200 || self.status >= 400", "must be 200, or 400 to 599", "status"),
)
UPSTREAM = (
    _rule(
        "self.dialect != 'Bedrock' || (has(self.auth) && self.auth.type != 'Passthrough')",
        "Bedrock cannot take Passthrough: agents' signatures are made for this proxy's Host",
        "dialect",
    ),
    _rule(
        "!has(self.type) || self.dialect == 'Generic' || self.type == (self.dialect in"
        " ['Snowflake', 'Databricks', 'BigQuery', 'Trino', 'ClickHouse'] ? 'Warehouse' : 'LLM')",
        "type contradicts dialect",
        "type",
    ),
    _rule(
        "!has(self.hostHeader) || self.hostHeader == 'Upstream' || !has(self.auth) || self.auth.type != 'AWSSigV4'",
        "hostHeader Passthrough contradicts auth type AWSSigV4: the signature covers the upstream's own Host",
        "hostHeader",
    ),
)
AUTH = (
    _rule("self.type != 'APIKey' || has(self.keyFile)", "type APIKey needs keyFile", "keyFile"),
    _rule(
        "self.type == 'APIKey' || (!has(self.keyFile) && !has(self.header) && !has(self.scheme))",
        "keyFile, header and scheme do nothing without type APIKey",
        "type",
    ),
    _rule("!has(self.scheme) || has(self.header)", "scheme does nothing without header", "scheme"),
    _rule(
        "self.type == 'AWSSigV4' || (!has(self.region) && !has(self.service)"
        " && !has(self.credentialsFile) && !has(self.profile))",
        "region, service, credentialsFile and profile do nothing without type AWSSigV4",
        "type",
    ),
    _rule("!has(self.profile) || has(self.credentialsFile)", "profile does nothing without credentialsFile", "profile"),
    _rule("!has(self.service) || self.service != 's3'", "S3 has rules of its own for signatures", "service"),
)
ROUTE_RULE = (
    _rule("has(self.backendRefs) && size(self.backendRefs) > 0", "name at least one Upstream", "backendRefs"),
    _rule(
        "!has(self.backendRefs) || size(self.backendRefs) == 0"
        " || self.backendRefs.exists(r, !has(r.weight) || r.weight > 0)",
        "all weights are 0: the rule could answer nothing",
        "backendRefs",
    ),
)
BACKEND_REF = (
    _rule(
        "!has(self.kind) || self.kind != 'ClusterUpstream' || !has(self.namespace)",
        "a ClusterUpstream has no namespace",
        "namespace",
    ),
)
BASE_URL = (
    _rule("isURL(self) && url(self).getHostname() != ''", "must be an http or https URL with a host"),
    _rule("!self.contains('?') && !self.contains('#')", "must not have a query or fragment"),
    _rule("!self.matches('^https?://[^/]*@')", "must not hold a user or password: use auth.keyFile"),
)
_BARRED = ("//", "/./", "/../", "%2f", "%2F")
PATH = (
    _rule(
        " && ".join([*(f"!self.contains('{text}')" for text in _BARRED), "!self.endsWith('/.')"])
        + " && !self.endsWith('/..')",
        "must not contain //, /./, /../ or %2F",
    ),
)
POLICY = (
    _rule("has(self.defaults) != has(self.overrides)", "needs exactly one of defaults and overrides"),
    _rule("has(self.targetRefs) != has(self.targetSelectors)", "needs exactly one of targetRefs and targetSelectors"),
)
TARGET_REF = (
    _rule(
        "!has(self.sectionName) || self.kind == 'AgentRoute'",
        "sectionName names a rule of an AgentRoute",
        "sectionName",
    ),
)
NAMESPACED_TARGET = (
    _rule(
        "self.kind != 'ClusterUpstream'",
        "a ClusterUpstream belongs to no namespace: target it with a ClusterResiliencePolicy",
        "kind",
    ),
)
CLUSTER_TARGET = (
    _rule("self.kind != 'ClusterUpstream' || !has(self.namespace)", "a ClusterUpstream has no namespace", "namespace"),
)
_FIELDS = r"(rules\[\]|defaults|overrides)"
_TABLE: tuple[tuple[str, str, tuple[Rule, ...]], ...] = (
    (r".*", r"(.+\.)?timeouts", TIMEOUTS),
    (r".*", r"(.+\.)?retry\.backoff", (_order("base", "max", "base must not exceed max"),)),
    (r".*", r"(.+\.)?circuitBreaker\.open", (_order("base", "max", "base must not exceed max"),)),
    (r"AgentRoute|.*Policy", _FIELDS, ROUTE_FIELDS),
    (r"AgentRoute|.*Policy", rf"{_FIELDS}\.fallback\[\]", FALLBACK),
    (r".*Upstream", r"", UPSTREAM),
    (r".*Upstream", r"auth", AUTH),
    (r".*Upstream", r"baseURL", BASE_URL),
    (r"AgentRoute", r"rules\[\]", ROUTE_RULE),
    (r"AgentRoute", r"rules\[\]\.backendRefs\[\]", BACKEND_REF),
    (r"AgentRoute", r"rules\[\]\.matches\[\]\.path\.value", PATH),
    (r".*ResiliencePolicy", r"", POLICY),
    (r".*ResiliencePolicy", r"targetRefs\[\]", TARGET_REF),
    (r"ResiliencePolicy", r"target(Refs|Selectors)\[\]", NAMESPACED_TARGET),
    (r"ClusterResiliencePolicy", r"targetRefs\[\]", CLUSTER_TARGET),
)
"""(kinds, path below `spec`, rules)."""


def add_rules(kind: str, spec: Schema) -> None:
    """Add a kind's rules to its `spec`."""
    for path, schema in _walk("", spec):
        found = [
            rule
            for kinds, at, rules in _TABLE
            if re.fullmatch(kinds, kind) and re.fullmatch(at, path)
            for rule in rules
        ]
        if found:
            schema["x-kubernetes-validations"] = [*schema.get("x-kubernetes-validations", ()), *found]
        if path == "baseURL":
            schema["pattern"] = r"^https?://[\x21-\x7e]+$"
        elif path.endswith("matches[].path.value"):
            # Without ? and #; in RE2, as that costs nothing of what rules may.
            schema.update(pattern=r"^/[\x21-\x22\x24-\x3e\x40-\x7e]*$", maxLength=1024)
        elif path == "rules":
            schema["minItems"] = 1


def _walk(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _walk(f"{path}.{name}" if path else name, inner)
    if "items" in schema:
        yield from _walk(f"{path}[]", schema["items"])
