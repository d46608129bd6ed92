"""What `kubectl explain` says of a field: the meaning and the default that docs/documents.md gives it."""

import re
from collections.abc import Mapping

BLOCKS: Mapping[str, str] = {
    "spec": "What is wanted. Fields that are absent are inherited from policies, and from defaults at last.",
    "status": "What became of it. Written by the operator.",
    "timeouts": "How long things may take.",
    "retry": "What is asked again.",
    "retry.backoff": "The wait before a retry.",
    "hedging": "Attempts in parallel.",
    "cache": "Answers that are kept and given again.",
    "streaming": "How streams are held and watched.",
    "streaming.minProgress": "The slowest that a stream may be.",
    "fallback": "What answers when no upstream can, in this order.",
    "limits": "Sizes of requests.",
    "retryConstraint": "What retries may add to an upstream's load, whoever calls it.",
    "retryConstraint.budget": "The share of retries.",
    "retryConstraint.minRetryRate": "Retries that are always allowed.",
    "circuitBreaker": "When an upstream is left alone, and how it comes back.",
    "circuitBreaker.errorRate": "The share of failed calls that opens it.",
    "circuitBreaker.slowCall": "The share of slow calls that opens it.",
    "circuitBreaker.open": "How long it stays open.",
    "circuitBreaker.halfOpen": "How it is probed.",
    "circuitBreaker.rampUp": "How traffic comes back.",
    "concurrency": "Requests at a time.",
    "rateLimit": "Requests and tokens in a time.",
    "rateLimit.requests": "Requests in a time.",
    "rateLimit.tokens": "Tokens in a time.",
    "healthCheck": "Probes of its own.",
    "auth": "The credential that requests carry.",
    "tls": "How the upstream proves who it is.",
    "proxy": "The way to the upstream.",
    "models": "Models that it serves, and what they can do.",
    "rules": "Which requests, to which upstreams, and how.",
    "rules[].matches": "Requests that take the rule: any of these.",
    "rules[].matches[].path": "What the request's path must be.",
    "rules[].matches[].headers": "Header fields that it must have: all of these.",
    "rules[].backendRefs": "Upstreams that may answer.",
    "rules[].backendRefs[].modelMap": "Other names for models at this upstream.",
    "targetRefs": "What it applies to, by name.",
    "targetSelectors": "What it applies to, by label.",
    "selector": "The pods of its namespace that get a sidecar.",
    "resources": "The sidecar's resources.",
    "resources.requests": "What is set aside for it.",
    "resources.limits": "What it may take at most.",
    "baseURLVariables": "Environment variables that are set where absent.",
    "sidecars": "How many sidecars run it.",
    "fields": "Every field that holds, with who set it.",
    "route": "The AgentRoute that it is about; absent: the one of the same name.",
}
"""Of what holds fields: the tables only have the fields themselves."""

_RULE, _OWNER = "Fields of a rule", "Fields of an upstream's owner"
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \|([^|]*)\|([^|]*)\|", re.MULTILINE)
Row = tuple[str, str, str]
"""Type, default, meaning, as they are written."""


class Descriptions:
    """Of all kinds, from the text of docs/documents.md."""

    def __init__(self, documentation: str) -> None:
        self._tables: dict[str, dict[str, Row]] = {}
        for part in re.split(r"^## ", documentation, flags=re.MULTILINE)[1:]:
            self._tables[part.partition("\n")[0]] = {
                field: (kind.strip(), default.strip(), meaning.strip())
                for field, kind, default, meaning in _ROW.findall(part)
            }

    def of(self, kind: str, path: str) -> str:
        """Of a field below `spec` or `status`, as `rules[].retry.attempts`. Raises KeyError where nothing is said."""
        if (row := self.row(kind, path)) is not None:
            return _sentence(row[2], row[1])
        return BLOCKS.get(path) or BLOCKS[_inline(path)]

    def row(self, kind: str, path: str) -> Row | None:
        """None: it holds fields, or is none that documents have."""
        own = next(table for heading, table in self._tables.items() if kind in heading.replace(",", "").split())
        inline = _inline(path)
        for table, name in ((own, path), (self._tables[_RULE], inline), (self._tables[_OWNER], inline)):
            if name in table:
                return table[name]
        return None


def _inline(path: str) -> str:
    """As the fields of a rule, or of an upstream's owner, are called in their own tables."""
    return re.sub(r"^(rules\[\]|defaults|overrides)\.", "", path)


def _sentence(meaning: str, default: str) -> str:
    text = _LINK.sub(r"\1", meaning).replace("*", "").strip(" …")
    text = f"{text[:1].upper()}{text[1:]}." if text else ""
    default = _LINK.sub(r"\1", default).replace("`", "").strip()
    if default and default != "required":
        text = f"{text} Default: {default}.".strip()
    return text or "Required."
