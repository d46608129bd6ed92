"""The documents of `seawall.dev/v1alpha1`, as files, ConfigMaps and custom resources hold them.

A model judges each field by itself, never what fields say together nor other documents: that is the business of
checks.py, so that one wrong field does not hide a contradiction beside it. What kubectl adds to an object is accepted
and ignored, so that a document read back from a cluster is still a policy file.
"""

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, Strict
from pydantic_core import PydanticCustomError

from seawall.policy.blocks import (
    MODEL_PATTERN,
    Block,
    Label,
    Name,
    RouteFields,
    Text,
    Token,
    UpstreamFields,
)
from seawall.policy.units import Count, PositiveCount

GROUP = "seawall.dev"
API_VERSION: Final = "seawall.dev/v1alpha1"
DEFAULT_NAMESPACE = "default"

Identity = tuple[str, str, str]
"""(kind, namespace, name); the namespace of cluster-scoped kinds is ""."""


def _wrong(message: str, hint: str = "") -> PydanticCustomError:
    # Braces would be read as a template's places.
    return PydanticCustomError("value", "{text}", {"text": message, "hint": hint})


def _base_url(value: str) -> str:
    # Never repeats the value: it may hold a password.
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise _wrong("must be a URL without spaces or non-ASCII characters")
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        raise _wrong("is not a valid URL") from None
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        raise _wrong("must be an http or https URL with a host", "such as https://api.openai.com/v1")
    if "@" in url.netloc:
        raise _wrong("must not hold a user or password", "use auth.keyFile")
    if "?" in value or "#" in value:
        raise _wrong("must not have a query or fragment")
    return value


def _path(value: str) -> str:
    # Gateway API's rule for HTTPPathMatch.
    if not re.fullmatch(r"/[\x21-\x7e]*", value) or len(value) > 1024:
        raise _wrong("must be an absolute path of ASCII characters", "such as /openai/v1")
    if re.search(r"//|/\.\.?(/|$)|%2[fF]|[?#]", value):
        raise _wrong("must not contain //, /./, /../, %2F, ? or #")
    return value


def _timestamp(value: str) -> str:
    try:
        if datetime.fromisoformat(value).tzinfo is not None:
            return value
    except ValueError:
        pass
    raise _wrong("must be a time with a zone", "such as 2025-01-31T12:00:00Z")


class Metadata(Block):
    name: Name
    namespace: Label | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: Annotated[str, AfterValidator(_timestamp)] | None = None
    # What an API server adds. Accepted and ignored.
    uid: Any = None
    resource_version: Any = None
    generation: Any = None
    generate_name: Any = None
    managed_fields: Any = None
    owner_references: Any = None
    finalizers: Any = None
    deletion_timestamp: Any = None
    deletion_grace_period_seconds: Any = None
    self_link: Any = None


class Document(Block):
    """What all kinds have in common."""

    KIND: ClassVar[str]
    CLUSTER_SCOPED: ClassVar[bool] = False

    api_version: Literal["seawall.dev/v1alpha1"] = API_VERSION
    metadata: Metadata
    status: Any = None

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """ "" for a cluster-scoped kind."""
        return "" if self.CLUSTER_SCOPED else self.metadata.namespace or DEFAULT_NAMESPACE

    @property
    def identity(self) -> Identity:
        return self.KIND, self.namespace, self.name

    @property
    def key(self) -> str:
        """`namespace/name`, or `name` of a cluster-scoped kind."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def labels(self) -> dict[str, str]:
        return self.metadata.labels or {}


# --- Upstream -------------------------------------------------------------------------------------------------------

DialectName = Literal[
    "OpenAI",
    "Anthropic",
    "Generic",
    "AzureOpenAI",
    "Gemini",
    "Bedrock",
    "Snowflake",
    "Databricks",
    "BigQuery",
    "Trino",
    "ClickHouse",
]
Capability = Literal["Tools", "Images", "JSONSchema"]


class Auth(Block):
    type: Literal["Passthrough", "APIKey", "AWSSigV4"]
    key_file: Text | None = None
    header: Token | None = None
    scheme: Token | None = None
    region: Label | None = None
    service: Label | None = None
    credentials_file: Text | None = None
    profile: Text | None = None


class TLS(Block):
    ca_file: Text | None = None
    server_name: Text | None = None
    verification: Literal["Full", "None"] | None = None


class Proxy(Block):
    mode: Literal["Direct", "Environment"]


class Model(Block):
    name: Text
    aliases: tuple[Text, ...] | None = None
    capabilities: tuple[Capability, ...] | None = None
    context_tokens: PositiveCount | None = None


class UpstreamSpec(UpstreamFields):
    type: Literal["LLM", "Warehouse", "HTTP"] | None = None
    base_url: Annotated[str, Field(alias="baseURL", max_length=2048), AfterValidator(_base_url)]
    dialect: DialectName
    auth: Auth | None = None
    tls: TLS | None = None
    proxy: Proxy | None = None
    host_header: Literal["Upstream", "Passthrough"] | None = None
    statements: Literal["Any", "ReadOnly"] | None = None
    models: tuple[Model, ...] | None = None


class Upstream(Document):
    """One base URL with a dialect, credentials, models and limits."""

    KIND = "Upstream"
    kind: Literal["Upstream"] = "Upstream"
    spec: UpstreamSpec


class ClusterUpstream(Document):
    KIND = "ClusterUpstream"
    CLUSTER_SCOPED = True
    kind: Literal["ClusterUpstream"] = "ClusterUpstream"
    spec: UpstreamSpec


# --- AgentRoute -----------------------------------------------------------------------------------------------------


ModelPattern = Annotated[str, Field(max_length=256, pattern=MODEL_PATTERN)]
"""A model's name, or the beginning of names with a * behind it."""


class PathMatch(Block):
    type: Literal["PathPrefix", "Exact"] | None = None
    value: Annotated[str, AfterValidator(_path)]


class HeaderMatch(Block):
    name: Token
    type: Literal["Exact", "RegularExpression"] | None = None
    value: Annotated[str, Field(max_length=4096)]


class RuleMatch(Block):
    path: PathMatch | None = None
    headers: tuple[HeaderMatch, ...] | None = None
    models: tuple[ModelPattern, ...] | None = None


class ModelName(Block):
    """An agent's name for a model, and the upstream's own."""

    from_: Annotated[ModelPattern, Field(alias="from")]
    to: Text


class BackendRef(Block):
    name: Name
    kind: Literal["Upstream", "ClusterUpstream"] | None = None
    namespace: Label | None = None
    priority: Count | None = None
    weight: Annotated[int, Strict(), Field(ge=0, le=1_000_000)] | None = None
    model: Text | None = None
    model_map: tuple[ModelName, ...] | None = None


class Rule(RouteFields):
    name: Label | None = None
    dialect: DialectName | None = None
    matches: tuple[RuleMatch, ...] | None = None
    backend_refs: tuple[BackendRef, ...] = ()


class AgentRouteSpec(Block):
    rules: tuple[Rule, ...]


class AgentRoute(Document):
    """What agents call, and the upstreams behind it."""

    KIND = "AgentRoute"
    kind: Literal["AgentRoute"] = "AgentRoute"
    spec: AgentRouteSpec
